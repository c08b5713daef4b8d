"""The command ``recover``: settles what an interrupted run left, and removes what nobody needs any more."""

from __future__ import annotations

from fietsupdate.commands.inspection import Inspection
from fietsupdate.commands.replan import once, restless
from fietsupdate.commands.run import Run
from fietsupdate.engine.executor import Executor
from fietsupdate.errors import FietsupdateError, RefusedError
from fietsupdate.filesystem import last_failure
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.model import Direction, Event, Plan, Report
from fietsupdate.model.clock import now
from fietsupdate.views import DatabaseView


def recover(run: Run, *, accept: bool, purge: bool) -> Report:
    """Settle what lies open; record a half-done update as finished where `accept` says so.

    Args:
        run: The call that this belongs to.
        accept: An update that is half done was finished by hand.
        purge: Delete what playback set aside, and the kept bytes of finished updates.

    Raises:
        FietsupdateError: An update is half done, and only the update itself, or a hand, can end it.
    """
    with run.stoppable([]):
        run.check_hands()
        with run.locked("recover"):
            seen = run.settled_for("recover")
            engine = Executor(run.instance(seen.database), seen.database)
            before = engine.tip.current
            if accept:
                once(engine.accept)
                last_failure.forget(run.site.data_dir)
            elif seen.database.begun is not None:
                raise _unfinished(seen)
            if purge:
                cleanup.purge(run.site.data_dir)
            _sweep_clones(run, seen.database)
            run.automatic_backup(seen).tidy(engine.tip, None)
        plan = Plan(Direction.UP, (), (), before, engine.tip.current)
    return Report(plan, (), engine.tip.current, warnings=tuple(run.warned))


def _sweep_clones(run: Run, database: DatabaseView) -> None:
    """Remove what rehearsals have left that were killed."""
    from fietsupdate.commands.rehearsal.removal import sweep

    for failure in sweep(run.site.data_dir, database.url, database.file):
        run.tell(Event("warning", now(), text=failure))


def _unfinished(seen: Inspection) -> FietsupdateError:
    """Make the error of a recovery that cannot end an update: only the update itself, or a hand, can."""
    for problem in seen.status(locked_by_us=True).problems:
        if problem.code == "interrupted":
            return RefusedError.because(problem, stands="Nothing was changed: a part of it is committed already.")
    return restless(())
