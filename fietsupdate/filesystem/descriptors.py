"""The open descriptors of this process, where the system shows them (``/proc/self/fd``)."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
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
    return [path for _, path, status, _ in _all() if stat.S_ISDIR(status.st_mode)]


def open_for_writing() -> list[tuple[int, str]]:
    """Give the ordinary files that are open for writing, with their descriptors."""
    return [
        (descriptor, path)
        for descriptor, path, status, flags in _all()
        if stat.S_ISREG(status.st_mode) and flags & os.O_ACCMODE != os.O_RDONLY
    ]


def _all() -> Iterator[tuple[int, str, os.stat_result, int]]:
    try:
        names = os.listdir(_FOLDER)
    except OSError:
        return
    for descriptor in sorted(int(name) for name in names):
        with suppress(OSError):  # the one that listed the folder is closed by now
            path = path_of(descriptor)
            if path:
                yield descriptor, path, os.fstat(descriptor), fcntl.fcntl(descriptor, fcntl.F_GETFL)
