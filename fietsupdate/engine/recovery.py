"""Determine the outcome of a transaction, and act on it.

The same code runs after an exception, after a signal, and at the next start after a crash (protocol, 6). The database
decides, on a fresh connection and under its lock. Where it cannot be asked, or its answer does not fit the header on
disk, nothing is touched (invariant 8).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fietsupdate.database import table_engines
from fietsupdate.database.environment import Visit
from fietsupdate.database.ledger import BEGUN, DONE, LedgerTable
from fietsupdate.engine.context import Context
from fietsupdate.errors import DatabaseBusyError, FietsupdateError, FilesError, InDoubtError, LockedError
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.filesystem.journal.undone import displaced
from fietsupdate.filesystem.transaction import FileTransaction
from fietsupdate.model import Begun, Entry, Phase, fingerprint
from fietsupdate.process import Stop
from fietsupdate.views import OpenTransaction

if TYPE_CHECKING:
    from alembic.runtime.migration import RevisionStep
    from sqlalchemy import Connection


class Outcome(enum.Enum):
    """The outcome of a transaction, according to the database."""

    UNDONE = "undone"
    """The database has committed nothing of it; the files are restored."""
    DONE = "done"
    """Both halves have all of it."""
    BEGUN = "begun"
    """A part of it is committed: it can only go forward, never back (invariant 7)."""


@dataclass(frozen=True)
class Settled:
    """The outcome of a transaction, and the obstacles to playing it back."""

    outcome: Outcome
    found: tuple[Path, ...] = ()
    """The files that playback has set aside: those that are not the transaction's own and, with a `reason`, all that it
    made."""
    begun: Begun | None = None
    phase_undone: bool = False
    """Whether the changes after the last committed phase were undone, so that its hook runs again on the same files."""
    reason: str = ""
    """Why rows of it may exist although the ledger row does not show them, as a part of a sentence; then nothing was
    deleted. "" where that is impossible."""
    unseen: str = ""
    """What is not undone, because it was not observed or has no place any more, in sentences; "" for nothing known."""

    @property
    def details(self) -> dict[str, object]:
        """The details for an event."""
        found = [str(path) for path in self.found]
        return {"outcome": self.outcome.value, "found": found, "reason": self.reason, "unseen": self.unseen}


def settle(context: Context, files: FileTransaction) -> Settled:
    """Ask the database for the outcome of the open transaction, and finish or undo its file half.

    Raises:
        InDoubtError: The database cannot be asked, or its answer does not fit. Nothing was touched.
    """
    header = files.header
    answer, begun, unsafe = _ask(context, header)
    reason, unseen = _reason(header, files, unsafe), " ".join(files.beyond.texts)
    if not context.application.config.guard:
        unseen = "What hooks changed by plain Python calls is not undone (guard = false)."
    if answer == DONE:
        _finish(files)
        warn_of_rubbish(context, header.txn)
        return Settled(Outcome.DONE)
    if begun is not None and not _only_hooks_ran(header, begun, files):
        return _at_phase_boundary(begun, files, reason, unseen)

    def forget() -> None:
        if answer == BEGUN:  # before the transaction ends: a begun row without one would be half an update
            context.visit(lambda visit: _forget(visit, header.txn), command="upgrade")

    found = files.play_back(set_aside=bool(reason), then=forget)
    return _with_displaced(Settled(Outcome.UNDONE, found, reason=reason, unseen=unseen), files)


def _reason(header: OpenTransaction, files: FileTransaction, unsafe: tuple[str, ...]) -> str:
    """Return why rows of a transaction may exist that its ledger row does not show (invariants 11 and 13)."""
    own = "its hooks work on database connections of their own" if header.own_connections else ""
    return files.notes.unknown or table_engines.named(unsafe) or own


def _finish(files: FileTransaction) -> None:
    """End the file half of a transaction whose row is done (invariant 6)."""
    header = files.header
    try:
        files.finish(keep_vault=not header.atomic)
    except (OSError, FilesError) as error:
        raise FilesError(
            f"What {header.update_id} replaced and removed could not be cleared away: {error}",
            stands=f"{header.update_id} is complete: database and files both have it.",
            hint="Mend the cause, then type `fietsupdate recover`.",
        ) from error


def warn_of_rubbish(context: Context, txn: str = "") -> None:
    """Warn of files that ended transactions, or one of them, have removed, and that this user may not delete."""
    for folder in cleanup.rubbish(context.data_dir):
        if txn in {"", folder.name}:
            text = f"{folder} holds what an update removed and this user may not delete."
            context.tell("warning", f"{text} It is not needed any more: have root delete it.")


def _only_hooks_ran(header: OpenTransaction, begun: Begun | None, files: FileTransaction) -> bool:
    """Return whether only hooks with connections of their own ran, and none of them was seen to commit."""
    return header.own_connections and begun is not None and not begun.finished and not files.notes.foreign_commit


def _at_phase_boundary(begun: Begun, files: FileTransaction, reason: str, unseen: str) -> Settled:
    """Leave a half-done update where its last committed phase ended, as far as that is possible."""
    finished = tuple(dict.fromkeys([*begun.finished, *files.notes.finished_phases]))
    undoes = _phase_is_uncommitted(begun, files) and files.knows_the_end_of(begun.finished)
    found = files.play_back_phase(begun.finished, set_aside=bool(reason)) if undoes else ()
    begun = replace(begun, finished=finished)
    settled = Settled(Outcome.BEGUN, found, begun, phase_undone=undoes, reason=reason, unseen=unseen)
    return _with_displaced(settled, files)


def _with_displaced(settled: Settled, files: FileTransaction) -> Settled:
    """Report files that playback could not put in their place: they are kept, and do not belong to the update."""
    kept = {path for one in files.undone for _, path in one.homeless}
    found = tuple(path for path in settled.found if path not in kept)
    return replace(settled, found=found, unseen=" ".join(filter(None, [settled.unseen, *displaced(files.undone)])))


def _phase_is_uncommitted(begun: Begun, files: FileTransaction) -> bool:
    """Return whether the database has committed nothing of the interrupted phase, whose hook will then run again.

    Then its changes to files are taken back to the end of the last committed phase, as its rows were by the database;
    otherwise the hook would meet its own changes (invariant 7, phase by phase).
    """
    committed_by_hook = files.notes.foreign_commit and Phase.PRE in files.notes.finished_phases
    return Phase.PRE in begun.finished and not begun.running and not committed_by_hook


def _forget(visit: Visit, txn: str) -> Iterable[RevisionStep]:
    visit.lock()
    visit.ledger.forget(visit.connection, txn)
    commit_where_needed(visit)
    return ()


def commit_where_needed(visit: Visit) -> None:
    """Commit at the driver where no transaction lasts until env.py's own commit."""
    if visit.not_transactional:
        visit.commit_phase()


