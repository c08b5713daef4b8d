"""The list of a backup's files, while it is written."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from fietsupdate.backup.manifest import Stored
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.posix.durable import sync
from fietsupdate.filesystem.posix.ownership import give_owner


class Listing:
    """The list of the files while it is written, one a line; counts them without keeping them in memory."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._file = path.open("xb", buffering=1 << 16)
        os.fchmod(self._file.fileno(), 0o600)
        give_owner(path, os.stat(path.parent))
        self._sha256 = hashlib.sha256()
        self._size = 0
        self.count = 0
        self.bytes = 0

    @classmethod
    @contextlib.contextmanager
    def written(cls, path: Path) -> Iterator[Listing]:
        """Yield a new list, which is durable when the context is left."""
        listing = cls(path)
        with listing._file as file:
            yield listing
            file.flush()
            sync(file.fileno(), path)

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
