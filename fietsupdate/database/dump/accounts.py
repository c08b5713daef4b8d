"""Create an account on a server whose rights end at one database, the clone of a rehearsal, and remove it again.

On PostgreSQL it owns the clone and all objects in it that the real user may act for; elsewhere it has the rights of
PUBLIC. On MariaDB it has all rights on the clone, and its routines, triggers, views and events run with no others. Only
a user who may create accounts can create it (CREATEROLE; CREATE USER and GRANT OPTION).
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa

from fietsupdate.database.dump import mysql_client as client
from fietsupdate.database.dump import open_store
from fietsupdate.database.dump.store import Store
from fietsupdate.database.quoting import backquoted, literal, mysql_literal, quoted
from fietsupdate.errors import DatabaseError

PREFIX = "fietsupdate_"
CHUNK = 500
"""Objects whose owner changes in one transaction: each takes a lock, of which a server has some thousands."""
_IN_QUERY = ("user", "password", "passwd", "passfile", "read_default_file", "read_default_group")
"""Parameters of a URL that would override the user and the password before the host."""

_NOT_ALLOWED = frozenset({1044, 1142, 1227})
_WHO = """
SELECT session_user, r.rolsuper, r.rolcreaterole OR r.rolsuper, current_setting('search_path')
  FROM pg_roles r WHERE r.rolname = current_user
"""
_KINDS = {
    "pg_namespace": "SELECT oid, nspowner, false FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)'",
    "pg_class": """
SELECT oid, relowner, relkind = 'S' AND EXISTS
       (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i'))
  FROM pg_class c WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')""",
    "pg_type": """
SELECT oid, typowner, typtype = 'm' FROM pg_type t
 WHERE NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
   AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')""",
    "pg_proc": "SELECT oid, proowner, false FROM pg_proc",
    "pg_operator": "SELECT oid, oprowner, false FROM pg_operator",
    "pg_opclass": "SELECT oid, opcowner, false FROM pg_opclass",
    "pg_opfamily": "SELECT oid, opfowner, false FROM pg_opfamily",
    "pg_collation": "SELECT oid, collowner, false FROM pg_collation",
    "pg_conversion": "SELECT oid, conowner, false FROM pg_conversion",
    "pg_ts_dict": "SELECT oid, dictowner, false FROM pg_ts_dict",
    "pg_ts_config": "SELECT oid, cfgowner, false FROM pg_ts_config",
    "pg_statistic_ext": "SELECT oid, stxowner, false FROM pg_statistic_ext",
    "pg_publication": "SELECT oid, pubowner, puballtables FROM pg_publication",
    "pg_largeobject": "SELECT oid, lomowner, false FROM pg_largeobject_metadata",
}
"""By catalog: oids and owners of user-defined objects, and whether an object's owner follows that of another, or must
be a superuser. Foreign servers, languages and event triggers keep their owners."""
_ALL = " UNION ALL ".join(
    sql.replace("SELECT oid", f"SELECT '{catalog}'::regclass, oid", 1) for catalog, sql in _KINDS.items()
)
_OWNED = f"""
SELECT CASE type WHEN 'statistics object' THEN 'statistics' ELSE type END, identity, pg_has_role(owner, 'USAGE')
  FROM ({_ALL}) made (class, object, owner, follows), pg_identify_object(class, object, 0)
 WHERE (object >= 16384 OR class = 'pg_largeobject'::regclass) AND NOT follows
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = object AND d.deptype = 'e')
 ORDER BY class <> 'pg_namespace'::regclass, class, object
"""  # noqa: S608  # our own text
_SETTINGS = """
SELECT split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
  FROM pg_db_role_setting s, unnest(s.setconfig) setting
 WHERE s.setrole = (SELECT oid FROM pg_roles WHERE rolname = {role}) AND s.setdatabase = 0
   AND split_part(setting, '=', 1) !~ '^(search_path|role|(session|local)_preload_libraries)$'
"""


class NotConfinedError(DatabaseError):
    """No such account is possible here; the message says why. Nothing of it is left."""


def name_of(tag: str) -> str:
    """Return the name of a rehearsal's account."""
    return f"{PREFIX}{tag}"


