"""The position of an instance, told package by package."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fietsupdate.model import Entry, Update
from fietsupdate.model.packages import PackageStatus
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.history import last_entries


@dataclass(frozen=True, slots=True)
class Applied:
    """An update that is applied, and what the ledger says of it."""

    update_id: str
    update: Update | None
    """None: no script is known."""
    entry: Entry | None
    """The ledger's last word on it; None when it was recorded along with an update that builds on it."""

    @property
    def folder(self) -> str:
        """The folder of its script; "" for none."""
        return self.update.folder if self.update else ""


def applied_of(graph: Graph, applied: Sequence[str], entries: Iterable[Entry]) -> tuple[Applied, ...]:
    """Return the applied updates in the order of the ledger; what has no entry of its own comes first."""
    last = last_entries(entries)
    found = [Applied(one, graph.updates.get(one), last.get(one)) for one in applied]
    return tuple(sorted(found, key=lambda one: one.entry.seq if one.entry else 0))


def by_package(graph: Graph, applied: Collection[str], pending: Sequence[Update]) -> tuple[PackageStatus, ...]:
    """Return for each folder how far its updates are, in the order of the configuration."""
    return tuple(_status(graph, folder, applied, pending) for folder in graph.folders)


def _status(graph: Graph, folder: str, applied: Collection[str], pending: Sequence[Update]) -> PackageStatus:
    own = graph.of(folder)
    done = own.intersection(applied)
    waiting = tuple(update.update_id for update in pending if update.folder == folder)
    return PackageStatus(folder, graph.dag.heads(done), graph.dag.heads(own), waiting, len(done))
