"""The DAG of the updates: the same files give the same order on every machine and in every process.

`Dag` knows ids only and serves updates and Alembic revisions alike; `Graph` joins a `Dag` with the updates behind the
ids. Building the graph, ordering it and every query take time linear in its size.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from fietsupdate.errors import GraphError
from fietsupdate.model import Update

MOST_SUGGESTIONS = 10
"""A close match compares every id, and a missing folder makes every script that refers to it wrong."""


class CycleError(GraphError):
    """Ids that form a cycle, so that none of them can come first."""

    def __init__(self, message: str, cycle: tuple[str, ...], *, hint: str = "") -> None:
        super().__init__(message, hint=hint, details={"cycle": list(cycle)})
        self.cycle = cycle
        """The ids of the cycle, each named by the one before it; the first id is not repeated."""


class Dag:
    """Ids and their order of dependence; immutable.

    Args:
        parents: Each id with the ids that it comes after. Where the parents leave a choice, the order of this mapping
            decides.

    Raises:
        CycleError: There is a cycle.
        GraphError: A parent is not itself in the mapping.
    """

    __slots__ = ("children", "order", "parents")

    parents: Mapping[str, tuple[str, ...]]
    children: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...]
    """Every id, parents first."""

    def __init__(self, parents: Mapping[str, Sequence[str]]) -> None:
        unique = {member: tuple(dict.fromkeys(before)) for member, before in parents.items()}
        self.parents = MappingProxyType(unique)
        self.children = MappingProxyType(_turned(unique))
        self.order = _ordered(self.parents, self.children)

    def __contains__(self, member: object) -> bool:
        return member in self.parents

    def __len__(self) -> int:
        return len(self.parents)

    def heads(self, within: Collection[str] | None = None) -> tuple[str, ...]:
        """Return the members of `within` (default: all) after which no other member comes, in order.

        A member is no head either when the path to a later member leads over ids outside of `within`. Unknown ids are
        left out.
        """
        if within is None:
            return tuple(member for member in self.order if not self.children[member])
        members = self.parents.keys() & within
        before = self.ancestors(parent for member in members for parent in self.parents[member])
        return self.sort(members - before)

    def ancestors(self, ids: Iterable[str]) -> frozenset[str]:
        """Return `ids` and everything before them. Unknown ids are left out."""
        return _reach(ids, self.parents)

    def descendants(self, ids: Iterable[str]) -> frozenset[str]:
        """Return `ids` and everything after them. Unknown ids are left out."""
        return _reach(ids, self.children)

    def sort(self, ids: Collection[str]) -> tuple[str, ...]:
        """Return the known ids among `ids` in order, each once."""
        wanted = frozenset(ids)
        return tuple(member for member in self.order if member in wanted)


@dataclass(frozen=True)
class Graph:
    """The updates of all folders, joined by the ids that each names in ``previous``."""

    updates: Mapping[str, Update]
    """The updates by id; ordered by folder, then id."""
    dag: Dag
    folders: tuple[str, ...]
    """The names of the folders, as configured."""

    @property
    def ordered(self) -> tuple[Update, ...]:
        """All updates, in the order in which a new instance would run them."""
        return tuple(self.updates[update_id] for update_id in self.dag.order)

    def of(self, folder: str) -> frozenset[str]:
        """Return the ids of one folder."""
        return frozenset(update_id for update_id, update in self.updates.items() if update.folder == folder)

    def heads_of(self, folder: str) -> tuple[str, ...]:
        """Return the updates of a folder after which no other update of this folder comes."""
        return self.dag.heads(self.of(folder))


def build(updates: Iterable[Update], folders: Sequence[str]) -> Graph:
    """Join updates to a graph. Ties in its order are broken by the order of the folders, then by id.

    Args:
        updates: The updates from `fietsupdate.planning.loader.load`, in any order.
        folders: The names of the folders, as configured. An update of another folder comes last.

    Raises:
        CycleError: Updates name each other in a circle.
        GraphError: Two scripts have one id, or a script names an update that does not exist.
    """
    rank = {folder: number for number, folder in enumerate(folders)}
    ranked = sorted(updates, key=lambda update: (rank.get(update.folder, len(rank)), update.update_id, update.path))
    known = {update.update_id: update for update in ranked}
    if len(known) != len(ranked):
        raise _duplicates(ranked)
    if unknown := [(update, name) for update in ranked for name in update.previous if name not in known]:
        raise _unknown(unknown, known)
    try:
        dag = Dag({update_id: update.previous for update_id, update in known.items()})
    except CycleError as error:
        raise _cycle(error.cycle, known) from None
    return Graph(updates=MappingProxyType(known), dag=dag, folders=tuple(folders))


def closest(word: str, ids: Iterable[str]) -> str:
    """Return the id that `word` was probably meant to be, or "" when no id is similar."""
    return next(iter(get_close_matches(word, sorted(ids), n=1)), "")


def _turned(parents: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    children: dict[str, list[str]] = {member: [] for member in parents}
    for member, before in parents.items():
        for parent in before:
            if parent not in children:
                raise GraphError(f"{member!r} comes after {parent!r}, which does not exist.")
            children[parent].append(member)
    return {member: tuple(after) for member, after in children.items()}


def _ordered(parents: Mapping[str, tuple[str, ...]], children: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Sort topologically (Kahn), always taking the member of lowest rank among those that may come next."""
    members = list(parents)
    rank = {member: number for number, member in enumerate(members)}
    missing = {member: len(before) for member, before in parents.items()}
    # In rank order, and therefore already a heap.
    ready = [number for number, member in enumerate(members) if not missing[member]]
    order: list[str] = []
    while ready:
        member = members[heapq.heappop(ready)]
        order.append(member)
        for child in children[member]:
            missing[child] -= 1
            if not missing[child]:
                heapq.heappush(ready, rank[child])
    if len(order) < len(members):
        cycle = _circle(parents, set(order))
        raise CycleError(f"There is a cycle: {_drawn(cycle)}.", cycle)
    return tuple(order)


