"""Bring single files back from a backup: the database is not touched, and no existing file is replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fietsupdate.backup.manifest import Backup, Reason, Scope
from fietsupdate.backup.meter import ByteMeter
from fietsupdate.backup.places import folder_of, found
from fietsupdate.backup.policy import Despite, is_same_instance, obstacles
from fietsupdate.backup.selection import Selection, holds, refuse_different, select
from fietsupdate.backup.single_files import bring_back
from fietsupdate.commands.backup import chosen
from fietsupdate.commands.inspection import Inspection
from fietsupdate.commands.restore import ledger_of, restore_target
from fietsupdate.commands.run import Run
from fietsupdate.engine.files_only import files_only
from fietsupdate.errors import UNCHANGED, RefusedError, UsageError
from fietsupdate.filesystem.place import Place, placed
from fietsupdate.model import Event
from fietsupdate.model.clock import now

COMMAND = "fietsupdate restore --only"


@dataclass(frozen=True, slots=True)
class RestoredFiles:
    """The result of a restore of single files."""

    name: str
    """The backup's name."""
    files: tuple[str, ...]
    """The files that were brought back, in further roots as ``NAME:PATH``; a folder only if nothing in it was brought
    back."""
    present: tuple[str, ...]
    """The files that existed already, with the content in the backup."""


@dataclass(frozen=True, slots=True)
class FilesCandidate:
    """The files that a restore would bring back."""

    backup: Backup
    files: tuple[str, ...]
    present: tuple[str, ...]
    bytes: int
    """The bytes of content that would be copied."""


def check(run: Run, name: str | None, paths: Sequence[str], despite: Collection[Despite]) -> FilesCandidate:
    """Refuse what `restore_files` would refuse; change nothing.

    Args:
        run: The instance.
        name: Name or path of the backup; ``None`` for the newest that contains all of these paths.
        paths: See `fietsupdate.filesystem.place.placed`.
        despite: The obstacles that the user overrides.

    Raises:
        FietsupdateError: The obstacle.
    """
    run.check_hands()
    selection = _selection(run, run.inspect(), name, paths, despite)
    return FilesCandidate(selection.backup, selection.files, selection.present_files, selection.bytes)


def restore_files(run: Run, name: str | None, paths: Sequence[str], despite: Collection[Despite]) -> RestoredFiles:
    """Bring missing files back.

    Args:
        run: The instance.
        name: As for `check`.
        paths: As for `check`.
        despite: The obstacles that the user overrides.

    Raises:
        FietsupdateError: The restore failed; nothing was changed.
    """
    with run.interruptible([]):
        run.check_hands()
        with run.locked(COMMAND.removeprefix("fietsupdate ")):
            inspection = run.inspect()
            selection = _selection(run, inspection, name, paths, despite)
            if selection.missing:
                _bring_back(run, inspection, selection)
    done = RestoredFiles(selection.backup.name, selection.files, selection.present_files)
    details = {"restored": done.name, "files": [*done.files], "present": [*done.present]}
    run.emit(Event("finished", now(), details=details))
    return done


def _bring_back(run: Run, inspection: Inspection, selection: Selection) -> None:
    def tell(text: str) -> None:
        run.emit(Event("warning", now(), text=text))

    pace = ByteMeter(
        lambda details: run.emit(Event("progress", now(), text="restored", details=details)), selection.bytes
    )
    with files_only(run.context(inspection.database), inspection.database, COMMAND) as files:
        bring_back(selection, files, warn=tell, moved=pace)
    pace.finish()


def _selection(
    run: Run, inspection: Inspection, name: str | None, paths: Sequence[str], despite: Collection[Despite]
) -> Selection:
    _refuse_open(inspection)
    roots: Mapping[str, Path] = {"": run.application.data_dir, **run.application.config.extra_dirs}
    places = [placed(path, roots) for path in paths]
    _refuse_own(run, places)
    backup = _newest(run, inspection, places) if name is None else chosen(run.application, name)
    _refuse_other_instance(run, inspection, backup, despite)
    own = () if inspection.database.file is None else (inspection.database.file,)
    selection = select(backup, places, roots, own)
    refuse_different(selection)
    return selection


def _refuse_open(inspection: Inspection) -> None:
    """Refuse while an update or a restore is half done: which files belong to the rows is not decided then."""
    transaction = inspection.files.transaction
    if transaction is not None and transaction.files_only:
        return  # under the lock it is settled first
    for problem in inspection.status(locked_by_us=True).problems:
        if problem.code in {"interrupted", "transaction_doubt", "restore_interrupted"}:
            raise RefusedError.because(problem)


def _refuse_own(run: Run, places: Sequence[Place]) -> None:
    own = run.application.config.version_file
    if own and Place("", own) in places:
        raise UsageError(
            f"{own} says which updates the instance is at, and does not come back alone.",
            stands=UNCHANGED,
            hint="Type `fietsupdate status`.",
        )


def _refuse_other_instance(run: Run, inspection: Inspection, backup: Backup, despite: Collection[Despite]) -> None:
    for what, problem in obstacles(backup.manifest, ledger_of(backup), restore_target(run, inspection)):
        if what is Despite.INSTANCE and what not in despite:
            raise RefusedError.because(problem)


def _newest(run: Run, inspection: Inspection, places: Sequence[Place]) -> Backup:
    """Return the newest backup of this instance that contains all of these files.

    Raises:
        UsageError: There is no such backup.
    """
    target = restore_target(run, inspection)
    for backup in found(run.application).backups:
        manifest = backup.manifest
        fits = manifest.scope is Scope.FULL and manifest.reason is not Reason.AS_IS
        if fits and is_same_instance(manifest, ledger_of(backup), target) and _holds(backup, places):
            return backup
    raise UsageError(
        f"No backup in {folder_of(run.application)} has {', '.join(place.shown for place in places)}.",
        stands=UNCHANGED,
        hint="Type `fietsupdate backup list`.",
    )


def _holds(backup: Backup, places: Sequence[Place]) -> bool:
    try:
        return holds(backup, places)
    except (OSError, ValueError):
        return False  # the backup is damaged; an older one may contain the files
