"""The applied updates between two transactions, and the current ones among them.

Computing the current updates from the applied ones takes time linear in the size of the graph. A run of many updates
needs them after each update: adding or removing one update takes time for its own neighbours, and copies of three sets.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fietsupdate.planning.graph import Graph
from fietsupdate.planning.history import unknown_of


@dataclass(frozen=True)
class AppliedSet:
    """The applied updates and what follows from them; immutable."""

    graph: Graph
    ids: frozenset[str]
    """The applied updates, including ids without a script."""
    heads: frozenset[str]
    """The known updates among them that no applied update comes after."""
    passed: frozenset[str]
    """All known updates that are applied or come before an applied one."""

    @classmethod
    def of(cls, ids: Collection[str], graph: Graph) -> AppliedSet:
        """Compute everything from the applied ids."""
        return cls(graph, frozenset(ids), frozenset(graph.dag.heads(ids)), graph.dag.ancestors(ids))

    @property
    def current(self) -> tuple[str, ...]:
        """The current updates in order; unknown ids come last, sorted."""
        return (*self.graph.dag.sort(self.heads), *unknown_of(self.ids, self.graph))

    def plus(self, update_id: str) -> AppliedSet:
        """Return the applied updates after this update was applied, too."""
        dag, ids = self.graph.dag, self.ids | {update_id}
        if update_id in self.passed or update_id not in dag:
            return AppliedSet.of(ids, self.graph)
        added, met, waiting = {update_id}, set[str](), [update_id]
        while waiting:
            for parent in dag.parents[waiting.pop()]:
                if parent in self.passed:
                    met.add(parent)  # an update before a passed update is no head anyway
                elif parent not in added:
                    added.add(parent)
                    waiting.append(parent)
        return AppliedSet(self.graph, ids, (self.heads - met) | {update_id}, self.passed | added)

    def minus(self, update_id: str) -> AppliedSet:
        """Return the applied updates after this update was reverted."""
        dag, ids = self.graph.dag, self.ids - {update_id}
        if update_id not in self.heads:
            return AppliedSet.of(ids, self.graph)
        gone, heads, waiting = {update_id}, set(self.heads - {update_id}), [update_id]
        while waiting:
            for parent in dag.parents[waiting.pop()]:
                if any(child in self.passed and child not in gone for child in dag.children[parent]):
                    continue
                if parent in ids:
                    heads.add(parent)
                elif parent not in gone:
                    gone.add(parent)
                    waiting.append(parent)
        return AppliedSet(self.graph, ids, frozenset(heads), self.passed - gone)
