"""Determine whether a server's database has changed: schema, rights, settings, and rows as far as that is cheap.

Rows of small tables are added up, those of large tables are not read. For these, the server's own counters are compared
(PostgreSQL: rows inserted, updated and deleted so far; MariaDB: when the table was written last).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from fietsupdate.database.dump.digests import sums
from fietsupdate.database.dump.store import Store

LARGE = 32 << 20
"""The size in bytes from which a table is not read."""
ACCOUNT = "fietsupdate_"
"""The prefix of our accounts' names; see `fietsupdate.database.dump.accounts`."""

_POSTGRESQL_SIZES = """
SELECT CASE n.nspname WHEN 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END, pg_table_size(c.oid),
       concat_ws(' ', s.n_tup_ins, s.n_tup_upd, s.n_tup_del)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
 WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
"""
_MYSQL_SIZES = """
SELECT table_name, COALESCE(data_length, 0), COALESCE(update_time, '') FROM information_schema.tables
 WHERE table_schema = DATABASE() AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')
"""
_POSTGRESQL_SETTINGS = """
SELECT concat_ws('|', d.datdba, d.datacl, d.datconnlimit, d.datallowconn, d.dattablespace,
                 shobj_description(d.oid, 'pg_database'))
  FROM pg_database d WHERE d.datname = current_database()
UNION ALL
SELECT concat_ws('|', s.setrole, s.setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
 WHERE d.datname = current_database()
 ORDER BY 1
"""
_POSTGRESQL_ROLES = f"""
SELECT concat_ws('|', r.rolname, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin,
                 r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil, r.rolconfig,
                 (SELECT string_agg(g.rolname, ',' ORDER BY g.rolname)
                    FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                   WHERE m.member = r.oid AND g.rolname NOT LIKE '{ACCOUNT}%'))
  FROM pg_roles r WHERE r.rolname NOT LIKE 'pg\\_%' AND r.rolname NOT LIKE '{ACCOUNT}%'
"""  # noqa: S608  # our own text
_OF_THIS_DATABASE = """
   AND (r.rolname = current_user OR {others} OR r.oid IN
        (SELECT s.refobjid FROM pg_shdepend s JOIN pg_database d ON d.oid IN (s.dbid, s.objid)
          WHERE d.datname = current_database() AND s.refclassid = 'pg_authid'::regclass))
"""
_MAKES_ROLES = "(SELECT u.rolsuper OR u.rolcreaterole FROM pg_roles u WHERE u.rolname = current_user)"
_MYSQL_SETTINGS = f"""
SELECT CONCAT_WS('|', default_character_set_name, default_collation_name) FROM information_schema.schemata
 WHERE schema_name = DATABASE()
UNION ALL
SELECT CONCAT_WS('|', grantee, privilege_type, is_grantable) FROM information_schema.schema_privileges
 WHERE table_schema = DATABASE() AND grantee NOT LIKE '\\'{ACCOUNT}%'
 ORDER BY 1
"""  # noqa: S608  # our own text


@dataclass(frozen=True)
class Facts:
    """The facts about a database at one moment.

    Attributes:
        of: By name, a text that differs when the fact differs.
        read: How many tables were read.
        counted: Tables that were not read because they are large.
    """

    of: Mapping[str, str] = field(default_factory=dict)
    read: int = 0
    counted: tuple[str, ...] = ()

    def changed(self, now: Facts) -> tuple[str, ...]:
        """Return the names of the facts that differ now."""
        return tuple(sorted(name for name in self.of.keys() | now.of.keys() if self.of.get(name) != now.of.get(name)))


def facts(store: Store, *, all_roles: bool) -> Facts:
    """Return the facts about a database on a server; a SQLite file has none, since it is compared as a file.

    Args:
        store: The database.
        all_roles: Whether to include every role of the server, if this user may create roles (PostgreSQL); otherwise
            only the roles that this database refers to.

    Raises:
        DatabaseError: The database cannot be read.
    """
    if store.file is not None:
        return Facts()
    is_postgresql = store.dialect == "postgresql"
    sizes = store.query(_POSTGRESQL_SIZES if is_postgresql else _MYSQL_SIZES)
    large = {name or "": counted or "" for name, size, counted in sizes if int(float(size or 0)) > LARGE}
    others = _MAKES_ROLES if all_roles else "false"
    texts = {
        "the schema": _hash(store.schema_text()),
        "settings or rights of the database": _hash(
            repr(store.query(_POSTGRESQL_SETTINGS if is_postgresql else _MYSQL_SETTINGS))
        ),
    }
    if is_postgresql:
        roles = store.query(f"{_POSTGRESQL_ROLES}{_OF_THIS_DATABASE.format(others=others)} ORDER BY 1")
        texts["roles"] = _hash(repr(roles))
    rows = sums(store, leave_out=large)
    texts |= {f"rows of {table}": text for table, text in {**rows, **large}.items()}
    return Facts(texts, len(rows), tuple(sorted(large)))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
