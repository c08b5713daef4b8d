"""The rights of a user on a MariaDB or MySQL server, from the grants to the user and to the active role."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from fietsupdate.database.dump import mysql_client as client

DEFINERS = ("SUPER", "SET USER", "SET_USER_ID", "SET_ANY_DEFINER")
"""Any of these lets a user create objects that belong to another user (MariaDB; MySQL 8.0; MySQL 8.2)."""
TABLES = ("SELECT", "INSERT", "CREATE", "ALTER", "DROP", "INDEX", "REFERENCES", "EVENT")
"""The rights to load and exchange tables; EVENT, to see that there are no events."""
BESIDE = ("UPDATE", "DELETE")
"""Further rights on the databases that a restore creates, in which we keep rows of our own."""
HANGING = {
    "TRIGGER": ("TRIGGER",),
    "VIEW": ("CREATE VIEW", "SHOW VIEW"),
    "EVENT": (),
    "FUNCTION": ("CREATE ROUTINE", "ALTER ROUTINE"),
    "PROCEDURE": ("CREATE ROUTINE", "ALTER ROUTINE"),
    "PACKAGE": ("CREATE ROUTINE", "ALTER ROUTINE"),
    "PACKAGE BODY": ("CREATE ROUTINE", "ALTER ROUTINE"),
}
"""The rights to drop and create each kind of object besides tables."""
_GRANT = re.compile(r"GRANT (.+?) ON (\*|`(?:[^`]|``)*`)\.\* TO (`(?:[^`]|``)*`(?:@`(?:[^`]|``)*`)?|\S+)")
_WILD = re.compile(r"\\(.)|(%)|(_)|(.)", re.DOTALL)
_FIRST_WILD = re.compile(r"(?<!\\)[%_]")
SERVER = "*"


@dataclass(frozen=True)
class Grant:
    """A grant to a user, or to the active role, on the whole server or on databases."""

    grantee: str
    pattern: str
    """A pattern of database names; `SERVER` for the whole server."""
    privileges: frozenset[str]

    def has(self, privilege: str) -> bool:
        """Return whether a privilege is granted."""
        return not self.privileges.isdisjoint({privilege, "ALL PRIVILEGES"})


@dataclass(frozen=True)
class Rights:
    """Grants on the whole server and on whole databases; those on single tables and routines are left out."""

    granted: tuple[Grant, ...]

    @classmethod
    def on(cls, url: sa.URL) -> Rights:
        """Query the grants from the server."""
        grants = [_GRANT.match(line or "") for (line,) in client.select(url.set(database=""), "SHOW GRANTS")]
        return cls(tuple(Grant(at[3], _unquoted(at[2]), frozenset(at[1].split(", "))) for at in grants if at))

    def may(self, privilege: str, database: str = "") -> bool:
        """Return whether this user has a privilege on a database, or on the whole server where none is named."""
        everywhere = [grant for grant in self.granted if grant.pattern == SERVER]
        return any(grant.has(privilege) for grant in (*everywhere, *self._that_count(database)))

    def pattern(self, database: str) -> str:
        """Return the pattern for further grants: the one that is in force for a database, or "" for none."""
        counting = self._that_count(database)
        return counting[0].pattern if counting else ""

    def _that_count(self, database: str) -> list[Grant]:
        """Return the grants in force for a database: of the matching ones, only each grantee's most specific counts."""
        fitting = [grant for grant in self.granted if grant.pattern != SERVER and _fits(grant.pattern, database)]
        best = {grant.grantee: grant for grant in sorted(fitting, key=_specific)}
        return list(best.values())

    def may_define_for_others(self) -> bool:
        """Return whether this user can create views, triggers, routines and events that belong to another user."""
        return any(self.may(privilege) for privilege in DEFINERS)

    def lacking(self, database: str, kinds: Iterable[str] = (), more: Iterable[str] = ()) -> list[str]:
        """Return the privileges that this user lacks to exchange the tables of a database and dependent objects."""
        needed = [*TABLES, *more, *(privilege for kind in kinds for privilege in HANGING[kind])]
        return [privilege for privilege in dict.fromkeys(needed) if not self.may(privilege, database)]


def _unquoted(name: str) -> str:
    return name if name == SERVER else name[1:-1].replace("``", "`")


def _specific(grant: Grant) -> tuple[bool, int]:
    """Return a sort key for grants in the server's order: the later its first wildcard, the more specific it is."""
    wild = _FIRST_WILD.search(grant.pattern)
    return wild is None, wild.start() if wild else 0


def _fits(pattern: str, database: str) -> bool:
    """Return whether a database's name matches the pattern of a grant, in which ``%`` and ``_`` are wildcards."""

    def part(match: re.Match[str]) -> str:
        return ".*" if match[2] else "." if match[3] else re.escape(match[1] or match[4])

    return re.fullmatch(_WILD.sub(part, pattern), database, re.DOTALL) is not None
