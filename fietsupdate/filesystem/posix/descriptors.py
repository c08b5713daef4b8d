"""The open descriptors of this process, and the paths by which they were opened."""

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
"""fcntl(2) on macOS, which has no /proc, to get a descriptor's path."""


_opening = threading.local()


def open_at(name: str | os.PathLike[str], flags: int, mode: int = 0o777, *, folder: int | None) -> int:
    """Open a file relative to an open folder, and let `opened_from` return that folder meanwhile.

    Args:
        name: As for open(2).
        flags: As for open(2).
        mode: As for open(2).
        folder: The descriptor of the folder; ``None`` for the working directory.
    """
    _opening.folder = folder
    try:
        return os.open(name, flags, mode, dir_fd=folder)
    finally:
        _opening.folder = None


def opened_from() -> int | None:
    """Return the folder that `open_at` is opening from in this thread; the audit event ``open`` does not report it."""
    folder: int | None = getattr(_opening, "folder", None)
    return folder


def path_of(descriptor: int) -> str:
    """Return the path by which a descriptor was opened, or "" if unknown.

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
    """Return the path of a folder from the names of the folders above it, as getcwd(3) does without the kernel."""
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
    """Return the paths of the open folders."""
    return [path for _, path in _open(_is_folder)]


def open_for_writing() -> list[tuple[int, str]]:
    """Return the regular files that are open for writing, with their descriptors."""
    return list(_open(_writes_file))


def _is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _writes_file(descriptor: int) -> bool:
    writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    return writes and stat.S_ISREG(os.fstat(descriptor).st_mode)


def _open(is_wanted: Callable[[int], bool]) -> Iterator[tuple[int, str]]:
    for descriptor in _numbers():
        with suppress(OSError):  # the descriptor that listed the folder is closed by now
            if is_wanted(descriptor) and (path := path_of(descriptor)):
                yield descriptor, path


def _numbers() -> list[int]:
    for folder in _LISTS:
        with suppress(OSError):
            return sorted(int(name) for name in os.listdir(folder))
    return []
