"""Prevent all code but ours from ending the transaction (invariant 11).

While the application's code has our connection, a COMMIT or ROLLBACK of the whole transaction is refused before it
reaches the database: at SQLAlchemy's events, in the text of statements, at the driver's methods, and on SQLite in the
database library itself. If the transaction ends nevertheless, this is detected before the next statement, which is then
refused, like all later ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from sqlalchemy import Connection, Engine, event

from fietsupdate.database import sqlite, statements
from fietsupdate.database.foreign_commits import own_commits_noted
from fietsupdate.database.held import HeldTransaction
from fietsupdate.errors import EnvPyError, FietsupdateError, RefusedError

HINT = (
    "What may fail goes into a savepoint, which alone is rolled back: `with self.connection.begin_nested():`, or, with "
    "the ORM, `with self.session() as session:`. The update itself is committed when all of it is done."
)
LOOK_FOR = "Look in the update for what ends a transaction: ROLLBACK, COMMIT, 'INSERT OR ROLLBACK', a deadlock."
OURS = ("commit", "rollback", "close", "detach", "invalidate")
"""Methods of SQLAlchemy's connection that end its transaction."""
DRIVERS = (
    *("commit", "rollback", "close", "autocommit", "begin"),
    *("tpc_begin", "tpc_prepare", "tpc_commit", "tpc_rollback"),
)
"""Methods with which drivers end a transaction, or begin another one in its place."""


