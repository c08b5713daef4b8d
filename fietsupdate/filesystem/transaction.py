"""The file half of one transaction: begun, filled, sealed; then finished, or played back.

1. An undo record is durable before the change that it undoes is made (`Journal.append`, `Changes.make`).
2. Bytes that a change would destroy are in the vault before the change is made (`Changes`).
3. Playback runs backwards and is idempotent (`FileTransaction.play_back`, `undo`).
4. All changed files and folders are durable before the database commits (`FileTransaction.seal`).
6. The vault is emptied only after the commit is known: by `FileTransaction.finish`, which its caller calls then.
8. In doubt nothing is touched (`FileTransaction.reopen`, `Journal`).
9. Playback overwrites and deletes nothing that it does not recognise (`undo`).

The numbers are those of the invariants in the documentation; 5, 7 and 10 are kept elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import MappingProxyType

from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.bulk import BulkFiles
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.filesystem.journal import header as headers
from fietsupdate.filesystem.journal.barrier import Barrier
from fietsupdate.filesystem.journal.beyond import Beyond
from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.floors import Floors
from fietsupdate.filesystem.journal.found import found_in
from fietsupdate.filesystem.journal.header import Header
from fietsupdate.filesystem.journal.journal import Journal, JournalPosition, PlaybackProgress
from fietsupdate.filesystem.journal.notes import Notes
from fietsupdate.filesystem.journal.opening import check_folder, check_identity, doubt, ledger_to_append, prepared
from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.journal.signatures import Signatures
from fietsupdate.filesystem.journal.undone import Undone, tell_lost
from fietsupdate.filesystem.layout import HOME, check_home, ledger_file, open_folder
from fietsupdate.filesystem.ledger import version_text
from fietsupdate.filesystem.paths import Paths, kept_out
from fietsupdate.filesystem.posix.durable import sync_many, write_all
from fietsupdate.filesystem.posix.identity import acting_as, user
from fietsupdate.filesystem.posix.metadata import Seen
from fietsupdate.filesystem.posix.mounts import is_mounted
from fietsupdate.filesystem.posix.ownership import user_name
from fietsupdate.model import Entry, Phase
from fietsupdate.views import OpenTransaction

_NO_ROOTS: Mapping[str, Path] = MappingProxyType({})
_BATCH = 1000
_WRITING = frozenset({Do.CREATE, Do.REPLACE, Do.OVERWRITE})
"""The changes after which a file has new content."""
_AS_OWNER = (
    "The journal belongs to {name}, so it is followed with the rights of {name} only. Give that user what is named "
    "above (`chown -h {name} PATH`), then type `fietsupdate recover`."
)
PARTLY = "What the update did to files is not all undone; its journal keeps the rest."
AGAIN = "Mend the cause, then type `fietsupdate recover`."


class FileTransaction:
    """The file half of one transaction. The caller holds the lock of the data directory all the while.

    Attributes:
        header: The instance of the transaction, and the position of its ledger.
        files: The verbs on the data directory.
        dirs: The verbs on the further roots, by name.
        changes: Makes and journals the changes; for the guard.
        undone: The results of playback that must be reported.
        beyond: Notes about changes that undoing does not revert.
        notes: Notes about the database's half.
    """

    def __init__(self, data_dir: Path, transaction: OpenTransaction, roots: Mapping[str, Paths]) -> None:
        self.header = transaction
        self._data_dir = data_dir
        self._folder = open_folder(data_dir) / transaction.txn
        self._journal = Journal(self._folder, roots)
        self._is_reopened = False
        self._unnoted = Signatures()
        self.undone: list[Undone] = []
        self.changes = Changes(transaction.txn, self._journal, roots)
        self.beyond = Beyond(self._folder)
        self.notes = Notes(self._folder, self.changes)
        self.files = BulkFiles(self.changes, "")
        self.dirs: Mapping[str, BulkFiles] = {name: BulkFiles(self.changes, name) for name in roots if name}

    @classmethod
    def begin(
        cls,
        data_dir: Path,
        header: OpenTransaction,
        *,
        roots: Mapping[str, Path] = _NO_ROOTS,
        keep_out: Collection[Path] = (),
    ) -> FileTransaction:
        """Begin a transaction; its header is durable when this returns.

        Args:
            data_dir: The data directory.
            header: The instance of the transaction, and the position of its ledger.
            roots: Further folders that may be changed, by name.
            keep_out: The application's SQLite databases, which no verb may touch; their -wal, -shm and -journal files
                are included automatically.

        Raises:
            FilesError: Another transaction is open, or a root cannot be written.
        """
        if folders := headers.open_folders(data_dir):
            raise FilesError(
                f"The transaction {folders[0].name} is still open in {data_dir}.",
                stands=UNCHANGED,
                hint="Type `fietsupdate recover`.",
            )
        all_roots = {"": data_dir, **roots}
        cleanup.sweep(data_dir)
        cleanup.drop_empty(data_dir, roots.values())
        identities = {name: prepared(root, header.txn, data_dir) for name, root in all_roots.items()}
        cleanup.reserve_end(data_dir)
        folder = open_folder(data_dir) / header.txn
        PlaybackProgress(folder).prepare()
        Journal(folder).close()
        # when a header exists, all of them exist
        sync_many(open_folder(root) / header.txn for root in all_roots.values())
        headers.write(folder, Header(header, identities))
        return cls(data_dir, header, _paths(all_roots, keep_out))

    @classmethod
    def reopen(
        cls, data_dir: Path, roots: Mapping[str, Path] = _NO_ROOTS, *, keep_out: Collection[Path] = ()
    ) -> FileTransaction | None:
        """Open the transaction that a crash left, or return ``None`` when none is open. Changes nothing in the tree.

        Raises:
            FilesError: The transaction cannot be trusted: there are several, the header or journal is damaged, a root
                is not the one that the transaction began with, or a file system is not mounted (invariant 8).
        """
        try:
            return cls._reopen(data_dir, roots, keep_out)
        except FilesError as error:
            error.stands = error.stands or UNCHANGED
            raise
        except OSError as error:
            raise FilesError(
                f"The open transaction in {data_dir} cannot be opened: {error.strerror}.",
                stands=UNCHANGED,
                hint="Is the file system mounted, and writable by this user? Then repeat the command.",
            ) from error

    @classmethod
    def _reopen(cls, data_dir: Path, roots: Mapping[str, Path], keep_out: Collection[Path]) -> FileTransaction | None:
        cleanup.sweep(data_dir)
        folders = headers.open_folders(data_dir)
        if not folders:
            cleanup.drop_empty(data_dir, roots.values())  # what a crash has left before there was a header
            return None
        if len(folders) > 1:
            names = ", ".join(folder.name for folder in folders)
            raise doubt(f"Several transactions lie open in {data_dir}: {names}", folders[0].parent)
        header = headers.read(folders[0])
        check_folder(folders[0])
        given = {"": data_dir, **roots}
        all_roots = {name: given.get(name, Path(root.path)) for name, root in header.roots.items()}
        for name, root in header.roots.items():
            check_home(all_roots[name])
            check_identity(all_roots[name], folders[0].name, root)
        transaction = cls(data_dir, header.transaction, _paths({**given, **all_roots}, keep_out))
        transaction._is_reopened = True
        transaction._check_mounts()
        return transaction

    def record(self, entries: Sequence[Entry], current: Sequence[str], version_file: str) -> None:
        """Append entries to the data directory's ledger, and write the current ids to the VERSION file.

        Args:
            entries: The entries to append.
            current: The ids for the VERSION file.
            version_file: Name of the VERSION file below the data directory; "" for none.

        Raises:
            FilesError: The ledger's last line is incomplete.
        """
        path = ledger_file(self._data_dir)
        self._take_back_records(path)
        size = path.stat().st_size if path.exists() else -1
        self.changes.make(Record(Do.APPEND, "", f"{HOME}/{path.name}", size=size))
        with ledger_to_append(path) as descriptor:
            if size > 0 and os.pread(descriptor, 1, size - 1) != b"\n":
                raise doubt(f"The last line of {path} is incomplete", path)
            write_all(descriptor, "".join(f"{entry.to_json()}\n" for entry in entries).encode())
        if version_file:
            self.files.write(version_file, version_text(current))

    def _take_back_records(self, path: Path) -> None:
        """Cut off the entries that an interrupted run of this transaction appended before the commit failed."""
        if self._is_reopened:
            for record in self._journal.forwards(Do.APPEND):
                if path.exists():
                    with ledger_to_append(path) as descriptor:
                        os.ftruncate(descriptor, max(record.size, 0))
                    return

    def seal(self) -> None:
        """Make every changed file and folder durable (invariant 4); no further changes are possible.

        The attributes of the transaction's files are recorded once more, so that playback recognises them.

        Raises:
            FilesError: The system could not write something.
            OSError: A file that was opened for writing is not closed.
        """
        with self.changes.lock:
            self._make_durable()
            self.changes.is_sealed = True

    def end_phase(self, phase: Phase) -> None:
        """Make the changes so far durable, before the database commits the phase; see `play_back_phase`.

        Raises:
            FilesError: The system could not write something.
            OSError: A file that was opened for writing is not closed.
        """
        with self.changes.lock, self.changes.at_work():
            self._make_durable()
            Floors(self._folder).set(phase, self._journal.end)
            self.changes.note_folders_anew()  # playback must restore their times as they are here

    def _make_durable(self) -> None:
        self.changes.check_process()
        for files in (self.files, *self.dirs.values()):
            files.check_closed()
        self.look_again()
        self._sync_made()
        self.changes.barrier.sync()

    def look_again(self) -> None:
        """Record the attributes of files that other code made or changed in this transaction, to recognise them.

        Raises:
            FilesError: The notes could not be made durable.
            OSError: The notes could not be written, because the disk is full. This process still recognises the files.
        """
        with self.changes.at_work():
            changed = self._changed_since()
            while batch := list(islice(changed, _BATCH)):
                try:
                    self.changes.make(*batch)
                except (FilesError, OSError):
                    for record in chain(batch, changed):
                        self._unnoted.add(record)
                    raise
        self.changes.own.clear()

    def finish(self, *, keep_vault: bool = False) -> None:
        """End the transaction and keep its changes. To be called when the database has committed (invariant 6).

        Args:
            keep_vault: Whether to keep replaced and removed files until the next transaction is finished, or `purge`.
        """
        self.changes.check_process()
        self._journal.close()
        cleanup.purge(self._data_dir)
        if keep_vault:
            cleanup.keep(self._data_dir, self.header.txn)
        else:
            cleanup.close(self._data_dir, self.header.txn)

    def end(self) -> None:
        """End a transaction of files alone: its changes stay from here on, and what others have kept stays, too."""
        self.changes.check_process()
        self._journal.close()
        cleanup.close(self._data_dir, self.header.txn)

    def play_back(self, *, set_aside: bool = False, then: Callable[[], object] = tuple) -> tuple[Path, ...]:
        """Undo everything, backwards, and end the transaction. May be interrupted and repeated at will.

        Args:
            set_aside: Whether to move files that the transaction created to ``found`` instead of deleting them.
            then: Called when everything is restored, before the transaction ends; if it fails, it is called again next
                time.

        Returns:
            The files that were not recognised as the transaction's own: in ``found``, or where another program has put
                them.

        Raises:
            FilesError: A change could not be undone, or is in doubt; the next call undoes the rest.
        """
        with self.changes.lock, self.changes.at_work():
            strange = self._undo_down_to(0, set_aside)
        then()
        cleanup.close(self._data_dir, self.header.txn)
        tell_lost(self.undone)
        return tuple(dict.fromkeys([*self._found(), *strange]))

    def knows_the_end_of(self, finished: Collection[Phase]) -> bool:
        """Return whether one of these phases ended with `end_phase`, so that later changes can be undone alone."""
        return Floors(self._folder).below(finished) is not None

    def play_back_phase(self, finished: Collection[Phase], *, set_aside: bool = False) -> tuple[Path, ...]:
        """Undo the changes since the last committed phase; the transaction stays open and can be resumed.

        Results and errors are those of `play_back`. Where the phase did not end with `end_phase`, nothing is undone.
        """
        if (end := Floors(self._folder).below(finished)) is None:
            return ()
        with self.changes.lock, self.changes.at_work():
            strange = self._undo_down_to(end, set_aside)
            self._journal.forget(end)
            PlaybackProgress(self._folder).prepare()
        tell_lost(self.undone)
        return tuple(dict.fromkeys([*self._found(), *strange]))

    def _undo_down_to(self, end: int, set_aside: bool) -> list[Path]:
        """Undo the records behind a position in the journal, and close it."""
        self.changes.check_process()
        self.changes.is_sealed = True
        owner = os.lstat(self._folder)
        try:
            with acting_as(owner):  # the owner can have forged the journal
                strange = self._undo_all(set_aside or self.beyond.has_removed, end)
        except OSError as error:
            message = f"The files could not all be put back: {error}."
            hint = AGAIN if user() == owner.st_uid else _AS_OWNER.format(name=user_name(owner.st_uid))
            raise FilesError(message, stands=PARTLY, hint=hint) from error
        except FilesError as error:
            if not error.stands:
                error.stands, error.hint = PARTLY, f"{error.hint} {AGAIN}".strip()
            raise
        self._journal.close()
        return strange

    def _undo_all(self, set_aside: bool, end: int = 0) -> list[Path]:
        self._journal.close()
        self._journal = Journal(
            self._folder, self.changes.roots
        )  # the state on the disk counts, not what an interrupted append assumed
        self._check_mounts()
        made = Signatures.of(self._journal)
        progress, barrier = PlaybackProgress(self._folder), Barrier()
        position = progress.read() or JournalPosition(self._journal.end)
        strange: list[Path] = []
        for record, after in self._journal.backwards(position, end):
            names = self.changes.names(record)
            is_carrying = isinstance(record, Record) and bool(record.vault or record.other)
            if barrier.is_due(names, alone=record.is_alone, carries=is_carrying):
                barrier.sync()
                progress.write(position)
            barrier.add(names or [self.changes.absolute(record)], alone=record.is_alone)
            undone = self.changes.undo(record, made=partial(self._knows, made), set_aside=set_aside)
            strange += undone.strange
            self.undone += [undone] if undone.lost or undone.homeless else []
            position = after
        barrier.sync()
        progress.write(JournalPosition(end))
        return [path for path in strange if HOME not in path.parts]

    def _knows(self, made: Signatures, record: Record, here: Seen) -> bool:
        return made.know(record, here) or self._unnoted.know(record, here)

    def _changed_since(self) -> Iterator[Record]:
        """Yield a note on each file of the transaction's own whose attributes have changed since it was made."""
        for line in self._journal.lines_of(*_WRITING):
            for record, now in self.changes.changed(line):
                if not self.changes.own.is_not_ours(record):
                    yield Record(Do.MADE, record.root, record.path, now=now)

    def _sync_made(self) -> None:
        """Make content durable that other code has written."""
        sync_many(self.changes.absolute(record) for record in self._journal.forwards(Do.MADE, Do.OVERWRITE))

    def _found(self) -> list[Path]:
        """Return the files in ``found`` for this transaction, also those of an interrupted playback."""
        return [path for paths in self.changes.roots.values() for path in found_in(Path(paths.root), self.header.txn)]

    def _check_mounts(self) -> None:
        for record in self._journal.forwards(Do.MOUNT):
            if not is_mounted(self.changes.absolute(record)):
                raise doubt(f"Nothing is mounted at {self.changes.absolute(record)}", self._folder)


def _paths(roots: Mapping[str, Path], keep_out: Collection[Path]) -> dict[str, Paths]:
    return {name: Paths(root, kept_out(keep_out)) for name, root in roots.items()}
