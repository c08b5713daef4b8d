"""What the ledger says: which updates are applied, and whether both halves tell the same history.

The fold is the only definition of "applied"; VERSION is its short form for humans and for the tools of before.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from fietsupdate.model import BASE, Direction, Entry
from fietsupdate.planning.graph import Graph
from fietsupdate.views import DatabaseView, FilesView

_UPDATE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class PairingKind(enum.StrEnum):
    """What the comparison of the two halves found."""

    PAIRED = "paired"
    """Both ledgers are equal, and VERSION says the same or is not there."""
    NEW = "new"
    """Nothing in either half."""
    ADOPTABLE = "adoptable"
    """No ledger; VERSION names updates that are all known: an instance of before."""
    UNRECORDED = "unrecorded"
    """No ledger and no VERSION, but the database has an Alembic version."""
    VERSION_UNKNOWN = "version_unknown"
    """No ledger; VERSION names updates that are not known."""
    VERSION_FOREIGN = "version_foreign"
    """No ledger; VERSION holds no known id, and something that cannot be an id: another program's file."""
    VERSION_DISAGREES = "version_disagrees"
    """Both ledgers are equal, but VERSION says something else."""
    FILES_OLDER = "files_older"
    """The data directory's ledger is the beginning of the database's."""
    DATABASE_OLDER = "database_older"
    """The database's ledger is the beginning of the data directory's."""
    DIVERGED = "diverged"
    """The ledgers begin alike, or not even that, and then differ."""
    FILES_MISSING = "files_missing"
    """The database has a ledger; the data directory does not exist."""
    FILES_WITHOUT_LEDGER = "files_without_ledger"
    """The database has a ledger; the data directory exists and has none."""
    DATABASE_WITHOUT_LEDGER = "database_without_ledger"
    """The data directory has a ledger; the database has none."""
    DATABASE_MISSING = "database_missing"
    """The data directory has a history; the SQLite file does not exist."""
    UNSEEN = "unseen"
    """The database was not looked at."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """How the two halves fit together."""

    kind: PairingKind
    common: Entry | None = None
    """The last entry that both ledgers share."""
    behind: int = 0
    """How many entries the older half lacks."""
    files_entry: Entry | None = None
    """Diverged: the data directory's first entry that differs. Else the last one of its ledger."""
    database_entry: Entry | None = None
    """The same for the database."""


def applied_set(entries: Iterable[Entry], graph: Graph) -> frozenset[str]:
    """Fold a ledger into the updates that are applied. Ids that the graph does not know stay members.

    ``up`` adds, ``down`` removes; stamp entries of one transaction replace everything by their updates and all
    that comes before them. ``version`` entries are of the application's version, and change nothing here.
    """
    applied: set[str] = set()
    stamping = ""
    for entry in entries:
        if entry.direction is Direction.UP:
            applied.add(entry.update_id)
        elif entry.direction is Direction.DOWN:
            applied.discard(entry.update_id)
        elif entry.direction is Direction.STAMP:
            if entry.txn != stamping:
                applied.clear()
            applied |= closed([entry.update_id], graph)
        stamping = entry.txn if entry.direction is Direction.STAMP else ""
    return frozenset(applied)


def closed(ids: Collection[str], graph: Graph) -> frozenset[str]:
    """Return these updates and all that comes before them, as far as it is known; ``base`` is nothing."""
    return graph.dag.ancestors(ids) | (frozenset(ids) - {BASE})


def current_of(applied: Collection[str], graph: Graph) -> tuple[str, ...]:
    """Return the applied updates with no applied update after them, in order; unknown ids come last, sorted."""
    return (*graph.dag.heads(applied), *unknown_of(applied, graph))


def unknown_of(ids: Collection[str], graph: Graph) -> tuple[str, ...]:
    """Return the ids that no script has, sorted."""
    return tuple(sorted(set(ids) - graph.updates.keys() - {BASE}))


