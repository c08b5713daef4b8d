"""Opens what is read back from disk: regular files only, without waiting, without following a link, bounded in size.

A folder that others may write to can hold anything under a name of ours: a FIFO, which would be waited for without end,
a symlink to a device that never ends, the file of somebody else. Every such file is refused at once, with an error of
the system's kind, so that it is told wherever a file that cannot be read is (invariant 12).
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from fietsupdate.filesystem.posix.descriptors import open_at
from fietsupdate.filesystem.posix.identity import user

SMALL = 1 << 20
"""Bytes that a file of a few lines has at the most: a header, a note, a VERSION file."""
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_STRANGE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR})
"""What open(2) answers for symlinks, sockets, FIFOs that nobody reads, missing devices and folders."""


def opened(path: Path | str, flags: int = os.O_RDONLY, *, folder: int | None = None, of_anybody: bool = False) -> int:
    """Open a regular file and return its descriptor; a file that is created has mode 0600.

    Args:
        path: The file; relative to `folder`, where that is given.
        flags: Those of open(2), beside the ones that are always set.
        folder: Descriptor of an open folder.
        of_anybody: Whether it may belong to any user; else to this one, to root, or to the owner of its folder.

    Raises:
        OSError: it cannot be opened, is no regular file, or belongs to somebody else.
    """
    with suppress(FileNotFoundError):
        _check(os.stat(path, dir_fd=folder, follow_symlinks=False), path)  # to open a device can do something already
    try:
        descriptor = open_at(path, flags | _FLAGS, 0o600, folder=folder)
    except OSError as error:
        if error.errno in _STRANGE:
            raise _irregular(path) from error
        raise
    try:
        _check(os.fstat(descriptor), path)
        if not of_anybody:
            _check_owner(os.fstat(descriptor), path, folder)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_bytes(path: Path | str, limit: int = SMALL, *, of_anybody: bool = False) -> bytes:
    """Read a whole file.

    Raises:
        OSError: as for `opened`; or it has more bytes than `limit`.
    """
    with os.fdopen(opened(path, of_anybody=of_anybody), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit} bytes", str(path))
    return data


def _check(status: os.stat_result, path: Path | str) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "it is a symbolic link, which is not followed", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise _irregular(path)


def _check_owner(status: os.stat_result, path: Path | str, folder: int | None) -> None:
    if status.st_uid in {0, user()}:
        return
    around = os.stat(os.path.dirname(path) or ".") if folder is None else os.fstat(folder)
    if status.st_uid != around.st_uid:
        raise OSError(errno.EPERM, f"it belongs to user {status.st_uid}, and its folder does not", str(path))


def _irregular(path: Path | str) -> OSError:
    return OSError(errno.EINVAL, "it is not a regular file", str(path))
