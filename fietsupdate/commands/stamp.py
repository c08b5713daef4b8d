"""Record the position of an instance, without running a script or a revision.

For a database that the application has created at once (`create_all`), Alembic's version table is set in the same
transaction, to the revisions that the recorded updates need.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from fietsupdate.commands.inspection import Inspection
from fietsupdate.commands.replan import without_replanning
from fietsupdate.commands.run import Run
from fietsupdate.engine.executor import Executor
from fietsupdate.errors import RefusedError, UsageError
from fietsupdate.model import BASE, Adoption, Direction, Event, Plan, Report
from fietsupdate.model.clock import now
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.revisions import RevisionTree
from fietsupdate.planning.target import find, resolve_up
from fietsupdate.views import DatabaseView

NOT_STAMPED = frozenset(
    {"ledger_damaged", "data_dir_missing", "database_without_ledger", "database_missing", "diverged", "files_older"}
    | {"database_older", "transaction_doubt", "interrupted", "version_foreign", "version_unknown"}
)
"""Problems that a stamp would hide instead of solve."""

HEADS = frozenset({"head", "heads"})


def stamp(run: Run, targets: Sequence[str], *, with_alembic: bool | None) -> Report:
    """Record that these updates are current.

    Args:
        run: The call that this belongs to.
        targets: Ids, prefixes, ``heads``; ``base`` alone for none.
        with_alembic: Whether to set Alembic's version table, too; ``None`` if the database has tables, but no
            Alembic version.

    Raises:
        FietsupdateError: The stamp failed; nothing was changed.
    """
    started, ids = time.monotonic(), stampable(run.graph, targets)
    with run.interruptible([]):
        run.check_hands()
        with run.locked("stamp"):
            inspection = run.settled_out_of_service("stamp")
            before = _unless_buried(inspection)
            alembic = (
                _needed(run.graph, inspection.database, ids) if _wanted(inspection.database, with_alembic) else None
            )
            executor = Executor(run.context(inspection.database), inspection.database)
            executor.prepare()
            without_replanning(lambda: executor.stamp(ids, copy=not inspection.files.has_ledger, alembic=alembic))
            _tell_beyond(run, inspection.database, alembic)
    plan = Plan(Direction.STAMP, ids, (), before, executor.tip.current, Adoption(ids))
    duration = round((time.monotonic() - started) * 1000)
    return Report(plan, ids, executor.tip.current, duration, tuple(run.warned))


def stampable(graph: Graph, targets: Sequence[str]) -> tuple[str, ...]:
    """Return the ids that a stamp names; () for `base`."""
    if list(targets) == [BASE]:
        return ()
    if not targets or BASE in targets:
        raise UsageError(
            "'base' stands alone: it means that nothing is applied.", hint="Type `fietsupdate stamp base`."
        )
    ids: dict[str, None] = {}
    for target in targets:
        heads = target.rpartition(":")[2] in HEADS
        update_ids = resolve_up(graph, frozenset(), target) if heads else (find(graph, target),)
        ids.update(dict.fromkeys(update_ids))
    return graph.dag.heads(graph.dag.ancestors(ids))


def _unless_buried(inspection: Inspection) -> tuple[str, ...]:
    """Return the current updates before the stamp; refuse if a stamp would hide a problem."""
    status = inspection.status(locked_by_us=True)
    for problem in status.problems:
        if problem.blocks and problem.code in NOT_STAMPED:
            raise RefusedError.because(problem)
    return status.current


def _wanted(database: DatabaseView, with_alembic: bool | None) -> bool:
    if with_alembic is None:
        return bool(database.tables) and not database.alembic_current
    return with_alembic


def _needed(graph: Graph, database: DatabaseView, ids: Sequence[str]) -> tuple[str, ...]:
    """Return the Alembic revisions that a database at these updates has: the newest of each branch."""
    tree = RevisionTree.of(database, graph)
    updates = [graph.updates[update_id] for update_id in graph.dag.sort(graph.dag.ancestors(ids))]
    tree.demand(updates)
    return tree.heads(tree.needed_by(updates))


def _tell_beyond(run: Run, database: DatabaseView, alembic: Sequence[str] | None) -> None:
    """Warn about revisions that no recorded update reaches: `create_all` made their tables, too."""
    if alembic is None or set(alembic) == set(database.alembic_heads):
        return
    text = (
        f"Alembic's version table now says {', '.join(alembic) or 'nothing'}, which is what these updates need, but "
        f"the newest revision is {', '.join(database.alembic_heads)}. Where the application made the tables of that, "
        "too, type `alembic stamp heads`."
    )
    run.emit(Event("warning", now(), text=text))
