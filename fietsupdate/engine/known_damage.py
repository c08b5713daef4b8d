"""Rows and files that did not match before an update: they are reported, and do not fail it.

A missing file is recognised by its row and by its path, a stray by its path and by its inode, so that renamed files
stay known. Memory stays constant: the names are in a temporary SQLite database, eight bytes each.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from fietsupdate.model.references import Finding, FindingKind
from fietsupdate.model.templates import encoded


class KnownDamage:
    """The findings before an update.

    Args:
        names: The names that an earlier run has recorded.
    """

    def __init__(self, names: Iterable[int] = ()) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        for pragma in ("cache_size = -2048", "journal_mode = OFF", "synchronous = OFF", "temp_store = FILE"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute("CREATE TABLE known (name INTEGER PRIMARY KEY)")
        self._database.executemany("INSERT OR IGNORE INTO known VALUES (?)", ((name,) for name in names))
        self.count = 0
        """The number of findings that were added."""

    def close(self) -> None:
        """Remove everything."""
        self._database.close()

    def take(self, finding: Finding, root: Path) -> None:
        """Add a finding.

        Args:
            finding: The finding.
            root: The root of its file.
        """
        self.count += 1
        names = ((name,) for name in _names(finding, root))
        self._database.executemany("INSERT OR IGNORE INTO known VALUES (?)", names)

    def has(self, finding: Finding, root: Path) -> bool:
        """Return whether a finding was added, by any of its names."""
        statement = "SELECT 1 FROM known WHERE name = ?"
        return any(self._database.execute(statement, (name,)).fetchone() for name in _names(finding, root))

    def names(self, most: int) -> tuple[int, ...]:
        """Return the first names, for the record of the transaction."""
        return tuple(name for (name,) in self._database.execute("SELECT name FROM known LIMIT ?", (most,)))


def _names(finding: Finding, root: Path) -> Iterator[int]:
    yield _name(finding.kind, "path", finding.root, finding.path)
    if finding.kind is not FindingKind.STRAY:
        if finding.table or any(value is not None for value in finding.row.values()):
            yield _name(finding.kind, "row", finding.table, json.dumps(dict(finding.row), sort_keys=True))
        return
    try:
        status = os.lstat(os.fsencode(root) + b"/" + encoded(finding.path))
    except OSError:
        return
    yield _name(finding.kind, "inode", *map(str, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)))


def _name(*parts: str) -> int:
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), signed=True)
