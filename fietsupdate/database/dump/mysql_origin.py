"""The origin of a dump, which its head records, and the edits that make a dump fit another database and user."""

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
"""The bytes of a dump that are searched for its head."""
_OURS = b"-- fietsupdate: "
_FROM = re.compile(rb"^-- Host: .*?    Database: (.*)$", re.MULTILINE)
_ALTERED = re.compile(rb"^ALTER DATABASE `(?:[^`]|``)*` ")
_DEFINER = re.compile(
    rb"^(/\*!\d+ CREATE\*/ /\*!\d+ |/\*!50013 |CREATE )DEFINER="
    rb"([`\"])((?:(?!\2).|\2\2)*)\2(?:@\2((?:(?!\2).|\2\2)*)\2)?"
)


@dataclass(frozen=True)
class Origin:
    """The database that was dumped, and the user who dumped it; "" where an older dump does not record it."""

    database: str
    user: str = ""
    """As ``CURRENT_USER()`` returns it."""
    charset: str = ""
    collation: str = ""

    @classmethod
    def on(cls, url: sa.URL) -> Origin:
        """Ask the server for the origin of a dump that is made now."""
        name = url.database or ""
        sql = (
            "SELECT CURRENT_USER(), default_character_set_name, default_collation_name "  # noqa: S608
            f"FROM information_schema.schemata WHERE schema_name = {mysql_literal(name)}"
        )
        rows = client.select(url.set(database=""), sql)
        return cls(name, *(value or "" for value in rows[0])) if rows else cls(name)

    @classmethod
    def of(cls, dump: Path) -> Origin:
        """Read the origin from the head of a dump."""
        with open(dump, "rb") as file:
            head = file.read(HEAD)
        for line in head.splitlines():
            if line.startswith(_OURS):
                values = json.loads(line.removeprefix(_OURS))
                return cls(**{one.name: str(values.get(one.name, "")) for one in fields(cls)})
        match = _FROM.search(head)
        return cls(match[1].decode(errors="surrogateescape") if match else "")

    def signing(self) -> programs.Edit:
        """Return the edit that writes the origin into the head of a dump, after the dump program's own lines."""
        line = _OURS + json.dumps(asdict(self), sort_keys=True).encode("ascii")
        pending = [line]

        def edit(start: bytes) -> bytes:
            return start + b"\n" + pending.pop() if pending and start.startswith(b"-- Host: ") else start

        return edit


@dataclass(frozen=True)
class Heir:
    """The new owner of objects that belonged to the user who dumped.

    Of all objects, if this user may create none for others.
    """

    user: str
    """As ``CURRENT_USER()`` returns it."""
    takes_all: bool
    given: set[str] = field(default_factory=set)
    """The previous owners of the objects taken over."""

    def takes(self, origin: Origin, definer: str) -> bool:
        """Return whether the objects of a user are taken over, and remember the user."""
        taken = definer != self.user and (self.takes_all or definer == origin.user)
        if taken:
            self.given.add(definer)
        return taken


def fitting(origin: Origin, url: sa.URL, heir: Heir | None = None) -> programs.Edit:
    """Return the edit that makes a dump's lines fit another database and user.

    Seen: mariadb-dump alters the character set of the database that it dumped around some triggers, and writes its name
    before every sequence in a default. Loaded beside, both would reach into the live database. A sequence of another
    database stays that of the other database.

    Args:
        origin: The origin of the lines.
        url: The database into which they are loaded.
        heir: The new owner of other users' objects; None changes no owner.
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
    """Return an edit that sets one account as the definer of all routines, views, triggers and events.

    It runs the other edit afterwards.

    Args:
        definer: The account, quoted; "" changes no definer.
        edit: The other edit.
    """
    if not definer:
        return edit
    name = b"DEFINER=" + definer.encode()
    return lambda line: edit(_DEFINER.sub(lambda match: match[1] + name, line))


def _owned_anew(origin: Origin, heir: Heir | None) -> Callable[[bytes], bytes]:
    """Return the edit that makes an heir the definer of the objects that it takes over."""
    if heir is None:
        return lambda line: line

    def replaced(match: re.Match[bytes]) -> bytes:
        mark = match[2]
        name, host = ((part or b"").replace(mark * 2, mark).decode(errors="replace") for part in (match[3], match[4]))
        return match[1] + b"DEFINER=CURRENT_USER" if heir.takes(origin, f"{name}@{host}") else match[0]

    return lambda line: _DEFINER.sub(replaced, line)
