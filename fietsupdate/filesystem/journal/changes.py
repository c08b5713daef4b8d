"""Make changes: each batch of undo records first becomes durable, then its changes are carried out.

A record contains everything that is needed to carry it out. So files are changed in one place, here, and changed back
in one place, `fietsupdate.filesystem.journal.undo`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.journal import column_effects
from fietsupdate.filesystem.journal.barrier import Barrier
from fietsupdate.filesystem.journal.columns import Columns
from fietsupdate.filesystem.journal.effects import carry_out, carry_out_saved, save
from fietsupdate.filesystem.journal.folder_times import FolderTimes
from fietsupdate.filesystem.journal.journal import Journal
from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.journal.signatures import CreatedFiles
from fietsupdate.filesystem.journal.undo import undo
from fietsupdate.filesystem.journal.undone import Undone
from fietsupdate.filesystem.journal.vaults import Vaults, prepare_folder
from fietsupdate.filesystem.journal.watch import GuardChannel, Staging
from fietsupdate.filesystem.layout import make_home
from fietsupdate.filesystem.paths import Paths
from fietsupdate.filesystem.posix import durable, mounts
from fietsupdate.filesystem.posix.folders import Folders, Slot
from fietsupdate.filesystem.posix.metadata import NOT_THERE, Seen, seen, seen_below, seen_in


def _unknown(_: Record, __: Seen) -> bool:
    return False


class Changes:
    """Makes the changes of one transaction, in all its roots.

    Args:
        txn: The transaction's UUID.
        journal: The journal for the undo records.
        roots: The paths of each root, by name; "" is the data directory.
    """

    def __init__(self, txn: str, journal: Journal, roots: Mapping[str, Paths]) -> None:
        self.txn = txn
        self.journal = journal
        self.roots = roots
        self.barrier = Barrier()
        self.own = CreatedFiles(self.look)
        self.lock = threading.RLock()
        self.is_sealed = False
        self.before_change: Callable[[], object] = tuple
        """Called before each change; raises when nothing may be changed any more."""
        self.watch = GuardChannel()
        self.staging = Staging()
        self._pid = os.getpid()
        self.vaults = Vaults(txn, roots, journal)
        self._times = FolderTimes(self.look_into)
        self.folders = Folders()
        self._work = _Work(self.folders)

    def check_process(self) -> None:
        """Refuse a forked child: the transaction belongs to the process that began it.

        Raises:
            FilesError: This is another process.
        """
        if not self.is_own_process:
            raise FilesError(
                f"Process {os.getpid()} was forked from {self._pid}, which alone may change files in its transaction.",
                hint="Let the child processes compute, and change the files in the process that runs the hook.",
            )

    @property
    def is_own_process(self) -> bool:
        """Whether this is the process that began the transaction, and not a child that was forked from it."""
        return os.getpid() == self._pid

    @property
    def is_at_work(self) -> bool:
        """Whether this thread is inside of a verb, or of the guard's own work."""
        return self._work.depth > 0

    def at_work(self) -> _Work:
        """Mark this thread's file calls as our own, so that the guard does not journal them.

        At the end its folders are closed.
        """
        return self._work

    def absolute(self, record: Record | Columns, path: str | None = None) -> str:
        """Return the absolute path of a record's path, or of another path in its root."""
        return self.roots[record.root].absolute(record.path if path is None else path)

    def slot(self, root: str, path: str) -> Slot:
        """Open the folder of a path without following symlinks (invariant 12).

        Raises:
            OSError: ELOOP or ENOTDIR: the path has changed, a symlink or file has replaced a folder.
        """
        return self.folders.slot(self.roots[root].absolute(path))

    def look(self, root: str, path: str) -> Seen | None:
        """Return the attributes of a path, following no symlink; ``None`` when it does not exist."""
        return seen_below(self.folders, self.roots[root].absolute(path))

    def look_into(self, root: str, folder: str) -> Seen | None:
        """Return the attributes of a folder, following no symlink; ``None`` where there is no folder."""
        try:
            return seen_in(os.fstat(self.folders.descriptor(self.roots[root].absolute(folder))))
        except OSError as error:
            if error.errno not in NOT_THERE:
                raise
            return None

    def make(self, *records: Record) -> None:
        """Carry out a batch of changes. If one fails, the ones before it are undone, so that none remains.

        Raises:
            FilesError: The undo records could not be made durable, or this is a forked child.
            OSError: A change failed.
        """
        with self._work, self.lock:
            self.check_process()
            names = self._names_when_durable(records)
            self._journal(records)
            for number, record in enumerate(records):
                try:
                    if number and self._must_wait(record, names[number]):  # for another change of this batch
                        self.barrier.sync()
                    self._add_to_barrier(record, names[number])
                    carry_out(record, self._at(record))
                    self._forget(record)
                except OSError:
                    self._take_back(records[: number + 1])
                    raise

    def make_many(self, folders: Sequence[Record], records: Sequence[Record]) -> int:
        """Carry out changes of unrelated single files with one sync of the journal.

        Args:
            folders: Records that create the missing folders above the files, outermost first.
            records: The changes; no name is in two of them.

        Returns:
            How many changes were made. The next one failed and was not made, nor any later one, nor a folder for these
                only.

        Raises:
            FilesError: Something could not be made durable, or this is a forked child.
        """
        with self._work, self.lock:
            self.check_process()
            names = [self.names(record) for record in records]
            carries = any(record.do is Do.MOVE for record in records)
            try:
                touched = [*map(self.absolute, folders), *chain(*names)]
                if self.barrier.is_due(touched, alone=False, carries=carries):
                    self.barrier.sync()
                self._journal([*folders, *records])
            except OSError:
                return 0
            made = 0
            try:
                for record in folders:
                    self._add_to_barrier(record, self.names(record))
                    carry_out(record, self._at(record))
                if folders and carries:
                    self.barrier.sync()
                self._add_many_to_barrier(records, names)
                save(records, self.slot)
                for record in records:
                    carry_out_saved(record, self._at(record))
                    made += 1
            except OSError:
                self._take_back([*folders, *records[made:]])
            return made

    def announce(self, *records: Record, prepare: Callable[[], None] | None = None) -> None:
        """Record a batch of changes that other code is about to make; whether it does is not reported afterwards.

        Args:
            records: The changes.
            prepare: Saves the bytes that would be destroyed (invariant 2); called when the records are durable.

        Raises:
            FilesError: The undo records could not be made durable, or this is a forked child.
            OSError: The bytes could not be saved; then the change must not be made.
        """
        with self._work, self.lock:
            self.check_process()
            names = self._names_when_durable(records)
            self._journal(records)
            for record, group in zip(records, names, strict=True):
                self._add_to_barrier(record, group)
                self._forget(record)
            try:
                if prepare is not None:
                    prepare()
            except OSError:
                self._take_back(records)
                raise

    def make_columns(self, folders: Sequence[Record], columns: Columns, drafts: Sequence[str] = ()) -> bool:
        """Carry out many changes of unrelated files with one record and one sync of the journal.

        Args:
            folders: Records that create the missing folders above the files, outermost first.
            columns: The changes.
            drafts: Absolute paths of drafts, so many that all of them become durable before the first takes its place.

        Returns:
            Whether all were made; else none of them is, nor a folder for them, and the drafts are where they were.
                They have to stay there: by them it is known that they were not used.

        Raises:
            FilesError: Something could not be made durable, or this is a forked child.
        """
        with self._work, self.lock:
            self.check_process()
            self.barrier.add(drafts, alone=False, unsynced=drafts)
            if self.barrier.is_due((), alone=True, carries=False):
                self.barrier.sync()
            try:
                self._journal(folders, columns)
            except OSError:
                return False
            try:
                for record in folders:
                    self._add_to_barrier(record, self.names(record))
                    carry_out(record, self._at(record))
                if folders:
                    self.barrier.sync()
                self.barrier.add(self.names(columns), alone=True)
                column_effects.make(columns, self.roots[columns.root], self.folders)
            except OSError:
                self._take_back(folders)
                return False
            return True

    def undo(
        self,
        record: Record | Columns,
        *,
        made: Callable[[Record, Seen], bool] = _unknown,
        set_aside: bool = False,
    ) -> Undone:
        """Undo one record, or columns; see `fietsupdate.filesystem.journal.undo.undo`."""
        if isinstance(record, Columns):
            one = partial(self.undo, made=made, set_aside=set_aside)
            return column_effects.undo(record, self.roots[record.root], self.folders, one=one, set_aside=set_aside)
        return undo(record, self.roots, self.folders, self.txn, made=made, set_aside=set_aside)

    def forget_own(self) -> None:
        """From here on, save every file of the transaction before it changes: it may hold the only copy of its bytes.

        Raises:
            FilesError: The current attributes of the files could not be made durable.
        """
        with self.lock:
            if notes := self.own.release():
                self.journal.append(notes)

    def _names_when_durable(self, records: Sequence[Record]) -> list[list[str]]:
        """Return the absolute names of each record, once the changes that they build on are durable."""
        names = [self.names(record) for record in records]
        if any(map(self._must_wait, records, names)):
            self.barrier.sync()
        return names

    def _journal(self, records: Sequence[Record], columns: Columns | None = None) -> None:
        """Make the records durable, with the notes that they need (invariant 1)."""
        if self.is_sealed:
            raise FilesError("The transaction is complete; nothing more can be changed in it.")
        self.before_change()
        notes = self._times.notes(records if columns is None else [*records, *columns.first()])
        freed = self.own.notes(records if columns is None else chain(records, columns))
        try:
            self.journal.append([*notes, *freed, *records, *([] if columns is None else [columns])])
        except OSError:
            self._times.drop(notes)
            raise

    def _take_back(self, records: Sequence[Record]) -> None:
        for record in reversed(records):
            self.undo(record)

    def draft(self, root: str, path: str) -> str:
        """Return a free name for a new file that will be put at ``path``, on the same file system."""
        return self.vaults.draft(root, path)

    def vault(self, root: str, path: str) -> str:
        """Return a free name in the vault for the file at ``path``, on the same file system."""
        return self.vaults.vault(root, path)

    def know_mount(self, root: str, path: str) -> bool:
        """Record that a path lies on another file system than its root; return False if that was known.

        Called after rename(2) answered EXDEV: device numbers do not distinguish bind mounts.
        """
        paths = self.roots[root]
        point = mounts.mount_point(paths.absolute(path))
        if not point.startswith(f"{paths.root}/") or self.vaults.has_mount(point):
            return False
        make_home(Path(point))
        durable.sync_path(prepare_folder(Path(point), self.txn))
        relative = paths.relative(point)
        with self.lock:
            self.journal.append([Record(Do.MOUNT, root, relative, was=seen(point))])
            self.vaults.add_mount(point)
        return True

    def note_folders_anew(self) -> None:
        """Forget which folders have notes: from here on their times must be recorded again."""
        self._times.clear()

    def _at(self, record: Record) -> Callable[[str], Slot]:
        absolute, slot = self.roots[record.root].absolute, self.folders.slot
        return lambda path: slot(absolute(path))

    def _must_wait(self, record: Record, names: Sequence[str]) -> bool:
        """Return whether a sync is needed before this change and the record of it."""
        return self.barrier.is_due(names, alone=record.is_alone, carries=record.do is Do.MOVE)

    def _add_to_barrier(self, record: Record, names: Sequence[str]) -> None:
        unsynced = record.unsynced()
        if unsynced is not None:
            unsynced = tuple(map(self.roots[record.root].absolute, unsynced))
        self.barrier.add(names, alone=record.is_alone, unsynced=unsynced)

    def _add_many_to_barrier(self, records: Sequence[Record], names: Sequence[list[str]]) -> None:
        """Add a batch to the barrier.

        For a large batch the folders suffice, as they identify the file systems to sync.
        """
        if len(records) < durable.MANY:
            for record, group in zip(records, names, strict=True):
                self._add_to_barrier(record, group)
            return
        touched = [*chain(*names)]
        unsynced = {*touched[: durable.MANY], *(name.rpartition("/")[0] for name in touched)}
        self.barrier.add(touched, alone=False, unsynced=unsynced)

    def names(self, record: Record | Columns) -> list[str]:
        """Return the absolute names that a change fills, frees or changes; some of them for columns."""
        return [*map(self.roots[record.root].absolute, record.names())]

    def changed(self, line: Record | Columns) -> Iterator[tuple[Record, Seen]]:
        """Yield the files that a line of the journal has made and that look different now, each with its new look."""
        if isinstance(line, Columns):
            yield from column_effects.changed(line, self.roots, self.folders)
            return
        now = self.look(line.root, line.path)
        if now is not None and now.kind == "file" and not now.is_same(line.now):
            yield line, now

    def _forget(self, record: Record) -> None:
        """Forget cached facts about folders that do not exist any more."""
        if record.do is Do.RMDIR or record.is_alone:
            self._times.forget_below(record)
            self.folders.forget()


class _Work(threading.local):
    """How many verbs a thread is inside of. Its open folders are closed when it leaves the last one."""

    def __init__(self, folders: Folders) -> None:
        self.depth = 0
        self.folders = folders

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.depth -= 1
        if not self.depth:
            self.folders.close()
