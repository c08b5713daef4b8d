"""The position of an instance, seen from both halves, and the adoption of an instance without a ledger."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fietsupdate.model import Adoption, Entry
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.history import Pairing, PairingKind, applied_set, closed, compare, current_of
from fietsupdate.planning.revisions import RevisionTree
from fietsupdate.views import DatabaseView, FilesView


@dataclass(frozen=True, slots=True)
class Position:
    """The applied updates of an instance, and how certain that is."""

    pairing: Pairing
    applied: frozenset[str]
    """The applied updates. An adoption without revisions of its own is stamped at once, so its updates are included."""
    adoption: Adoption | None = None


def locate(graph: Graph, database: DatabaseView | None, files: FilesView) -> Position:
    """Return the position of an instance. If the halves disagree, the database's ledger counts."""
    if database is None:
        return Position(Pairing(PairingKind.UNSEEN), _recorded(graph, settled_entries(files, None), files))
    pairing = compare(files, database, graph)
    adoption = _adoption(graph, database, files, pairing)
    if adoption and not adoption.revisions:
        applied = closed(adoption.update_ids, graph)
    elif pairing.kind is PairingKind.VERSION_FOREIGN:
        applied = frozenset()
    else:
        applied = _recorded(graph, database.entries or settled_entries(files, database), files)
    return Position(pairing, applied, adoption)


def settled_entries(files: FilesView, database: DatabaseView | None) -> tuple[Entry, ...]:
    """Return the data directory's entries without those of an open transaction that the database does not confirm."""
    if files.transaction is None:
        return files.entries
    confirmed = {entry.txn for entry in database.entries} if database else set()
    doubtful = {files.transaction.txn} - confirmed
    return tuple(entry for entry in files.entries if entry.txn not in doubtful)


def fitting(graph: Graph, tree: RevisionTree, database: DatabaseView) -> tuple[tuple[str, ...], ...]:
    """Return the positions that fit the Alembic version of an instance: newest first, each a set to stamp.

    An update fits when the database has all revisions that it and the updates before it need, and no revision that
    another update needs in addition. Where no single update accounts for all of them (several Alembic heads), all
    together may.
    """
    have = tree.closed(database.alembic_current)
    heads = frozenset(tree.heads(have & tree.needed_by(graph.ordered)))
    covered: dict[str, frozenset[str]] = {}
    for update in graph.ordered:
        if have.issuperset(update.alembic_revisions) and covered.keys() >= set(update.previous):
            before = (covered[previous] for previous in update.previous)
            covered[update.update_id] = (heads & set(update.alembic_revisions)).union(*before)
    single = [(update_id,) for update_id in covered if heads and covered[update_id] == heads]
    if single:
        return tuple(reversed(single))
    together = frozenset[str]().union(*covered.values()) == heads
    return (graph.dag.heads(covered),) if heads and together else ()


def _recorded(graph: Graph, entries: Collection[Entry], files: FilesView) -> frozenset[str]:
    return applied_set(entries, graph) if entries else closed(files.version or (), graph)


def _adoption(graph: Graph, database: DatabaseView, files: FilesView, pairing: Pairing) -> Adoption | None:
    if pairing.kind is PairingKind.ADOPTABLE:
        current = current_of(closed(files.version or (), graph), graph)
        return Adoption(current, reason=f"VERSION names {', '.join(current)}, and there is no ledger yet")
    if pairing.kind is PairingKind.UNRECORDED and files.exists:
        return _baseline(graph, database)
    return None


def _baseline(graph: Graph, database: DatabaseView) -> Adoption | None:
    """Adopt by baseline scripts: the database is at their revisions or at ancestors of them, and nowhere else.

    A baseline none of whose revisions the database has (a plugin that was added later) runs as an ordinary update.
    """
    tree = RevisionTree.of(database, graph)
    have = tree.closed(database.alembic_current)
    baselines = [update for update in graph.ordered if update.baseline and have & tree.needed_by([update])]
    reached = tree.needed_by(baselines)
    if not reached.issuperset(database.alembic_current):
        return None
    ids = graph.dag.heads([update.update_id for update in baselines])
    word = "baseline" if len(ids) == 1 else "baselines"
    return Adoption(
        ids,
        tree.sort(reached - have),
        f"there is no ledger and no VERSION, and the database is at the {word} {', '.join(ids)} or before",
    )
