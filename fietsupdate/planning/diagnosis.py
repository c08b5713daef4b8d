"""Decide what state an instance is in, why, and which command mends it: the content of `fietsupdate status`.

All problems are found, not only the first one. The state is that of the gravest problem, in the order of `GRAVITY`;
less grave problems may be mere consequences of the gravest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fietsupdate.model import Begun, Direction, Problem, Status, Update, UpdateState, fingerprint
from fietsupdate.planning import file_problems, problems, script_problems
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.history import PairingKind, closed, current_of, last_entries, unknown_of
from fietsupdate.planning.packages import by_package
from fietsupdate.planning.planner import resume_command
from fietsupdate.planning.position import Position, fitting, locate
from fietsupdate.planning.references import contradiction
from fietsupdate.planning.revisions import RevisionTree
from fietsupdate.planning.schema import revision_problems, schema_problems, tables_without_alembic, unknown_revision
from fietsupdate.planning.target import forks
from fietsupdate.views import DatabaseView, FilesView, Interruptions, OpenRestore, OpenTransaction

if TYPE_CHECKING:
    from fietsupdate.planning.version_hooks import Versions

GRAVITY = (
    UpdateState.UPDATING,
    UpdateState.INTERRUPTED,
    UpdateState.UNKNOWN,
    UpdateState.TOO_NEW,
    UpdateState.DRIFTED,
    UpdateState.OUTDATED,
    UpdateState.OKAY,
)
"""States by gravity: the instance is in the first one that applies."""

SETTLED = frozenset({PairingKind.PAIRED, PairingKind.NEW, PairingKind.ADOPTABLE})
"""The pairings in which the halves belong together, so that ledger and schema can be compared."""

Finding = tuple[UpdateState, Problem]


def diagnose(
    graph: Graph,
    database: DatabaseView | None,
    files: FilesView,
    *,
    locked_by_us: bool = False,
    versions: Versions | None = None,
) -> Status:
    """Return what state an instance is in.

    Args:
        graph: All updates.
        database: What was found in the database; ``None`` when the database was not read, which is itself a problem.
        files: What was found in the data directory.
        locked_by_us: Whether this process holds the lock that was found.
        versions: The application's version; None where the configuration names no distribution.
    """
    if files.restore is not None and files.restore.is_half and (locked_by_us or files.holder is None):
        return _half_restored(graph, files, files.restore)
    place = locate(graph, database, files)
    if files.holder and not locked_by_us:
        findings: list[Finding] = [(UpdateState.UPDATING, problems.updating(files.holder))]
    else:
        findings = list(_findings(graph, database, files, place, versions))
    findings.sort(key=lambda finding: (not finding[1].blocks, GRAVITY.index(finding[0])))
    pending = _pending(graph, place, database.begun if database else None)
    status = _status(graph, place, findings, pending, versions.waiting if versions else ())
    return _with_versions(_with_database(replace(status, data_dir=files.data_dir), database), versions)


def _status(
    graph: Graph, place: Position, findings: list[Finding], pending: tuple[Update, ...], hooks: tuple[Update, ...]
) -> Status:
    """Return the status that the ledger and the findings make."""
    state = min((_outcome(pending + hooks), *(state for state, _ in findings)), key=GRAVITY.index)
    if state in {UpdateState.UNKNOWN, UpdateState.TOO_NEW}:  # in these states the pending updates are unknown
        pending = hooks = ()
    unknown = unknown_of(place.applied, graph)
    return Status(
        state,
        current=current_of(place.applied, graph),
        heads=graph.dag.heads(),
        pending=pending,
        unknown=unknown,
        problems=tuple(problem for _, problem in findings),
        applied=(*graph.dag.sort(place.applied), *unknown),
        hooks=hooks,
        packages=by_package(graph, place.applied, pending),
    )


def _with_database(status: Status, database: DatabaseView | None) -> Status:
    """Add what was found in the database to the status; unchanged where the database was not read."""
    if database is None:
        return status
    return replace(
        status,
        alembic_current=database.alembic_current,
        alembic_heads=database.alembic_heads,
        database=database.shown_url,
        not_transactional=database.not_transactional,
    )


def _with_versions(status: Status, versions: Versions | None) -> Status:
    """Add the application's versions to the status; unchanged where no distribution is configured."""
    if versions is None:
        return status
    return replace(
        status,
        distribution=versions.distribution,
        app_version=versions.installed,
        data_version=versions.recorded.version,
    )


def refusal(status: Status) -> Problem | None:
    """Return the gravest problem for which `update` and `downgrade` refuse to run, or ``None``."""
    return next((problem for problem in status.problems if problem.blocks), None)


def _half_restored(graph: Graph, files: FilesView, restore: OpenRestore) -> Status:
    """Return the status of a half restored instance, with no other problem: all others are consequences of this one."""
    interrupted = (problems.restore_interrupted(restore),)
    heads = graph.dag.heads()
    return Status(
        UpdateState.INTERRUPTED, (), heads, (), (), interrupted, data_dir=files.data_dir, database=restore.database
    )


