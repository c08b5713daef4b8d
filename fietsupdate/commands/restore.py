"""Restore a backup: find it, and check that nothing prevents its restoration.

`fietsupdate.commands.bring_back` brings it beside the live halves; `fietsupdate.backup.restorer` completes it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fietsupdate.backup import restore_journal
from fietsupdate.backup.manifest import Backup
from fietsupdate.backup.meter import ByteMeter
from fietsupdate.backup.places import folder_of, found, refuse_shared
from fietsupdate.backup.policy import Despite, RestoreTarget, fitting_hint, obstacles, restorable, too_new
from fietsupdate.backup.restorer import Restorer
from fietsupdate.backup.verify import verify
from fietsupdate.commands.audit import tell_mismatch
from fietsupdate.commands.backup import chosen, keeps_by
from fietsupdate.commands.bring_back import StagedRestore
from fietsupdate.commands.inspection import Inspection, inspect_data_dir, unseen
from fietsupdate.commands.maintenance import check_service, maintenance_mode
from fietsupdate.commands.run import Run
from fietsupdate.errors import UNCHANGED, DatabaseError, RefusedError, UsageError
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.filesystem.layout import HOME, LOST_FOUND
from fietsupdate.filesystem.ledger import read_entries
from fietsupdate.model import Entry, Event, Problem
from fietsupdate.model.clock import now
from fietsupdate.views import Whereabouts

MOST_NAMED = 5
"""The most differences of a damaged backup that are reported."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore."""

    name: str
    """The backup's name."""
    current: tuple[str, ...]
    """The current updates of both halves."""
    found: tuple[Path, ...] = ()
    """The new paths of the files that were in the way of the restored ones."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backup, and what it would replace."""

    backup: Backup
    database: str
    """The URL of the database, with the password masked."""
    dialect: str
    roots: tuple[Path, ...]
    """The data directory, and the further roots that are in the backup."""
    passed_over: Mapping[str, str] = field(default_factory=dict)
    """Damaged backups that are newer, if the newest was requested: the name of each, and its damage."""
    keeps_by: str = ""
    """The command that copies the present halves; "" if no command can."""
    too_new: Mapping[str, str] = field(default_factory=dict)
    """Newer backups that the installed code is too old for, if the newest was requested: the name of each, and why."""


def candidates(run: Run, inspection: Inspection | None = None) -> tuple[Backup, ...]:
    """Return the backups that can be restored here, newest first; change nothing, wait for nothing."""
    inspection = inspection or _inspect(run)
    kept = cleanup.living(run.application.data_dir)
    return tuple(restorable(found(run.application).backups, inspection.database, inspection.files, kept))


