"""Make the changes in columns, and undo them.

Each folder is opened once. Files that are exactly as the transaction left them are undone the short way; every other
file is left to `fietsupdate.filesystem.journal.undo`, as a separate record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.journal.columns import Columns, Group, Looks
from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.journal.undone import Undone
from fietsupdate.filesystem.paths import Paths
from fietsupdate.filesystem.posix import metadata
from fietsupdate.filesystem.posix.folders import Folders, Opened
from fietsupdate.filesystem.posix.metadata import Seen
from fietsupdate.filesystem.posix.rename import renaming

Short = Callable[[str, str, int], bool]
"""Undoes one change, given both names and its number; returns False if the file has changed since the transaction."""


def make(columns: Columns, paths: Paths, folders: Folders) -> None:
    """Make all changes, or none.

    Raises:
        OSError: A change could not be made; those before it are taken back, and the drafts are in their former places.
        FilesError: Not all changes could be taken back.
    """
    made: list[tuple[Group, int]] = []
    try:
        for group in columns.groups:
            rename = _renaming(group, paths, folders)
            made.append((group, 0))
            for number, (name, other) in enumerate(zip(group.names, group.others, strict=True)):
                made[-1] = group, number
                rename(name, other)
            made[-1] = group, len(group)
    except OSError as error:
        _take_back(made, paths, folders, error)
        raise


def _take_back(made: Sequence[tuple[Group, int]], paths: Paths, folders: Folders, cause: OSError) -> None:
    try:
        for group, count in reversed(made):
            back = _renaming(group, paths, folders, back=True)
            for number in range(count - 1, -1, -1):
                back(group.others[number], group.names[number])
    except OSError as error:
        raise FilesError(f"{cause}. What was done before that could not be taken back: {error}.") from cause


def _renaming(group: Group, paths: Paths, folders: Folders, *, back: bool = False) -> Callable[[str, str], None]:
    source, target = folders.pair(paths.absolute(group.folder), paths.absolute(group.other))
    return renaming(*((target, source) if back else (source, target)), exchange=group.do is Do.REPLACE)


def undo(
    columns: Columns,
    paths: Paths,
    folders: Folders,
    *,
    one: Callable[[Record], Undone],
    set_aside: bool = False,
) -> Undone:
    """Undo the changes, last to first, whichever of them were made or are undone already (invariant 3).

    Args:
        columns: The changes.
        paths: Of their root.
        folders: Opens folders.
        one: Undoes one change that is not as the transaction left it.
        set_aside: Whether files that the transaction created go to ``found``, instead of being deleted.
    """
    told: list[Undone] = []
    for group in reversed(columns.groups):
        left = len(group)
        is_short = not (set_aside and group.do in {Do.CREATE, Do.REPLACE})
        while left:
            left = _undo_shortly(group, left, paths, folders) if is_short else left
            if left:  # afterwards the folders are opened again
                left -= 1
                told.append(one(columns.record(group, left)))
    return Undone(*(tuple(each for undone in told for each in undone[kind]) for kind in range(3)))  # type: ignore[arg-type]  # the fields of each, side by side


def _undo_shortly(group: Group, left: int, paths: Paths, folders: Folders) -> int:
    """Undo the first changes of a group, last to first; return how many are left when one needs the long way."""
    try:
        short = _short(group, *folders.pair(paths.absolute(group.folder), paths.absolute(group.other)))
        for number in range(left - 1, -1, -1):
            if not short(group.names[number], group.others[number], number):
                return number + 1
            left = number
    except OSError:
        return left
    return 0


def _short(group: Group, source: Opened, target: Opened) -> Short:
    match group.do:
        case Do.CREATE:
            return _unlinking(group.looks, target)
        case Do.REPLACE:
            return _putting_back(group, source, target)
    return _renaming_back(group.looks, source, target, is_kept=group.do is Do.REMOVE)


def _renaming_back(looks: Looks, source: Opened, target: Opened, *, is_kept: bool) -> Short:
    back = renaming(target, source)

    def short(name: str, other: str, number: int) -> bool:
        try:
            status = os.stat(other, dir_fd=target.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return not is_kept  # never made, or undone already; files that are missing from the vault must be searched
        if not metadata.is_file(status, looks, number):
            return False
        back(other, name)
        return True

    return short


def _unlinking(looks: Looks, target: Opened) -> Short:
    def short(_: str, other: str, number: int) -> bool:
        try:
            status = os.stat(other, dir_fd=target.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return True
        if not metadata.is_file(status, looks, number):
            return False
        os.unlink(other, dir_fd=target.descriptor)
        return True

    return short


def _putting_back(group: Group, source: Opened, target: Opened) -> Short:
    old = group.old
    assert old is not None  # noqa: S101  # `Group.of` has checked it

    def short(name: str, other: str, number: int) -> bool:
        try:
            draft = os.stat(name, dir_fd=source.descriptor, follow_symlinks=False)
            here = os.stat(other, dir_fd=target.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not (metadata.is_file(draft, old, number) and metadata.is_file(here, group.looks, number)):
            return False
        os.rename(name, other, src_dir_fd=source.descriptor, dst_dir_fd=target.descriptor)
        return True

    return short


class Changed(NamedTuple):
    """A file of a group that has changed since it was put there."""

    record: Record
    now: Seen


def changed(columns: Columns, roots: Mapping[str, Paths], folders: Folders) -> Iterator[Changed]:
    """Yield the new files in columns that exist, but have changed since they were put there."""
    paths = roots[columns.root]
    for group in columns.groups:
        if group.do not in {Do.CREATE, Do.REPLACE}:
            continue
        for number in _changed(group, paths, folders):
            record = columns.record(group, number)
            now = metadata.seen_below(folders, paths.absolute(record.path))
            if now is not None and now.kind == "file" and not now.is_same(record.now):
                yield Changed(record, now)


def _changed(group: Group, paths: Paths, folders: Folders) -> list[int]:
    """Return the numbers of the files that may have changed."""
    numbers = range(len(group))
    try:
        descriptor = folders.descriptor(paths.absolute(group.other))
    except OSError:
        return []  # the folder is gone, and the files with it
    found = []
    for number in numbers:
        try:
            status = os.stat(group.others[number], dir_fd=descriptor, follow_symlinks=False)
        except OSError:
            continue
        if not metadata.is_file(status, group.looks, number):
            found.append(number)
    return found
