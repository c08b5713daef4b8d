"""The verbs that change many files at once; `fietsupdate.filesystem.bulk` adds ``transform``.

Verbs for many files at once journal some thousand changes with one sync. Their result is always that of a loop over
the single verbs:

- A batch in which everything fits becomes one record (`fietsupdate.filesystem.batches`). What follows holds for others.
- Only changes of plain files share a batch, and no name is touched by two of them: before an item whose file an earlier
  item has touched, the waiting changes are made.
- All other changes (folders, symlinks, impossible ones) are left to the single verb, after the waiting changes are
  made. So are the items of a batch from the first failed change on: because of another file system, or a full disk.
- So when an item fails, or the iterable raises, everything before it is made, and neither it nor anything after it.
- Contents are durable before one of them is put in its place (invariant 4), and the vault's names before an old file is
  replaced (invariant 2), each with one sync for the batch.
- Items are taken as they are needed, and the script's own code (iterables, functions) never runs between the look at a
  file and its change. It is not marked as our own work, so that the guard journals its changes.

After an interrupt (`KeyboardInterrupt`) no waiting change is made.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from fietsupdate.filesystem.batches import Batches, BatchResult, Drafting, QuickDraft
from fietsupdate.filesystem.entries import check_replaceable
from fietsupdate.filesystem.files import Content, Files, Name, at_work, fill, pour
from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.record import Do, Record, folder_of
from fietsupdate.filesystem.paths import PathError
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.content import copy_content
from fietsupdate.filesystem.posix.inheritance import passes_on
from fietsupdate.filesystem.posix.metadata import Meta
from fietsupdate.filesystem.posix.rename import open_file
from fietsupdate.filesystem.waiting import Folders, Item, RecordBatch, Waiting, attempt


class ManyFiles(Files):
    """The files of one root, one at a time and many at once."""

    def __init__(self, changes: Changes, root: str) -> None:
        super().__init__(changes, root)
        self._batches = Batches(changes, root, self._parents)

    def move_many(self, pairs: Iterable[tuple[Name, Name]]) -> None:
        """Move as `move` does for each pair of a source and a destination, in their order."""
        with Waiting(self._move_waiting) as waiting:
            for source, destination in pairs:
                waiting.add((source, destination))

    def remove_many(self, paths: Iterable[Name]) -> None:
        """Remove as `remove` does for each path, in their order."""
        with Waiting(self._remove_waiting) as waiting:
            for path in paths:
                waiting.add((path,))

    def write_many(self, items: Iterable[tuple[Name, Content]]) -> None:
        """Write as `write` does for each pair of a path and its content, in their order.

        A content is written to a draft when it is taken, so it may be a stream that is closed before the next one is
        opened.
        """
        with Drafting(self._changes, self._root) as drafting, Waiting(self._put_quickly) as waiting:
            for path, content in items:
                waiting.add(self._quick_draft(drafting, path, content))

    def copy_many(self, pairs: Iterable[tuple[Name, Name]]) -> None:
        """Copy as `copy` does for each pair of a source and a destination, in their order.

        A content is copied when its pair is taken: blocks are shared where the file system can share them.
        """
        with Drafting(self._changes, self._root) as drafting, Waiting(self._put_copies) as waiting:
            for source, destination in pairs:
                draft = self._quick_copy(drafting, source, destination)
                if draft is None:
                    waiting.make()
                    draft = self._quick_copy(drafting, source, destination)  # it may be a copy that has waited
                if draft is None:
                    self.copy(source, destination)
                else:
                    waiting.add((draft, source))

    @at_work
    def _draft(self, path: Name, content: Content) -> tuple[str, str]:
        """Write a new file, and return its draft's name and its final name."""
        target, look = self._target(path)
        check_replaceable(look, target)
        self._changes.check_process()
        name = self._changes.draft(self._root, target)
        with open(self._create(name, target, look), "wb") as file:
            fill(file, content)
        return name, target

    @at_work
    def _quick_draft(self, drafting: Drafting, path: Name, content: Content) -> QuickDraft:
        self._changes.check_process()
        return drafting.write(path, functools.partial(pour, content))

    @at_work
    def _redraft(self, draft: QuickDraft, *, is_used: bool) -> tuple[str, str]:
        """Return a draft, and the name that it shall take, for a batch that does not take quick ones.

        Args:
            draft: The quick one.
            is_used: Whether a record names it, and it has to stay.
        """
        target, look = self._target(draft.path)
        check_replaceable(look, target)
        is_near = folder_of(self._changes.draft(self._root, target)) == folder_of(draft.draft)
        if is_near and not is_used and (look is not None or not passes_on(self._nearest(target))):
            return draft.draft, target
        with open(open_file(self._slot(draft.draft)), "rb") as content:
            return self._draft(draft.path, content)

    @at_work
    def _quick_copy(self, drafting: Drafting, source: Name, destination: Name) -> QuickDraft | None:
        """Copy a plain file to where it waits for its place; None for everything else."""
        self._changes.check_process()
        with suppress(OSError, PathError):
            here = self._entry(source)
            if self._look(here).kind == "file":
                with open(open_file(self._slot(here)), "rb") as reader:
                    draft = drafting.write(destination, functools.partial(copy_content, reader.fileno()))
                Meta.of(self._slot(here)).apply(self._slot(draft.draft))
                return draft._replace(mtime_ns=self._look(draft.draft).mtime_ns)
        return None

    # -- making the waiting changes

    @at_work
    def _put_copies(self, items: list[tuple[QuickDraft, Name]]) -> None:
        drafts = [draft for draft, _ in items]
        outcome = self._batches.write(drafts, are_copies=True) if self._batches.fits(drafts) else BatchResult.UNFIT
        if outcome is BatchResult.UNFIT:
            self._make([(draft,) for draft in drafts], self._copy_record, self._put_copy)
        elif outcome is BatchResult.TAKEN_BACK:
            for draft, source in items:
                self.copy(source, draft.path)

    def _copy_record(self, folders: Folders, draft: QuickDraft) -> Record | None:
        there = self._entry(draft.path, folders)
        if self._changes.look(self._root, there) is not None:
            return None
        return Record(Do.CREATE, self._root, there, draft=draft.draft, now=self._look(draft.draft))

    def _put_copy(self, draft: QuickDraft) -> None:
        there = self._free(draft.path)
        durable.sync_path(self._paths.absolute(draft.draft))
        self._settle(draft.draft, there, None, self._parents(there))

    @at_work
    def _put_quickly(self, items: list[QuickDraft]) -> None:
        outcome = self._batches.write(items) if self._batches.fits(items) else BatchResult.UNFIT
        if outcome is not BatchResult.MADE:
            with Waiting(self._put_waiting) as waiting:
                for item in items:
                    waiting.add(self._redraft(item, is_used=outcome is BatchResult.TAKEN_BACK))

    @at_work
    def _move_waiting(self, items: list[tuple[Name, Name]]) -> None:
        if self._batches.fits(items) and self._batches.move(items) is BatchResult.MADE:
            return
        self._make(items, self._move_record, self.move)

    @at_work
    def _remove_waiting(self, items: list[tuple[Name]]) -> None:
        if self._batches.fits(items) and self._batches.remove(items) is BatchResult.MADE:
            return
        self._make(items, self._remove_record, self.remove)

    @at_work
    def _put_waiting(self, items: list[tuple[str, str]]) -> None:
        self._make(items, self._put_record, self._put_one)

    def _make(
        self,
        items: Sequence[tuple[*Item]],
        record_of: Callable[[Folders, *Item], Record | None],
        single: Callable[[*Item], None],
    ) -> None:
        """Make changes in their order, in as few batches as possible.

        Args:
            items: The arguments for each change.
            record_of: Returns the record of a change that may be in a batch, and caches what it finds out about
                folders.
            single: Makes one change of any kind, or raises the reason why it is impossible.
        """
        batch, folders = RecordBatch(self._changes, self._parents), Folders()
        waiting: list[tuple[*Item]] = []

        def make() -> None:
            for item in waiting[batch.make() :]:
                single(*item)
            waiting.clear()
            folders.clear()

        for item in items:
            record = attempt(record_of, folders, item)
            if record is None or batch.touches(record):
                make()
                record = attempt(record_of, folders, item)  # it may depend on changes that are made now
            if record is None:
                single(*item)
                folders.clear()
            else:
                waiting.append(item)
                batch.add(record)
        make()

    def _move_record(self, folders: Folders, source: Name, destination: Name) -> Record | None:
        here, there = self._entry(source, folders), self._entry(destination, folders)
        was = self._changes.look(self._root, here)
        if was is None or was.kind != "file" or self._changes.look(self._root, there) is not None:
            return None  # undoing a move to a second name of the same file would delete that name
        return Record(Do.MOVE, self._root, here, there, was=was)

    def _remove_record(self, folders: Folders, path: Name) -> Record | None:
        here = self._entry(path, folders)
        was = self._changes.look(self._root, here)
        if was is None or was.kind != "file":
            return None
        return Record(Do.REMOVE, self._root, here, vault=self._changes.vault(self._root, here), was=was)

    def _put_record(self, _: Folders, draft: str, target: str) -> Record:
        was = self._dress(draft, target)[0]
        now = self._look(draft)
        if was is None:
            return Record(Do.CREATE, self._root, target, draft=draft, now=now)
        vault = self._changes.vault(self._root, target)
        return Record(Do.REPLACE, self._root, target, draft=draft, vault=vault, was=was, now=now)

    def _put_one(self, draft: str, target: str) -> None:
        look, parents = self._dress(draft, target)
        durable.sync_path(self._paths.absolute(draft))
        self._settle(draft, target, look, parents)
