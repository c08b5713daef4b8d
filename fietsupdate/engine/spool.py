"""The paths that rows name, sorted on disk in a temporary SQLite database, which is removed when it is closed.

A few megabytes of it are in memory, whatever the number of rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

CACHE = 8192
"""KiB of the temporary database that are kept in memory."""
_SMALLEST, _LARGEST = -(1 << 63), (1 << 63) - 1

Expected = tuple[bytes, int, Any, int | None, bytes | None]
"""A path, the number of its reference, the key of its row, and the size and digest in the row."""

Content = tuple[str, bytes, int, Any, int | None, bytes | None]
"""The name of a root, followed by the same values."""


class Spool:
    """The paths that rows name, by root."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        for pragma in (f"cache_size = -{CACHE}", "journal_mode = OFF", "synchronous = OFF", "temp_store = FILE"):
            self._database.execute(f"PRAGMA {pragma}")
        self._tables: dict[str, str] = {}
        self._database.execute("CREATE TABLE contents (root, path BLOB, rule, row, size, digest BLOB)")
        self._database.execute("CREATE TABLE refused (path BLOB, root, rule, row, reason)")

    def close(self) -> None:
        """Remove everything."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def expect(self, root: str, found: Iterable[Expected]) -> int:
        """Add paths that rows name, and return their number."""
        table = self._table(root)
        cursor = self._database.execute("BEGIN")
        try:
            cursor.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", found)  # noqa: S608  # our own name
        finally:  # there is no journal for a rollback; after an interruption, `forget` removes what was added
            self._database.execute("COMMIT")
        return max(cursor.rowcount, 0)

    def forget(self, rule: int) -> None:
        """Remove what was added for a reference."""
        for table in self._tables.values():
            self._database.execute(f"DELETE FROM {table} WHERE rule = ?", (rule,))  # noqa: S608
        self._database.execute("DELETE FROM refused WHERE rule = ?", (rule,))

    def refuse(self, root: str, path: bytes, rule: int, key: Any, reason: str) -> None:
        """Add a row that names no path below its root."""
        self._database.execute("INSERT INTO refused VALUES (?, ?, ?, ?, ?)", (path, root, rule, key, reason))

    def refused(self) -> Iterator[tuple[bytes, str, int, Any, str]]:
        """Yield the rows that name no path below their root: path, root, reference, key, reason."""
        yield from _fetched(self._database.execute("SELECT * FROM refused ORDER BY root, path"))

    @property
    def roots(self) -> tuple[str, ...]:
        """The roots for which paths were added."""
        return tuple(self._tables)

    def paths(self, root: str) -> Iterator[Expected]:
        """Yield the paths that rows name in a root, in the order of their bytes."""
        if root in self._tables:
            statement = f"SELECT * FROM {self._table(root)} ORDER BY path"  # noqa: S608
            yield from _fetched(self._database.execute(statement))

    def read_later(self, files: Iterable[Content]) -> None:
        """Add files whose content is to be compared."""
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO contents VALUES (?, ?, ?, ?, ?, ?)", files)
        self._database.execute("COMMIT")

    def to_read(self) -> Iterator[Content]:
        """Yield the files whose content is to be compared, in the order in which they were added."""
        yield from _fetched(self._database.execute("SELECT * FROM contents ORDER BY rowid"))

    def _table(self, root: str) -> str:
        if root not in self._tables:
            self._tables[root] = name = f"expected_{len(self._tables)}"
            self._database.execute(f"CREATE TABLE {name} (path BLOB, rule INTEGER, row, size, digest BLOB)")
        return self._tables[root]


def _fetched(cursor: sqlite3.Cursor) -> Iterator[Any]:
    while rows := cursor.fetchmany(1000):
        yield from rows


def key_of(values: Sequence[Any]) -> Any:
    """Return a primary key in the form in which the temporary database stores it."""
    if len(values) == 1:
        value = values[0]
        if isinstance(value, bytes) or (isinstance(value, int) and _SMALLEST <= value <= _LARGEST):
            return value
        return value if isinstance(value, str) and value.isprintable() else plain(value)
    return json.dumps([plain(value) for value in values])


def row_of(names: Sequence[str], key: Any) -> Mapping[str, Any]:
    """Return the primary key as a mapping of names and plain values."""
    if len(names) == 1:
        return {names[0]: plain(key)}
    return dict(zip(names, json.loads(key), strict=True))


def plain(value: Any) -> Any:
    """Return a value as JSON represents it; bytes as hexadecimal digits."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return str(value).encode("utf-8", "backslashreplace").decode()
