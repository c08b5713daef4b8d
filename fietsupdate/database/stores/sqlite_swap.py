"""Puts another SQLite file in the place of the live one, so that a crash at any point leaves one of the two there.

The order is the protocol: what the live file's journal and log hold is folded in, under a lock that keeps everybody
out; the old name becomes a second link to the live file; and one rename replaces the live name. No moment has no
database, and no journal, log or index of the old file can come to lie beside the new one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

from fietsupdate.database.dump import arriving
from fietsupdate.database.sqlite import quoted
from fietsupdate.database.stores.sqlite_copying import connect, copy, patiently
from fietsupdate.errors import DatabaseError
from fietsupdate.filesystem.posix.durable import sync_path

ACL = "system.posix_acl_access"
SIDES = ("-journal", "-wal", "-shm")
"""What SQLite keeps beside a file, by the ending of its name."""
_NO_LINK = frozenset({errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES})
_NO_RENAME = frozenset({errno.EBUSY, errno.EXDEV})
"""What rename answers where the file itself is a mount point (a single file in a container's volume)."""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Exchange:
    """Three paths in one folder, and the steps that put the second in the place of the first."""

    def __init__(self, live: Path, new: Path, old: Path) -> None:
        self.live, self.new, self.old = live, new, old

    def has_happened(self) -> bool:
        """Tell whether the exchange was made before.

        Raises:
            DatabaseError: there is nothing to put in the live place.
        """
        if self.new.exists():
            return False
        if not (self.live.exists() and self.old.exists()):
            raise DatabaseError(f"{self.new} is not there, so the database {self.live} cannot be replaced by it.")
        return True

    def make(self) -> None:
        """Make the exchange, or finish one that was interrupted; after an error nothing of it is left."""
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
        """Remove the old name while it is one more link to the live file."""
        with contextlib.suppress(OSError):
            if self.new.exists() and os.path.samefile(self.live, self.old):
                self.old.unlink()

    def _keep(self, held: sqlite3.Connection | None) -> bool:
        """Make the old name, unless it is there; False when the live file is the new one already."""
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
            self.old.touch(mode=0o600)  # stands for "there was none", so that a second call knows the first
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
        """Take away what lies beside the live file: empty by now, or, of a damaged file, kept with the old one."""
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
                hint=f"Stop the application and type: cp {self.new} {self.live}",
            )
        held.execute("PRAGMA synchronous = EXTRA")
        with closing(connect(self.new, "mode=ro&immutable=1")) as source:
            copy(source, held)


def fold_in(path: Path) -> None:
    """Bring what journal or log of a file hold into the file itself, which nobody else uses."""
    with closing(connect(path)) as connection:
        patiently(lambda: connection.execute("SELECT count(*) FROM sqlite_master").fetchall())
        patiently(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())


def hold(path: Path) -> sqlite3.Connection | None:
    """Keep everybody out of a database, with nothing left in its journal or log; None if it is missing or damaged.

    It is taken out of WAL mode: whoever opened it meanwhile would else write a log that fits the old file to the live
    name. In the other modes SQLite sees that its file was moved, and refuses to write.
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
    """Give a file the owner, mode and attributes of another; False when it cannot get the owner."""
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
        with contextlib.suppress(OSError):  # not every attribute is ours to set
            os.setxattr(path, name, os.getxattr(like, name))
    return is_owned


def _forget_inherited(path: Path, like: Path) -> None:
    """Take away the access control list that a new file got from its folder, where the other file has none of its own.

    It comes first: a mode that is given to a file with a list is what everybody in that list is allowed at the most.
    """
    if hasattr(os, "listxattr") and ACL in os.listxattr(path) and ACL not in os.listxattr(like):
        os.removexattr(path, ACL)


def fingerprint_of(path: Path) -> bytes:
    """Digest the content of a file that nobody uses."""
    with closing(connect(path, "mode=ro&immutable=1")) as connection:
        return fingerprint(connection)


def fingerprint(connection: sqlite3.Connection) -> bytes:
    """Digest schema and rows, in memory that does not grow with them."""
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
