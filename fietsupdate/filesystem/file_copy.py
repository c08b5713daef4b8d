"""Copy the content of one file, and hash the written bytes.

Blocks are shared with the copy (FICLONE) where the file system can. Otherwise the kernel copies large files, and small
files pass through our memory once, for the copy and for the hash. Holes stay holes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fietsupdate.filesystem.posix.content import FICLONE, NOT_BY_KERNEL, data_parts, has_holes
from fietsupdate.filesystem.posix.durable import write_all

CHUNK = 1 << 20
"""Bytes that are in memory at once."""


class ContentCopier:
    """Copies contents from one file system to another, and remembers what those two cannot do.

    Args:
        moved: Called with the number of bytes that were copied since the last call.
    """

    def __init__(self, moved: Callable[[int], None]) -> None:
        self._moved = moved
        self._shares = True
        self._by_kernel = hasattr(os, "copy_file_range")

    def copy(self, reader: int, writer: int, status: os.stat_result) -> tuple[int, str]:
        """Copy the content of an open file into an empty one; return the copy's size and SHA-256.

        Args:
            reader: Descriptor of the source, at its beginning.
            writer: Descriptor of the copy, open for reading as well.
            status: The attributes of the source when it was opened.

        Raises:
            OSError: The source cannot be read, or the copy cannot be written.
        """
        if self._share(reader, writer):
            self._moved(status.st_size)
        elif status.st_size <= CHUNK and not has_holes(status):
            return self._small(reader, writer, status.st_size)
        else:
            self._large(reader, writer, status)
        return os.fstat(writer).st_size, digest_of(writer)

    def _share(self, reader: int, writer: int) -> bool:
        if not self._shares:
            return False
        try:
            fcntl.ioctl(writer, FICLONE, reader)
        except OSError as error:
            if error.errno not in NOT_BY_KERNEL:
                raise
            self._shares = False
        return self._shares

    def _small(self, reader: int, writer: int, expected: int) -> tuple[int, str]:
        """Copy a file that fits into memory; a file that has grown meanwhile is also read to its end."""
        sha256, size = hashlib.sha256(), 0
        while piece := os.read(reader, expected + 1 - size if size <= expected else CHUNK):
            write_all(writer, piece)
            sha256.update(piece)
            size += len(piece)
            if size == expected:  # one byte more was asked for, so this is the end
                break
        self._moved(size)
        return size, sha256.hexdigest()

    def _large(self, reader: int, writer: int, status: os.stat_result) -> None:
        for start, end in data_parts(reader, status.st_size) if has_holes(status) else [(0, status.st_size)]:
            os.lseek(reader, start, os.SEEK_SET)
            os.lseek(writer, start, os.SEEK_SET)
            left = end - start
            while left and (done := self._piece(reader, writer, min(left, CHUNK * 8))):
                self._moved(done)
                left -= done
        os.ftruncate(writer, max(min(os.fstat(reader).st_size, status.st_size), os.fstat(writer).st_size))

    def _piece(self, reader: int, writer: int, most: int) -> int:
        """Copy some bytes from the current positions of both files; return how many, 0 at the end of the file."""
        if self._by_kernel:
            try:
                if done := os.copy_file_range(reader, writer, most):
                    return done
            except OSError as error:
                if error.errno not in NOT_BY_KERNEL:
                    raise
                self._by_kernel = False
        piece = os.read(reader, min(most, CHUNK))
        write_all(writer, piece)
        return len(piece)


def can_share(source: Path, dest: Path) -> bool:
    """Return whether copies in one folder can share the blocks of files in another; both folders stay unchanged.

    This is tried with files that have no names; where the system cannot create such files, the answer is no.
    """
    try:
        with _nameless(source) as first, _nameless(dest) as second:
            write_all(first, bytes(CHUNK))
            fcntl.ioctl(second, FICLONE, first)
    except OSError:
        return False
    return True


@contextmanager
def _nameless(folder: Path) -> Iterator[int]:
    """Open a file without a name in the folder, so that not even the folder's time changes."""
    if not hasattr(os, "O_TMPFILE"):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def digest_of(descriptor: int, moved: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of an open file, hexadecimal; its position does not change.

    Args:
        descriptor: The file, open for reading.
        moved: Called with the number of bytes that were read since the last call.
    """
    sha256, offset = hashlib.sha256(), 0
    while piece := os.pread(descriptor, CHUNK, offset):
        sha256.update(piece)
        offset += len(piece)
        if moved is not None:
            moved(len(piece))
    return sha256.hexdigest()