@dataclass(frozen=True)
class Account:
    """An account whose rights end at a clone.

    Args:
        real: The real database, as the user who creates the account.
        clone: The clone of it, existing or not.
        tag: The tag of the rehearsal; it names the account.
        password: Known to this process only.
    """

    real: Store
    clone: Store
    tag: str
    password: str = field(default_factory=lambda: f"{secrets.token_urlsafe(24)}aA1-", repr=False)

    @property
    def name(self) -> str:
        """The name of the account."""
        return name_of(self.tag)

    @property
    def url(self) -> str:
        """The URL of the clone for this account."""
        url = sa.make_url(self.clone.url).difference_update_query(_IN_QUERY)
        return url.set(username=self.name, password=self.password).render_as_string(hide_password=False)

    @property
    def definer(self) -> str:
        """The account as routines and views of MariaDB name it; "" elsewhere."""
        return "" if self.real.dialect == "postgresql" else _mysql_name(self.real, self.name)

    def make(self) -> None:
        """Create the account before the database is cloned, so that it has no rights on existing objects yet.

        Raises:
            NotConfinedError: No such account is possible here.
        """
        if self.real.dialect == "postgresql":
            _see_that_all_can_be_owned(self.real)
            is_ours = f"CREATE ROLE {quoted(self.name)} LOGIN PASSWORD {literal(self.password)}"
            statements = [is_ours, f"GRANT {quoted(self.name)} TO CURRENT_USER"]
        else:
            pattern = backquoted(re.sub(r"([_%\\])", r"\\\1", sa.make_url(self.clone.url).database or ""))
            statements = [
                f"CREATE USER {self.definer} IDENTIFIED BY {mysql_literal(self.password)}",
                f"GRANT ALL PRIVILEGES ON {pattern}.* TO {self.definer}",
            ]
        with self._nothing_left():
            for statement in statements:
                self.real.run(statement)
            if self.real.dialect != "postgresql":
                self._see_that_it_connects()

    def take_over(self) -> None:
        """Make the account the owner of the clone, which is loaded, and check that it can connect.

        Raises:
            NotConfinedError: The server does not let the account connect.
            DatabaseError: The clone's owner could not be changed; it may be changed in part.
        """
        if self.real.dialect != "postgresql":
            return
        name = quoted(self.name)
        with self._nothing_left():
            self.clone.run(f"ALTER DATABASE {quoted(sa.make_url(self.clone.url).database or '')} OWNER TO {name}")
            self._see_that_it_connects()
        owned = [f"ALTER {kind} {what} OWNER TO {name}" for kind, what, _ in self.clone.query(_OWNED)]
        for first in range(0, len(owned), CHUNK):
            self.clone.run(";\n".join(owned[first : first + CHUNK]))
        for statement in self._settings():
            self.clone.run(statement)

    def remove(self) -> None:
        """Remove the account, after the clone was dropped. An account that does not exist is no error.

        Raises:
            DatabaseError: The account cannot be removed.
        """
        if self.real.dialect == "postgresql":
            if self.real.query(f"SELECT 1 FROM pg_roles WHERE rolname = {literal(self.name)}"):  # noqa: S608  # quoted
                self.real.run(f"DROP ROLE IF EXISTS {quoted(self.name)}")
            return
        try:
            self.real.run(f"DROP USER IF EXISTS {self.definer}")
        except client.MySQLStatementError as error:
            if error.number not in _NOT_ALLOWED:  # a user who may not drop an account has created none
                raise

    def _see_that_it_connects(self) -> None:
        url = sa.make_url(self.url)
        if self.real.dialect != "postgresql":
            client.select(url.set(database=""), "SELECT 1")
        else:
            open_store(self.url, file=None).query("SELECT 1")

    def _settings(self) -> Iterator[str]:
        """Yield the statements that give the account's sessions the settings of the real user's."""
        user, is_superuser, _, path = self.clone.query(_WHO)[0]
        name, place = quoted(self.name), quoted(sa.make_url(self.clone.url).database or "")
        path = re.sub(r'"?\$user"?', lambda _: quoted(user or ""), path or "")
        yield f"ALTER ROLE {name} IN DATABASE {place} SET search_path TO {path or literal('')}"
        for variable, value in self.clone.query(_SETTINGS.format(role=literal(user or ""))):
            yield f"ALTER ROLE {name} IN DATABASE {place} SET {variable} TO {literal(value or '')}"
        if is_superuser == "t":
            yield f"ALTER ROLE {name} BYPASSRLS"

    @contextlib.contextmanager
    def _nothing_left(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            if self.real.dialect == "postgresql":
                with contextlib.suppress(DatabaseError):  # the clone may not exist yet
                    self.clone.run(f"REASSIGN OWNED BY {quoted(self.name)} TO CURRENT_USER")
            self.remove()
            raise NotConfinedError(error.message) from error


def _see_that_all_can_be_owned(store: Store) -> None:
    """Check that this user may act for the owner of every object; otherwise the account would have fewer rights.

    Raises:
        NotConfinedError: This user may not.
    """
    if store.query(_WHO)[0][2] != "t":
        raise NotConfinedError("This user may not make roles (CREATEROLE)")
    others = [f"{kind} {what}" for kind, what, is_his in store.query(_OWNED) if is_his != "t"]
    if others:
        raise NotConfinedError(f"In the database is what this user may use, but does not own ({others[0]})")


def _mysql_name(store: Store, name: str) -> str:
    """Return the name of an account that connects from the same host as this user."""
    ((who,),) = store.query("SELECT CURRENT_USER()")
    return f"{backquoted(name)}@{backquoted((who or '').rpartition('@')[2] or '%')}"