@dataclass(frozen=True, slots=True)
class FoundBackup:
    """A backup that was found."""

    backup: Backup
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Newer backups that were skipped because they are damaged: the name of each, and its damage."""
    too_new: Mapping[str, str] = field(default_factory=dict)
    """Newer backups that were skipped because the installed code is too old for them: the name of each, and why."""


def find(run: Run, name: str | None, inspection: Inspection, despite: Collection[Despite]) -> FoundBackup:
    """Return the backup of a name or path; ``None`` is the newest that can be restored here.

    If the configuration names a distribution, the newest backup is the one that the installed version fits; if none
    does, it is the newest of all, which is refused afterwards.

    Raises:
        UsageError: There is no such backup.
    """
    if name is not None:
        return FoundBackup(chosen(run.application, name))
    if there := candidates(run, inspection):
        by_version = run.application.config.distribution and Despite.VERSION not in despite
        backup, unfit = _newest_that_fits(there, restore_target(run, inspection)) if by_version else (there[0], {})
        return FoundBackup(backup, found(run.application).passed_over(backup), unfit)
    raise UsageError(
        f"There is no backup in {folder_of(run.application)} that can be restored.",
        hint="Type `fietsupdate backup list`.",
    )


def check(run: Run, name: str | None, despite: Collection[Despite]) -> Candidate:
    """Refuse what `restore` would refuse; change nothing, and do not read the backup's content.

    Args:
        run: The instance.
        name: As for `find`.
        despite: The obstacles that the user overrides.

    Raises:
        FietsupdateError: The obstacle.
    """
    run.check_hands()
    inspection = _inspect(run)
    if inspection.files.is_half_restored:
        inspection.refuse()
    there = find(run, name, inspection, despite)
    backup = there.backup
    refuse(run, backup, inspection, despite)
    if Despite.RUNNING not in despite:
        check_service(run.application)
    StagedRestore(
        run, Restorer(run.application, run.environment, run.signals, run.emit), backup, inspection
    ).begun()  # to find obstacles
    roots = {"": run.application.data_dir, **run.application.config.extra_dirs}
    taken = tuple(roots[root] for root in ("", *backup.manifest.extra_dirs))
    return Candidate(
        backup,
        inspection.database.shown_url,
        inspection.database.dialect,
        taken,
        there.damaged,
        keeps_by=keeps_by(inspection),
        too_new=there.too_new,
    )


def restore(run: Run, name: str | None, despite: Collection[Despite]) -> Restored:
    """Restore a backup.

    Args:
        run: The instance.
        name: Name or path of the backup; ``None`` for the newest that can be restored.
        despite: The obstacles that the user overrides.

    Raises:
        FietsupdateError: The restore failed; ``stands`` says in which state both halves are now.
    """
    with run.interruptible([]):
        run.check_hands()
        left = restore_journal.open_restore(run.application.data_dir)
        with run.locked("restore"):  # which finishes an interrupted restore
            if left is not None and left.is_half and name in {None, left.backup}:
                done = Restored(left.backup, run.inspect().status(locked_by_us=True).current)
            else:
                with _out_of_service(run, despite):
                    done = _restored(run, name, despite)
            tell_mismatch(run)
    run.emit(Event("finished", now(), details={"restored": done.name, "current": list(done.current)}))
    return done


def _restored(run: Run, name: str | None, despite: Collection[Despite]) -> Restored:
    inspection = _inspect(run)
    there = find(run, name, inspection, despite)
    backup = there.backup
    refuse(run, backup, inspection, despite)
    for damaged, reason in there.damaged.items():
        run.emit(Event("warning", now(), text=f"Passed over, as it is damaged: backup {damaged}: {reason}."))
    for unfit, reason in there.too_new.items():
        run.emit(Event("warning", now(), text=f"Passed over, as it is too new: backup {unfit}: {reason}"))
    _refuse_damage(run, backup, despite)
    restorer = Restorer(run.application, run.environment, run.signals, run.emit)
    strange = StagedRestore(run, restorer, backup, inspection).go()
    return Restored(backup.name, backup.manifest.current, strange)


def refuse(run: Run, backup: Backup, inspection: Inspection, despite: Collection[Despite]) -> None:
    """Refuse to restore a backup if an obstacle prevents it.

    Raises:
        RefusedError: The first obstacle that the user does not override.
    """
    refuse_shared(run.application, folder_of(run.application))
    target = restore_target(run, inspection)
    for what, problem in obstacles(backup.manifest, ledger_of(backup), target):
        if what is None or what not in despite:
            if what is Despite.VERSION and target.distribution:
                fits = next((one.name for one in candidates(run, inspection) if _is_free(one, target)), "")
                raise RefusedError.because(fitting_hint(problem, fits, target))
            raise RefusedError.because(problem)
    refuse_barred(inspection.database.place)


def _newest_that_fits(there: Sequence[Backup], target: RestoreTarget) -> tuple[Backup, dict[str, str]]:
    """Return the newest backup that the installed code fits, and why those before it were skipped.

    If none, the newest.
    """
    unfit: dict[str, str] = {}
    for backup in there:
        problem = too_new(backup.manifest, ledger_of(backup), target)
        if problem is None:
            return backup, unfit
        unfit[backup.name] = problem.message
    return there[0], {}


def _is_free(backup: Backup, target: RestoreTarget) -> bool:
    """Return whether no obstacle prevents the restoration of a backup."""
    return not any(True for _ in obstacles(backup.manifest, ledger_of(backup), target))


def ledger_of(backup: Backup) -> Sequence[Entry]:
    """Read the ledger in a backup, as far as it can be read."""
    return read_entries(backup.ledger)[0]


def restore_target(run: Run, inspection: Inspection) -> RestoreTarget:
    """Return what a backup would be restored over."""
    return RestoreTarget(
        graph=run.graph,
        database=inspection.database,
        files=inspection.files,
        is_bare=_is_bare(run.application.data_dir),
        extra_dirs=run.application.config.extra_dirs,
        kept=cleanup.living(run.application.data_dir),
        distribution=run.application.config.distribution,
        installed=run.application.app_version,
    )


def refuse_barred(place: Whereabouts) -> None:
    """Refuse if the database could not be exchanged, before anything is copied or changed.

    Raises:
        FietsupdateError: The first reason.
    """
    from fietsupdate.database.dump import live_store

    store = live_store(place)
    if store.file is None:
        store.check()
    for text, remedy in store.barriers():
        raise RefusedError.because(Problem("not_restorable", text, remedy))


def _inspect(run: Run) -> Inspection:
    """Return the view of both halves; an unreadable database is no error, as it will be replaced."""
    try:
        return run.inspect()
    except DatabaseError:
        restorer = Restorer(run.application, run.environment, run.signals, run.emit)
        at = restorer.destination
        if at.file is None:
            _refuse_silent(restorer)
        files = inspect_data_dir(run.application)
        unread = unseen(at.shown, dialect=restorer.store.dialect, url=at.place.url, file=at.file)
        return Inspection(run.graph, files, replace(unread, place=at.place))


def _refuse_silent(restorer: Restorer) -> None:
    """Refuse if a server does not answer: other than a file, a server is not replaced by a restore."""
    try:
        restorer.store.check()
    except DatabaseError as error:
        error.stands = error.stands or UNCHANGED
        raise


def _is_bare(data_dir: Path) -> bool:
    return not set(os.listdir(data_dir)) - {HOME, LOST_FOUND}


@contextlib.contextmanager
def _out_of_service(run: Run, despite: Collection[Despite]) -> Iterator[None]:
    if Despite.RUNNING in despite:
        yield
        return
    with maintenance_mode(run.application, run.signals, run.emit, command="restore"):
        yield


def _refuse_damage(run: Run, backup: Backup, despite: Collection[Despite]) -> None:
    pace = ByteMeter(lambda details: run.emit(Event("progress", now(), text="verified", details=details)), backup.size)
    wrong = verify(backup, pace)
    pace.finish()
    if not wrong:
        return
    listed = "; ".join(wrong[:MOST_NAMED]) + ("; and more" if len(wrong) > MOST_NAMED else "")
    if Despite.DAMAGE in despite:
        run.emit(Event("warning", now(), text=f"The backup {backup.name} is damaged: {listed}."))
        return
    raise RefusedError.because(
        Problem(
            "backup_damaged",
            f"The backup {backup.name} is not as it was made: {listed}.",
            "Restore another one: `fietsupdate backup list` shows them. To restore what is left of this one, add "
            "--despite damage.",
        )
    )
