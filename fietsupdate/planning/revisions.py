"""Set arithmetic of Alembic revisions: sets cover branches, merges and several heads without special cases.

A set that is *closed* contains all ancestors of its members; the revisions that a database has are always closed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from fietsupdate.errors import UNCHANGED, PlanError
from fietsupdate.model import Update
from fietsupdate.planning.graph import Dag, Graph, closest
from fietsupdate.views import DatabaseView


class RevisionTree:
    """Every known Alembic revision with the revisions before it, including those in ``depends_on``."""

    def __init__(self, revisions: Mapping[str, Sequence[str]], labels: Mapping[str, Sequence[str]]) -> None:
        self.dag = Dag(revisions)
        self._rank = {revision: rank for rank, revision in enumerate(self.dag.order)}
        self._labels = labels

    @classmethod
    def of(cls, database: DatabaseView, graph: Graph) -> RevisionTree:
        """Return the tree that was read from the database's environment.

        Where the SQLite file does not exist, the environment could not be read. Then each revision that an update names
        stands alone, without parents.
        """
        if database.exists or database.revisions:
            return cls(database.revisions, database.labels)
        named = (revision for update in graph.ordered for revision in update.alembic_revisions)
        return cls(dict.fromkeys(named, ()), {})

    def __contains__(self, revision: object) -> bool:
        return revision in self.dag

    def closed(self, revisions: Iterable[str]) -> frozenset[str]:
        """Return these revisions and all that they build on."""
        return self.dag.ancestors(revisions)

    def needed_by(self, updates: Iterable[Update]) -> frozenset[str]:
        """Return the revisions that a database must have for these updates."""
        return self.closed(revision for update in updates for revision in update.alembic_revisions)

    def lacking(self, revisions: Iterable[str], have: Collection[str]) -> frozenset[str]:
        """Return the revisions that must run to reach these; `have` is closed.

        Takes time in proportion to the result only.
        """
        return _reach(revisions, self.dag.parents, lambda revision: revision not in have)

    def above(self, revisions: Iterable[str], have: Collection[str]) -> frozenset[str]:
        """Return these revisions and all that build on them, as far as the database has them."""
        return _reach(revisions, self.dag.children, lambda revision: revision in have)

    def sort(self, revisions: Iterable[str]) -> tuple[str, ...]:
        """Return revisions in the order in which they run."""
        return tuple(sorted(revisions, key=self._rank.__getitem__))

    def heads(self, revisions: Collection[str]) -> tuple[str, ...]:
        """Return the revisions on which no other of these builds."""
        return self.dag.heads(revisions)

    def unknown(self, update: Update) -> tuple[str, ...]:
        """Return the revisions that an update names and the tree does not have."""
        return tuple(revision for revision in update.alembic_revisions if revision not in self)

    def demand(self, updates: Iterable[Update]) -> None:
        """Check that every revision that these updates name exists.

        Raises:
            PlanError: A revision does not exist; each such revision is named with file and line.
        """
        wrong = [(update, revision) for update in updates for revision in self.unknown(update)]
        if wrong:
            raise PlanError(
                "\n".join(missing_text(update, revision) for update, revision in wrong),
                stands=UNCHANGED,
                hint=self.advice(wrong[0][1]),
                details={"unknown_revisions": [revision for _, revision in wrong]},
            )

    def advice(self, revision: str) -> str:
        """Return a hint for a revision that does not exist: what was probably meant."""
        if meant := self._labels.get(revision):
            return f"{revision!r} is a branch label; write the full revision id: {_quoted(meant)}."
        if revision in {"head", "heads"}:
            return f"Write the full revision id: {_quoted(self.dag.heads())}."
        starting = [known for known in self.dag.order if known.startswith(revision)]
        if len(starting) == 1:
            return f"{revision!r} is the beginning of {starting[0]!r}; write the full revision id."
        if near := closest(revision, self.dag.order):
            return f"Did you mean {near!r}?"
        return "`alembic history` lists the revisions of this application."


def missing_text(update: Update, revision: str) -> str:
    """Return the message that a revision does not exist, with the script that needs it."""
    return (
        f"{update.path}:{update.revision_line}: update {update.update_id} needs Alembic revision {revision!r}, "
        "which does not exist."
    )


def _quoted(revisions: Iterable[str]) -> str:
    return ", ".join(repr(revision) for revision in revisions)


def _reach(start: Iterable[str], edges: Mapping[str, tuple[str, ...]], wanted: Callable[[str], bool]) -> frozenset[str]:
    """Return the revisions that can be reached along `edges` through wanted revisions only."""
    waiting = [revision for revision in start if revision in edges and wanted(revision)]
    reached = set(waiting)
    while waiting:
        for revision in edges[waiting.pop()]:
            if revision not in reached and wanted(revision):
                reached.add(revision)
                waiting.append(revision)
    return frozenset(reached)
