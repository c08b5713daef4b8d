"""Look up the files at the paths that rows name, without ever leaving their root.

A symbolic link is followed as long as it stays in the root. Paths come in the order of their bytes, so that consecutive
paths mostly share their folders.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a lookup."""

    status: os.stat_result | None = None
    """The status of the ordinary file; ``None`` if there is none."""
    reason: str = ""
    """Why there is no such file, if the path is not simply absent."""


class Lookup:
    """Looks up the files of one root.

    Args:
        root: The root.
    """

    def __init__(self, root: bytes) -> None:
        self._root = root
        self._real = os.path.realpath(root)
        self._folders: list[bytes] = []
        """The parts of the last path's folder that are known to be folders."""

    def find(self, path: bytes) -> Found:
        """Return the file at a tidy path relative to the root."""
        full = self._root + b"/" + path
        try:
            if not self._is_direct(path) and not self._is_inside(os.path.realpath(os.path.dirname(full))):
                return Found(reason="a symbolic link on its way leads out of the root")
            status = os.lstat(full)
            if stat.S_ISLNK(status.st_mode):
                if not self._is_inside(os.path.realpath(full)):
                    return Found(reason="it is a symbolic link that leads out of the root")
                status = os.stat(full)
        except OSError as error:
            return Found(reason="" if error.errno in _ABSENT else f"it cannot be looked at: {error.strerror}")
        if stat.S_ISDIR(status.st_mode):
            return Found(reason="a folder has its name")
        return Found(status) if stat.S_ISREG(status.st_mode) else Found(reason="it is no ordinary file")

    def _is_direct(self, path: bytes) -> bool:
        """Return whether no symbolic link is among the folders of a path."""
        *folders, _ = path.split(b"/")
        if folders == self._folders:
            return True
        same = next((n for n, (one, other) in enumerate(zip(folders, self._folders, strict=False)) if one != other), -1)
        del self._folders[same if same >= 0 else min(len(folders), len(self._folders)) :]
        here = b"/".join([self._root, *self._folders])
        for folder in folders[len(self._folders) :]:
            here += b"/" + folder
            if not stat.S_ISDIR(os.lstat(here).st_mode):
                return False
            self._folders.append(folder)
        return True

    def _is_inside(self, real: bytes) -> bool:
        return real == self._real or real.startswith(self._real.rstrip(b"/") + b"/")
