"""Compare ledger and schema: the Alembic version of the database with the revisions that the applied updates need."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from fietsupdate.model import Direction, Problem, Update
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.history import current_of
from fietsupdate.planning.problems import SAME_MOMENT, up_to
from fietsupdate.planning.revisions import RevisionTree, missing_text
from fietsupdate.views import DatabaseView

AHEAD = "database_ahead"
"""The code of the problem that the database is past the revision of a pending update."""


def schema_problems(
    graph: Graph, tree: RevisionTree, database: DatabaseView, applied: frozenset[str], backup: str = ""
) -> Iterator[Problem]:
    """Yield the problems of a schema that does not fit the ledger. All updates in `applied` are known.

    The revision of a pending update may be present only because an applied update needs it, too. A revision that no
    update reaches concerns the developers only and blocks nothing.

    Args:
        graph: All updates.
        tree: The Alembic revisions.
        database: What was found in the database.
        applied: The applied updates.
        backup: Name of a backup of both halves from before the database went past a pending update; "" for none.
    """
    if strange := unknown_revision(tree, database):
        yield strange
        return
    have = tree.closed(database.alembic_current)
    open_ids, allowed = _in_between(graph, database, tree)
    needed = tree.needed_by(graph.updates[update_id] for update_id in applied - open_ids)
    if missing := needed - have - allowed:
        yield _behind(graph, database, tree, applied, missing)
    reached = tree.needed_by(graph.ordered)
    extra = have - needed - allowed
    if extra & reached and not _only_recorded(graph, tree, applied, needed, extra):
        yield _ahead(graph, tree, applied, needed, extra, backup=backup)
    if beyond := extra - reached:
        yield _beyond(tree.heads(beyond))


def revision_problems(graph: Graph, tree: RevisionTree) -> Iterator[Problem]:
    """Yield the problem of revisions that updates name and the tree does not have.

    Only a plan that needs one is refused.
    """
    wrong = [(update, revision) for update in graph.ordered for revision in tree.unknown(update)]
    if wrong:
        yield Problem(
            "revision_unknown",
            "\n".join(missing_text(update, revision) for update, revision in wrong),
            tree.advice(wrong[0][1]),
            blocks=False,
        )


def unknown_revision(tree: RevisionTree, database: DatabaseView) -> Problem | None:
    """Return the problem that the database is at a revision that the tree does not have.

    ``None`` when all are known.
    """
    strange = [revision for revision in database.alembic_current if revision not in tree]
    if not strange:
        return None
    return Problem(
        "alembic_unknown",
        f"The database is at Alembic revision {', '.join(strange)}, which this code does not know; "
        f"it knows {up_to('revisions', tree.heads(tree.dag.order))}.",
        "Install the version of the application that has it, or put its migration script back.",
    )


def tables_without_alembic(database: DatabaseView) -> Problem:
    """Return the problem of a new instance whose database is not empty; another program or `create_all` filled it."""
    tables = "1 table" if database.tables == 1 else f"{database.tables} tables"
    return Problem(
        "tables_without_alembic",
        f"The database has {tables}, but no Alembic version: updates would begin at the very first.",
        "If the application made them without Alembic, type `fietsupdate stamp heads --with-alembic` instead of "
        "updating.",
        blocks=False,
    )


def _in_between(graph: Graph, database: DatabaseView, tree: RevisionTree) -> tuple[frozenset[str], frozenset[str]]:
    """Return the interrupted update and its revisions, which the database may or may not have."""
    begun = database.begun
    if begun is None or begun.update_id not in graph.updates:
        return frozenset(), frozenset()
    ids = frozenset([begun.update_id] if begun.direction is Direction.DOWN else [])
    return ids, tree.needed_by([graph.updates[begun.update_id]])


def _behind(
    graph: Graph, database: DatabaseView, tree: RevisionTree, applied: frozenset[str], missing: Collection[str]
) -> Problem:
    heads = tree.heads(missing)
    update, lacks = next(
        (one, revisions)
        for one in graph.ordered
        if one.update_id in applied and (revisions := [head for head in heads if head in one.alembic_revisions])
    )
    at = ", ".join(database.alembic_current) or "no revision at all"
    commands = ", ".join(f"`alembic upgrade {revision}`" for revision in heads)
    return Problem(
        "database_behind",
        f"The database is behind its current updates: {update.update_id} needs Alembic revision "
        f"{', '.join(lacks)}, the database is at {at}.",
        f"If only Alembic was taken back, type {commands}. If the database was restored alone: {SAME_MOMENT}.",
    )


def _only_recorded(
    graph: Graph, tree: RevisionTree, applied: frozenset[str], needed: frozenset[str], extra: frozenset[str]
) -> bool:
    """Return whether the pending updates up to the last one whose revisions are present have nothing else to do."""
    pending = [update for update in graph.ordered if update.update_id not in applied]
    owners = [number for number, one in enumerate(pending) if tree.lacking(one.alembic_revisions, needed) & extra]
    return bool(owners) and all(one.is_empty and not one.broken for one in pending[: owners[-1] + 1])


def is_past_pending(graph: Graph, tree: RevisionTree, database: DatabaseView, applied: frozenset[str]) -> bool:
    """Return whether the database has a revision that only a pending update reaches."""
    if {*database.alembic_current}.issubset(_named(graph, applied)) or applied - graph.updates.keys():
        return False
    return any(problem.code == AHEAD for problem in schema_problems(graph, tree, database, applied))


def already_there(graph: Graph, database: DatabaseView, update: Update) -> tuple[str, ...]:
    """Return the Alembic revisions that an update brings, as far as the database has them already."""
    tree = RevisionTree.of(database, graph)
    before = graph.dag.ancestors([update.update_id]) - {update.update_id}
    needed = tree.needed_by(graph.updates[update_id] for update_id in before)
    return tree.sort(tree.lacking(update.alembic_revisions, needed) & tree.closed(database.alembic_current))


def fits_before(tree: RevisionTree, graph: Graph, applied: frozenset[str], alembic: Collection[str]) -> bool:
    """Return whether a database at these revisions has run nothing that a pending update brings."""
    needed = tree.needed_by(graph.updates[update_id] for update_id in applied)
    return tree.closed(alembic) <= needed


def _named(graph: Graph, applied: frozenset[str]) -> set[str]:
    known = applied & graph.updates.keys()
    return {revision for update_id in known for revision in graph.updates[update_id].alembic_revisions}


def _ahead(
    graph: Graph,
    tree: RevisionTree,
    applied: frozenset[str],
    needed: frozenset[str],
    extra: frozenset[str],
    *,
    backup: str,
) -> Problem:
    pending = [update for update in graph.ordered if update.update_id not in applied]
    update, early = next(
        (one, revisions) for one in pending if (revisions := tree.lacking(one.alembic_revisions, needed) & extra)
    )
    done = [
        one.update_id
        for one in pending
        if extra.intersection(one.alembic_revisions) and not tree.lacking(one.alembic_revisions, needed | extra)
    ]
    stamp = " ".join(current_of(applied | graph.dag.ancestors(done), graph))
    record = f" If the work of {', '.join(done)} is done already, type `fietsupdate stamp {stamp}`." if done else ""
    return Problem(
        "database_ahead",
        f"The database is already past the revision of a pending update: Alembic revision "
        f"{', '.join(tree.heads(early))} belongs to {update.update_id}, which has not run.",
        "What was dropped with that is gone from this database: Alembic does not bring it back, and the update would "
        f"find nothing. {_before_that(backup)}, then type `fietsupdate update`. Only if you know that nothing was "
        f"dropped: {_way_back(tree, needed, extra)}, then type `fietsupdate update`.{record}",
    )


def _before_that(backup: str) -> str:
    """Return the beginning of a sentence that tells how to take both halves back to before the database went ahead."""
    if backup:
        return f"Type `fietsupdate restore {backup}`, which takes both halves back to before that"
    return "Take both halves back to a backup from before that, if there is one (`fietsupdate backup list`)"


def _way_back(tree: RevisionTree, needed: frozenset[str], extra: frozenset[str]) -> str:
    """Return the command that takes the schema back, if one command can do so without affecting other revisions."""
    heads = tree.heads(needed)
    if not heads:
        return "type `alembic downgrade base`"
    if len(heads) == 1 and extra <= tree.dag.descendants(heads):
        return f"type `alembic downgrade {heads[0]}`"
    return f"take Alembic revision {', '.join(reversed(tree.sort(extra)))} back"


def _beyond(heads: Sequence[str]) -> Problem:
    return Problem(
        "alembic_ahead",
        f"The database is ahead of every update: no update reaches Alembic revision {', '.join(heads)}.",
        "Developers: write an update for it with `fietsupdate revision`.",
        blocks=False,
    )
