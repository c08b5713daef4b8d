"""Finds out whether trees are what they were, by the status of everything in them; contents are not read.

Nobody can change a file, or its name, without changing a status (size, inode, times, mode, owner): the time of status
change (ctime) cannot be set. What a tree adds up to is compared; the names of what is different are those whose ctime
is later, so that no list has to be kept.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from fietsupdate.filesystem.layout import HOME, ledger_file

SLACK_NS = 20_000_000
"""The clock of a file system may be behind by so much: Linux moves it a hundred times a second, or more often."""
MOST_NAMES = 10
"""So many paths are named."""
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class TreeSnapshot:
    """What some trees and files added up to at one moment."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    left_out: frozenset[str]
    count: int
    """Files, folders and links."""
    total: int
    since_ns: int
    """A ctime; what was changed later has a later one."""

    @classmethod
    def take(cls, folders: Collection[Path], files: Collection[Path], left_out: Collection[Path]) -> TreeSnapshot:
        """Look at everything.

        Args:
            folders: The roots; what is ours in them is left out, but for the ledger.
            files: Single files, there or not.
            left_out: Absolute paths that do not matter.
        """
        since_ns = time.time_ns() - SLACK_NS
        ignored = frozenset(map(str, left_out))
        count = total = 0
        for path, status in _all(folders, files, ignored):
            count += 1
            total += hash((path, *_told(status)))
        return cls(tuple(folders), tuple(files), ignored, count, total & _MASK, since_ns)

    def changed(self) -> tuple[str, ...]:
        """Look again, and name what is another one now; nothing where all is as it was.

        What came or went is named by the folder in which it did.
        """
        again = TreeSnapshot.take(self.folders, self.files, [Path(path) for path in self.left_out])
        if (again.count, again.total) == (self.count, self.total):
            return ()
        names = [
            path
            for path, status in _all(self.folders, self.files, self.left_out)
            if status is not None and status.st_ctime_ns >= self.since_ns
        ]
        gone = [str(path) for path in self.folders if not path.is_dir()]
        return _shortened([*gone, *dict.fromkeys(names)]) or (f"something in {self.folders[0]}",)


def _shortened(names: list[str]) -> tuple[str, ...]:
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return (*names[:MOST_NAMES], *more)


def _told(status: os.stat_result | None) -> tuple[int, ...]:
    if status is None:
        return ()
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    who = status.st_mode, status.st_uid, status.st_gid
    return (status.st_dev, status.st_ino, *who, size, status.st_mtime_ns, status.st_ctime_ns)


def _all(
    folders: Collection[Path], files: Collection[Path], ignored: Collection[str]
) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield every path that is looked at, with its status; a single file that is not there has none."""
    for folder in folders:
        yield str(folder), _status(str(folder))
        yield from _below(str(folder), ignored)
        yield str(ledger_file(folder)), _status(str(ledger_file(folder)))
    for file in files:
        yield str(file), _status(str(file))


def _below(top: str, ignored: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            entries = os.scandir(folder)
        except FileNotFoundError:
            continue
        with entries:
            for entry in entries:
                if entry.path in ignored or (folder == top and entry.name == HOME):
                    continue
                status = _status(entry.path)
                if status is None:
                    continue
                yield entry.path, status
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(entry.path)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