def _outcome(pending: tuple[Update, ...]) -> UpdateState:
    return UpdateState.OUTDATED if pending else UpdateState.OKAY


def _pending(graph: Graph, place: Position, begun: Begun | None) -> tuple[Update, ...]:
    """Return the updates that `update` will run, in order; an interrupted update comes first."""
    pending = (update for update in graph.ordered if update.update_id not in place.applied)
    return tuple(sorted(pending, key=lambda update: begun is None or update.update_id != begun.update_id))


def _findings(
    graph: Graph, database: DatabaseView | None, files: FilesView, place: Position, versions: Versions | None
) -> Iterator[Finding]:
    # An open transaction may have been interrupted while it wrote the ledger: recovery mends that, so it is no damage.
    if files.damaged and not files.transaction:
        yield UpdateState.UNKNOWN, problems.ledger_damaged(files)
    if database is None:
        yield UpdateState.UNKNOWN, problems.database_unseen()
        return
    yield from _interruptions(graph, database, files, versions)
    # An open transaction has already written to the data directory's ledger and VERSION; it must be ended first.
    if not (files.transaction or files.unreadable_header or files.damaged):
        yield from _pairing(graph, database, files, place)
    unknown = unknown_of(place.applied, graph)
    if versions and versions.too_new:
        from fietsupdate.planning.version_hooks import data_too_new

        # Comes first: where merely older code is installed, the advice must not be to forget what newer code has done.
        yield UpdateState.TOO_NEW, data_too_new(versions, current_of(place.applied, graph), taken_back=not unknown)
    if unknown and place.pairing.kind is not PairingKind.VERSION_UNKNOWN:
        yield UpdateState.TOO_NEW, problems.too_new(unknown, graph.dag.heads(), graph.dag.heads(place.applied))
    if versions and versions.inactive:
        from fietsupdate.planning.version_hooks import plugins_inactive

        yield UpdateState.OKAY, plugins_inactive(versions)
    tree = RevisionTree.of(database, graph)
    if not unknown and not files.transaction and (place.pairing.kind in SETTLED or place.adoption):
        yield from _consistency(graph, tree, database, files, place)
    for problem in _remarks(graph, tree, database, files, place):
        yield UpdateState.OKAY, problem


def _interruptions(
    graph: Graph, database: DatabaseView, files: FilesView, versions: Versions | None
) -> Iterator[Finding]:
    begun, transaction = database.begun, files.transaction
    if again := file_problems.interrupted_again(interruptions_of(files)):
        yield UpdateState.OKAY, again
    if files.unreadable_header:
        yield UpdateState.INTERRUPTED, problems.header_unreadable(files)
    if begun:
        hook = versions.find(begun.update_id) if versions and begun.direction is Direction.VERSION else None
        update = hook or graph.updates.get(begun.update_id)
        resume = resume_command(graph, begun.update_id, update, begun.direction)
        yield UpdateState.INTERRUPTED, problems.interrupted(begun, update, resume, files.way_back)
    if transaction is None:
        return
    if transaction.files_only:
        yield UpdateState.INTERRUPTED, file_problems.files_only_open(transaction)
    elif reason := _doubt(transaction, database):
        yield UpdateState.INTERRUPTED, problems.transaction_doubt(transaction.txn, reason)
    elif not begun:
        committed = bool(database.entries) and database.entries[-1].txn == transaction.txn
        yield UpdateState.INTERRUPTED, problems.open_transaction(transaction, committed=committed)


def interruptions_of(files: FilesView) -> Interruptions | None:
    """Return how often an update was interrupted; a transaction that lies open was interrupted once more."""
    before, transaction = files.interruptions, files.transaction
    if transaction is None or files.holder is not None or transaction.files_only:
        return before
    times = before.times if before is not None and before.update_id == transaction.update_id else 0
    return Interruptions(transaction.update_id, times + 1)


def _doubt(transaction: OpenTransaction, database: DatabaseView) -> str:
    """Return why an open transaction does not belong to this database, or "" when it does."""
    if not database.exists:
        return "the database file does not exist"
    if transaction.instance_id != database.instance_id:
        return "it was begun on another instance than this database belongs to"
    if database.begun:
        same = database.begun.txn == transaction.txn
        return "" if same else f"the database has begun another one, {database.begun.txn}"
    tip = database.entries[-1].seq if database.entries else 0
    if tip and database.entries[-1].txn == transaction.txn:
        return ""
    if (tip, fingerprint(database.entries)) == (transaction.tip_seq, transaction.tip_hash):
        return ""
    return f"it was begun after entry {transaction.tip_seq} of the ledger, but the database's ends at entry {tip}"


