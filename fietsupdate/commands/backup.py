"""The backups of an instance: make, list, find, verify and prune them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from fietsupdate.backup import directory
from fietsupdate.backup.create import BackupWriter, Purpose
from fietsupdate.backup.manifest import PARTIAL, Backup, Reason, Scope, Shelf
from fietsupdate.backup.meter import ByteMeter
from fietsupdate.backup.places import folder_of, found, instance_tag, orphaned_dumps, refuse_dest, refuse_shared
from fietsupdate.backup.policy import excess, useless
from fietsupdate.backup.verify import verify
from fietsupdate.commands.inspection import Inspection
from fietsupdate.commands.run import Run
from fietsupdate.config.application import Application
from fietsupdate.engine.tip import Tip
from fietsupdate.errors import UNCHANGED, FilesError, RefusedError, UsageError
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.filesystem.ledger import inspect_files
from fietsupdate.model import Event
from fietsupdate.model.clock import now
from fietsupdate.model.listeners import Listener

NO_PAIR = frozenset(
    {"interrupted", "transaction_doubt", "ledger_damaged", "diverged", "files_older", "database_older"}
    | {"data_dir_missing", "database_missing", "files_without_ledger", "database_without_ledger", "version_disagrees"}
    | {"database_behind", "database_ahead"}
)
"""Problems where the two halves are not of one moment: a backup of them would be as wrong as they are."""

KEEPABLE = frozenset(
    {"ledger_damaged", "diverged", "files_older", "database_older", "files_without_ledger", "database_without_ledger"}
    | {"version_disagrees", "database_behind", "database_ahead"}
)
"""Those of `NO_PAIR` where both halves exist: `--as-is` keeps a copy of them, which leads back to no good moment."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of reading a backup from end to end."""

    backup: Backup
    wrong: tuple[str, ...]
    """Every difference from what was copied; empty for a good backup."""
    passed_over: Mapping[str, str] = field(default_factory=dict)
    """Damaged backups that are newer than this one, if the newest was requested: the name of each, and its damage."""

    proof: Proof | None = None
    """The result of the trial restore, if one was requested."""

    @property
    def is_good(self) -> bool:
        """Whether the requested backup exists, and is unchanged since it was copied."""
        return not self.wrong and not self.passed_over and not (self.proof and self.proof.wrong)


def make(run: Run, dest: Path | None, *, as_is: bool = False) -> Backup:
    """Copy both halves, and remove the backups that need not be kept any more.

    Args:
        run: The instance.
        dest: The folder in which the backup is made; ``None`` for the one of the configuration.
        as_is: Whether halves that do not fit together are copied, too. Such a backup is no reason to remove others.

    Raises:
        FietsupdateError: There is no new backup.
    """
    with run.interruptible([]):
        run.check_hands()
        if dest is not None:
            refuse_shared(run.application, dest)
            refuse_dest(run.application, dest)
        with run.locked("backup"):
            inspection = run.inspect()
            reason = Reason.AS_IS if as_is and keeps_by(inspection) == KEEP_AS_IS else Reason.MANUAL
            if reason is Reason.MANUAL:
                refuse(inspection)
            writer = BackupWriter(
                run.context(inspection.database), inspection.database, dest or folder_of(run.application)
            )
            backup = writer.make(Tip(run.graph, inspection.database), Purpose(Scope.FULL, reason))
            if dest is None and reason is Reason.MANUAL:
                _pruned(run, inspection, run.application.config.keep, done=f"The backup {backup.name} is complete. ")
    return backup


KEEP, KEEP_AS_IS = "fietsupdate backup", "fietsupdate backup --as-is"


def keeps_by(inspection: Inspection) -> str:
    """Return the command that copies the present halves; "" if no command can."""
    codes = {problem.code for problem in inspection.status(locked_by_us=True).problems} & NO_PAIR
    if not inspection.database.exists or codes - KEEPABLE:
        return ""
    return KEEP_AS_IS if codes else KEEP


def refuse(inspection: Inspection) -> None:
    """Refuse to copy halves that do not belong to one moment.

    Raises:
        RefusedError: The message names the command to type first.
    """
    for problem in inspection.status(locked_by_us=True).problems:
        if problem.code in NO_PAIR:
            error = RefusedError.because(problem)
            if keeps_by(inspection) == KEEP_AS_IS:
                error.hint += f" To keep both halves as they are until then: `{KEEP_AS_IS}`."
            raise error
    if not inspection.database.exists:
        raise RefusedError(
            f"There is nothing to copy yet: the database file {inspection.database.file} does not exist.",
            stands=UNCHANGED,
            hint="Type `fietsupdate update`.",
        )


def listed(application: Application) -> Shelf:
    """Return the backups in the configured folder, with those that no longer lead anywhere marked as spent.

    This needs no database.
    """
    there, files = found(application), inspect_files(application.data_dir, application.config.version_file)
    open_txn = files.transaction.txn if files.transaction else files.unreadable_header
    gone = useless(there.backups, files.entries, open_txn, cleanup.living(application.data_dir))
    return replace(there, spent=gone)


