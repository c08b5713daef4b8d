"""Goes back to a backup: finds it, sees that nothing stands against it, and brings it beside what is live.

Until the journal says that the databases are exchanged, nothing live is touched, and what was brought is swept away by
whoever comes next. From then on `fietsupdate.restoring` takes it to the end.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fietsupdate.backup import BLOCK, RESERVE, SHARE, folder_of, found, refuse_shared, set_apart
from fietsupdate.backups import chosen
from fietsupdate.copies import Backup, Scope
from fietsupdate.database.dump import NEW, OLD, draft_of
from fietsupdate.errors import DatabaseError, FietsupdateError, FilesError, RefusedError, UsageError
from fietsupdate.filesystem import leftovers, movable, restoration, shelf, swap
from fietsupdate.filesystem.copying import room
from fietsupdate.filesystem.durable import atomic_write, sync_path
from fietsupdate.filesystem.layout import HOME, LOST_FOUND, home, make_folder, restore_folder
from fietsupdate.filesystem.ledger import LARGEST, read_entries
from fietsupdate.filesystem.ledger import look as look_at_files
from fietsupdate.filesystem.paths import database_files
from fietsupdate.filesystem.regular import read_bytes
from fietsupdate.filesystem.restoration import Restoration, Stage
from fietsupdate.filesystem.staging import give_look, needs, shares_blocks, stage
from fietsupdate.filesystem.verifying import verify
from fietsupdate.instance import now
from fietsupdate.look import Look, unseen
from fietsupdate.model import Event, Problem, fingerprint
from fietsupdate.pace import Pace
from fietsupdate.planning.going_back import Despite, Ground, objections, restorable
from fietsupdate.restoring import Restorer
from fietsupdate.run import Run
from fietsupdate.service import check_service, out_of_service

UNTOUCHED = "Nothing was changed."
DECIDED = (
    "Nothing was changed yet. The next 'fietsupdate recover' finishes the restore, or removes what it has brought."
)
MOST_NAMED = 5
"""So many differences of a damaged backup are told."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore came to."""

    name: str
    """The backup's name."""
    current: tuple[str, ...]
    """The updates that both halves are at."""
    found: tuple[Path, ...] = ()
    """Where that is now what stood in the way of the restored files."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backup, and what it would replace."""

    backup: Backup
    database: str
    """The URL of the database, with the password masked."""
    dialect: str
    roots: tuple[Path, ...]
    """The data directory, and the further roots that are in the backup."""


def candidates(run: Run) -> tuple[Backup, ...]:
    """Give the backups that can be restored here, newest first; change nothing, wait for nothing."""
    seen = _look(run)
    kept = leftovers.living(run.site.data_dir)
    return tuple(restorable(found(run.site).backups, seen.database, seen.files, kept))


def find(run: Run, name: str | None) -> Backup:
    """Find a backup by its name or path; ``None`` is the newest that can be restored here.

    Raises:
        UsageError: there is none.
    """
    if name is not None:
        return chosen(run.site, name)
    if there := candidates(run):
        return there[0]
    raise UsageError(
        f"There is no backup in {folder_of(run.site)} that can be restored.", hint="fietsupdate backup list"
    )


def check(run: Run, name: str | None, despite: Collection[Despite]) -> Candidate:
    """Refuse what `restore` would refuse; change nothing, and do not read the backup's content.

    Args:
        run: The instance.
        name: As for `find`.
        despite: What it would be done in spite of.

    Raises:
        FietsupdateError: what stands against it.
    """
    run.check_hands()
    seen = _look(run)
    if seen.files.is_half_restored:
        seen.refuse()
    backup = find(run, name)
    refuse(run, backup, seen, despite)
    if Despite.RUNNING not in despite:
        check_service(run.site)
    _Staging(run, Restorer(run.site, run.environment, run.signals, run.tell), backup, seen).begun()  # finds obstacles
    roots = {"": run.site.data_dir, **run.site.config.extra_dirs}
    taken = tuple(roots[root] for root in ("", *backup.manifest.extra_dirs))
    return Candidate(backup, seen.database.shown_url, seen.database.dialect, taken)


