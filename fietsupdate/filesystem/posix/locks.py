"""Inspect and take the locks of the system; `fietsupdate.filesystem.lock` explains the choice of locks."""

from __future__ import annotations

import fcntl
import os
import struct

SET: int | None = getattr(fcntl, "F_OFD_SETLK", None)
"""The command for fcntl(2) that takes a lock; ``None`` if the locks are those of flock(2)."""
_GET: int = getattr(fcntl, "F_OFD_GETLK", fcntl.F_GETLK)
_LINUX = SET is not None


def is_taken(descriptor: int) -> bool:
    """Return whether another open file description holds a lock on this file or folder."""
    try:
        answer = fcntl.fcntl(descriptor, _GET, packed(fcntl.F_WRLCK))
    except OSError:
        return False  # this file system does not support locks, so no process holds one
    return _kind(answer) != fcntl.F_UNLCK


def packed(kind: int) -> bytes:
    """Pack a ``struct flock`` over the whole file; the systems differ in the order of its fields."""
    if _LINUX:
        return struct.pack("hhqqi0q", kind, os.SEEK_SET, 0, 0, 0)
    return struct.pack("qqihhi0q", 0, 0, 0, kind, os.SEEK_SET, 0)


def _kind(flock: bytes) -> int:
    layout = "h" if _LINUX else "qqih"
    kind: int = struct.unpack_from(layout, flock)[-1]
    return kind