def _ask(context: Context, header: OpenTransaction) -> tuple[str | None, Begun | None, tuple[str, ...]]:
    """Read the transaction's row: first without the lock, since a row that is seen done is done.

    Returns:
        The row's status, the row if it is begun, and the tables without transactions.
    """
    answer = context.environment.peek(lambda ledger, connection: _answer(ledger, connection, header))
    if answer is not None and answer[0] == DONE:
        return *answer, ()
    answers: list[tuple[str | None, Begun | None]] = []
    unsafe: tuple[str, ...] = ()

    def read_steps(visit: Visit) -> Iterable[RevisionStep]:
        nonlocal unsafe
        if not visit.ledger.exists(visit.connection):
            raise _doubt(header, "this database has no ledger")
        answers.append(_answer(visit.ledger, visit.connection, header))
        unsafe = table_engines.tables_without_transaction(visit.connection)
        return ()

    def read_steps_locked(visit: Visit) -> Iterable[RevisionStep]:
        visit.lock()  # only under the lock does a missing row mean that no COMMIT is still running
        with visit.nothing_done():
            plain = read_steps(visit)
        visit.take_nothing_with_it()
        return plain

    with _failures_are_doubt(header):
        with suppress(DatabaseBusyError):
            context.environment.visit(read_steps, writes=False, command="current")
        if not answers or answers[-1][0] != DONE:
            context.visit(read_steps_locked, command="current")
    return *answers[-1], unsafe


@contextmanager
def _failures_are_doubt(header: OpenTransaction) -> Iterator[None]:
    """Turn errors that keep the database from answering into a doubt about the transaction; signals pass."""
    try:
        yield
    except (Stop, InDoubtError):
        raise
    except LockedError as error:
        doubt = _doubt(header, f"the database cannot be asked: {error.message}")
        doubt.hint = "Wait until the other process is done, or stop it; then type `fietsupdate recover`."
        raise doubt from error
    except FietsupdateError as error:
        raise _doubt(header, f"the database cannot be asked: {error.message}") from error


def _answer(ledger: LedgerTable, connection: Connection, header: OpenTransaction) -> tuple[str | None, Begun | None]:
    instance_id = ledger.instance_id(connection)
    if instance_id != header.instance_id:
        raise _doubt(header, f"this database belongs to the instance {instance_id}, not {header.instance_id}")
    rows = ledger.since(connection, header.tip_seq)
    before = [row for row in rows if isinstance(row, Entry) and row.seq == header.tip_seq]
    after = [row for row in rows if row.seq > header.tip_seq]
    if fingerprint(tuple(before)) != header.tip_hash:
        raise _doubt(header, f"entry {header.tip_seq} of this database's ledger is not the one that it began after")
    if after and after[0].txn != header.txn:
        raise _doubt(header, f"this database's ledger has gone on to entry {rows[-1].seq} without it")
    begun = after[0] if after and isinstance(after[0], Begun) else None
    return (BEGUN if begun else DONE if after else None), begun


def _doubt(header: OpenTransaction, reason: str) -> InDoubtError:
    return InDoubtError(
        f"It is not known whether the transaction of {header.update_id} was committed: {reason.rstrip('.')}.",
        stands="Nothing was touched: the data directory is as the transaction left it, and its journal is kept.",
        hint="Connect the database that belongs to this data directory, then type `fietsupdate recover`.",
        details={"txn": header.txn, "update_id": header.update_id},
    )