def restore(run: Run, name: str | None, despite: Collection[Despite]) -> Restored:
    """Go back to a backup.

    Args:
        run: The instance.
        name: Name or path of the backup; ``None`` for the newest that can be restored.
        despite: What it is done in spite of.

    Raises:
        FietsupdateError: what went wrong; ``stands`` says what both halves are at now.
    """
    with run.stoppable([]):
        run.check_hands()
        left = restoration.look(run.site.data_dir)
        with run.locked("restore"):  # which finishes what was cut off
            if left is not None and left.is_half and name in {None, left.backup}:
                done = Restored(left.backup, run.look().status(locked_by_us=True).current)
            else:
                with _out_of_service(run, despite):
                    done = _restored(run, name, despite)
    run.tell(Event("finished", now(), details={"restored": done.name, "current": list(done.current)}))
    return done


def _restored(run: Run, name: str | None, despite: Collection[Despite]) -> Restored:
    backup, seen = find(run, name), _look(run)
    refuse(run, backup, seen, despite)
    _refuse_damage(run, backup, despite)
    restorer = Restorer(run.site, run.environment, run.signals, run.tell)
    strange = _Staging(run, restorer, backup, seen).go()
    return Restored(backup.name, backup.manifest.current, strange)


def refuse(run: Run, backup: Backup, seen: Look, despite: Collection[Despite]) -> None:
    """Refuse to restore a backup where something stands against it.

    Raises:
        RefusedError: the first thing that nobody has said to do it in spite of.
    """
    refuse_shared(run.site, folder_of(run.site))
    ledger, _, _ = read_entries(backup.ledger)
    ground = Ground(
        graph=run.graph,
        database=seen.database,
        files=seen.files,
        is_bare=_is_bare(run.site.data_dir),
        extra_dirs=run.site.config.extra_dirs,
        kept=leftovers.living(run.site.data_dir),
    )
    for what, problem in objections(backup.manifest, ledger, ground):
        if what is None or what not in despite:
            raise RefusedError.because(problem)


def _look(run: Run) -> Look:
    """Look at both halves; a database that cannot be read will do, as it will be replaced."""
    try:
        return run.look()
    except DatabaseError:
        restorer = Restorer(run.site, run.environment, run.signals, run.tell)
        at = restorer.destination
        if at.file is None:
            _refuse_silent(restorer)
        files = look_at_files(run.site.data_dir, run.site.config.version_file)
        dialect = restorer.store.dialect
        return Look(run.graph, files, unseen(at.shown, dialect=dialect, url=at.place.url, file=at.file))


def _refuse_silent(restorer: Restorer) -> None:
    """Refuse where a server does not answer: unlike a file, it is not what a restore replaces."""
    try:
        restorer.store.check()
    except DatabaseError as error:
        error.stands = error.stands or UNTOUCHED
        raise


def _is_bare(data_dir: Path) -> bool:
    return not set(os.listdir(data_dir)) - {HOME, LOST_FOUND}


@contextlib.contextmanager
def _out_of_service(run: Run, despite: Collection[Despite]) -> Iterator[None]:
    if Despite.RUNNING in despite:
        yield
        return
    with out_of_service(run.site, run.signals, run.tell, command="restore"):
        yield


