"""Where a dump comes from, which its head says; and what makes it fit into another place, for another user."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import sqlalchemy as sa

from fietsupdate.database.dump import mysql_client as client
from fietsupdate.database.dump import programs
from fietsupdate.database.quoting import backquoted, mysql_literal

HEAD = 16_384
"""Bytes of a dump that are searched for its head."""
_OURS = b"-- fietsupdate: "
_FROM = re.compile(rb"^-- Host: .*?    Database: (.*)$", re.MULTILINE)
_ALTERED = re.compile(rb"^ALTER DATABASE `(?:[^`]|``)*` ")
_DEFINER = re.compile(
    rb"^(/\*!\d+ CREATE\*/ /\*!\d+ |/\*!50013 |CREATE )DEFINER="
    rb"([`\"])((?:(?!\2).|\2\2)*)\2(?:@\2((?:(?!\2).|\2\2)*)\2)?"
)


@dataclass(frozen=True)
class Origin:
    """The database that was dumped, and the user who dumped it; "" where an older dump does not say."""

    database: str
    user: str = ""
    """As ``CURRENT_USER()`` tells it."""
    charset: str = ""
    collation: str = ""

    @classmethod
    def on(cls, url: sa.URL) -> Origin:
        """Ask the server."""
        name = url.database or ""
        sql = (
            "SELECT CURRENT_USER(), default_character_set_name, default_collation_name "  # noqa: S608
            f"FROM information_schema.schemata WHERE schema_name = {mysql_literal(name)}"
        )
        rows = client.select(url.set(database=""), sql)
        return cls(name, *(value or "" for value in rows[0])) if rows else cls(name)

    @classmethod
    def of(cls, dump: Path) -> Origin:
        """Read it from the head of a dump."""
        with open(dump, "rb") as file:
            head = file.read(HEAD)
        for line in head.splitlines():
            if line.startswith(_OURS):
                told = json.loads(line.removeprefix(_OURS))
                return cls(**{one.name: str(told.get(one.name, "")) for one in fields(cls)})
        found = _FROM.search(head)
        return cls(found[1].decode(errors="surrogateescape") if found else "")

    def signing(self) -> programs.Edit:
        """Return what writes this into the head of a dump, after the dump program's own words."""
        line = _OURS + json.dumps(asdict(self), sort_keys=True).encode("ascii")
        pending = [line]

        def edit(start: bytes) -> bytes:
            return start + b"\n" + pending.pop() if pending and start.startswith(b"-- Host: ") else start

        return edit


@dataclass(frozen=True)
class Heir:
    """The user who gets what belonged to the one who dumped; all of it, where he may make nothing for others."""

    user: str
    """As ``CURRENT_USER()`` tells it."""
    takes_all: bool
    given: set[str] = field(default_factory=set)
    """Whose things he got."""

    def takes(self, origin: Origin, definer: str) -> bool:
        """Return whether he gets what belongs to a user, and remember it."""
        taken = definer != self.user and (self.takes_all or definer == origin.user)
        if taken:
            self.given.add(definer)
        return taken


def fitting(origin: Origin, url: sa.URL, heir: Heir | None = None) -> programs.Edit:
    """Return what makes a dump's lines fit into another database, and to another user.

    Seen: mariadb-dump alters the character set of the database that it dumped around some triggers, and writes its
    name before every sequence in a default. Loaded beside, both would reach into the live database. A sequence of
    another database stays the one of that database.

    Args:
        origin: Where the lines are from.
        url: The database that they are for.
        heir: Who gets what belonged to others; None changes no owner.
    """
    alter = b"ALTER DATABASE " + backquoted(url.database or "").encode("utf-8", "surrogateescape") + b" "
    own = re.escape(backquoted(origin.database).encode("utf-8", "surrogateescape"))
    sequence = re.compile(rb"\b(nextval|lastval)\(" + own + rb"\.(?=`)")
    owned = _owned_anew(origin, heir)

    def edit(line: bytes) -> bytes:
        if line.startswith(b"ALTER DATABASE `"):
            return _ALTERED.sub(lambda _: alter, line)
        if line.startswith(b"  `"):
            return sequence.sub(rb"\1(", line)
        return owned(line) if line.startswith((b"/*!500", b"/*!501", b"CREATE DEFINER")) else line

    return edit


def defined_by(definer: str, edit: programs.Edit) -> programs.Edit:
    """Return an edit that gives every routine, view, trigger and event to one account, and then does the other one.

    Args:
        definer: The account, quoted; "" gives nothing to nobody.
        edit: The other edit.
    """
    if not definer:
        return edit
    name = b"DEFINER=" + definer.encode()
    return lambda line: edit(_DEFINER.sub(lambda found: found[1] + name, line))


def _owned_anew(origin: Origin, heir: Heir | None) -> Callable[[bytes], bytes]:
    """Return what gives to an heir what he gets."""
    if heir is None:
        return lambda line: line

    def replaced(match: re.Match[bytes]) -> bytes:
        mark = match[2]
        name, host = ((part or b"").replace(mark * 2, mark).decode(errors="replace") for part in (match[3], match[4]))
        return match[1] + b"DEFINER=CURRENT_USER" if heir.takes(origin, f"{name}@{host}") else match[0]

    return lambda line: _DEFINER.sub(replaced, line)
