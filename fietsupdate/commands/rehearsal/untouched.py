"""Find out whether trees are unchanged, by the status of everything in them; contents are not read.

No program can change a file, or its name, without changing a status (size, inode, times, mode, owner): the time of
status change (ctime) cannot be set. Sums over the trees are compared; if they differ, the changed paths are those with
a later ctime, so that no list has to be kept.
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
"""How far the clock of a file system may be behind: Linux advances it at least a hundred times a second."""
MOST_NAMES = 10
"""The most paths that are named."""
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class TreeSnapshot:
    """A sum over some trees and files at one moment."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]
    left_out: frozenset[str]
    count: int
    """The number of files, folders and links."""
    total: int
    since_ns: int
    """A ctime; every later change has a later one."""

    @classmethod
    def take(cls, folders: Collection[Path], files: Collection[Path], left_out: Collection[Path]) -> TreeSnapshot:
        """Record the state of the trees.

        Args:
            folders: The roots; our own folder in them is left out, except for the ledger.
            files: Single files, which may be missing.
            left_out: Absolute paths that are not compared.
        """
        since_ns = time.time_ns() - SLACK_NS
        ignored = frozenset(map(str, left_out))
        count = total = 0
        for path, status in _all(folders, files, ignored):
            count += 1
            total += hash((path, *_told(status)))
        return cls(tuple(folders), tuple(files), ignored, count, total & _MASK, since_ns)

    def changed(self) -> tuple[str, ...]:
        """Return the paths that have changed since; () if none has.

        An added or removed path is reported as its folder.
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
    """Yield every compared path with its status; a missing single file has none."""
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
