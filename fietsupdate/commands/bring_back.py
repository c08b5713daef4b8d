"""Bring a backup beside the live halves, and commit the restore, up to the point from which it only goes forward.

Until the journal says that the databases are exchanged, nothing live is touched. If the restore ends before that, the
next run removes what was brought.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from fietsupdate.backup import directory, restore_journal, swap
from fietsupdate.backup.manifest import Backup, Scope
from fietsupdate.backup.meter import ByteMeter
from fietsupdate.backup.places import set_apart
from fietsupdate.backup.restore_journal import RestoreJournal, Stage
from fietsupdate.backup.restorer import Restorer
from fietsupdate.backup.staging import apply_attributes, needs, shares_blocks, stage
from fietsupdate.commands.inspection import Inspection
from fietsupdate.commands.run import Run
from fietsupdate.database.dump.store import NEW, OLD, draft_of
from fietsupdate.errors import UNCHANGED, DatabaseError, FietsupdateError, FilesError, RefusedError
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.filesystem.layout import home, make_folder, restore_folder
from fietsupdate.filesystem.ledger import LARGEST
from fietsupdate.filesystem.paths import database_files
from fietsupdate.filesystem.posix.durable import atomic_write, sync_path
from fietsupdate.filesystem.posix.regular import read_bytes
from fietsupdate.filesystem.space import BLOCK, mib, refuse_few_inodes, reserve_of, room
from fietsupdate.model import Event
from fietsupdate.model.clock import now

DECIDED = (
    "Nothing was changed yet. The next `fietsupdate recover` finishes the restore, or removes what it has brought."
)


@dataclass
class StagedRestore:
    """A restore up to the point from which it only goes forward."""

    run: Run
    restorer: Restorer
    backup: Backup
    inspection: Inspection

    def go(self) -> tuple[Path, ...]:
        """Stage the backup, commit, and go forward; return the paths of what was in the way and was set aside."""
        run, data_dir = self.run, self.restorer.data_dir
        begun = self.begun()
        run.emit(Event("restore_begun", now(), text=self.backup.name, details={"path": str(self.backup.path)}))
        staged = begun
        try:
            make_folder(restore_folder(data_dir), shared=False)
            # without its journal, no later run would remove what is loaded beside the database
            sync_path(home(data_dir))
            restore_journal.write(data_dir, begun)
            self._refuse_narrow()
            staged = self._stage(begun)
            run.signals.raise_pending()
            run.signals.deferred = True
            restore_journal.write(data_dir, staged.at(Stage.DATABASE))
        except BaseException as error:
            run.signals.deferred = True
            withdrawn = self.restorer.withdraw(staged)
            run.signals.deferred = False
            raise _told(error, UNCHANGED if withdrawn else DECIDED) from error
        try:
            return self.restorer.forward(staged.at(Stage.DATABASE))
        finally:
            run.signals.deferred = False

    def begun(self) -> RestoreJournal:
        """Return the first state of the journal; refuse if something in the live roots cannot be moved."""
        restorer, manifest = self.restorer, self.backup.manifest
        tag = secrets.token_hex(4)
        units: list[swap.SwapUnit] = []
        if manifest.scope is Scope.FULL:
            for name in ("", *manifest.extra_dirs):
                units += swap.units_of(name, restorer.roots[name], self._keep(tag, name))
                swap.refuse_unmovable(restorer.roots[name], [unit for unit in units if unit.root == name])
        return RestoreJournal(
            self.backup.name,
            tag,
            Stage.STAGING,
            now(),
            restorer.destination.shown,
            "" if manifest.scope is Scope.FULL else manifest.txn,
            tuple(units),
        )

    def _keep(self, tag: str, root: str) -> list[Path]:
        """Return what must stay in its place: the databases, the backups, and the other roots."""
        restorer = self.restorer
        own = [*set_apart(restorer.application), self.backup.path, Path(os.path.realpath(self.backup.path))]
        own += _beside(self.backup)
        others = [path for name, path in restorer.roots.items() if name != root]
        own += [*others, *(Path(os.path.realpath(path)) for path in others)]
        if restorer.destination.file is None:
            return own
        stores = (restorer.store, restorer.store.sibling(NEW, tag), restorer.store.sibling(OLD, tag))
        files = [store.file for store in stores if store.file is not None]
        return [*own, *(Path(name) for name in database_files(files)), *map(draft_of, files)]

    def _refuse_narrow(self) -> None:
        """Refuse if the disk would become too full: a restore needs space for a second copy of everything."""
        backup, restorer = self.backup, self.restorer
        need: dict[int, tuple[Path, int, int]] = {}

        def add(folder: Path, size: int, count: int = 1) -> None:
            device = os.stat(folder).st_dev
            _, bytes_, files = need.get(device, (folder, 0, 0))
            need[device] = folder, bytes_ + size, files + count

        for root, count, size in needs(backup, restorer.roots):
            shared = shares_blocks(backup.dump, restore_folder(restorer.data_dir)) and root == restorer.data_dir
            add(root, count * BLOCK + (0 if shared else size), count)
        if restorer.destination.file is not None:
            add(restorer.destination.file.parent, backup.manifest.dump.size)
        for folder, size, count in need.values():
            refuse_few_inodes(f"Restoring {backup.name}", folder, count)
            reserve = reserve_of(size)
            if (free := room(folder)) < size + reserve:
                raise FilesError(
                    f"Restoring {backup.name} needs {mib(size)} MiB in {folder} beside what is there, and "
                    f"{mib(reserve)} MiB more are to stay free; there are {mib(free)} MiB.",
                    hint="Free some space, and try again.",
                )

    def _stage(self, begun: RestoreJournal) -> RestoreJournal:
        restorer, backup, listener = self.restorer, self.backup, self.run.emit
        listener(Event("restore_part", now(), text="database"))
        if restorer.destination.file is None:
            restorer.store.check()
        pace = self._pace("loaded", backup.manifest.dump.size)
        beside = restorer.store.load_beside(backup.dump, begun.tag, pace, backup.manifest.settings)
        pace.finish()
        for text in (*backup.manifest.cautions, *beside.notes):
            listener(Event("warning", now(), text=f"{text[0].upper()}{text[1:]}."))
        if beside.file is not None and backup.manifest.database_file is not None and not restorer.store.exists():
            apply_attributes(os.path.realpath(beside.file), backup.manifest.database_file, backup)
        self._refuse_another_position(begun)
        if backup.manifest.scope is Scope.DATABASE:
            self._open_vault()
            return begun
        listener(Event("restore_part", now(), text="files"))
        pace = self._pace("restored", backup.manifest.bytes)
        units = stage(
            backup,
            restorer.roots,
            begun.units,
            warn=lambda text: listener(Event("warning", now(), text=f"{text}.")),
            moved=pace,
        )
        pace.finish()
        return replace(begun, units=units, has_ledger=self._has_staged_ledger())

    def _pace(self, verb: str, expected: int) -> ByteMeter:
        return ByteMeter(lambda details: self.run.emit(Event("progress", now(), text=verb, details=details)), expected)

    def _refuse_another_position(self, begun: RestoreJournal) -> None:
        """Check that the loaded database is at the position that the manifest records."""
        beside = self.restorer.store.beside(begun.tag)
        if beside is None:
            raise DatabaseError(f"The dump of {self.backup.name} was loaded, but is not there.")
        if not self.restorer.is_of(beside, self.backup.manifest):
            raise RefusedError(
                f"The dump in {self.backup.name} is not the one that its manifest tells of: its ledger ends elsewhere.",
                hint="Restore another backup: `fietsupdate backup list` shows them.",
            )

    def _open_vault(self) -> None:
        """Open the transaction that will be played back again, if it is kept, and check that it can be."""
        data_dir, txn = self.restorer.data_dir, self.backup.manifest.txn
        was_kept = self.inspection.files.transaction is None and txn in cleanup.living(data_dir)
        if was_kept:
            cleanup.open_again(data_dir, txn)
        try:
            self.restorer.reopened()
        except FietsupdateError:
            if was_kept:
                cleanup.keep(data_dir, txn)
            raise

    def _has_staged_ledger(self) -> bool:
        folder = restore_folder(self.restorer.data_dir)
        try:
            ledger = read_bytes(self.backup.ledger, LARGEST)
        except FileNotFoundError:
            return False
        atomic_write(folder / restore_journal.LEDGER, ledger, mode=0o600)
        return True


def _beside(backup: Backup) -> list[Path]:
    """Return the other backups in the same folder: they stay, wherever that folder is."""
    real = Path(os.path.realpath(backup.path)).parent
    return [other.path for other in directory.inspect_directory(real).backups]


def _told(error: BaseException, stands: str) -> BaseException:
    if isinstance(error, FietsupdateError):
        error.stands = stands
        return error
    if isinstance(error, OSError):
        where = f" ({os.fspath(error.filename)})" if error.filename else ""
        return FilesError(f"The system refused: {error.strerror}{where}.", stands=stands, hint="Mend the cause.")
    return error
