"""Open files that are read back from disk: regular files only, without blocking or following links, bounded in size.

In a folder that other users may write to, a name of ours may belong to anything: a FIFO, on which reading would block
for ever, a symlink to an endless device, another user's file. Every such file is refused at once, with an OSError, so
that it is reported like any file that cannot be read (invariant 12).
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
"""The most bytes of a small file: a header, a note, a VERSION file."""
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_STRANGE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR})
"""The errors of open(2) for symlinks, sockets, FIFOs without a reader, missing devices and folders."""


def opened(path: Path | str, flags: int = os.O_RDONLY, *, folder: int | None = None, of_anybody: bool = False) -> int:
    """Open a regular file and return its descriptor; a file that is created has mode 0600.

    Args:
        path: The file; relative to `folder`, if that is given.
        flags: Flags for open(2), in addition to those that are always set.
        folder: Descriptor of an open folder.
        of_anybody: Whether the file may belong to any user; otherwise only to this user, to root, or to the owner of
            its folder.

    Raises:
        OSError: The file cannot be opened, is no regular file, or belongs to another user.
    """
    with suppress(FileNotFoundError):
        _check(os.stat(path, dir_fd=folder, follow_symlinks=False), path)  # opening a device can already have an effect
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
        OSError: As for `opened`; or the file has more bytes than `limit`.
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