def _refuse_damage(run: Run, backup: Backup, despite: Collection[Despite]) -> None:
    pace = Pace(lambda details: run.tell(Event("progress", now(), text="verified", details=details)), backup.size)
    wrong = verify(backup, pace)
    pace.finish()
    if not wrong:
        return
    shown = "; ".join(wrong[:MOST_NAMED]) + ("; and more" if len(wrong) > MOST_NAMED else "")
    if Despite.DAMAGE in despite:
        run.tell(Event("warning", now(), text=f"The backup {backup.name} is damaged: {shown}."))
        return
    raise RefusedError.because(
        Problem(
            "backup_damaged",
            f"The backup {backup.name} is not as it was made: {shown}.",
            "Restore another one: 'fietsupdate backup list' shows them. To restore what is left of this one, add "
            "--despite damage.",
        )
    )


@dataclass
class _Staging:
    """Everything up to the point from which a restore only goes forward."""

    run: Run
    restorer: Restorer
    backup: Backup
    seen: Look

    def go(self) -> tuple[Path, ...]:
        """Stage, commit, and go forward; give what stood in the way."""
        run, data_dir = self.run, self.restorer.data_dir
        begun = self.begun()
        run.tell(Event("restore_begun", now(), text=self.backup.name, details={"path": str(self.backup.path)}))
        staged = begun
        try:
            make_folder(restore_folder(data_dir), shared=False)
            sync_path(home(data_dir))  # without its journal nobody would sweep what is loaded beside the database
            restoration.write(data_dir, begun)
            self._refuse_narrow()
            staged = self._stage(begun)
            run.signals.raise_pending()
            run.signals.deferred = True
            restoration.write(data_dir, staged.at(Stage.DATABASE))
        except BaseException as error:
            run.signals.deferred = True
            withdrawn = self.restorer.withdraw(staged)
            run.signals.deferred = False
            raise _told(error, UNTOUCHED if withdrawn else DECIDED) from error
        try:
            return self.restorer.forward(staged.at(Stage.DATABASE))
        finally:
            run.signals.deferred = False

    def begun(self) -> Restoration:
        """Give the first page of the journal; refuse where something in the live roots cannot be moved."""
        restorer, manifest = self.restorer, self.backup.manifest
        tag = secrets.token_hex(4)
        units: list[swap.Unit] = []
        if manifest.scope is Scope.FULL:
            for name in ("", *manifest.extra_dirs):
                units += swap.units_of(name, restorer.roots[name], self._keep(tag, name))
                movable.refuse_unmovable(restorer.roots[name], [unit for unit in units if unit.root == name])
        return Restoration(
            self.backup.name,
            tag,
            Stage.STAGING,
            now(),
            restorer.destination.shown,
            "" if manifest.scope is Scope.FULL else manifest.txn,
            tuple(units),
        )

    def _keep(self, tag: str, root: str) -> list[Path]:
        """Name what must stay where it is: the databases, the backups, and the other roots."""
        restorer = self.restorer
        own = [*set_apart(restorer.site), self.backup.path, Path(os.path.realpath(self.backup.path))]
        own += _beside(self.backup)
        others = [path for name, path in restorer.roots.items() if name != root]
        own += [*others, *(Path(os.path.realpath(path)) for path in others)]
        if restorer.destination.file is None:
            return own
        stores = (restorer.store, restorer.store.sibling(NEW, tag), restorer.store.sibling(OLD, tag))
        files = [store.file for store in stores if store.file is not None]
        return [*own, *(Path(name) for name in database_files(files)), *map(draft_of, files)]

    def _refuse_narrow(self) -> None:
        """Refuse where the disk would be too full: a restore needs room for a second copy of everything."""
        backup, restorer = self.backup, self.restorer
        need: dict[int, tuple[Path, int]] = {}

        def add(folder: Path, size: int) -> None:
            device = os.stat(folder).st_dev
            need[device] = folder, need.get(device, (folder, 0))[1] + size

        for root, count, size in needs(backup, restorer.roots):
            shared = shares_blocks(backup.dump, restore_folder(restorer.data_dir)) and root == restorer.data_dir
            add(root, count * BLOCK + (0 if shared else size))
        if restorer.destination.file is not None:
            add(restorer.destination.file.parent, backup.manifest.dump.size)
        for folder, size in need.values():
            reserve = max(RESERVE, size // SHARE)
            if (free := room(folder)) < size + reserve:
                raise FilesError(
                    f"Restoring {backup.name} needs {size >> 20} MiB in {folder} beside what is there, and "
                    f"{reserve >> 20} MiB more are to stay free; there are {free >> 20} MiB.",
                    hint="Free some space, and try again.",
                )

    def _stage(self, begun: Restoration) -> Restoration:
        restorer, backup, tell = self.restorer, self.backup, self.run.tell
        tell(Event("restore_part", now(), text="database"))
        if restorer.destination.file is None:
            restorer.store.check()
        pace = self._pace("loaded", backup.manifest.dump.size)
        beside = restorer.store.load_beside(backup.dump, begun.tag, pace)
        pace.finish()
        if beside.file is not None and backup.manifest.database_file is not None and not restorer.store.exists():
            give_look(os.path.realpath(beside.file), backup.manifest.database_file, backup)
        self._refuse_another_position(begun)
        if backup.manifest.scope is Scope.DATABASE:
            self._open_vault()
            return begun
        tell(Event("restore_part", now(), text="files"))
        pace = self._pace("restored", backup.manifest.bytes)
        units = stage(
            backup,
            restorer.roots,
            begun.units,
            warn=lambda text: tell(Event("warning", now(), text=f"{text}.")),
            moved=pace,
        )
        pace.finish()
        return replace(begun, units=units, has_ledger=self._has_staged_ledger())

    def _pace(self, verb: str, expected: int) -> Pace:
        return Pace(lambda details: self.run.tell(Event("progress", now(), text=verb, details=details)), expected)

    def _refuse_another_position(self, begun: Restoration) -> None:
        """See that the loaded database is where the manifest says that it was."""
        from fietsupdate.database.destination import loaded

        beside = self.restorer.store.beside(begun.tag)
        if beside is None:
            raise DatabaseError(f"The dump of {self.backup.name} was loaded, but is not there.")
        manifest = self.backup.manifest
        inside = loaded(beside, self.restorer.destination.ledger)
        last = fingerprint((inside.last,)) if inside.last else ""
        if (inside.instance_id, last) != (manifest.instance_id, manifest.tip_hash) or inside.begun:
            raise RefusedError(
                f"The dump in {self.backup.name} is not the one that its manifest tells of: its ledger ends elsewhere.",
                hint="Restore another backup: 'fietsupdate backup list' shows them.",
            )

    def _open_vault(self) -> None:
        """Open the transaction that will be played back, if it is kept, and see that it can be."""
        data_dir, txn = self.restorer.data_dir, self.backup.manifest.txn
        was_kept = self.seen.files.transaction is None and txn in leftovers.living(data_dir)
        if was_kept:
            leftovers.open_again(data_dir, txn)
        try:
            self.restorer.reopened()
        except FietsupdateError:
            if was_kept:
                leftovers.keep(data_dir, txn)
            raise

    def _has_staged_ledger(self) -> bool:
        folder = restore_folder(self.restorer.data_dir)
        try:
            ledger = read_bytes(self.backup.ledger, LARGEST)
        except FileNotFoundError:
            return False
        atomic_write(folder / restoration.LEDGER, ledger, mode=0o600)
        return True


def _beside(backup: Backup) -> list[Path]:
    """Name the other backups in the folder of one: they stay, wherever that is."""
    real = Path(os.path.realpath(backup.path)).parent
    return [other.path for other in shelf.look(real).backups]


def _told(error: BaseException, stands: str) -> BaseException:
    if isinstance(error, FietsupdateError):
        error.stands = stands
        return error
    if isinstance(error, OSError):
        where = f" ({os.fspath(error.filename)})" if error.filename else ""
        return FilesError(f"The system refused: {error.strerror}{where}.", stands=stands, hint="Mend the cause.")
    return error
