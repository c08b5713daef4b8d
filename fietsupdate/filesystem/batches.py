"""Collect the arguments of verbs for many files into columns: folders are inspected once, names as whole sets.

Only plain files with one name each, in folders that exist or can be made, are collected. If anything else is among
them, the whole batch is left to the verbs that make one change at a time, and that report what is wrong with it.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import NamedTuple, Self

from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.columns import NO_NAMES, Columns, Group, Looks
from fietsupdate.filesystem.journal.record import Do, Record, folder_of
from fietsupdate.filesystem.paths import PathError
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.folders import Opened, Slot, by_proc, open_real
from fietsupdate.filesystem.posix.identity import user
from fietsupdate.filesystem.posix.inheritance import passes_on
from fietsupdate.filesystem.posix.metadata import Meta, read_xattrs
from fietsupdate.filesystem.posix.ownership import give_owner
from fietsupdate.filesystem.posix.rename import NEW, opened

LEAST = 64
"""The fewest changes that are worth the sync which separates columns from the records before and after."""
_SURPRISES = 3
"""The number of batches that may be taken back before no more are tried."""

Parents = Callable[[str], list[Record]]
Name = str | os.PathLike[str]
Named = dict[tuple[str, str], tuple[list[str], list[str]]]
"""Names and other names, by the folders that they are in."""


_LISTED = 8
"""The entries of a folder that are listed at most for each name that is searched in it."""
_NAMES = 1000
"""The number of names for drafts that are reserved at once."""


class BatchResult(enum.Enum):
    """The result of a batch."""

    MADE = enum.auto()
    UNFIT = enum.auto()
    """Nothing was recorded."""
    TAKEN_BACK = enum.auto()
    """The batch was recorded, but not all of it could be made, so nothing is. Its drafts must stay where they are."""


class QuickDraft(NamedTuple):
    """A new file that waits for its place, and that no other code knows yet."""

    path: Name
    """The path in the script."""
    draft: str
    """The path of the draft below the root."""
    name: str
    """The last part of that path."""
    inode: int
    size: int
    mtime_ns: int


class _UnfitError(Exception):
    """Something in a batch cannot be written in columns."""


class Batches:
    """Makes batches of changes in one root, each as one record.

    Args:
        changes: Makes the changes of the transaction.
        root: Name of the root.
        parents: Returns the records that create the missing folders above a path.
    """

    def __init__(self, changes: Changes, root: str, parents: Parents) -> None:
        self._changes = changes
        self._root = root
        self._paths = changes.roots[root]
        self._parents = parents
        self._surprises = 0

    def fits(self, items: Sequence[object]) -> bool:
        """Return whether this many changes are worth a try."""
        return len(items) >= LEAST and self._surprises < _SURPRISES

    def move(self, items: Iterable[tuple[Name, Name]]) -> BatchResult:
        """Move files: all of them, or none."""
        return self._try(lambda: self._moves(items))

    def remove(self, items: Iterable[tuple[Name]]) -> BatchResult:
        """Remove files: all of them, or none."""
        return self._try(lambda: self._removals(items))

    def write(self, drafts: Sequence[QuickDraft], *, are_copies: bool = False) -> BatchResult:
        """Put drafts in their places: all of them, or none.

        Args:
            drafts: The drafts.
            are_copies: Whether they have their owners and modes already, and replace no file.
        """
        return self._try(lambda: self._writes(drafts, are_copies=are_copies), drafts)

    def _try(
        self, gather: Callable[[], tuple[list[Record], list[Group]]], drafts: Sequence[QuickDraft] = ()
    ) -> BatchResult:
        try:
            folders, groups = gather()
        except (_UnfitError, OSError, PathError, TypeError, ValueError):
            return BatchResult.UNFIT
        of_each_device = {folder_of(draft.draft): draft for draft in drafts}.values()
        unsynced = [self._paths.absolute(draft.draft) for draft in (*drafts[: durable.MANY], *of_each_device)]
        if self._changes.make_columns(folders, Columns(self._root, tuple(groups)), unsynced):
            return BatchResult.MADE
        self._surprises += 1
        return BatchResult.TAKEN_BACK

    def _moves(self, items: Iterable[tuple[Name, Name]]) -> tuple[list[Record], list[Group]]:
        named = Named()
        for source, destination in items:
            here, there = os.fspath(source), os.fspath(destination)
            name, other = here.rpartition("/")[2], there.rpartition("/")[2]
            folders = here[: len(here) - len(name)], there[: len(there) - len(other)]
            try:
                names, others = named[folders]
            except KeyError:
                names, others = named[folders] = [], []
            names.append(name)
            others.append(other)
        resolved = self._resolved({folder for folders in named for folder in folders})
        self._check_names(
            (resolved[folder], names)
            for folders, columns in named.items()
            for folder, names in zip(folders, columns, strict=True)
        )
        missing = self._missing({resolved[folders[1]] for folders in named})
        groups = []
        for (folder, other), (names, others) in named.items():
            here, there = resolved[folder], resolved[other]
            device, looks = self._look_at(here, names)
            if not missing and self._device(there) != device:
                raise _UnfitError
            groups.append(Group(Do.MOVE, here, there, names, others, looks))
        return missing, groups

    def _removals(self, items: Iterable[tuple[Name]]) -> tuple[list[Record], list[Group]]:
        named: dict[str, list[str]] = {}
        for (path,) in items:
            here = os.fspath(path)
            name = here.rpartition("/")[2]
            named.setdefault(here[: len(here) - len(name)], []).append(name)
        resolved = self._resolved(named)
        self._check_names((resolved[folder], names) for folder, names in named.items())
        groups = []
        for folder, names in named.items():
            here = resolved[folder]
            vault, numbers = self._changes.vaults.many(self._root, here, "vault", len(names))
            device, looks = self._look_at(here, names)
            if self._device(vault) != device:
                raise _UnfitError
            groups.append(Group(Do.REMOVE, here, vault, names, numbers, looks))
        return [], groups

    def _writes(self, drafts: Sequence[QuickDraft], *, are_copies: bool) -> tuple[list[Record], list[Group]]:
        named: dict[str, list[tuple[str, QuickDraft]]] = {}
        for draft in drafts:
            there = os.fspath(draft.path)
            name = there.rpartition("/")[2]
            named.setdefault(there[: len(there) - len(name)], []).append((name, draft))
        resolved = self._resolved(named)
        self._check_names((resolved[folder], [name for name, _ in items]) for folder, items in named.items())
        missing = self._missing(set(resolved.values()))
        groups = [
            group
            for folder, items in named.items()
            for group in self._put(resolved[folder], items, are_copies=are_copies)
        ]
        return missing, groups

    def _put(self, folder: str, items: Sequence[tuple[str, QuickDraft]], *, are_copies: bool) -> Iterator[Group]:
        """Set the attributes of drafts for a folder, and yield the groups that put them there."""
        nearest, home = folder, folder_of(items[0][1].draft)
        while nearest and self._changes.look_into(self._root, nearest) is None:
            nearest = folder_of(nearest)
        drafts, target = self._changes.folders.pair(self._paths.absolute(home), self._paths.absolute(nearest))
        like = os.fstat(target.descriptor)
        inherits = not are_copies and passes_on(target.descriptor)
        if inherits or like.st_dev != os.fstat(drafts.descriptor).st_dev:
            raise _UnfitError
        there = _statuses(target, [name for name, _ in items]) if nearest == folder else {}
        new = [item for item in items if item[0] not in there]
        if not are_copies and user() == 0 and (like.st_uid or like.st_gid):
            for _, draft in new:
                give_owner(Slot(draft.name, drafts.descriptor, draft.draft), like)
        if new:
            yield _group(Do.CREATE, home, folder, new)
        if are_copies and there:
            raise _UnfitError
        if replaced := [item for item in items if item[0] in there]:
            dress = _dressing(drafts, target, replaced[0][1].name)
            for name, draft in replaced:
                dress(draft.name, name, there[name])
            old = [there[name] for name, _ in replaced]
            looks = ([one.st_ino for one in old], [one.st_size for one in old], [one.st_mtime_ns for one in old])
            yield _group(Do.REPLACE, home, folder, replaced, looks)

    def _resolved(self, folders: Iterable[str]) -> dict[str, str]:
        """Return the canonical paths of folders as scripts give them, each with its last slash, or ""."""
        found = {}
        for folder in folders:
            if folder == "/":
                raise _UnfitError
            found[folder] = self._paths.resolve(folder[:-1], opened=self._changes.folders) if folder else ""
        return found

    def _check_names(self, named: Iterable[tuple[str, list[str]]]) -> None:
        """Check that no name occurs twice, and that scripts may change all of them."""
        columns: dict[str, list[list[str]]] = {}
        for folder, names in named:
            columns.setdefault(folder, []).append(names)
        for folder, lists in columns.items():
            together = frozenset(chain(*lists))
            if len(together) != sum(map(len, lists)) or "\0" in "".join(together):
                raise _UnfitError
            if not together.isdisjoint(NO_NAMES) or not together.isdisjoint(self._paths.kept_out_in(folder)):
                raise _UnfitError

    def _missing(self, folders: Iterable[str]) -> list[Record]:
        """Return the records that create the missing ones of some folders, outermost first."""
        missing: dict[str, Record] = {}
        for folder in folders:
            if folder and self._changes.look_into(self._root, folder) is None:
                missing.update((parent.path, parent) for parent in self._parents(f"{folder}/x"))
        return list(missing.values())

    def _look_at(self, folder: str, names: Iterable[str]) -> tuple[int, Looks]:
        """Return the device of a folder, and the attributes of its files."""
        descriptor = self._changes.folders.descriptor(self._paths.absolute(folder))
        device = os.fstat(descriptor).st_dev
        inodes, sizes, times = list[int](), list[int](), list[int]()
        for name in names:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            # undoing a move to a second name of the same file would delete that
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_dev != device:
                raise _UnfitError
            inodes.append(status.st_ino)
            sizes.append(status.st_size)
            times.append(status.st_mtime_ns)
        return device, (inodes, sizes, times)

    def _device(self, folder: str) -> int:
        return os.fstat(self._changes.folders.descriptor(self._paths.absolute(folder))).st_dev


def _group(do: Do, home: str, folder: str, items: Sequence[tuple[str, QuickDraft]], old: Looks | None = None) -> Group:
    drafts = [draft for _, draft in items]
    looks = [draft.inode for draft in drafts], [draft.size for draft in drafts], [draft.mtime_ns for draft in drafts]
    return Group(do, home, folder, [draft.name for draft in drafts], [name for name, _ in items], looks, old)


def _statuses(folder: Opened, names: Sequence[str]) -> dict[str, os.stat_result]:
    """Return the status of each existing one of some files; each must be a plain file with one name."""
    device, found = os.fstat(folder.descriptor).st_dev, {}
    for name in _present(folder, names):
        with suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_dev != device:
                raise _UnfitError
            found[name] = status
    return found


def _present(folder: Opened, names: Sequence[str]) -> Iterable[str]:
    """Return the names that may exist in a folder: listing a small folder costs less than searching each name."""
    listed = set()
    with opened(folder.path) as descriptor, os.scandir(descriptor) as entries:
        for entry in islice(entries, _LISTED * len(names) + 1):
            listed.add(entry.name)
    return names if len(listed) > _LISTED * len(names) else listed.intersection(names)


def _dressing(drafts: Opened, target: Opened, first: str) -> Callable[[str, str, os.stat_result], None]:
    """Return a function that gives a draft the mode, owner and attributes of the file that it replaces.

    Args:
        drafts: The folder of the drafts.
        target: The folder of the files.
        first: One of the drafts; all of them have its mode and owner.
    """
    slot = Slot(first, drafts.descriptor, f"{drafts.path}/{first}")
    plain, attributes = Meta.of(slot), read_xattrs(by_proc(slot))

    def dress(draft: str, name: str, status: os.stat_result) -> None:
        here = Slot(name, target.descriptor, f"{target.path}/{name}")
        is_plain = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (plain.mode, plain.uid, plain.gid)
        if not is_plain or read_xattrs(by_proc(here)) != attributes:
            Meta.of(here).apply(Slot(draft, drafts.descriptor, f"{drafts.path}/{draft}"), time=False)

    return dress


class Drafting:
    """Writes drafts before their places are known. Its folder stays open for the whole verb."""

    def __init__(self, changes: Changes, root: str) -> None:
        self._changes = changes
        self._root = root
        self._names: list[str] = []
        self._home = ""
        self._folder = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)

    def write(self, path: Name, pour: Callable[[int], None]) -> QuickDraft:
        """Write one draft.

        Args:
            path: Where it shall stand.
            pour: Writes the content.
        """
        if not self._names:
            self._home, names = self._changes.vaults.many(self._root, "", "drafts", _NAMES)
            self._names = names[::-1]
        if self._folder < 0:
            self._folder = open_real(self._changes.roots[self._root].absolute(self._home))
        name = self._names.pop()
        descriptor = os.open(name, NEW | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=self._folder)
        try:
            pour(descriptor)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        return QuickDraft(path, f"{self._home}/{name}", name, status.st_ino, status.st_size, status.st_mtime_ns)
