"""The list of a backup's files, while it is written; beside it the inodes by which the next backup knows them again."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fietsupdate.backup.manifest import Stored
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.posix.durable import sync
from fietsupdate.filesystem.posix.ownership import give_owner

INODES = "inodes"
"""The file beside the listing: for each of its lines, what `noted` returns."""
NOTED = struct.Struct("<QQ")
SETTLED = 60_000_000_000
"""Nanoseconds. Writes to memory that is mapped from a file show in its ctime once for each writeback only, which Linux
does after 30 s (``vm.dirty_expire_centisecs``); the clocks of file systems are finer."""


def noted(status: os.stat_result | None) -> bytes:
    """Return what is noted of a file that was copied: inode and ctime; zeros for one that must be copied next time.

    A file whose ctime is younger than `SETTLED` may be written once more without a change of its ctime; Git calls such
    files racy (Documentation/technical/racy-git.txt).
    """
    if status is None or not 0 < status.st_ctime_ns < time.time_ns() - SETTLED:
        return NOTED.pack(0, 0)
    return NOTED.pack(status.st_ino, status.st_ctime_ns)


class Listing:
    """The list of the files while it is written, one a line; counts them without keeping them in memory."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file, self._inodes = _created(path), _created(path.with_name(INODES))
        self._sha256 = hashlib.sha256()
        self._size = 0
        self.count = 0
        self.bytes = 0

    @classmethod
    @contextlib.contextmanager
    def written(cls, path: Path) -> Iterator[Listing]:
        """Yield a new list, which is durable when the context is left."""
        listing = cls(path)
        with listing._file as file, listing._inodes as inodes:
            yield listing
            for written in (file, inodes):
                written.flush()
                sync(written.fileno(), path)

    def note(self, status: os.stat_result | None) -> None:
        """Note what the file that was added last is on disk; ``None`` for what is no file, or changed meanwhile."""
        self._inodes.write(noted(status))

    def add(self, record: FileRecord) -> None:
        """Add one file, folder or link."""
        line = f"{record.to_json()}\n".encode("ascii")
        self._file.write(line)
        self._sha256.update(line)
        self._size += len(line)
        self.count += 1
        self.bytes += record.size

    @property
    def stored(self) -> Stored:
        """The entry of the manifest for the list."""
        return Stored(self._name, self._size, self._sha256.hexdigest())


def _created(path: Path) -> BinaryIO:
    file = path.open("xb", buffering=1 << 16)
    os.fchmod(file.fileno(), 0o600)
    give_owner(path, os.stat(path.parent))
    return file