def last_entries(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return each update's newest entry."""
    return {entry.update_id: entry for entry in entries}


def compare(files: FilesView, database: DatabaseView, graph: Graph) -> Pairing:
    """Return how the histories of the two halves relate; the graph only judges a VERSION without a ledger."""
    version = tuple(dict.fromkeys(files.version or ()))
    if not database.exists and (files.entries or graph.updates.keys() & set(version)):
        return Pairing(PairingKind.DATABASE_MISSING, files_entry=_last(files.entries))
    if files.entries or database.entries:
        return _compare_ledgers(files, database, graph)
    if version:
        return Pairing(_kind_of_version(version, graph))
    # What an interrupted first update left in Alembic's version table is accounted for.
    unrecorded = database.alembic_current and graph.updates and not database.begun
    return Pairing(PairingKind.UNRECORDED if unrecorded else PairingKind.NEW)


def same(one: Entry, other: Entry) -> bool:
    """Compare two entries by their canonical text: what a database stores may come back in another type."""
    return one == other or one.to_json() == other.to_json()


def is_same_ledger(files: FilesView, database: DatabaseView) -> bool:
    """Return whether both halves hold the same entries, and the data directory's can be read."""
    ours, theirs = files.entries, database.entries
    return not files.damaged and len(ours) == len(theirs) and all(map(same, ours, theirs))


def _compare_ledgers(files: FilesView, database: DatabaseView, graph: Graph) -> Pairing:
    ours, theirs = files.entries, database.entries
    if not ours:
        kind = PairingKind.FILES_WITHOUT_LEDGER if files.exists else PairingKind.FILES_MISSING
        return Pairing(kind, behind=len(theirs), database_entry=theirs[-1])
    if not theirs:
        return Pairing(PairingKind.DATABASE_WITHOUT_LEDGER, behind=len(ours), files_entry=ours[-1])
    shared = _shared(ours, theirs)
    common = ours[shared - 1] if shared else None
    if shared < min(len(ours), len(theirs)):
        return Pairing(PairingKind.DIVERGED, common, files_entry=ours[shared], database_entry=theirs[shared])
    kind = _kind_of_prefix(len(ours), len(theirs))
    if kind is PairingKind.PAIRED and not _version_agrees(files, graph):
        kind = PairingKind.VERSION_DISAGREES
    return Pairing(kind, common, abs(len(ours) - len(theirs)), ours[-1], theirs[-1])


def _shared(ours: Sequence[Entry], theirs: Sequence[Entry]) -> int:
    """Count the entries that both ledgers begin with."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((seen for seen, (one, other) in pairs if not same(one, other)), min(len(ours), len(theirs)))


def _kind_of_prefix(ours: int, theirs: int) -> PairingKind:
    if ours == theirs:
        return PairingKind.PAIRED
    return PairingKind.FILES_OLDER if ours < theirs else PairingKind.DATABASE_OLDER


def _version_agrees(files: FilesView, graph: Graph) -> bool:
    """Compare VERSION with the ledger.

    What came before an unknown update cannot be computed, so there it is enough that VERSION names only what is
    applied.
    """
    if files.version is None:
        return True
    applied = applied_set(files.entries, graph)
    if unknown_of(applied, graph):
        return set(files.version) <= applied
    return set(files.version) == set(current_of(applied, graph))


def _kind_of_version(version: Sequence[str], graph: Graph) -> PairingKind:
    """Judge a VERSION without a ledger.

    One known id proves that the file is ours. Without one, a name that could be an id is taken for an update of
    newer code, and anything else for another program's file; both are refused.
    """
    known = sum(update_id in graph.updates for update_id in version)
    if known == len(version):
        return PairingKind.ADOPTABLE
    if not known and not all(_UPDATE_ID.fullmatch(name) for name in version):
        return PairingKind.VERSION_FOREIGN
    return PairingKind.VERSION_UNKNOWN


def _last(entries: Sequence[Entry]) -> Entry | None:
    return entries[-1] if entries else None
