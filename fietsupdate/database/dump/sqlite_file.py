"""Copy SQLite files by the online backup API, and check the copies."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from fietsupdate.database.dump.store import OnBytes, arriving
from fietsupdate.database.lock import is_busy
from fietsupdate.database.quoting import quoted
from fietsupdate.errors import DatabaseError
from fietsupdate.filesystem.posix.durable import sync_path
from fietsupdate.model.listeners import ignore

PATIENCE = 30.0
"""Seconds that we wait for another process's lock."""
PAUSE = 0.05
"""Seconds between two attempts; locks are polled, so that a signal is handled meanwhile."""
PAGES = 2048
"""Pages that are copied before signals are handled."""
_ABOUT_DATA = re.compile(r"(NULL|TEXT|NUMERIC) value in |CHECK constraint failed|non-unique entry|non-INT value in ")
"""Messages of quick_check about rows that violate a rule of the schema: the file is as sound as it was."""
_KNOWN_TO_THE_APPLICATION = re.compile(r"no such (collation sequence|function|module)|unknown tokenizer")

T = TypeVar("T")


def connect(path: Path, options: str = "mode=rw") -> sqlite3.Connection:
    """Open an existing file, without implicit transactions of the driver; a missing file is never created."""
    return sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, timeout=0, isolation_level=None)


