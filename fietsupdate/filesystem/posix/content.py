"""Copy the content of open files: blocks are shared if the file system can share them, and holes stay holes."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from typing import BinaryIO

from fietsupdate.filesystem.posix import durable

FICLONE = 0x40049409
"""ioctl_ficlone(2)."""
NOT_BY_KERNEL = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF, errno.ETXTBSY, errno.ENOTTY}
)
"""The errors of file systems and kernels that cannot share blocks, or cannot copy by themselves."""
_IN_INODE = 1 << 16
"""Files up to this size may be stored in their inode, and then occupy no block though they have no hole."""
_PIECE = 1 << 20
_BY_KERNEL = hasattr(os, "copy_file_range")
_MOST = 1 << 30
"""The most bytes that the kernel is asked to copy at once."""


def has_holes(status: os.stat_result) -> bool:
    """Return whether a file may have holes."""
    return status.st_size > _IN_INODE and status.st_blocks * 512 < status.st_size


def data_parts(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the parts of a file that are not holes; the whole file if the system does not know."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                return
            yield end, size
            return
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        yield start, end


def reserve(descriptor: int, size: int, *, start: int = 0) -> None:
    """Reserve the space for a part of a file, if the file system can.

    Raises:
        OSError: ENOSPC or EDQUOT, the disk is too full.
    """
    if size > 0 and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, start, size)
        except OSError as error:
            if error.errno in durable.NO_SPACE:
                raise


def copy_content(reader: int, writer: int) -> None:
    """Copy the content of an open file into an empty one.

    Space is reserved for content that is neither shared nor a hole.

    Raises:
        OSError: The content cannot be read or written, or the disk is too full; then little or nothing was written.
    """
    status = os.fstat(reader)
    if _share(reader, writer):
        return
    if not has_holes(status):
        reserve(writer, status.st_size)
        _copy(reader, writer, None)
        return
    parts = list(data_parts(reader, status.st_size))
    for start, end in parts:
        reserve(writer, end - start, start=start)
    for start, end in parts:
        os.lseek(reader, start, os.SEEK_SET)
        os.lseek(writer, start, os.SEEK_SET)
        _copy(reader, writer, end - start)
    os.ftruncate(writer, status.st_size)
    os.lseek(writer, 0, os.SEEK_END)


def write_back(old: BinaryIO, file: BinaryIO) -> None:
    """Replace the content of a file in place; its blocks are used again, unless there are holes between."""
    if has_holes(os.fstat(old.fileno())):
        os.ftruncate(file.fileno(), 0)
        copy_content(old.fileno(), file.fileno())
    else:
        shutil.copyfileobj(old, file, _PIECE)
        file.truncate()


def _share(reader: int, writer: int) -> bool:
    try:
        fcntl.ioctl(writer, FICLONE, reader)
    except OSError as error:
        if error.errno not in NOT_BY_KERNEL:
            raise
        return False
    os.lseek(writer, 0, os.SEEK_END)
    return True


def _copy(reader: int, writer: int, length: int | None) -> None:
    """Copy some bytes from the present position of both files, or all of them to the end of the file."""
    by_kernel, left = _BY_KERNEL, length
    while left is None or left > 0:
        done = 0
        if by_kernel:
            try:
                done = os.copy_file_range(reader, writer, _MOST if left is None else min(left, _MOST))
            except OSError as error:
                if error.errno not in NOT_BY_KERNEL:
                    raise
            by_kernel = done > 0
        if not done:  # files of /proc have a content that the kernel does not copy
            piece = os.read(reader, _PIECE if left is None else min(left, _PIECE))
            durable.write_all(writer, piece)
            done = len(piece)
        if not done:
            return
        left = None if left is None else left - done
