"""Read the ledger: which updates are applied, and whether both halves record the same history.

The fold over the ledger is the only definition of "applied". VERSION is a short form of the result, for humans and for
tools older than fietsupdate.
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
    """The result of comparing the two halves."""

    PAIRED = "paired"
    """Both ledgers are equal, and VERSION agrees with them or does not exist."""
    NEW = "new"
    """Both halves are empty."""
    ADOPTABLE = "adoptable"
    """No ledger; VERSION names updates that are all known: an instance from before fietsupdate."""
    UNRECORDED = "unrecorded"
    """No ledger and no VERSION, but the database has an Alembic version."""
    VERSION_UNKNOWN = "version_unknown"
    """No ledger; VERSION names updates that are not known."""
    VERSION_FOREIGN = "version_foreign"
    """No ledger; VERSION holds no known id, and a word that cannot be an id: the file of another program."""
    VERSION_DISAGREES = "version_disagrees"
    """Both ledgers are equal, but VERSION names other updates."""
    FILES_OLDER = "files_older"
    """The data directory's ledger is the beginning of the database's."""
    DATABASE_OLDER = "database_older"
    """The database's ledger is the beginning of the data directory's."""
    DIVERGED = "diverged"
    """The ledgers differ, and neither is the beginning of the other."""
    FILES_MISSING = "files_missing"
    """The database has a ledger; the data directory does not exist."""
    FILES_WITHOUT_LEDGER = "files_without_ledger"
    """The database has a ledger; the data directory exists and has no ledger."""
    DATABASE_WITHOUT_LEDGER = "database_without_ledger"
    """The data directory has a ledger; the database has none."""
    DATABASE_MISSING = "database_missing"
    """The data directory has a history; the SQLite file does not exist."""
    UNSEEN = "unseen"
    """The database was not read."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """How the two halves fit together."""

    kind: PairingKind
    common: Entry | None = None
    """The last entry that both ledgers share."""
    behind: int = 0
    """How many entries the older half lacks."""
    files_entry: Entry | None = None
    """Where the ledgers diverged: the data directory's first entry that differs. Otherwise the last entry of its
    ledger."""
    database_entry: Entry | None = None
    """The same for the database."""


def applied_set(entries: Iterable[Entry], graph: Graph, before: Collection[str] = ()) -> frozenset[str]:
    """Fold a ledger into the updates that are applied. Ids that the graph does not know stay members.

    `before` is what earlier entries add up to; the entries of one transaction must not be divided.

    ``up`` adds an update, ``down`` removes it. Stamp entries of one transaction replace the whole set by their updates
    and everything before those. ``version`` entries concern the application's version and change nothing here.
    """
    applied = set(before)
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
    """Return these updates and all known updates before them; ``base`` stands for no update."""
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
    """Return how the histories of the two halves relate; the graph is used only to judge a VERSION without a ledger."""
    version = tuple(dict.fromkeys(files.version or ()))
    if not database.exists and (files.entries or graph.updates.keys() & set(version)):
        return Pairing(PairingKind.DATABASE_MISSING, files_entry=_last(files.entries))
    if files.entries or database.entries:
        return _compare_ledgers(files, database, graph)
    if version:
        return Pairing(_kind_of_version(version, graph))
    # A row `begun` explains the entry that an interrupted first update left in Alembic's version table.
    unrecorded = database.alembic_current and graph.updates and not database.begun
    return Pairing(PairingKind.UNRECORDED if unrecorded else PairingKind.NEW)


def same(one: Entry, other: Entry) -> bool:
    """Compare two entries by their canonical text, since a database may return another type than was stored."""
    return one == other or one.to_json() == other.to_json()


def is_same_ledger(files: FilesView, database: DatabaseView) -> bool:
    """Return whether both halves hold the same entries and the data directory's ledger is readable."""
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
    return next((index for index, (one, other) in pairs if not same(one, other)), min(len(ours), len(theirs)))


def _kind_of_prefix(ours: int, theirs: int) -> PairingKind:
    if ours == theirs:
        return PairingKind.PAIRED
    return PairingKind.FILES_OLDER if ours < theirs else PairingKind.DATABASE_OLDER


def _version_agrees(files: FilesView, graph: Graph) -> bool:
    """Return whether VERSION agrees with the ledger.

    The updates before an unknown update cannot be computed. Then it is enough that VERSION names applied updates only.
    """
    if files.version is None:
        return True
    applied = applied_set(files.entries, graph)
    if unknown_of(applied, graph):
        return set(files.version) <= applied
    return set(files.version) == set(current_of(applied, graph))


def _kind_of_version(version: Sequence[str], graph: Graph) -> PairingKind:
    """Classify a VERSION without a ledger.

    One known id proves that the file is ours. Without a known id, a word that could be an id is taken for an update of
    newer code, and any other word marks the file of another program; both are refused.
    """
    known = sum(update_id in graph.updates for update_id in version)
    if known == len(version):
        return PairingKind.ADOPTABLE
    if not known and not all(_UPDATE_ID.fullmatch(name) for name in version):
        return PairingKind.VERSION_FOREIGN
    return PairingKind.VERSION_UNKNOWN


def _last(entries: Sequence[Entry]) -> Entry | None:
    return entries[-1] if entries else None