def chosen(application: Application, name: str | None) -> Backup:
    """Return the backup of a name.

    Args:
        application: The entered configuration.
        name: Its name, or the path of its folder; ``None`` for the newest of both halves.

    Raises:
        UsageError: No backup has this name.
        FilesError: The backup is damaged, or was never finished; or all are, if no name was passed.
    """
    if name is not None and os.sep in name:
        return _read(Path(name))
    there = found(application)
    if name is None:
        whole = (backup for backup in there.backups if backup.manifest.is_pair)
        if (newest := next(whole, None)) is not None:
            return newest
        _refuse_damaged_only(there)
        raise UsageError(f"There is no backup in {there.folder}.", hint="Type `fietsupdate backup`.")
    by_name = {backup.name: backup for backup in there.backups}
    if name in by_name:
        return by_name[name]
    if name in there.broken:
        raise _damaged(there.folder / name, there.broken[name])
    near = get_close_matches(name, by_name, n=1)
    meant = f", did you mean {near[0]}?" if near else "."
    raise UsageError(f"There is no backup {name!r} in {there.folder}{meant}", hint="Type `fietsupdate backup list`.")


def _refuse_damaged_only(there: Shelf) -> None:
    """Refuse if there are backups, but every one of them is damaged.

    Raises:
        FilesError: The message lists the names.
    """
    if damaged := there.passed_over(None):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in damaged.items())
        raise FilesError(
            f"No backup in {there.folder} is complete: {reasons}.",
            stands=UNCHANGED,
            hint="Type `fietsupdate backup`.",
        )


def _damaged(path: Path, reason: object) -> FilesError:
    return FilesError(
        f"{path} is no complete backup: {reason}.", stands=UNCHANGED, hint="Type `fietsupdate backup list`."
    )


def _read(path: Path) -> Backup:
    try:
        return directory.read(path.absolute())
    except ValueError as error:
        raise _damaged(path, error) from error


def verified(application: Application, name: str | None, listener: Listener) -> Verified:
    """Read a backup from end to end; change nothing, and take no lock.

    Args:
        application: The entered configuration.
        name: As for `chosen`.
        listener: Called with the progress.

    Raises:
        UsageError: No backup has this name.
        FilesError: The backup is damaged, or was never finished.
    """
    there = found(application)
    backup = chosen(application, name)
    pace = ByteMeter(lambda details: listener(Event("progress", now(), text="read", details=details)), backup.size)
    wrong = verify(backup, pace)
    pace.finish()
    return Verified(backup, wrong, there.passed_over(backup) if name is None else {})


def prune(run: Run, keep: int | None) -> tuple[str, ...]:
    """Remove the backups that need not be kept, and the remains of backups that were killed.

    Args:
        run: The instance.
        keep: How many backups of both halves to keep; ``None`` for all.

    Raises:
        FietsupdateError: The instance cannot be inspected or locked.
    """
    with run.interruptible([]):
        run.check_hands()
        with run.locked("backup prune"):
            return _pruned(run, run.inspect(), keep)


def to_prune(run: Run, keep: int | None) -> tuple[str, ...]:
    """Return the names of what `prune` would remove; change nothing, and take no lock."""
    inspection, there = run.inspect(), found(run.application)
    partial = f"{PARTIAL}{instance_tag(run.application, inspection.database.instance_id)}-"
    left = sorted(name for name in there.broken if name.startswith(partial))
    return (*left, *(backup.name for backup in _unwanted(there, inspection, keep)))


def _pruned(run: Run, inspection: Inspection, keep: int | None, done: str = "") -> tuple[str, ...]:
    there, word = found(run.application), instance_tag(run.application, inspection.database.instance_id)
    unwanted = _unwanted(there, inspection, keep)
    try:
        swept = directory.clean_up(there.folder, word)
        gone = directory.remove(unwanted, word)
    except (OSError, FilesError) as error:
        names = [backup.name for backup in unwanted if not backup.path.exists()]
        raise FilesError(
            f"Not all of what need not be kept could be taken away: {str(error).rstrip('.')}.",
            stands=f"{done}Taken away: {', '.join(names) or 'none'}. All other backups are whole.",
            hint="Mend the cause, then type `fietsupdate backup prune`.",
        ) from error
    if gone:
        run.emit(Event("backups_pruned", now(), text=", ".join(gone), details={"names": list(gone)}))
    return (*swept, *gone)


def _unwanted(there: Shelf, inspection: Inspection, keep: int | None) -> tuple[Backup, ...]:
    whole = excess(there.backups, keep, inspection.database.instance_id)
    return (
        *whole,
        *orphaned_dumps(there.backups, inspection.files.data_dir, inspection.database.instance_id, _begun(inspection)),
    )


def _begun(inspection: Inspection) -> Collection[str]:
    return (inspection.database.begun.txn,) if inspection.database.begun else ()


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of a trial restore."""

    wrong: tuple[str, ...]
    """Every difference between the restored and the copied data, at most `MOST` of them."""
    notes: tuple[str, ...]
    """What a backup cannot bring along to this server, in sentences."""
