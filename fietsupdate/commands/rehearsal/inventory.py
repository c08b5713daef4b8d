"""Sorted lists of the content of a tree, so that two of them can be compared with constant memory.

A file's content is read only if its time of status change (ctime), which no program can set, says that the file was
touched: a comparison reads every name, and the content of changed files.
"""

from __future__ import annotations

import heapq
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.layout import HOME
from fietsupdate.filesystem.posix.metadata import read_xattrs
from fietsupdate.filesystem.tree_copy import digest

CHUNK = 20_000
"""The most records in memory."""
READ = 1 << 18
"""The bytes of a sorted run that are read at once."""


class Difference(NamedTuple):
    """A path that has changed."""

    how: str
    """``added``, ``changed`` or ``removed``; ``time`` if only the time of change differs."""
    record: FileRecord
    """The present file or, if it is gone, the former one."""


class Inventory:
    """The content of some trees, kept on disk in sorted form. To be closed in the end.

    Args:
        folder: Takes the temporary files, which have no name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: list[FileRecord] = []
        self._runs: list[IO[bytes]] = []
        self.count = 0

    def add(self, record: FileRecord) -> None:
        """Add a file, folder or link."""
        self._waiting.append(record)
        self.count += 1
        if len(self._waiting) >= CHUNK:
            self._spill()

    def __iter__(self) -> Iterator[FileRecord]:
        """Yield all records, sorted."""
        self._spill()
        return heapq.merge(*(_read(run) for run in self._runs), key=_key)

    def close(self) -> None:
        """Remove all records."""
        for run in self._runs:
            run.close()
        self._runs.clear()

    def _spill(self) -> None:
        if not self._waiting:
            return
        run = tempfile.TemporaryFile("w+b", dir=self._folder)  # noqa: SIM115  # closed by `close`
        self._runs.append(run)
        run.writelines(f"{record.to_json()}\n".encode("ascii") for record in sorted(self._waiting, key=_key))
        self._waiting.clear()


def differences(
    before: Iterable[FileRecord], roots: Mapping[str, Path], since_ns: int, *, leave_out: Iterable[Path] = ()
) -> Iterator[Difference]:
    """Compare the present content of some trees with a former one.

    Args:
        before: The former content, sorted.
        roots: The present trees, by name.
        since_ns: A ctime; no file with an earlier one has been touched.
        leave_out: Absolute paths that are not compared.
    """
    ignored = frozenset(str(path) for path in leave_out)
    then, now = iter(before), _walk(roots, ignored)
    old, new = next(then, None), next(now, None)
    while old is not None or new is not None:
        if new is None or (old is not None and _key(old) < _key(new[0])):
            assert old is not None  # noqa: S101  # for the type checker: one of both is there
            if f"{roots[old.root]}/{old.path}" not in ignored:
                yield Difference("removed", _plain(old))
            old = next(then, None)
        elif old is None or _key(new[0]) < _key(old):
            yield Difference("added", new[0])
            new = next(now, None)
        else:
            if new[1] >= since_ns:
                yield from _compared(old, new[0], roots)
            old, new = next(then, None), next(now, None)


class Taken(NamedTuple):
    """The space and the number of files of some trees."""

    occupied: int = 0
    """The bytes on disk, including our own folders."""
    written: int = 0
    """The bytes of content of the files that were touched since a given time, without our own."""
    inodes: int = 0
    """The number of those files and links; folders are not counted."""


def taken(roots: Iterable[Path], since_ns: int) -> Taken:
    """Measure all content of some trees; every inode counts once.

    Args:
        roots: The trees.
        since_ns: A ctime; a file with this one or a later one was touched.
    """
    counted: set[tuple[int, int]] = set()
    occupied = written = inodes = 0
    for root in roots:
        ours = os.path.join(root, HOME)
        for folder, _, names in os.walk(root):
            is_ours = f"{folder}/".startswith(f"{ours}/")
            for name in ("", *names):
                try:
                    status = os.lstat(os.path.join(folder, name))
                except FileNotFoundError:
                    continue
                is_folder = stat.S_ISDIR(status.st_mode)
                if status.st_nlink > 1 and not is_folder:
                    if (status.st_dev, status.st_ino) in counted:
                        continue
                    counted.add((status.st_dev, status.st_ino))
                occupied += status.st_blocks * 512
                if status.st_ctime_ns >= since_ns and not is_folder and not is_ours:
                    inodes += 1
                    written += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return Taken(occupied, written, inodes)


def _compared(old: FileRecord, new: FileRecord, roots: Mapping[str, Path]) -> Iterator[Difference]:
    path = f"{roots[new.root]}/{new.path}" if new.path else str(roots[new.root])
    full = new._replace(xattrs=read_xattrs(path), sha256=digest(Path(path)) if new.kind == "file" else "")
    plain = _plain(old)
    if full._replace(mtime_ns=0) != plain._replace(mtime_ns=0):
        yield Difference("changed", full)
    elif full.kind == "file" and full.mtime_ns != plain.mtime_ns:
        yield Difference("time", full)


def _plain(record: FileRecord) -> FileRecord:
    return record._replace(kind="file", target="") if record.kind == "hardlink" else record


def _walk(roots: Mapping[str, Path], ignored: frozenset[str]) -> Iterator[tuple[FileRecord, int]]:
    """Yield the content of the trees, sorted, each with its ctime; neither contents nor attributes are read."""
    for root in sorted(roots):
        top = str(roots[root])
        yield _record_of(root, "", top)
        yield from _below(root, "", top, ignored)


def _below(root: str, folder: str, path: str, ignored: frozenset[str]) -> Iterator[tuple[FileRecord, int]]:
    for name in sorted(os.listdir(path)):
        inside, below = f"{path}/{name}", f"{folder}/{name}" if folder else name
        if inside in ignored or (not folder and name == HOME):
            continue
        entries = _record_of(root, below, inside)
        yield entries
        if entries[0].kind == "folder":
            yield from _below(root, below, inside, ignored)


def _record_of(root: str, path: str, absolute: str) -> tuple[FileRecord, int]:
    status = os.lstat(absolute)
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}.get(
        stat.S_IFMT(status.st_mode), "other"
    )
    record = FileRecord(
        root,
        path,
        kind,
        status.st_size if kind == "file" else 0,
        "",
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        target=os.readlink(absolute) if kind == "link" else "",
    )
    return record, status.st_ctime_ns


def _read(run: IO[bytes]) -> Iterator[FileRecord]:
    """Read a run from its beginning; several readers may be at work, since each keeps a position of its own."""
    place = 0
    while True:
        run.seek(place)
        lines = run.readlines(READ)
        place = run.tell()
        if not lines:
            return
        yield from (FileRecord.from_json(line.decode("ascii")) for line in lines)


def _key(record: FileRecord) -> tuple[str, list[str]]:
    """Return the sort key that puts records in the order of a walk: a folder before its content."""
    return record.root, record.path.split("/") if record.path else []
