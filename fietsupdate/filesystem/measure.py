"""Measure what a copy of a tree will take, before it begins."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.layout import HOME
from fietsupdate.filesystem.posix.content import has_holes
from fietsupdate.filesystem.posix.mounts import mounted_below


class Earlier(Protocol):
    """An earlier copy of the same trees, whose files a new copy can share."""

    def enter(self, root: str, folder: str) -> None:
        """Change to a folder of a root; the other methods then refer to files in it."""

    def find(self, name: str, status: os.stat_result) -> FileRecord | None:
        """Return the record of a file that has not changed since, else ``None``; each name is requested once."""

    def link(self, name: str, status: os.stat_result, dest: str) -> FileRecord | None:
        """Link `dest` to the earlier copy of an unchanged file; return ``None`` for a changed one."""


def measure(
    source: Path,
    leave_out: Collection[Path],
    *,
    root: str = "",
    earlier: Earlier | None = None,
    several: Collection[tuple[int, int]] | None = None,
) -> tuple[int, int]:
    """Count what `copy_tree` would copy: files, folders and links, and the bytes that their content occupies.

    Holes count nothing, a file with several names counts once, and what vanishes meanwhile does not count.

    Args:
        source: The folder.
        leave_out: Absolute paths that are not copied.
        root: The name of the root, for `earlier`.
        earlier: As for `copy_tree`; files that would be linked to it count nothing.
        several: Device and inode of all files that have several names in this tree, where that is known.
    """
    top = os.path.realpath(source)
    left_out, count, counted = left_out_of(top, leave_out), 0, _Counted(earlier, several)
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        count += 1
        if earlier is not None:
            earlier.enter(root, folder)
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{top}/{folder}") as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if path in left_out:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                else:
                    count += counted.add(entry)
    return count, counted.size


class _Counted:
    """The files that are copied; the content of each counts once for all of its names."""

    def __init__(self, earlier: Earlier | None, several: Collection[tuple[int, int]] | None) -> None:
        self._earlier, self._several = earlier, several
        self._linked = set[tuple[int, int]]()
        self.size = 0

    def add(self, entry: os.DirEntry[str]) -> bool:
        """Count an entry that is no folder; return whether it must be copied instead of linked."""
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return True  # the file may come back
        if self._earlier is not None and status.st_nlink == 1 and self._earlier.find(entry.name, status) is not None:
            return False
        self.size += self._content(status)
        return True

    def _content(self, status: os.stat_result) -> int:
        """Return the bytes that a file's content needs; 0 if another name of it was counted."""
        if not stat.S_ISREG(status.st_mode):
            return 0
        key = status.st_dev, status.st_ino
        if status.st_nlink > 1 and (self._several is None or key in self._several):
            if key in self._linked:
                return 0
            self._linked.add(key)
        return min(status.st_size, status.st_blocks * 512) if has_holes(status) else status.st_size


def left_out_of(top: str, paths: Collection[Path]) -> frozenset[str]:
    """Return the relative paths that are not copied: these, and our own folder in the root and in mounts below."""
    given = [os.path.realpath(path.parent) + "/" + path.name for path in paths]
    ours = [f"{folder}/{HOME}" for folder in (top, *mounted_below(top))]
    return frozenset(path[len(top) + 1 :] for path in (*given, *ours) if path.startswith(f"{top}/"))
