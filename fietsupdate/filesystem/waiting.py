"""Collects changes that will be made together, and makes those that need a record each."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar, TypeVarTuple

from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.paths import PathError
from fietsupdate.filesystem.posix import durable

BATCH = 4000
"""The number of items that are made together."""

T = TypeVar("T")
Item = TypeVarTuple("Item")
Folders = dict[str, str]
"""As for `Paths.resolve_entry`."""


class Waiting(Generic[T]):
    """Items that will be made together: after some thousand, before an error is raised, and at the end."""

    def __init__(self, make: Callable[[list[T]], None]) -> None:
        self._make = make
        self._items: list[T] = []

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: T) -> None:
        """Add an item; a full batch is made at once."""
        self._items.append(item)
        if len(self._items) == BATCH:
            self.make()

    def make(self) -> None:
        """Make the waiting items now."""
        items, self._items = self._items, []
        self._make(items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self.make()


class RecordBatch:
    """Records of changes that are independent of each other, and of the folders that they need."""

    def __init__(self, changes: Changes, parents: Callable[[str], list[Record]]) -> None:
        self._changes = changes
        self._parents = parents
        self._begin()

    def _begin(self) -> None:
        self._folders: dict[str, Record] = {}
        self._records: list[Record] = []
        self._names: set[str] = set()
        self._known: set[str] = set()
        """Folders that exist, or will exist."""

    def touches(self, record: Record) -> bool:
        """Return whether a name of this record is one of the batch's."""
        return not self._names.isdisjoint(record.names())

    def add(self, record: Record) -> None:
        """Add a record that the batch does not touch."""
        target = record.other if record.do is Do.MOVE else record.path
        folder = target.rpartition("/")[0]
        if folder not in self._known:
            self._known.add(folder)
            self._folders.update((parent.path, parent) for parent in self._parents(target))
        self._names.update(record.names())
        self._records.append(record)

    def make(self) -> int:
        """Make the changes, and start a new batch; return how many were made, as `Changes.make_many` does."""
        folders, records = [*self._folders.values()], self._records
        self._begin()
        if not records:
            return 0
        durable.sync_many(self._changes.absolute(record, record.draft) for record in records if record.draft)
        return self._changes.make_many(folders, records)


def attempt(
    record_of: Callable[[Folders, *Item], Record | None], folders: Folders, item: tuple[*Item]
) -> Record | None:
    """Return the record of an item; ``None`` if that fails, so that the single verb raises the reason."""
    try:
        return record_of(folders, *item)
    except (OSError, PathError):
        return None
