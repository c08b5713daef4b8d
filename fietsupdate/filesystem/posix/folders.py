"""Open folders without following symlinks, so that changes stay inside even if folders are replaced meanwhile.

A checked path may lead elsewhere a moment later, because a folder on the way was replaced by a symlink. So changes name
a file by an open folder and a name in it (`Slot`), and folders are opened by their canonical path, on which no symlink
is followed (invariant 12): by openat2(2) or O_NOFOLLOW_ANY, else one part after the other.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

LIMIT = 16
"""The most folders that are open at a time in one thread; few enough for ``ulimit -n 64``."""
IN_THE_WAY = frozenset({errno.ELOOP, errno.ENOTDIR})
"""The errors of opening a folder where a symlink or a file has its name, or that of a folder above it."""

_AT_FDCWD = -100
_OPENAT2 = 437
"""Number of the system call, the same on all of Linux's architectures but alpha; the C library has no name for it."""
_RESOLVE_NO_SYMLINKS = 4
_SEARCH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
"""A folder that is opened by O_PATH need not be readable for this user."""

_libc = ctypes.CDLL(None, use_errno=True)


class Slot(NamedTuple):
    """A name in an open folder, as system calls take it: ``os.unlink(slot.name, dir_fd=slot.folder)``.

    It is valid for a short time only: its folder is closed when the verb ends, or when `LIMIT` other folders were
    opened.
    """

    name: str
    folder: int
    path: str
    """The same as an absolute path, for messages."""


class Opened(NamedTuple):
    """An open folder; valid as long as a `Slot`."""

    descriptor: int
    path: str
    """Its absolute path, for messages."""


Where = str | Slot
"""A file: by its path, or by a name in an open folder."""


def split(where: Where) -> tuple[str, int | None]:
    """Return a name and the descriptor that it is relative to, as functions of `os` take them."""
    return (where, None) if isinstance(where, str) else (where.name, where.folder)


def path_of(where: Where) -> str:
    """Return the path of a file, for messages."""
    return where if isinstance(where, str) else where.path


def by_proc(where: Where) -> str:
    """Return a path of a file for calls that take no descriptor of a folder; its last part may still be a symlink.

    Where /proc is not mounted, the plain path is returned.
    """
    if isinstance(where, str) or not _has_proc():
        return path_of(where)
    return f"/proc/self/fd/{where.folder}/{where.name}"


@contextmanager
def pinned(where: Where) -> Iterator[str]:
    """Hold a file that is no symlink, and yield a path that leads to this file only.

    For chmod(2), which follows symlinks at the end of a path.

    Raises:
        OSError: ELOOP, the file is a symlink.
    """
    name, folder = split(where)
    if not hasattr(os, "O_PATH") or not _has_proc():
        yield name if folder is None else path_of(where)
        return
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        if stat.S_ISLNK(os.fstat(descriptor).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path_of(where))
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def open_real(path: str) -> int:
    """Open a folder by a canonical absolute path, on which no symlink is followed, for use as ``dir_fd``.

    Raises:
        FileNotFoundError: The folder is missing.
        OSError: One of `IN_THE_WAY`, if a symlink or file has its name or that of a folder above it; or as for open(2).
    """
    if _has_openat2():
        descriptor = _openat2(path)
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    if hasattr(os, "O_NOFOLLOW_ANY"):
        return os.open(path, _SEARCH | os.O_NOFOLLOW_ANY)
    return _open_part_by_part(path)


def folder_above(path: str) -> str:
    """Return the path of the folder that a canonical absolute path is in."""
    return path.rpartition("/")[0] or "/"


class _How(ctypes.Structure):
    """``struct open_how`` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW = ctypes.byref(_How(_SEARCH, 0, _RESOLVE_NO_SYMLINKS))
_SIZE = ctypes.c_size_t(ctypes.sizeof(_How))
_NUMBER, _HERE = ctypes.c_long(_OPENAT2), ctypes.c_int(_AT_FDCWD)


def _openat2(path: str) -> int:
    return _libc.syscall(_NUMBER, _HERE, os.fsencode(path), _HOW, _SIZE)  # type: ignore[no-any-return]  # a C int


@functools.cache
def _has_openat2() -> bool:
    """Return whether the system call exists and is allowed; older containers answer EPERM for unknown calls."""
    if sys.platform != "linux":
        return False
    descriptor = _openat2("/")
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


@functools.cache
def _has_proc() -> bool:
    return os.path.isdir("/proc/self/fd")


def _open_part_by_part(path: str) -> int:
    descriptor = os.open("/", _SEARCH)
    for part in path.split("/"):
        if part:
            try:
                below = os.open(part, _SEARCH | os.O_NOFOLLOW, dir_fd=descriptor)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from error
            finally:
                os.close(descriptor)
            descriptor = below
    return descriptor


class Folders:
    """The folders that each thread has opened for the current verb, each once."""

    def __init__(self) -> None:
        self._thread = _OfThread()
        self._generation = 0

    def slot(self, path: str) -> Slot:
        """Return the slot of a canonical absolute path.

        Raises:
            OSError: As for `open_real`, for the folder that contains it.
        """
        folder, _, name = path.rpartition("/")
        return Slot(name, self.descriptor(folder), path)

    def pair(self, one: str, other: str) -> tuple[Opened, Opened]:
        """Return two folders, by their canonical absolute paths, open at the same time.

        Raises:
            OSError: As for `open_real`.
        """
        first = Opened(self.descriptor(one), one)
        return first, Opened(self.descriptor(other), other)

    def descriptor(self, folder: str) -> int:
        """Return the descriptor of a folder, by its canonical absolute path; "" is ``/``.

        Raises:
            OSError: As for `open_real`.
        """
        thread = self._thread
        if thread.generation != self._generation:
            self.close()
            thread.generation = self._generation
        opened = thread.folders
        descriptor = opened.pop(folder, None)
        if descriptor is None:
            descriptor = open_real(folder or "/")
            if len(opened) >= LIMIT:
                os.close(opened.pop(next(iter(opened))))
        opened[folder] = descriptor  # appended at the end, since the first one is closed next
        return descriptor

    def opens(self, folder: str) -> bool:
        """Return whether a folder can be opened by this path without following a symlink."""
        try:
            self.descriptor(folder)
        except OSError:
            return False
        return True

    def forget(self) -> None:
        """Reopen every folder on its next use, in all threads, because a folder is being renamed or removed."""
        self._generation += 1

    def close(self) -> None:
        """Close the folders that this thread has opened."""
        folders = self._thread.folders
        while folders:
            os.close(folders.popitem()[1])


class _OfThread(threading.local):
    """The open folders of one thread, and the generation in which they were opened."""

    def __init__(self) -> None:
        self.folders: dict[str, int] = {}
        self.generation = 0