def _circle(parents: Mapping[str, tuple[str, ...]], placed: set[str]) -> tuple[str, ...]:
    """Return a cycle. Each member that could not be placed has a parent that could not be placed either."""
    here = next(member for member in parents if member not in placed)
    path: dict[str, int] = {}
    while here not in path:
        path[here] = len(path)
        here = next(parent for parent in parents[here] if parent not in placed)
    around = list(path)[path[here] :]
    rank = {member: number for number, member in enumerate(parents)}
    first = around.index(min(around, key=rank.__getitem__))
    return tuple(around[first:] + around[:first])


def _drawn(cycle: tuple[str, ...]) -> str:
    return " -> ".join((*cycle, cycle[0]))


def _reach(ids: Iterable[str], edges: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    waiting = [member for member in ids if member in edges]
    reached = set(waiting)
    while waiting:
        for member in edges[waiting.pop()]:
            if member not in reached:
                reached.add(member)
                waiting.append(member)
    return frozenset(reached)


def _duplicates(updates: Sequence[Update]) -> GraphError:
    by_id: dict[str, list[Update]] = {}
    for update in updates:
        by_id.setdefault(update.update_id, []).append(update)
    twice = {update_id: scripts for update_id, scripts in by_id.items() if len(scripts) > 1}
    lines = [
        f"update_id {update_id!r} stands in more than one script: "
        + ", ".join(f"{script.path}:{script.id_line}" for script in scripts)
        for update_id, scripts in twice.items()
    ]
    return GraphError(
        "\n".join(lines),
        hint="Give each script an id of its own, or delete the copy.",
        details={"duplicates": {update_id: [str(one.path) for one in scripts] for update_id, scripts in twice.items()}},
    )


def _unknown(names: Sequence[tuple[Update, str]], known: Collection[str]) -> GraphError:
    lines = []
    for number, (update, name) in enumerate(names):
        near = closest(name, known) if number < MOST_SUGGESTIONS else ""
        lines.append(
            f"{update.path}:{update.previous_line}: previous of {update.update_id!r} names {name!r}, "
            f"which no update script has as its update_id{f'; did you mean {near!r}?' if near else '.'}"
        )
    return GraphError(
        "\n".join(lines),
        hint="Correct `previous`, or add the folder of the missing script to `updates` in the configuration.",
        details={"unknown": sorted({name for _, name in names})},
    )


def _cycle(cycle: tuple[str, ...], known: Mapping[str, Update]) -> CycleError:
    places = [
        f"{known[member].path}:{known[member].previous_line}: {member!r} comes after {before!r}"
        for member, before in zip(cycle, (*cycle[1:], cycle[0]), strict=True)
    ]
    return CycleError(
        "\n".join([f"The updates form a cycle: {_drawn(cycle)}.", *places]),
        cycle,
        hint="Take one of these ids out of the `previous` of the script that names it.",
    )
