"""The open descriptors of this process, where the system shows them (``/proc/self/fd``)."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

_FOLDER = "/proc/self/fd"


def path_of(descriptor: int) -> str:
    """Give the path that a descriptor was opened by, "" where that cannot be known."""
    try:
        path = os.readlink(f"{_FOLDER}/{descriptor}")
    except OSError:
        return ""
    return path if path.startswith("/") else ""


def open_folders() -> list[str]:
    """Give the paths of the folders that are open."""
    return [path for _, path in _open(_is_folder)]


def open_for_writing() -> list[tuple[int, str]]:
    """Give the ordinary files that are open for writing, with their descriptors."""
    return list(_open(_writes_file))


def _is_folder(descriptor: int) -> bool:
    return stat.S_ISDIR(os.fstat(descriptor).st_mode)


def _writes_file(descriptor: int) -> bool:
    writes = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    return writes and stat.S_ISREG(os.fstat(descriptor).st_mode)


def _open(is_wanted: Callable[[int], bool]) -> Iterator[tuple[int, str]]:
    try:
        names = os.listdir(_FOLDER)
    except OSError:
        return
    for descriptor in sorted(int(name) for name in names):
        with suppress(OSError):  # the one that listed the folder is closed by now
            if is_wanted(descriptor) and (path := path_of(descriptor)):
                yield descriptor, path
