"""Create a PostgreSQL database with the properties of another.

A dump does not contain those of the database itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from fietsupdate.database.quoting import literal, quoted

Query = Callable[[str], list[tuple[str | None, ...]]]
Properties = Sequence[Sequence[str]]
"""A comment, rights and settings, each as a kind and its values; a manifest stores them."""

_PROPERTIES = """
SELECT r.rolname, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, d.datconnlimit, t.spcname,
       to_jsonb(d)->>'datlocprovider', coalesce(to_jsonb(d)->>'daticulocale', to_jsonb(d)->>'datlocale'),
       to_jsonb(d)->>'daticurules', shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL
  FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba JOIN pg_tablespace t ON t.oid = d.dattablespace
 WHERE d.datname = {name}
"""
"""Through JSON, since every release has other columns."""

_RIGHTS = """
SELECT coalesce(r.rolname, ''), a.privilege_type, a.is_grantable
  FROM pg_database d CROSS JOIN LATERAL aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
 WHERE d.datname = {name}
"""

_SETTINGS = """
SELECT coalesce(r.rolname, ''), unnest(s.setconfig)
  FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole
 WHERE d.datname = {name}
"""

_LISTS = frozenset(
    (
        *("search_path", "temp_tablespaces", "unix_socket_directories"),
        *("local_preload_libraries", "session_preload_libraries", "shared_preload_libraries"),
    )
)
"""Settings whose value is a list of quoted names (GUC_LIST_QUOTE); pg_dump has the same list."""

_NAME = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^,"]+?))\s*(?:,|$)')
_PROVIDERS = {"i": "icu", "b": "builtin"}


def creation(query: Query, live: str, name: str, *, full: bool = False) -> str | None:
    """Return the statement that creates a database like the live one, empty or a full copy; None without a live one.

    Only the server itself can make a full copy, and only while no session is connected.
    """
    rows = query(_PROPERTIES.format(name=literal(live)))
    if not rows:
        return None
    owner, encoding, collate, ctype, limit, tablespace, provider, locale, rules, _comment, _acl = rows[0]
    sql = f"CREATE DATABASE {quoted(name)} OWNER {quoted(owner or '')} CONNECTION LIMIT {limit} TEMPLATE "
    if full:
        return sql + quoted(live)
    sql += (
        f"template0 ENCODING {literal(encoding or '')} LC_COLLATE {literal(collate or '')} "
        f"LC_CTYPE {literal(ctype or '')}"
    )
    if tablespace != "pg_default":  # naming the default takes a right that ordinary users do not have
        sql += f" TABLESPACE {quoted(tablespace or '')}"
    if provider in _PROVIDERS:
        kind = _PROVIDERS[provider]
        sql += f" LOCALE_PROVIDER {kind} {kind.upper()}_LOCALE {literal(locale or '')}"
    return sql + (f" ICU_RULES {literal(rules)}" if rules else "")


def properties(query: Query, live: str) -> Properties:
    """Return a database's own comment, rights and settings: each with its kind, independent of the server's version."""
    rows = query(_PROPERTIES.format(name=literal(live)))
    owner, comment, has_rights = (rows[0][0] or "", rows[0][9], rows[0][10]) if rows else ("", None, "f")
    settings: list[tuple[str, ...]] = [("comment", comment)] if comment is not None else []
    if has_rights == "t":
        settings.append(("rights", owner))
        settings += [("right", *(value or "" for value in row)) for row in query(_RIGHTS.format(name=literal(live)))]
    for role, setting in query(_SETTINGS.format(name=literal(live))):
        variable, _, value = (setting or "").partition("=")
        settings.append(("setting", role or "", variable, value))
    return tuple(settings)


def statements(known: Properties, name: str, owner: str) -> Iterator[str]:
    """Yield the statements that give a new database this comment, these rights and settings.

    Rights of the owner at that time are granted to the present owner, whose name may differ.
    """
    then = next((values[0] for kind, *values in known if kind == "rights"), owner)
    for kind, *values in known:
        match kind:
            case "comment":
                yield f"COMMENT ON DATABASE {quoted(name)} IS {literal(values[0])}"
            case "rights":
                yield f"REVOKE ALL ON DATABASE {quoted(name)} FROM PUBLIC, {quoted(owner)}"
            case "right":
                role, right, grantable = owner if values[0] == then else values[0], values[1], values[2]
                option = " WITH GRANT OPTION" if grantable == "t" else ""
                yield f"GRANT {right} ON DATABASE {quoted(name)} TO {quoted(role) if role else 'PUBLIC'}{option}"
            case "setting":
                role, variable, value = values
                whose = f"ALTER ROLE {quoted(role)} IN DATABASE" if role else "ALTER DATABASE"
                yield f"{whose} {quoted(name)} SET {quoted_setting(variable)} TO {_value(variable, value)}"


def quoted_setting(variable: str) -> str:
    """Quote a setting's name, which may have two parts."""
    return ".".join(quoted(part) for part in variable.split("."))


def _value(variable: str, value: str) -> str:
    if variable.lower() not in _LISTS:
        return literal(value)
    names = (inside.replace('""', '"') or plain for inside, plain in _NAME.findall(value))
    return ", ".join(literal(name) for name in names) or "''"
