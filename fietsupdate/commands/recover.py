"""The command ``recover``: settle what an interrupted run left, and remove what is no longer needed."""

from __future__ import annotations

from fietsupdate.commands import notes
from fietsupdate.commands.audit import tell_mismatch
from fietsupdate.commands.inspection import Inspection
from fietsupdate.commands.replan import concurrent_change, without_replanning
from fietsupdate.commands.run import Run
from fietsupdate.engine.executor import Executor
from fietsupdate.errors import FietsupdateError, RefusedError
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.model import Direction, Event, Plan, Report
from fietsupdate.model.clock import now
from fietsupdate.views import DatabaseView


def recover(run: Run, *, accept: bool, purge: bool) -> Report:
    """Settle an open transaction; with `accept`, record a half-done update as finished.

    Args:
        run: The call that this belongs to.
        accept: Whether a half-done update was finished by hand.
        purge: Whether to delete what playback set aside, and the kept bytes of finished updates.

    Raises:
        FietsupdateError: An update is half done, and only the update itself or an administrator can finish it.
    """
    with run.interruptible([]):
        run.check_hands()
        with run.locked("recover"):
            inspection = run.settled_out_of_service("recover")
            executor = Executor(run.context(inspection.database), inspection.database)
            before = executor.tip.current
            if accept:
                without_replanning(executor.accept)
                notes.forget(run.application.data_dir)
            elif inspection.database.begun is not None:
                raise _unfinished(inspection)
            if purge:
                cleanup.purge(run.application.data_dir)
            _sweep_clones(run, inspection.database)
            run.automatic_backup(inspection).clean_up(executor.tip, None)
            tell_mismatch(run)
        plan = Plan(Direction.UP, (), (), before, executor.tip.current)
    return Report(plan, (), executor.tip.current, warnings=tuple(run.warned))


def _sweep_clones(run: Run, database: DatabaseView) -> None:
    """Remove the clones of rehearsals that were killed."""
    from fietsupdate.commands.rehearsal.removal import sweep

    for failure in sweep(run.application.data_dir, database.url, database.file):
        run.emit(Event("warning", now(), text=failure))


def _unfinished(inspection: Inspection) -> FietsupdateError:
    """Return the error of a recovery that cannot finish an update: only the update itself or an administrator can."""
    for problem in inspection.status(locked_by_us=True).problems:
        if problem.code == "interrupted":
            return RefusedError.because(problem, stands="Nothing was changed: a part of it is committed already.")
    return concurrent_change(())
