"""Transactions of the file half alone, for commands that change no row.

They are journaled like those of updates, and end with the same rename, from ``txn/<uuid>`` to ``done/<uuid>``: that
rename is their commit point, as the database has no part in them. Before it, everything is played back, by the same
code after an error, after a signal, and by the next command after a crash. So the database is not asked how they ended.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from fietsupdate.config.application import Application
from fietsupdate.engine.context import Context
from fietsupdate.errors import UNCHANGED, FietsupdateError, FilesError
from fietsupdate.filesystem.journal import header as headers
from fietsupdate.filesystem.journal.undone import displaced
from fietsupdate.filesystem.layout import open_folder
from fietsupdate.filesystem.transaction import AGAIN, FileTransaction
from fietsupdate.model import Direction, Event, fingerprint
from fietsupdate.model.clock import now
from fietsupdate.views import DatabaseView, OpenTransaction

PARTLY = "What it had done to files is not all undone; its journal keeps the rest."
TAKEN_BACK = "taken_back"
"""The outcome of a ``recovered`` event: the file changes of a command were undone."""


@contextlib.contextmanager
def files_only(instance: Context, database: DatabaseView, command: str) -> Iterator[FileTransaction]:
    """Yield a transaction whose changes all stay when the context is left, and are all undone when it raises.

    Args:
        instance: The instance; the caller holds its lock, and has settled any open transaction.
        database: The view of the database.
        command: The command, for messages if it is cut off.

    Raises:
        FietsupdateError: The command failed; ``stands`` names the present state.
    """
    signals = instance.signals
    before, signals.deferred = signals.deferred, True
    try:
        files = _begun(instance, _header(database, command))
        try:
            signals.deferred = before
            signals.raise_pending()
            yield files
            files.seal()
            signals.deferred = True
            files.end()
        except BaseException as error:
            signals.deferred = True
            raise _undone(instance, files, error) from error
    finally:
        signals.deferred = before


def _begun(instance: Context, header: OpenTransaction) -> FileTransaction:
    try:
        roots, keep_out = instance.application.config.extra_dirs, instance.keep_out
        return FileTransaction.begin(instance.data_dir, header, roots=roots, keep_out=keep_out)
    except FietsupdateError as error:
        error.stands = error.stands or UNCHANGED
        raise


def settle_files(application: Application, tell: Callable[[Event], None]) -> None:
    """Undo the changes of a command that changes files alone and was cut off. The caller holds the lock.

    Raises:
        FilesError: The changes cannot be undone, or are in doubt; their journal stays.
    """
    header, _ = headers.open_transaction(application.data_dir)
    if header is None or not header.files_only:
        return
    files = FileTransaction.reopen(application.data_dir, application.config.extra_dirs)
    if files is None:
        return
    found = files.play_back()
    details = {"outcome": TAKEN_BACK, "found": [*map(str, found)], "unseen": " ".join(displaced(files.undone))}
    tell(Event("recovered", now(), header.txn, header.update_id, text=TAKEN_BACK, details=details))


def _header(database: DatabaseView, command: str) -> OpenTransaction:
    return OpenTransaction(
        txn=str(uuid.uuid4()),
        instance_id=database.instance_id,
        tip_seq=len(database.entries),
        tip_hash=fingerprint(database.entries[-1:]),
        update_id=command,
        direction=Direction.STAMP,
        atomic=True,
        files_only=True,
    )


def _undone(instance: Context, files: FileTransaction, error: BaseException) -> BaseException:
    """Undo everything, and return the error with the present state."""
    if not os.path.lexists(open_folder(instance.data_dir) / files.header.txn):
        return FilesError(
            f"What {files.header.update_id} has left in its journal could not be cleared away: {error}",
            stands="It is complete: all files are where it was to bring them.",
            hint="Mend the cause, then type `fietsupdate recover`.",
        )
    try:
        found = files.play_back()
    except (FietsupdateError, OSError) as second:
        told = second.message if isinstance(second, FietsupdateError) else f"The system refused: {second}."
        return FilesError(f"{_words(error)} {told}", stands=PARTLY, hint=AGAIN)
    stands = " ".join([UNCHANGED, *displaced(files.undone), *(_set_aside(path) for path in found)])
    if isinstance(error, OSError):
        return FilesError(_words(error), stands=stands, hint="Mend the cause, then repeat the command.")
    if isinstance(error, FietsupdateError):
        error.stands = stands
    return error


def _words(error: BaseException) -> str:
    if isinstance(error, FietsupdateError):
        return error.message
    if isinstance(error, OSError):
        where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
        return f"The system refused: {error.strerror}{where}."
    return f"{type(error).__name__}: {error}." if str(error) else f"{type(error).__name__}."


def _set_aside(path: Path) -> str:
    return f"{path} is not what it was, and was left alone."
