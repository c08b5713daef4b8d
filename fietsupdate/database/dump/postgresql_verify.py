"""Compare a loaded PostgreSQL database with its dump: both as pg_dump's script, with little memory.

Rows are counted and added up table by table, whatever their order. Owners and rights are not compared; the loading
reports those that it could not set.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fietsupdate.database.dump import programs
from fietsupdate.database.dump.postgresql_client import INSTALL

ALIKE = ("--no-owner", "--no-acl", "--no-tablespaces")
MOST = 10
"""The most differing lines of the schema that are reported."""
LONGEST = 200
"""The most characters of a reported line."""
_NOISE = re.compile(rb"(--.*|SET .*;|SELECT pg_catalog\.set_config\(.*|\\(un)?restrict .*|\s*)\n?")
_BY = re.compile(rb"-- Dumped by pg_dump version (\d+)")
_MASK = (1 << 64) - 1


@dataclass
class Script:
    """The sums over a script."""

    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By table: the number of rows, and a sum over their digests."""
    lines: Counter[str] = field(default_factory=Counter)
    """All other lines."""
    by: str = ""
    """The release of pg_dump that wrote it."""


def differences(dump: Path, dumping: programs.Call) -> Iterator[str]:
    """Yield the differences between a database and its dump.

    Args:
        dump: A dump in pg_dump's custom format.
        dumping: The call of pg_dump that writes the database as a script, with `ALIKE`.
    """
    reading = programs.Call(
        (programs.find(["pg_restore"], INSTALL), *ALIKE, "--no-subscriptions", "--file=-", str(dump))
    )
    with programs.lines_of(reading) as lines:
        was = _added_up(lines)
    with programs.lines_of(dumping) as lines:
        now = _added_up(lines)
    for table in sorted(was.rows.keys() | now.rows.keys()):
        before, after = was.rows.get(table, (0, 0)), now.rows.get(table, (0, 0))
        if before != after:
            yield f"{table} has not the rows of the dump: {after[0]} of {before[0]}, or others"
    if was.by == now.by:  # another release writes the same things in other words
        changed = [f"missing: {line}" for line in was.lines - now.lines]
        changed += [f"not in the dump: {line}" for line in now.lines - was.lines]
        yield from (line[:LONGEST] for line in changed[:MOST])


def _added_up(lines: Iterable[bytes]) -> Script:
    script, table, count, total = Script(), "", 0, 0
    for line in lines:
        if table:
            if line == b"\\.\n":
                script.rows[table] = count, total & _MASK
                table = ""
            else:
                count += 1
                total += int.from_bytes(hashlib.blake2b(line, digest_size=8).digest())
        elif line.startswith(b"COPY ") and line.endswith(b" FROM stdin;\n"):
            table, count, total = line[5:].partition(b" (")[0].decode(errors="surrogateescape"), 0, 0
        elif match := _BY.match(line):
            script.by = match[1].decode()
        elif not _NOISE.fullmatch(line):
            script.lines[_short(line)] += 1
    return script


def _short(line: bytes) -> str:
    """Return a line for a message, with a digest if the line is long: large objects are written in long lines."""
    text = line.rstrip(b"\n").decode(errors="surrogateescape")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... {hashlib.blake2b(line, digest_size=8).hexdigest()}"
