"""Take a restore from any stage to its end: the same code for the run that began it and for the next start.

1. The journal records the stage that may have begun; every stage can be repeated, and is durable before the next is
   recorded.
2. The databases are exchanged first. That is one step that either happens or does not, and the only one that other
   programs can prevent (a session that cannot be ended, a missing right): if it fails before it has happened, the
   restore is withdrawn, and nothing live was touched. All later work is on our own file system.
3. After that, too, a half restored instance has an open journal: `status` reports it, and every command that
   changes something finishes it first. Without the journal, the ledgers would show that the halves differ; and where
   a transaction is played back, ordinary recovery would do the same, as the database has its tip from before.
4. What was live before is kept, whole, until both halves are in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fietsupdate.backup import restore_journal, swap
from fietsupdate.backup.restore_journal import RestoreJournal, Stage
from fietsupdate.config.application import Application
from fietsupdate.database.dump.store import NEW, OLD
from fietsupdate.database.environment import Environment
from fietsupdate.errors import FietsupdateError, FilesError
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.filesystem.layout import ledger_file, restore_folder
from fietsupdate.filesystem.posix.durable import sync_many
from fietsupdate.filesystem.posix.identity import acting_as
from fietsupdate.filesystem.posix.rename import erase
from fietsupdate.filesystem.transaction import FileTransaction
from fietsupdate.masks import masked
from fietsupdate.model import Event
from fietsupdate.model.clock import now
from fietsupdate.process import Signals

if TYPE_CHECKING:
    from fietsupdate.backup.manifest import Manifest
    from fietsupdate.database.dump.store import Store
    from fietsupdate.database.inspect import Destination

HALF = "The instance is half restored: {what}. What was live before is kept until both halves are in place."
GO_ON = "Mend the cause, then type `fietsupdate recover`: it goes on where the restore stopped."


@dataclass(frozen=True)
class Restorer:
    """Restores one instance. The caller holds the lock of the data directory."""

    application: Application
    environment: Environment
    signals: Signals
    listener: Callable[[Event], None]

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        return self.application.data_dir

    @property
    def roots(self) -> Mapping[str, Path]:
        """The data directory, by the name "", and the further roots."""
        return {"": self.application.data_dir, **self.application.config.extra_dirs}

    @cached_property
    def destination(self) -> Destination:
        """The database that env.py connects to."""
        from fietsupdate.database.inspect import destination

        return destination(self.environment)

    @cached_property
    def store(self) -> Store:
        """The live database."""
        from fietsupdate.database.dump import live_store

        return live_store(self.destination.place)

    def is_of(self, beside: Store, manifest: Manifest) -> bool:
        """Return whether a loaded database is at the position in a manifest."""
        from fietsupdate.database.dump.copied_ledger import ledger_in, loaded

        place = self.destination.place
        named = (
            (manifest.version_table, manifest.schema) if manifest.version_table else (place.version_table, place.schema)
        )
        return loaded(beside, ledger_in(beside, *named)).is_at(manifest.instance_id, manifest.tip_hash)

    def settle(self) -> bool:
        """End an interrupted restore: finish it, or delete what it had only staged.

        Returns:
            Whether it had touched live data, and is complete now.

        Raises:
            FietsupdateError: It cannot be finished; the journal stays.
        """
        journal = restore_journal.read(self.data_dir)
        if journal is None:
            erase(str(restore_folder(self.data_dir)))  # it was interrupted before it had a journal
            return False
        if journal.stage is Stage.STAGING:
            self.clean_up(journal)
            return False
        was_half = journal.is_past_return
        strange = self.forward(journal)
        if was_half:
            details = {"outcome": "restored", "backup": journal.backup, "found": [str(path) for path in strange]}
            self.listener(Event("recovered", now(), text="restored", update_id=journal.backup, details=details))
        return was_half

    def clean_up(self, journal: RestoreJournal) -> None:
        """Delete the staged copies. If a database cannot be reached, its copy stays, and so does the journal."""
        self._clear_roots(journal)
        try:
            self._drop(journal, NEW)
        except FietsupdateError as error:
            self._warn(f"A database that an interrupted restore has loaded could not be removed: {error.message}")
            return
        restore_journal.remove(self.data_dir)

    def withdraw(self, journal: RestoreJournal) -> bool:
        """Abandon a restore that has touched nothing live; return False if even that cannot be written to the disk.

        The journal is changed before anything staged is deleted. The next command deletes what cannot be deleted now.
        """
        try:
            restore_journal.write(self.data_dir, journal.at(Stage.STAGING))
        except (FietsupdateError, OSError):
            return False
        with suppress(FietsupdateError, OSError):
            self.clean_up(journal)
        return True

    def forward(self, journal: RestoreJournal) -> tuple[Path, ...]:
        """Take a restore to its end; signals are deferred.

        Returns:
            Files that were in the way, at their new places.

        Raises:
            FietsupdateError: It cannot be finished; ``stands`` tells the state.
        """
        strange: list[Path] = []
        if journal.is_past_return:
            self._refuse_elsewhere(journal)
        with self.signals.held():
            while journal.stage is not Stage.DONE:
                try:
                    strange += self._do(journal)
                    restore_journal.write(self.data_dir, journal.at(self._next(journal)))
                except (FietsupdateError, OSError) as error:
                    raise self._failed(journal, error) from error
                journal = journal.at(self._next(journal))
            self._clear(journal)
        return tuple(strange)

    # -- stages

    def _do(self, journal: RestoreJournal) -> tuple[Path, ...]:
        match journal.stage:
            case Stage.DATABASE:
                self._exchange(journal)
            case Stage.OUT:
                with self._as_owner():
                    for name, root in self._roots_of(journal).items():
                        swap.move_out(root, journal.of_root(name), journal.tag)
            case Stage.IN:
                roots = self._roots_of(journal).items()
                with self._as_owner():
                    return tuple(
                        path for name, root in roots for path in swap.move_in(root, journal.of_root(name), journal.tag)
                    )
            case Stage.PLAYBACK:
                return self._play_back(journal)
            case Stage.LEDGER:
                self._replace_ledger(journal)
        return ()

    @staticmethod
    def _next(journal: RestoreJournal) -> Stage:
        after = {Stage.OUT: Stage.IN, Stage.IN: Stage.LEDGER, Stage.PLAYBACK: Stage.DONE, Stage.LEDGER: Stage.DONE}
        if journal.stage is Stage.DATABASE:
            return Stage.PLAYBACK if journal.txn else Stage.OUT
        return after[journal.stage]

    def _exchange(self, journal: RestoreJournal) -> None:
        self.store.swap(self.store.sibling(NEW, journal.tag), journal.tag)

    def _refuse_elsewhere(self, journal: RestoreJournal) -> None:
        if self.destination.shown != masked(journal.database):
            raise FilesError(
                f"The restore of {journal.backup} was begun on the database {journal.database}, but env.py connects to "
                f"{self.destination.shown}.",
                stands=HALF.format(what="one half may be restored, the other not"),
                hint="Correct the URL of the database, then type `fietsupdate recover`.",
            )

    def _play_back(self, journal: RestoreJournal) -> tuple[Path, ...]:
        files = self.reopened()
        if files is None:
            return ()
        if files.header.txn != journal.txn:
            raise FilesError(
                f"The transaction {files.header.txn} lies open, and not {journal.txn}, which the backup is the other "
                "half of."
            )
        return files.play_back(set_aside=files.header.own_connections)

    def reopened(self) -> FileTransaction | None:
        """Open the open transaction, if there is one."""
        file = self.destination.file
        keep_out = () if file is None else (file,)
        return FileTransaction.reopen(self.data_dir, roots=self.application.config.extra_dirs, keep_out=keep_out)

    def _replace_ledger(self, journal: RestoreJournal) -> None:
        """Remove the transactions of what was live before, and give the data directory the backup's ledger."""
        cleanup.discard(self.data_dir)
        staged, path = restore_folder(self.data_dir) / restore_journal.LEDGER, ledger_file(self.data_dir)
        if not journal.has_ledger:
            path.unlink(missing_ok=True)
        elif staged.exists():
            os.rename(staged, path)
        sync_many([path, path.parent, staged.parent])

    def _clear(self, journal: RestoreJournal) -> None:
        """Delete what was live before; both halves are in place."""
        try:
            self._clear_roots(journal)
            cleanup.sweep(self.data_dir)
            self._drop_or_name(journal)
            with self._as_owner():
                for name, root in self.roots.items():
                    swap.apply_folder_attributes(root, journal.of_root(name))
            restore_journal.remove(self.data_dir)
        except (OSError, FietsupdateError) as error:
            raise FilesError(
                f"What was there before the restore could not be cleared away: {str(error).rstrip('.')}.",
                stands=f"The restore is complete: both halves are as in {journal.backup}.",
                hint=getattr(error, "hint", "") or "Mend the cause, then type `fietsupdate recover`.",
            ) from error

    def _clear_roots(self, journal: RestoreJournal) -> None:
        """Erase what is staged and what was moved out.

        Garbage in a root that is missing must not prevent the restore.
        """
        with self._as_owner():
            for name, root in self.roots.items():
                for path in swap.clear(root, journal.of_root(name), journal.tag):
                    self._warn(f"{path} holds what this user may not delete: what was there before the restore.")

    def _as_owner(self) -> AbstractContextManager[None]:
        """Work with the rights of the journal's owner, who can have forged its content (invariant 12)."""
        return acting_as(os.lstat(restore_folder(self.data_dir)))

    def _drop_or_name(self, journal: RestoreJournal) -> None:
        """Drop the databases that are not needed any more; warn of one that cannot be dropped, without failing."""
        for kind in (NEW, OLD):
            try:
                self._drop(journal, kind)
            except FietsupdateError as error:
                left = self.store.sibling(kind, journal.tag).masked_url
                self._warn(f"{left}, which is not needed any more, could not be removed; drop it. {error.message}")

    def _drop(self, journal: RestoreJournal, *kinds: str) -> None:
        """Remove databases that this restore has created, including incomplete ones."""
        if self.destination.shown != masked(journal.database):
            self._warn(f"A database that a restore has made beside {journal.database} may still be there.")
            return
        for kind in kinds:
            self.store.sibling(kind, journal.tag).drop()

    # -- failures

    def _failed(self, journal: RestoreJournal, error: FietsupdateError | OSError) -> FietsupdateError:
        """Withdraw the restore where nothing live was touched; otherwise describe the half-done state."""
        if journal.stage is Stage.DATABASE and self._is_untouched(journal) and self.withdraw(journal):
            stands, hint = "Nothing was changed: what was restored is removed again.", getattr(error, "hint", "")
        else:
            done = "the database may be exchanged" if journal.stage is Stage.DATABASE else "the database is restored"
            stands, hint = HALF.format(what=f"{done}, not all of the files are"), GO_ON
        if isinstance(error, FietsupdateError):
            error.stands, error.hint = stands, " ".join(filter(None, [error.hint, "" if error.hint == hint else hint]))
            return error
        where = f" ({os.fspath(error.filename)})" if error.filename else ""
        return FilesError(f"The system refused: {error.strerror}{where}.", stands=stands, hint=hint)

    def _is_untouched(self, journal: RestoreJournal) -> bool:
        """Return whether the databases were certainly not exchanged, not even in part."""
        try:
            return self.store.old(journal.tag) is None and self.store.beside(journal.tag) is not None
        except FietsupdateError:
            return False

    def _roots_of(self, journal: RestoreJournal) -> dict[str, Path]:
        """Return the roots that a restore works on.

        Raises:
            FilesError: One of them is not configured any more.
        """
        names = dict.fromkeys(unit.root for unit in journal.units)
        if missing := [name for name in names if name not in self.roots]:
            raise FilesError(
                f"The restore of {journal.backup} was begun with the further root {missing[0]}, which is not "
                "configured.",
                hint="Bring extra_dirs back, then type `fietsupdate recover`.",
            )
        return {name: self.roots[name] for name in names}

    def _warn(self, text: str) -> None:
        self.listener(Event("warning", now(), text=text))