def patiently(action: Callable[[], T]) -> T:
    """Repeat an action that another process's lock prevents, for `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


def in_use(place: Path) -> DatabaseError:
    """Return the error of a lock that was not released."""
    return DatabaseError(
        f"The database {place} is in use: another process held its lock for {PATIENCE:.0f} s.",
        hint="Stop the application, and whatever else has the file open, then run the same command again.",
    )


def copy(source: sqlite3.Connection, target: sqlite3.Connection, moved: OnBytes = ignore) -> None:
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


def copy_file(source: Path, target: Path, moved: OnBytes = ignore, *, at_rest: bool = False) -> None:
    """Copy a database into an empty file, as it is at one moment; the caller makes it durable.

    Args:
        source: The database; with its write-ahead log or hot journal, if it has one.
        target: An empty file.
        moved: Called with the number of bytes that were copied since the last call.
        at_rest: Whether no process can change the source, so that not even a lock has to be taken (read-only media).
    """
    with (
        closing(connect(source, "mode=ro&immutable=1" if at_rest else "mode=rw")) as reader,
        closing(connect(target)) as writer,
    ):
        writer.execute("PRAGMA journal_mode = OFF")
        writer.execute("PRAGMA synchronous = OFF")
        reader.execute("BEGIN")
        # A read transaction of our own: the copy is of one moment, and never restarts because another process wrote.
        patiently(lambda: reader.execute("SELECT count(*) FROM sqlite_master").fetchall())
        copy(reader, writer, moved)


def inspect(path: Path) -> None:
    """Check that every page of a file at rest is sound.

    Raises:
        DatabaseError: The file is damaged.
    """
    with closing(connect(path, "mode=ro&immutable=1")) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        violations: list[str] = []
        try:
            violations = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
        except sqlite3.OperationalError as error:
            if not _KNOWN_TO_THE_APPLICATION.search(str(error)):
                raise
        except sqlite3.DatabaseError as error:
            violations = [str(error)]
    damage = [line for line in violations if line != "ok" and not _ABOUT_DATA.search(line)]
    if damage:
        raise DatabaseError(
            f"The database is damaged: {' '.join(damage[0].split())}.",
            hint="Mend it ('sqlite3 FILE .recover'), or restore a backup from before.",
        )


# -- Replaces the live SQLite file by another, so that a crash at any point leaves one of the two in its place.


ACL = "system.posix_acl_access"
SIDES = ("-journal", "-wal", "-shm")
"""The suffixes of the files that SQLite keeps beside a database."""
_NO_LINK = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES})
_NO_RENAME = frozenset({errno.EBUSY, errno.EXDEV})
"""The errors of rename where the file itself is a mount point (a single file in a container's volume)."""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class FileSwap:
    """Three paths in one folder, and the steps that replace the first by the second."""

    def __init__(self, live: Path, new: Path, old: Path) -> None:
        self.live, self.new, self.old = live, new, old

    def has_happened(self) -> bool:
        """Return whether the exchange was made before.

        Raises:
            DatabaseError: There is no file to put in the live place.
        """
        if self.new.exists():
            return False
        if not (self.live.exists() and self.old.exists()):
            raise DatabaseError(f"{self.new} is not there, so the database {self.live} cannot be replaced by it.")
        return True

    def make(self) -> None:
        """Make the exchange, or finish an interrupted one; after an error no trace of it is left."""
        fold_in(self.new)
        with contextlib.ExitStack() as stack:
            held = hold(self.live)
            if held is not None:
                stack.enter_context(closing(held))
            try:
                self._exchange(held)
            except BaseException:
                self._take_back()
                raise
        self.new.unlink(missing_ok=True)
        sync_path(self.live.parent)

    def _exchange(self, held: sqlite3.Connection | None) -> None:
        if self._keep(held):
            self._clear_sides(folded=held is not None)
            sync_path(self.live.parent)
            self._replace(held)

    def _take_back(self) -> None:
        """Remove the old name while it is a second link to the live file."""
        with contextlib.suppress(OSError):
            if self.new.exists() and os.path.samefile(self.live, self.old):
                self.old.unlink()

    def _keep(self, held: sqlite3.Connection | None) -> bool:
        """Create the old name, unless it exists; return False when the live file already is the new one."""
        if not os.path.lexists(self.old):
            self._make_old(held)
            return True
        if held is None or os.path.samefile(self.live, self.old):
            return True
        now = fingerprint(held)
        if now == fingerprint_of(self.new):
            return False
        if now == fingerprint_of(self.old):
            return True
        raise DatabaseError(
            f"{self.old} is there, and is not what is live now.",
            hint="Another restore has put it there: move it away, if it is not needed, and try again.",
        )

    def _make_old(self, held: sqlite3.Connection | None) -> None:
        if not self.live.exists():
            self.old.touch(mode=0o600)  # means "there was none", so that a second call recognises the first
            return
        try:
            os.link(self.live, self.old)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            with arriving(self.old) as draft:
                if held is None:
                    shutil.copyfile(self.live, draft)
                else:
                    _copy_held(held, draft)
                adopt(draft, self.live)

    def _clear_sides(self, *, folded: bool) -> None:
        """Remove the files beside the live one: they are empty by now.

        Those of a damaged file are kept with the old one.
        """
        for ending in SIDES:
            side = self.live.with_name(self.live.name + ending)
            if folded:
                side.unlink(missing_ok=True)
            elif side.exists():
                side.rename(self.old.with_name(self.old.name + ending))

    def _replace(self, held: sqlite3.Connection | None) -> None:
        is_like_live = adopt(self.new, self.live)
        sync_path(self.new)
        if is_like_live or held is None:
            try:
                os.rename(self.new, self.live)
            except OSError as error:
                if error.errno not in _NO_RENAME:
                    raise
            else:
                return
        self._overwrite(held)

    def _overwrite(self, held: sqlite3.Connection | None) -> None:
        """Change the live file's content in one transaction of SQLite: it is a mount point, or not ours to replace."""
        if held is None:
            raise DatabaseError(
                f"{self.live} is damaged, and cannot be replaced by a rename, as it is a mount point.",
                hint=f"Stop the application and type `cp {self.new} {self.live}`.",
            )
        held.execute("PRAGMA synchronous = EXTRA")
        with closing(connect(self.new, "mode=ro&immutable=1")) as source:
            copy(source, held)


def fold_in(path: Path) -> None:
    """Write the content of a file's journal or log into the file itself, which no other process uses."""
    with closing(connect(path)) as connection:
        patiently(lambda: connection.execute("SELECT count(*) FROM sqlite_master").fetchall())
        patiently(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())


def hold(path: Path) -> sqlite3.Connection | None:
    """Lock all others out of a database, with journal and log empty; return None if it is missing or damaged.

    It is taken out of WAL mode: a process that opened it meanwhile would otherwise write a log of the old file beside
    the live name. In the other modes SQLite notices that its file was moved, and refuses to write.
    """
    if not path.exists():
        return None
    connection = connect(path)
    try:
        patiently(lambda: connection.execute("SELECT count(*) FROM sqlite_master").fetchall())
        patiently(lambda: connection.execute("PRAGMA journal_mode = DELETE").fetchall())
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        patiently(lambda: connection.execute("BEGIN EXCLUSIVE"))
        connection.execute("ROLLBACK")  # in this locking mode the lock stays until the connection is closed
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode & 0xFF in _DAMAGED:
            return None
        raise
    except BaseException:
        connection.close()
        raise
    return connection


def adopt(path: Path, like: Path) -> bool:
    """Set the owner, mode and attributes of a file to those of another; return False when the owner cannot be set."""
    try:
        wanted = os.stat(like)
    except FileNotFoundError:
        return True
    is_owned = True
    _forget_inherited(path, like)
    have = os.stat(path)
    if (have.st_uid, have.st_gid) != (wanted.st_uid, wanted.st_gid):
        try:
            os.chown(path, wanted.st_uid, wanted.st_gid)
        except PermissionError:
            is_owned = False
    os.chmod(path, stat.S_IMODE(wanted.st_mode))
    for name in getattr(os, "listxattr", lambda _: [])(like):
        with contextlib.suppress(OSError):  # not every attribute can be set by this user
            os.setxattr(path, name, os.getxattr(like, name))
    return is_owned


def _forget_inherited(path: Path, like: Path) -> None:
    """Remove the access control list that a new file got from its folder, if the other file has none.

    This comes first: for a file with a list, the mode limits the rights of every user in the list.
    """
    if hasattr(os, "listxattr") and ACL in os.listxattr(path) and ACL not in os.listxattr(like):
        os.removexattr(path, ACL)


def fingerprint_of(path: Path) -> bytes:
    """Return a digest of the content of a file that no other process uses."""
    with closing(connect(path, "mode=ro&immutable=1")) as connection:
        return fingerprint(connection)


def fingerprint(connection: sqlite3.Connection) -> bytes:
    """Return a digest of schema and rows, in memory that does not grow with them."""
    digest = hashlib.sha256()
    for row in connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name"):
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
    for (name,) in connection.execute(tables).fetchall():
        for row in connection.execute(f"SELECT * FROM {quoted(name)}"):  # noqa: S608  # quoted
            digest.update(repr(row).encode("utf-8", "surrogatepass"))
    return digest.digest()


def _copy_held(held: sqlite3.Connection, draft: Path) -> None:
    with closing(connect(draft)) as target:
        target.execute("PRAGMA journal_mode = OFF")
        copy(held, target)