class Endings:
    """Observes one transaction while the application's code runs in it.

    Args:
        connection: Our connection; its transaction is open, and the row ``begun`` is written in it.
        hold: Returns the observer that knows whether the current transaction is still open.
        row_is_there: Returns whether that row can be seen on this connection.
        note: Called with the reason when the transaction was lost, or is about to be; must be durable.
    """

    def __init__(
        self,
        connection: Connection,
        hold: Callable[[], HeldTransaction],
        row_is_there: Callable[[], bool],
        note: Callable[[str], object],
    ) -> None:
        self.connection = connection
        self.raw: Any = connection.connection.dbapi_connection
        self.lost = ""
        """How the transaction was lost; "" while it is open."""
        self.refused: RefusedError | None = None
        """The first refused attempt to end the transaction."""
        self.is_committed = False
        """Whether a revision has committed: then the row is visible, and the update can only go forward."""
        self._hold = hold
        self._held: HeldTransaction | None = None
        self._row_is_there = row_is_there
        self._note = note
        self._may_commit = False
        self._is_looking = False
        self._is_watching = False
        self._failed: BaseException | None = None

    # -- running the application's code

    @contextlib.contextmanager
    def hook(self) -> Iterator[None]:
        """Run a hook, which may neither commit nor roll back.

        Raises:
            FietsupdateError: The hook has tried to, and has ignored the error.
        """
        self._held = self._hold()
        with self._watching(), self._methods_refused(), sqlite.endings_refused(self.connection, self._authorize):
            try:
                yield
            except FietsupdateError as error:
                self._explain(error)
                raise
            finally:
                self._look(failed=False)
        if self.refused is not None:
            raise self.refused
        self.check()
        if self._held.has_failed:
            raise EnvPyError(
                f"A statement failed and the hook went on, but its transaction can only be rolled back: {self._failed}",
                hint=HINT,
            )

    @contextlib.contextmanager
    def revision(self) -> Iterator[None]:
        """Run an Alembic revision.

        It may commit, since the row is committed with it (invariant 7), but not roll back.
        """
        self._held, self._may_commit = self._held or self._hold(), True
        try:
            with self._watching():
                yield
        finally:
            self._look(failed=False)
            self._may_commit = False

    def detect_end(self) -> None:
        """Detect, without a query to the server, that the transaction has ended."""
        if self._is_watching:
            self._look(failed=False, asks=False)

    def check(self) -> None:
        """Check that the transaction is still open.

        Raises:
            EnvPyError: The transaction has ended.
        """
        if self.lost:
            raise EnvPyError(f"The transaction ended in the middle of the update: {self.lost}.", hint=LOOK_FOR)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        listeners: dict[str, Callable[..., None]] = {
            "commit": self._on_commit,
            "rollback": self._on_rollback,
            "begin": self._on_begin,
            "before_cursor_execute": self._before_statement,
        }
        for name, listener in listeners.items():
            event.listen(Engine, name, listener)
        event.listen(Engine, "handle_error", self._on_error)
        self._is_watching = True
        try:
            with own_commits_noted(self._note_own, ours=self.raw):
                yield
        finally:
            self._is_watching = False
            event.remove(Engine, "handle_error", self._on_error)
            for name, listener in listeners.items():
                event.remove(Engine, name, listener)

    def _note_own(self) -> None:
        self._note("a database connection of its own has committed")

    def _explain(self, error: FietsupdateError) -> None:
        """Add to an error the reason that the driver could not name."""
        words, hint = f"The transaction had ended before: {self.lost}.", LOOK_FOR
        if self.refused is not None:
            words, hint = self.refused.message, self.refused.hint
        elif not self.lost:
            return
        if (self.lost or words) not in error.message:
            error.message = f"{error.message} {words}"
            error.args = (error.message,)
        error.hint = hint

    # -- observing

    def _is_ours(self, connection: Connection) -> bool:
        if self._is_looking:
            return False
        if connection is self.connection:
            return True
        usable = not connection.closed and not connection.invalidated
        return usable and connection.connection.dbapi_connection is self.raw

    def _on_commit(self, connection: Connection) -> None:
        if self._is_ours(connection):
            self._commit("commit()")

    def _on_rollback(self, connection: Connection) -> None:
        if self._is_ours(connection) and not (self._may_commit and self.is_committed):
            self._refuse("rollback()")

    def _on_begin(self, connection: Connection) -> None:
        if self._is_ours(connection) and not self._may_commit:
            self.check()
            self._refuse("another begin()")

    def _before_statement(self, connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if not self._is_ours(connection):
            return
        if self.refused is not None:
            raise self.refused
        self._look(failed=False)
        self.check()
        if statements.rolls_back(statement) and not (self._may_commit and self.is_committed):
            self._refuse(_first_words(statement))
        if statements.commits(statement):
            self._commit(_first_words(statement))

    def _on_error(self, context: Any) -> None:
        if context.connection is not None and self._is_ours(context.connection) and not context.is_disconnect:
            error = self._failed = context.original_exception
            if not isinstance(error, FietsupdateError):
                self._look(failed=True, after=f"after {type(error).__name__}: {' '.join(str(error).split())}")

    def _authorize(self, action: str) -> bool:
        """Answer SQLite, which asks before it compiles a statement; `action` is COMMIT, ROLLBACK, BEGIN or ""."""
        if self._is_looking:
            return True
        if self.lost or self.refused is not None:
            return False
        if self._held is not None and not self._held.lasts():
            self._lose("a statement at the driver ended it")
            return False
        if action:
            self.refused = _refusal(action)
        return not action

    @contextlib.contextmanager
    def _methods_refused(self) -> Iterator[None]:
        """Let the methods of SQLAlchemy's connection refuse, and those of the driver's where it accepts attributes."""
        driver: Any = self.connection.connection.driver_connection
        with contextlib.ExitStack() as stack:
            for target, names, where in ((self.connection, OURS, ""), (driver, DRIVERS, " at the driver")):
                for name in names:
                    if callable(getattr(target, name, None)) and name not in getattr(target, "__dict__", names):
                        setattr(target, name, self._refusing(f"{name}(){where}"))
                        stack.callback(delattr, target, name)
            yield

    def _refusing(self, what: str) -> Callable[..., NoReturn]:
        def refuse(*_: object, **__: object) -> NoReturn:
            self._refuse(what)

        return refuse

    # -- reacting

    def _commit(self, what: str) -> None:
        if not self._may_commit:
            self._refuse(what)
        if not self.is_committed and not self._sees_row():
            self._note("a revision has committed in the middle of it")
        self.is_committed = True

    def _refuse(self, what: str) -> NoReturn:
        self.refused = self.refused or _refusal(what)
        raise self.refused

    def _look(self, *, failed: bool, after: str = "", asks: bool = True) -> None:
        """Detect that the transaction has ended, or that a revision has committed it."""
        if self.lost or self._held is None or self._is_looking or (self._may_commit and self.is_committed):
            return
        # it broke: the server has rolled it back, and no commit on it is possible any more
        if self.connection.invalidated:
            return
        try:
            lasts = self._held.lasts(failed=failed)
        except Exception:  # noqa: BLE001  # drivers have errors of their own: the connection was closed
            lasts = False
        if lasts or (lasts is None and not asks):
            return
        if self._may_commit and self._sees_row():
            self.is_committed = True
        elif lasts is False or not self._sees_row():
            self._lose(after or "something ended it at the driver")

    def _sees_row(self) -> bool:
        self._is_looking = True
        try:
            return self._row_is_there()
        except Exception:  # noqa: BLE001  # drivers have errors of their own: what cannot be seen is not taken for there
            return False
        finally:
            self._is_looking = False

    def _lose(self, how: str) -> None:
        self.lost = how
        self._note(f"the transaction was ended in the middle of it ({how})")


def _refusal(what: str) -> RefusedError:
    return RefusedError(
        f"{what} would end the transaction of the update, and was refused before it was done.", hint=HINT
    )


def _first_words(statement: str) -> str:
    return " ".join(statement.split()[:3])[:40].rstrip(";")
