"""The position of an instance, package by package."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fietsupdate.model import Entry, Update
from fietsupdate.model.packages import PackageStatus
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.history import last_entries


@dataclass(frozen=True, slots=True)
class Applied:
    """An applied update with its script and its ledger entry."""

    update_id: str
    update: Update | None
    """The script; None where it is not known."""
    entry: Entry | None
    """The newest entry of the update; None when it was recorded together with an update that builds on it."""

    @property
    def folder(self) -> str:
        """The folder of the script; "" where the script is not known."""
        return self.update.folder if self.update else ""


def applied_of(graph: Graph, applied: Sequence[str], entries: Iterable[Entry]) -> tuple[Applied, ...]:
    """Return the applied updates in the order of the ledger; updates without an entry of their own come first."""
    last = last_entries(entries)
    updates = [Applied(one, graph.updates.get(one), last.get(one)) for one in applied]
    return tuple(sorted(updates, key=lambda one: one.entry.seq if one.entry else 0))


def by_package(graph: Graph, applied: Collection[str], pending: Sequence[Update]) -> tuple[PackageStatus, ...]:
    """Return the position of each folder's updates, in the order of the configuration."""
    return tuple(_status(graph, folder, applied, pending) for folder in graph.folders)


def _status(graph: Graph, folder: str, applied: Collection[str], pending: Sequence[Update]) -> PackageStatus:
    own = graph.of(folder)
    done = own.intersection(applied)
    waiting = tuple(update.update_id for update in pending if update.folder == folder)
    return PackageStatus(folder, graph.dag.heads(done), graph.dag.heads(own), waiting, len(done))
