"""The errors of failed updates: what happened, the state of both halves, and what to type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fietsupdate.config.config import described
from fietsupdate.database import limits
from fietsupdate.engine.recovery import Outcome, Settled
from fietsupdate.errors import FietsupdateError, StoppedError, TerminatedError, UpdateFailedError
from fietsupdate.filesystem.space import is_full, name_disk
from fietsupdate.model import Direction, Step
from fietsupdate.process import SIGNALS, Stop

NO_COMMIT = "env.py returned without an error, but the database has not committed {what}"
LOOK_AT_ENV = "See that env.py commits: `alembic upgrade` with the same env.py must leave its revision in the database."


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far a plan has come."""

    done: int
    steps: int
    what: str = "updates"

    def __str__(self) -> str:
        if self.steps < 2:  # noqa: PLR2004  # "0 of 1" says nothing
            return ""
        return f" {self.done} of {self.steps} {self.what} of this run were finished before it."


@dataclass(frozen=True, slots=True)
class Disk:
    """The facts about the disk that an update writes to."""

    data_dir: Path
    needed: int = 0
    """Bytes that the last rehearsal of this update needed; 0 where there was none."""


@dataclass(frozen=True, slots=True)
class WayOn:
    """How a step that was interrupted half-way can go on, or back."""

    resume: str
    """The command that resumes it."""
    back: str = ""
    """The backup that leads back to before the step; "" for none."""
    first_failure: str = ""
    """The error of an earlier run at the same place; "" for none."""


def failure_of(
    step: Step | None,
    failure: BaseException | None,
    settled: Settled,
    progress: StepProgress,
    *,
    disk: Disk,
    way_on: WayOn | None = None,
) -> FietsupdateError:
    """Return the error of a transaction that is not complete.

    Args:
        step: The step, or None for a stamp.
        failure: The exception; None when env.py returned without an error.
        settled: The result of recovery.
        progress: How far the plan had come.
        disk: The facts about the disk, in case it is full.
        way_on: How a step that was interrupted half-way goes on.
    """
    what = step.update.update_id if step else "the stamp"
    stands = _stands(what, step, settled) + str(progress)
    if way_on is not None and way_on.first_failure:
        stands += f" It failed first with: {way_on.first_failure}"
    error = _error(what, failure)
    error.hint = limits.hint(failure) or error.hint
    error.stands = stands
    if is_full(failure):
        name_disk(error, disk.data_dir, needed=disk.needed)
    if error is not failure:  # it has a cause of its own, which `--traceback` shows
        error.__cause__ = failure
    if settled.outcome is Outcome.BEGUN and way_on is not None:
        error.hint = _ways(way_on, error.hint, settled)
    return error


def not_committed(what: str, *, stands: str = "") -> UpdateFailedError:
    """Return the error for an env.py that returns without an error, but has committed nothing."""
    return UpdateFailedError(f"{NO_COMMIT.format(what=what)}.", stands=stands, hint=LOOK_AT_ENV)


def _error(what: str, failure: BaseException | None) -> FietsupdateError:
    if isinstance(failure, FietsupdateError):
        return failure
    if isinstance(failure, Stop):
        kind = StoppedError if failure.signum == SIGNALS[0] else TerminatedError
        return kind(f"Stopped by {failure}.", hint="Run the same command again to go on.")
    if failure is None:
        return not_committed(what)
    if is_full(failure):
        return UpdateFailedError(f"The disk is full: {failure}.")
    return UpdateFailedError(f"{what} failed: {described(failure)}.", hint="`--traceback` shows more.")


def _stands(what: str, step: Step | None, settled: Settled) -> str:
    if settled.outcome is Outcome.DONE:
        return f"{what} is complete: database and files both have it."
    if settled.outcome is Outcome.UNDONE:
        return undone(what, settled)
    phases = " and ".join(settled.begun.finished if settled.begun else ()) or "none"
    way = "reverted" if step is not None and step.direction == Direction.DOWN else "applied"
    reason = f" ({step.not_atomic})" if step is not None and step.not_atomic else ""
    files = "what it did to files after that part was undone" if settled.phase_undone else "nothing was undone"
    is_news = settled.phase_undone or not reason  # for a non-atomic update, the step's own reason says this already
    unknown = f" Rows of it may stand, too: {settled.reason}." if is_news and settled.reason else ""
    return (
        f"{what} is half {way}: the database has committed a part of it{reason}; {files}, and every replaced file is "
        f"kept. Finished phases: {phases}.{unknown}{_set_aside(settled)}"
    )


def undone(what: str, settled: Settled) -> str:
    """Return what remains of a transaction without a ledger row: only what was checked (invariant 13)."""
    if not settled.reason and not settled.unseen:
        return f"Nothing of {what} stands: it was rolled back, and its file changes are undone.{_set_aside(settled)}"
    rows = f" Rows that it wrote may stand: {settled.reason}; so nothing was deleted." if settled.reason else ""
    files = f" {settled.unseen}" if settled.unseen else ""
    return (
        f"The database has no record of {what}, and the file changes in its journal are undone.{rows}{files}"
        f"{_set_aside(settled)}"
    )


def _set_aside(settled: Settled) -> str:
    if not settled.found:
        return ""
    whose = "it had made, or that stood in the way," if settled.reason or settled.unseen else "are not its own work"
    return f" Files that {whose} were set aside: {', '.join(map(str, settled.found))}."


def _ways(way_on: WayOn, hint: str, settled: Settled) -> str:
    """Return how to go on; after a broken revision, which cannot run again, the way back comes first."""
    back = f"`fietsupdate restore {way_on.back}` takes both halves back to before it." if way_on.back else ""
    on = f"When the cause is mended, `{way_on.resume}` goes on where it stopped."
    broken = settled.begun is not None and bool(settled.begun.running)
    return " ".join(filter(None, [back, hint, on] if broken else [hint, on, back]))
