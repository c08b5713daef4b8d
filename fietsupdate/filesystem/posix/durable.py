"""Make files and folders durable; no other module of this package calls fsync.

A failed fsync is never retried: the kernel reports a lost write once and then treats the page as clean
(https://wiki.postgresql.org/wiki/Fsync_Errors), so a second, successful call would prove nothing. A caller that gets
the error must abort its operation.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.posix.ownership import give_owner

MANY = 32
"""From this number of paths on, whole file systems are synced instead of single files."""

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: fsync(2) stops at the drive's cache, this call does not."""

_CANNOT_SYNC_FOLDERS = frozenset({errno.EINVAL, errno.EBADF})
"""The errors of file systems that cannot sync a folder at all; PostgreSQL ignores the same (fd.c, fsync_fname)."""

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""The errors for a path that does not exist any more; ELOOP, where a symlink to itself has replaced its folder."""

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The errors of a full disk and of an exhausted quota."""

NO_SPACE = DISK_FULL | {errno.EFBIG}
"""The errors of a write for which there is no space."""

_libc = ctypes.CDLL(None, use_errno=True)
_syncfs = getattr(_libc, "syncfs", None)


def sync(descriptor: int, name: Path | str) -> None:
    """Make an open file's content and metadata durable; ``name`` is for the message.

    Raises:
        FilesError: The system could not write it.
    """
    _flush(os.fsync, descriptor, name)


def sync_data(descriptor: int, name: Path | str) -> None:
    """Make an open file's content and length durable.

    Raises:
        FilesError: The system could not write it.
    """
    _flush(os.fdatasync, descriptor, name)


def _flush(call: Callable[[int], None], descriptor: int, name: Path | str) -> None:
    try:
        if _FULL_SYNC is None:
            call(descriptor)
        else:
            fcntl.fcntl(descriptor, _FULL_SYNC)
    except OSError as error:
        raise _not_durable(name, error) from error


def sync_path(path: Path | str) -> None:
    """Make a file or the entries of a folder durable; a path without content of its own (a symlink) needs no sync.

    For a file that this user may move but not open, because it belongs to another user, its whole file system is
    synced.

    Raises:
        FilesError: The system could not write it.
        FileNotFoundError: The path does not exist.
    """
    status = os.lstat(path)
    mode = status.st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError:
        _sync_around(path, status.st_dev)
        return
    try:
        sync(descriptor, path)
    except FilesError as error:
        cause = error.__cause__
        if not (stat.S_ISDIR(mode) and isinstance(cause, OSError) and cause.errno in _CANNOT_SYNC_FOLDERS):
            raise
    finally:
        os.close(descriptor)


def _sync_around(path: Path | str, device: int) -> None:
    """Sync the file system of a path through the nearest folder above it that this user may open.

    Raises:
        PermissionError: There is no such folder on this device.
    """
    folder = os.path.dirname(os.path.abspath(path))
    while os.lstat(folder).st_dev == device:
        try:
            sync_file_system(folder)
        except PermissionError:
            if folder == os.sep:
                raise
            folder = os.path.dirname(folder)
        else:
            return
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))


def sync_many(paths: Iterable[Path | str]) -> None:
    """Make many files and folders durable; paths that do not exist any more are skipped.

    A few are synced one by one. From `MANY` on, each of their file systems is synced once, in memory that does not grow
    with their number.

    Raises:
        FilesError: The system could not write some of them.
    """
    remaining = iter(paths)
    first = list(islice(remaining, MANY))
    if len(first) < MANY:
        for path in first:
            try:
                sync_path(path)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
        return
    for path in _one_per_device((*first,), remaining):
        sync_file_system(path)


def _one_per_device(*groups: Iterable[Path | str]) -> list[Path | str]:
    found: dict[int, Path | str] = {}
    for group in groups:
        for path in group:
            try:
                status = os.lstat(path)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                continue
            if status.st_dev not in found:
                found[status.st_dev] = path if stat.S_ISDIR(status.st_mode) else os.path.dirname(path)
    return list(found.values())


def sync_file_system(folder: Path | str) -> None:
    """Make everything on the file system of ``folder`` durable (syncfs(2); sync(2) where that is missing).

    Raises:
        FilesError: The system could not write something.
    """
    if _syncfs is None:
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            error = OSError(number, os.strerror(number))
            raise _not_durable(folder, error) from error
    finally:
        os.close(descriptor)


def atomic_write(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace a file by new content, durably: after a crash it holds all of the old bytes or all of the new ones.

    The file gets the owner of its folder, and the folder's mode without the execute bits unless ``mode`` is given.

    Raises:
        FilesError: The system could not make it durable.
        OSError: It could not be written; the old content remains.
    """
    folder = os.stat(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(descriptor, data)
            os.fchmod(descriptor, stat.S_IMODE(folder.st_mode) & 0o666 if mode is None else mode)
            give_owner(draft, folder)
            sync(descriptor, path)
        finally:
            os.close(descriptor)
        os.rename(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_path(path.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes; a single write(2) may stop early on a disk that is getting full."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _not_durable(name: Path | str, error: OSError) -> FilesError:
    return FilesError(
        f"{name} could not be made durable: {error.strerror}.",
        hint="Check the disk and the system's log before anything else.",
    )
