"""Copies SQLite files by the online backup API, and looks at what arrived."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from fietsupdate.database.dump import Moved, unheard
from fietsupdate.database.lock import is_busy
from fietsupdate.errors import DatabaseError

PATIENCE = 30.0
"""Seconds that we wait for somebody else's lock."""
PAUSE = 0.05
"""Seconds between two attempts; locks are polled, so that a signal is obeyed meanwhile."""
PAGES = 2048
"""Pages copied before we listen to signals."""
_ABOUT_DATA = re.compile(r"(NULL|TEXT|NUMERIC) value in |CHECK constraint failed|non-unique entry|non-INT value in ")
"""What quick_check says of rows that break a rule of the schema: the file is as whole as it was."""
_KNOWN_TO_THE_APPLICATION = re.compile(r"no such (collation sequence|function|module)|unknown tokenizer")

T = TypeVar("T")


def connect(path: Path, options: str = "mode=rw") -> sqlite3.Connection:
    """Open a file that is there, without transactions of the driver's own; a missing one is never created."""
    return sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, timeout=0, isolation_level=None)


def patiently(action: Callable[[], T]) -> T:
    """Repeat what somebody else's lock prevents, for `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


def in_use(place: Path) -> DatabaseError:
    """Make the error of a lock that did not go away."""
    return DatabaseError(
        f"The database {place} is in use: somebody held its lock for {PATIENCE:.0f} s.",
        hint="Stop the application, and whatever else has the file open, then run the same command again.",
    )


def copy(source: sqlite3.Connection, target: sqlite3.Connection, moved: Moved = unheard) -> None:
    """Copy a whole database into another connection's file, in one transaction there."""
    since, copied = time.monotonic(), 0
    size = int(source.execute("PRAGMA page_size").fetchone()[0])

    def progress(status: int, remaining: int, total: int) -> None:
        nonlocal since, copied
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            if time.monotonic() - since > PATIENCE:  # the driver itself would try for ever
                raise sqlite3.OperationalError("database is locked")
        else:
            since = time.monotonic()
            moved((total - remaining - copied) * size)
            copied = total - remaining

    source.backup(target, pages=PAGES, progress=progress, sleep=PAUSE)


def copy_file(source: Path, target: Path, moved: Moved = unheard, *, at_rest: bool = False) -> None:
    """Copy a database into an empty file, as it is at one moment; the caller makes it durable.

    Args:
        source: The database; with its write-ahead log or hot journal, if it has one.
        target: An empty file.
        moved: Told how many bytes were copied since the last time.
        at_rest: Nobody can change the source, so that not even a lock has to be taken (read-only media).
    """
    with (
        closing(connect(source, "mode=ro&immutable=1" if at_rest else "mode=rw")) as reader,
        closing(connect(target)) as writer,
    ):
        writer.execute("PRAGMA journal_mode = OFF")
        writer.execute("PRAGMA synchronous = OFF")
        reader.execute("BEGIN")
        # A read transaction of our own: the copy is of one moment, and never starts anew because somebody wrote.
        patiently(lambda: reader.execute("SELECT count(*) FROM sqlite_master").fetchall())
        copy(reader, writer, moved)


def inspect(path: Path) -> None:
    """See that every page of a file at rest is sound.

    Raises:
        DatabaseError: the file is damaged.
    """
    with closing(connect(path, "mode=ro&immutable=1")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        found: list[str] = []
        try:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
        except sqlite3.OperationalError as error:
            if not _KNOWN_TO_THE_APPLICATION.search(str(error)):
                raise
        except sqlite3.DatabaseError as error:
            found = [str(error)]
    damage = [line for line in found if line != "ok" and not _ABOUT_DATA.search(line)]
    if damage:
        raise DatabaseError(
            f"The database is damaged: {' '.join(damage[0].split())}.",
            hint="Mend it ('sqlite3 FILE .recover'), or restore a backup from before.",
        )
