"""Compare a loaded MariaDB or MySQL database with its dump: both as the dump program's text.

Memory grows with the number of tables, not of rows. Owners are not compared; the loading reports those that it could
not set.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import sqlalchemy as sa

from fietsupdate.database.dump import programs
from fietsupdate.database.dump.mysql_origin import Origin, defined_by, fitting

_PART = re.compile(rb"^-- [A-Z][a-z]+ (?:[a-z]+ )*for ")
"""The beginning of a part: "-- Table structure for table ...", "-- Dumping events for database ..."."""
_FRAME = (b"-- ", b"--\n", b"\n", b"/*M!", b"/*!40101 SET", b"/*!40103 SET", b"/*!40014 SET", b"/*!40111 SET")
"""Lines around the parts of a dump."""
_STATUS = re.compile(rb" (?:ENABLE|DISABLE)(?: ON SLAVE)?(?= (?:COMMENT|DO) )")
_EVENTS = "Dumping events "
_EVENT = b"/*!50106 CREATE*/ "
_SWITCHED = re.compile(rb"/\*!50003 SET (?:character_set_\w+|collation_connection|sql_mode) +=")
"""Settings of the session, which are stored anew with an event that is switched off."""


def differences(dump: Path, url: sa.URL, dumping: programs.Call) -> Iterator[str]:
    """Yield the differences between a database and its dump.

    Args:
        dump: The dump that was loaded.
        url: The database.
        dumping: The call of the dump program that writes the database as the dump was written.
    """
    with open(dump, "rb") as file:
        was = _digests(file, Origin.of(dump), url)
    with programs.lines_of(dumping) as lines:
        now = _digests(lines, Origin(url.database or ""), url)
    for part in sorted(was.keys() | now.keys()):
        if part not in now:
            yield f"{part}: missing"
        elif part not in was:
            yield f"{part}: not in the dump"
        elif was[part] != now[part]:
            yield f"{part}: not as in the dump"


def _digests(lines: Iterable[bytes], origin: Origin, url: sa.URL) -> dict[str, str]:
    """Return the digest of each part of a dump: a table's definition, its rows, all views, events or routines."""
    edit = defined_by("CURRENT_USER", fitting(origin, url))
    parts, part = {"head": hashlib.sha256()}, "head"
    for line in lines:
        if _PART.match(line):
            part = _plain(line, origin)
            parts.setdefault(part, hashlib.sha256())
        elif not line.startswith(_FRAME) and not (part.startswith(_EVENTS) and _SWITCHED.match(line)):
            edited = edit(line)
            parts[part].update(_STATUS.sub(b"", edited, count=1) if edited.startswith(_EVENT) else edited)
    return {name: digest.hexdigest() for name, digest in parts.items()}


def _plain(line: bytes, origin: Origin) -> str:
    """Return the title of a part without the name of its database."""
    return line[3:].decode(errors="replace").strip().replace(f" '{origin.database}'", "")
