"""Where file systems are mounted. Device numbers do not show this: bind mounts have those of their source."""

from __future__ import annotations

import os
from collections.abc import Iterator

_TABLE = "/proc/self/mountinfo"
_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))
"""How the table escapes blanks (proc_pid_mountinfo(5))."""


def mount_point(path: str) -> str:
    """Return the mount point that holds a canonical absolute path, of which the last part may be missing."""
    best = "/"
    for point in _points():
        if len(point) > len(best) and f"{path}/".startswith(f"{point}/"):
            best = point
    return max(best, _by_device(path), key=len)


def mounted_below(path: str) -> list[str]:
    """Return the mount points at and below a canonical absolute path."""
    return sorted(point for point in _points() if f"{point}/".startswith(f"{path}/"))


def is_mounted(path: str) -> bool:
    """Return whether something is mounted at a canonical absolute path."""
    return path in _points() or os.path.ismount(path)


def _points() -> Iterator[str]:
    try:
        with open(_TABLE, encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                point = line.split(" ", 5)[4]
                for code, character in _ESCAPES:
                    point = point.replace(code, character)
                yield point
    except OSError:
        return


def _by_device(path: str) -> str:
    """Find the mount point by device number: some systems have no table, and btrfs subvolumes are not in it."""
    while path != "/" and not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
