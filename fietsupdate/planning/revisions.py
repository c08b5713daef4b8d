"""The arithmetic of Alembic revisions: always over sets, so that branches, merges and several heads need no care.

A set that is *closed* contains all ancestors of its members; what a database has is always closed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from fietsupdate.errors import PlanError
from fietsupdate.model import Update
from fietsupdate.planning.graph import Dag, Graph, closest
from fietsupdate.views import DatabaseView


class RevisionTree:
    """Every known Alembic revision with what it comes after, ``depends_on`` included."""

    def __init__(self, revisions: Mapping[str, Sequence[str]], labels: Mapping[str, Sequence[str]]) -> None:
        self.dag = Dag(revisions)
        self._rank = {revision: rank for rank, revision in enumerate(self.dag.order)}
        self._labels = labels

    @classmethod
    def of(cls, database: DatabaseView, graph: Graph) -> RevisionTree:
        """Take the tree that was seen in the database's environment.

        Where the SQLite file does not exist, nothing could be looked at: then each revision that an update names
        stands for itself.
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
        """Return what a database must have to be at these updates."""
        return self.closed(revision for update in updates for revision in update.alembic_revisions)

    def lacking(self, revisions: Iterable[str], have: Collection[str]) -> frozenset[str]:
        """Return what must run so that these revisions are there; `have` is closed. Costs only what is lacking."""
        return _reach(revisions, self.dag.parents, lambda revision: revision not in have)

    def above(self, revisions: Iterable[str], have: Collection[str]) -> frozenset[str]:
        """Return these revisions and all that builds on them, as far as the database has it."""
        return _reach(revisions, self.dag.children, lambda revision: revision in have)

    def sort(self, revisions: Iterable[str]) -> tuple[str, ...]:
        """Return revisions in the order in which they run."""
        return tuple(sorted(revisions, key=self._rank.__getitem__))

    def heads(self, revisions: Collection[str]) -> tuple[str, ...]:
        """Return those on which no other of these builds."""
        return self.dag.heads(revisions)

    def unknown(self, update: Update) -> tuple[str, ...]:
        """Return what an update names and the tree does not have."""
        return tuple(revision for revision in update.alembic_revisions if revision not in self)

    def demand(self, updates: Iterable[Update]) -> None:
        """Make sure that every revision that these updates name exists.

        Raises:
            PlanError: One does not; each is named with file and line.
        """
        wrong = [(update, revision) for update in updates for revision in self.unknown(update)]
        if wrong:
            raise PlanError(
                "\n".join(missing_text(update, revision) for update, revision in wrong),
                stands="Nothing was changed.",
                hint=self.advice(wrong[0][1]),
                details={"unknown_revisions": [revision for _, revision in wrong]},
            )

    def advice(self, revision: str) -> str:
        """Say what was probably meant by a revision that does not exist."""
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
    """Name a revision that does not exist, and the script that asks for it."""
    return (
        f"{update.path}:{update.revision_line}: update {update.update_id} needs Alembic revision {revision!r}, "
        "which does not exist."
    )


def _quoted(revisions: Iterable[str]) -> str:
    return ", ".join(repr(revision) for revision in revisions)


def _reach(start: Iterable[str], edges: Mapping[str, tuple[str, ...]], wanted: Callable[[str], bool]) -> frozenset[str]:
    """Walk along edges as long as what is met is wanted."""
    waiting = [revision for revision in start if revision in edges and wanted(revision)]
    reached = set(waiting)
    while waiting:
        for revision in edges[waiting.pop()]:
            if revision not in reached and wanted(revision):
                reached.add(revision)
                waiting.append(revision)
    return frozenset(reached)
