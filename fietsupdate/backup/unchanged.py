"""Find the files that have not changed since an earlier backup, so that a new one links to their copies.

A backup records inode and ctime of each copied file, beside its listing. If a file still has both, and the size, mode,
owner and time of its record, its content is the copied one: ctime changes with every write and cannot be set
(inode(7)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fietsupdate.backup.directory import parts
from fietsupdate.backup.file_list import INODES, NOTED
from fietsupdate.backup.manifest import Backup, Scope, Shelf
from fietsupdate.backup.verify import LONGEST
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.posix.folders import open_real
from fietsupdate.filesystem.posix.regular import opened
from fietsupdate.filesystem.tree_copy import digest, usable_mode

WINDOW = 2000
"""Records of a folder that are read ahead of the requested file, so that memory does not grow with the folder."""

_NO_LINK = frozenset(
    {errno.EMLINK, errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOENT, errno.ELOOP, errno.ENOTDIR}
)
"""The errors of link(2) and of opening a folder after which the file is copied instead."""

MISSES = 20
"""Consecutive files that were not found, after which a full window moves on."""


@dataclass(frozen=True, slots=True)
class _Copied:
    """One file of the earlier backup."""

    number: int
    """The line of the listing."""
    record: FileRecord
    inode: int
    ctime_ns: int

    def is_same(self, status: os.stat_result) -> bool:
        """Return whether a live file is the one that was copied, unchanged."""
        record = self.record
        return (
            (self.inode, self.ctime_ns) == (status.st_ino, status.st_ctime_ns)
            and self.ctime_ns != 0
            and (record.size, record.mtime_ns) == (status.st_size, status.st_mtime_ns)
            and (record.mode, record.uid, record.gid) == (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        )


class Unchanged:
    """The files of an earlier backup, requested in the order of a new copy of the same trees."""

    def __init__(self, backup: Backup) -> None:
        self._trees = {name: os.path.realpath(tree) for name, tree in parts(backup)}
        self._lines = _Lines(backup)
        self._ahead: dict[str, _Copied] = {}
        self._misses = 0
        self._records: Iterator[_Copied] = iter(())
        self._folder = -1

    @classmethod
    @contextlib.contextmanager
    def of(cls, shelf: Shelf, instance_id: str, data_dir: Path) -> Iterator[Unchanged | None]:
        """Yield the newest complete backup of an instance; ``None`` if none can be used."""
        backup = next((one for one in shelf.backups if _is_usable(one, instance_id, data_dir)), None)
        if backup is None:
            yield None
            return
        unchanged = cls(backup)
        try:
            yield unchanged
        finally:
            unchanged.close()

    def close(self) -> None:
        """Close the open files."""
        self._leave()
        self._lines.close()

    def enter(self, root: str, folder: str) -> None:
        """Change to a folder; `find` and `link` then refer to the files in it."""
        self._leave()
        self._ahead, self._records = {}, self._lines.of(root, folder)
        with contextlib.suppress(OSError):
            self._folder = open_real(os.path.join(self._trees.get(root, ""), folder).rstrip("/") or "/")

    def _leave(self) -> None:
        if self._folder >= 0:
            os.close(self._folder)
        self._folder = -1

    def find(self, name: str, status: os.stat_result) -> FileRecord | None:
        """Return the record of a file that has not changed, and whose copy is still unchanged, too."""
        copied = self._copied(name)
        if copied is None or not copied.is_same(status) or self._folder < 0:
            return None
        try:
            copy = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
        except OSError:
            return None
        return copied.record if _is_as_made(copy, copied.record) else None

    def link(self, name: str, status: os.stat_result, dest: str) -> FileRecord | None:
        """Link `dest` to the copy of an unchanged file, and return its record; ``None`` if the file must be copied."""
        record = self.find(name, status)
        if record is None:
            return None
        try:
            os.link(name, dest, src_dir_fd=self._folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return None
        if _is_as_made(os.lstat(dest), record):
            return record
        os.unlink(dest)  # replaced between the check and the link
        return None

    def _copied(self, name: str) -> _Copied | None:
        """Return the record of a file among those of its folder; most files come in the same order as last time.

        Records of files that are gone are dropped once a later file was found. If so many are gone that they fill the
        window, it moves on.
        """
        if name not in self._ahead:
            if self._misses > MISSES and len(self._ahead) >= WINDOW:
                self._ahead.clear()
            self._read_until(name)
        found = self._ahead.pop(name, None)
        self._misses = 0 if found else self._misses + 1
        while found and self._ahead and (first := next(iter(self._ahead.values()))).number < found.number - WINDOW:
            del self._ahead[os.path.basename(first.record.path)]
        return found

    def _read_until(self, name: str) -> None:
        while name not in self._ahead and len(self._ahead) < WINDOW and (more := next(self._records, None)):
            self._ahead[os.path.basename(more.record.path)] = more


class _Lines:
    """The listing of a backup with the inodes beside it; the files of a folder are consecutive, before the folder."""

    def __init__(self, backup: Backup) -> None:
        self._listing: BinaryIO = os.fdopen(opened(backup.listing), "rb")
        self._inodes: BinaryIO = os.fdopen(opened(backup.path / INODES), "rb")
        self._starts: dict[tuple[str, str], tuple[int, int]] = {}
        """The start of the files of a folder in the listing, with the line number, for folders that were passed."""
        self._next = 0, 0

    def close(self) -> None:
        self._listing.close()
        self._inodes.close()

    def of(self, root: str, folder: str) -> Iterator[_Copied]:
        """Yield the files of a folder; none if the backup has no such folder, or its listing cannot be read."""
        with contextlib.suppress(ValueError, OSError):
            if (root, folder) not in self._starts and not self._reach(root, folder):
                return
            yield from self._files(*self._starts.pop((root, folder)))

    def _reach(self, root: str, folder: str) -> bool:
        """Read on until the records of a folder are passed; return whether there are any."""
        while (root, folder) not in self._starts:
            offset, number = self._next
            begin = self._next
            while True:
                self._listing.seek(offset)
                line = self._listing.readline(LONGEST)
                if not line:
                    return False
                offset, number = offset + len(line), number + 1
                record = FileRecord.from_json(line.decode("ascii"))
                if record.kind == "folder":
                    break
            self._starts[record.root, record.path] = begin
            self._next = offset, number
        return True

    def _files(self, offset: int, number: int) -> Iterator[_Copied]:
        self._inodes.seek(number * NOTED.size)
        while True:
            self._listing.seek(offset)
            line = self._listing.readline(LONGEST)
            beside = self._inodes.read(NOTED.size)
            if not line or len(beside) < NOTED.size:
                return
            record = FileRecord.from_json(line.decode("ascii"))
            if record.kind == "folder":
                return
            if record.kind == "file" and record.is_inside():
                yield _Copied(number, record, *NOTED.unpack(beside))
            offset, number = offset + len(line), number + 1


def _is_usable(backup: Backup, instance_id: str, data_dir: Path) -> bool:
    """Return whether a new backup may link to this one: it is of this instance, and its listing is the recorded one."""
    manifest = backup.manifest
    if manifest.scope is not Scope.FULL or manifest.listing is None or manifest.instance_id != instance_id:
        return False
    if manifest.data_dir != str(data_dir):
        return False
    try:
        os.close(opened(backup.path / INODES))
        return digest(backup.listing) == manifest.listing.sha256
    except OSError:
        return False


def _is_as_made(copy: os.stat_result, record: FileRecord) -> bool:
    """Return whether a copy still has its original size, mode, owner and time."""
    user = os.geteuid()
    return (
        stat.S_ISREG(copy.st_mode)
        and (copy.st_size, copy.st_mtime_ns) == (record.size, record.mtime_ns)
        and stat.S_IMODE(copy.st_mode) == usable_mode(record.mode, record.uid, 0o600)
        and (copy.st_uid == record.uid if user == 0 else copy.st_uid == user)
    )