def _pairing(graph: Graph, database: DatabaseView, files: FilesView, place: Position) -> Iterator[Finding]:
    """Yield the problems of how the two halves fit together."""
    pairing, url = place.pairing, database.shown_url
    match pairing.kind:
        case PairingKind.FILES_OLDER:
            yield UpdateState.DRIFTED, problems.half_older(files, pairing, "data directory", "database")
        case PairingKind.DATABASE_OLDER:
            yield UpdateState.DRIFTED, problems.half_older(files, pairing, "database", "data directory")
        case PairingKind.DIVERGED:
            yield UpdateState.DRIFTED, problems.diverged(pairing)
        case PairingKind.FILES_MISSING:
            yield UpdateState.DRIFTED, problems.data_dir_missing(files.data_dir)
        case PairingKind.FILES_WITHOUT_LEDGER:
            yield UpdateState.DRIFTED, problems.files_without_ledger(files, pairing, current_of(place.applied, graph))
        case PairingKind.DATABASE_WITHOUT_LEDGER:
            yield UpdateState.DRIFTED, problems.database_without_ledger(files, pairing, url)
        case PairingKind.DATABASE_MISSING:
            yield UpdateState.DRIFTED, problems.database_missing(files, database)
        case PairingKind.VERSION_DISAGREES:
            current = current_of(place.applied, graph)
            ours = not {*graph.updates, *place.applied}.isdisjoint(files.version or ())
            yield UpdateState.DRIFTED, problems.version_disagrees(files, current, ours=ours or not files.version)
        case _:
            yield from _unledgered(graph, database, files, place)


def _unledgered(graph: Graph, database: DatabaseView, files: FilesView, place: Position) -> Iterator[Finding]:
    """Yield the problems of an instance neither half of which has a ledger."""
    match place.pairing.kind:
        case PairingKind.VERSION_FOREIGN:
            yield UpdateState.UNKNOWN, problems.version_foreign(files)
        case PairingKind.VERSION_UNKNOWN:
            unknown = unknown_of(files.version or (), graph)
            yield (
                UpdateState.TOO_NEW,
                problems.version_unknown(
                    files, unknown, graph.dag.heads(), graph.dag.heads(graph.updates.keys() & (files.version or ()))
                ),
            )
        case PairingKind.UNRECORDED if not files.exists:
            yield UpdateState.UNKNOWN, problems.data_dir_missing(files.data_dir)
        case PairingKind.NEW if not files.exists:
            yield UpdateState.OUTDATED, problems.data_dir_awaited(files.data_dir)
        case PairingKind.UNRECORDED if not place.adoption:
            tree = RevisionTree.of(database, graph)
            fits = fitting(graph, tree, database)
            unrecorded = problems.unrecorded(database.alembic_current, fits)
            yield UpdateState.UNKNOWN, unknown_revision(tree, database) or unrecorded


def _consistency(
    graph: Graph, tree: RevisionTree, database: DatabaseView, files: FilesView, place: Position
) -> Iterator[Finding]:
    """Compare the ledger with the graph, and the schema with the ledger; every applied update is known."""
    holes = [
        (update_id, previous)
        for update_id in graph.dag.sort(place.applied)
        for previous in graph.updates[update_id].previous
        if previous not in place.applied
    ]
    if holes:
        yield UpdateState.DRIFTED, problems.gap(holes, current_of(place.applied, graph))
    # A baseline that is still to be reached is behind on purpose.
    if database.exists and not (place.adoption and place.adoption.revisions):
        for problem in schema_problems(graph, tree, database, place.applied, files.way_back):
            yield UpdateState.DRIFTED if problem.blocks else UpdateState.OKAY, problem


def _remarks(
    graph: Graph, tree: RevisionTree, database: DatabaseView, files: FilesView, place: Position
) -> Iterator[Problem]:
    """Yield the problems that are worth knowing and block nothing."""
    if broken := [update for update in graph.ordered if update.broken]:
        yield script_problems.script_broken(broken)
    yield from revision_problems(graph, tree)
    if contradicting := contradiction(graph, graph.updates.keys()) or contradiction(graph, place.applied):
        yield contradicting
    if files.maintenance and not files.holder:
        yield problems.maintenance_left(files.maintenance)
    adopted = closed(place.adoption.update_ids, graph) if place.adoption else frozenset[str]()
    if forked := forks(graph, place.applied | adopted, graph.folders):
        yield script_problems.several_heads(forked)
    if place.adoption:
        yield problems.not_adopted(place.adoption, f"fietsupdate update{' heads' if forked else ''}")
    if place.pairing.kind is PairingKind.NEW and database.tables and not database.alembic_current and graph.updates:
        yield tables_without_alembic(database)
    if place.pairing.kind is PairingKind.PAIRED and files.version is None and files.version_path and place.applied:
        yield problems.version_missing(files.version_path)
    changed = _changed(graph, database, place)
    if changed:
        yield script_problems.script_changed(changed)


def _changed(graph: Graph, database: DatabaseView, place: Position) -> list[Update]:
    """Return the applied updates whose scripts have changed since.

    Stamped updates did not run, so they are left out.
    """
    ran = last_entries(database.entries)
    applied = (graph.updates[update_id] for update_id in graph.dag.sort(place.applied & ran.keys()))
    return [
        update
        for update in applied
        if (entry := ran[update.update_id]).direction is Direction.UP
        and not update.is_script_of(entry.checksum)
        and not update.broken
    ]
