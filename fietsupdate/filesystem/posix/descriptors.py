"""The open descriptors of this process, and the paths that they were opened by."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

_FOLDER = "/proc/self/fd"
_LISTS = (_FOLDER, "/dev/fd")
_GETPATH: int | None = getattr(fcntl, "F_GETPATH", None)
"""How macOS, which has no /proc, is asked for a descriptor's path (fcntl(2))."""


_opening = threading.local()


def open_at(name: str | os.PathLike[str], flags: int, mode: int = 0o777, *, folder: int | None) -> int:
    """Open a file relative to an open folder, and say so to `opened_from`.

    Args:
        name: As of open(2).
        flags: As of open(2).
        mode: As of open(2).
        folder: The descriptor of the folder; ``None`` for the working directory.
    """
    _opening.folder = folder
    try:
        return os.open(name, flags, mode, dir_fd=folder)
    finally:
        _opening.folder = None


def opened_from() -> int | None:
    """Return the folder that `open_at` opens from in this thread at the moment: the audit event ``open`` omits it."""
    folder: int | None = getattr(_opening, "folder", None)
    return folder


def path_of(descriptor: int) -> str:
    """Return the path that a descriptor was opened by, "" where that cannot be known.

    Without /proc the path of a folder is found by climbing up from it.
    """
    try:
        path = os.readlink(f"{_FOLDER}/{descriptor}")
    except OSError:
        with suppress(OSError):
            return _asked(descriptor) if _GETPATH is not None else _climbed(descriptor)
        return ""
    return path if path.startswith("/") else ""


def _asked(descriptor: int) -> str:
    answer: bytes = fcntl.fcntl(descriptor, _GETPATH or 0, bytes(1024))
    return os.fsdecode(answer.rstrip(b"\0"))


def _climbed(descriptor: int) -> str:
    """Collect the names of the folders above a folder, as getcwd(3) does where the kernel does not know them."""
    parent = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
    try:
        here = os.fstat(descriptor)
        if os.path.samestat(here, os.fstat(parent)):
            return "/"
        with os.scandir(parent) as entries:
            alike = (entry.name for entry in entries if os.path.samestat(entry.stat(follow_symlinks=False), here))
            name = next(alike, "")
        above = _climbed(parent) if name else ""
        return os.path.join(above, name) if above else ""
    finally:
        os.close(parent)


def open_folders() -> list[str]:
    """Return the paths of the folders that are open."""
    return [path for _, path in _open(_is_folder)]


def open_for_writing() -> list[tuple[int, str]]:
    """Return the ordinary files that are open for writing, with their descriptors."""
    return list(_open(_writes_file))


def _is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _writes_file(descriptor: int) -> bool:
    writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    return writes and stat.S_ISREG(os.fstat(descriptor).st_mode)


def _open(is_wanted: Callable[[int], bool]) -> Iterator[tuple[int, str]]:
    for descriptor in _numbers():
        with suppress(OSError):  # the one that listed the folder is closed by now
            if is_wanted(descriptor) and (path := path_of(descriptor)):
                yield descriptor, path


def _numbers() -> list[int]:
    for folder in _LISTS:
        with suppress(OSError):
            return sorted(int(name) for name in os.listdir(folder))
    return []
