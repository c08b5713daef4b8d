"""Puts files and folders in their place without ever replacing what is there, copies them, and erases our own.

rename(2) replaces silently. While a transaction runs or is undone, the application may put a file where ours belongs;
so names are filled with RENAME_NOREPLACE (renameat2(2); ``renamex_np`` on macOS), else by a link, else after a look.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
from contextlib import suppress

from fietsupdate.filesystem import durable
from fietsupdate.filesystem.status import Meta

_AT_FDCWD = -100
_NOREPLACE = 1
_EXCL = 4
_UNKNOWN = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
NO_LINK = frozenset({errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES})
"""What link(2) answers where a second name is refused: the file system has none, or the file is not ours."""

_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)
_renamex_np = getattr(_libc, "renamex_np", None)


def place(source: str, target: str) -> None:
    """Rename a file, symlink or folder to a name that is free.

    Raises:
        FileExistsError: the name is taken; nothing was changed.
        OSError: as rename(2).
    """
    audit(source, target)
    number = _rename_exclusively(os.fsencode(source), os.fsencode(target))
    if number in _UNKNOWN:
        _place_by_looking(source, target)
    elif number:
        raise OSError(number, os.strerror(number), source, None, target)


def audit(source: str, target: str) -> None:
    """Tell Python's audit hooks of a rename that they cannot see, as os.rename would."""
    sys.audit("os.rename", source, target, -1, -1)


def _rename_exclusively(source: bytes, target: bytes) -> int:
    """Rename unless the target is there; gives the error number, 0 for success."""
    if _renameat2 is not None:
        failed = _renameat2(_AT_FDCWD, source, _AT_FDCWD, target, _NOREPLACE)
    elif _renamex_np is not None:
        failed = _renamex_np(source, target, _EXCL)
    else:
        return errno.ENOSYS
    return ctypes.get_errno() if failed else 0


def _place_by_looking(source: str, target: str) -> None:
    if not stat.S_ISDIR(os.lstat(source).st_mode):
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
        else:
            os.unlink(source)
            return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    os.rename(source, target)


def copy_file(source: str, target: str) -> None:
    """Copy a file or symlink to a new name, durably, with everything that `Meta` holds.

    The space is reserved first, so that a disk that is too full is found out before anything depends on the copy.
    """
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        Meta.of(source).apply(target)
        return
    with open(source, "rb") as reader, open(target, "xb") as writer:
        reserve(writer.fileno(), os.fstat(reader.fileno()).st_size)
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        Meta.of(source).apply(target)
        durable.sync(writer.fileno(), target)


def reserve(descriptor: int, size: int) -> None:
    """Reserve the space for a file's content, where the file system can.

    Raises:
        OSError: ENOSPC or EDQUOT, the disk is too full.
    """
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno in durable.NO_SPACE:
                raise


def erase(path: str, folder: int | None = None) -> None:
    """Delete a file or a whole folder of ours, however its modes stand and long its paths are; what is gone is gone.

    Args:
        path: It; relative to an open folder, where that is given.
        folder: Descriptor of the folder.
    """
    try:
        os.unlink(path, dir_fd=folder)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode):
            raise
    else:
        return
    with suppress(OSError):
        os.chmod(path, 0o700, dir_fd=folder)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                erase(entry.name, descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(path, dir_fd=folder)
