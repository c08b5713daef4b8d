"""One visit to env.py: what the engine's generators see of it, and its course.

Alembic calls `Visit.run` from within ``run_migrations()``; as a generator it stays there for the length of a whole
transaction (protocol, 3).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from fietsupdate.database import held, limits, lock, sqlite
from fietsupdate.database.errors import SEVERAL_RUNS, is_transient
from fietsupdate.database.identity import home_of
from fietsupdate.database.ledger import LedgerTable, ledger_of
from fietsupdate.database.transaction_guard import Endings
from fietsupdate.errors import EnvPyError, RefusedError
from fietsupdate.model import Direction
from fietsupdate.views import MYSQL

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

NON_TRANSACTIONAL = {"mysql": "MySQL", "mariadb": "MariaDB", "oracle": "Oracle"}

SNAPSHOTS = frozenset({"repeatable read", "serializable"})
"""PostgreSQL's isolation levels in which a transaction sees the state of its first statement."""

Work = Callable[["Visit"], Iterable[RevisionStep]]


class BusyError(Exception):
    """Another process holds the database's lock; wait outside and come back. The text names the process, if known."""


class MovedError(Exception):
    """Another process changed what was read here, before anything was done: look again in a fresh transaction."""


def joined_session(connection: Connection) -> Session:
    """Return an ORM session that joins the transaction of a connection by a savepoint, and ends only that."""
    from sqlalchemy.orm import Session  # takes as long to import as all the rest, and few scripts use it

    return Session(connection, join_transaction_mode="create_savepoint")


def streams_rows(visit: Visit) -> bool:
    """Return whether a result can stay on the server while it is read; PostgreSQL needs a transaction for that."""
    return visit.connection.dialect.name != "postgresql" or not visit.not_transactional


class Visit:
    """One visit to env.py: its connection, Alembic's context, and the ledger on that connection."""

    def __init__(self, script: ScriptDirectory, work: Work, *, writes: bool, wait: sqlite.Wait | None = None) -> None:
        self.script = script
        self.writes = writes
        self.failure: BaseException | None = None
        self.running = ""
        """The Alembic revision that is running, or that failed."""
        self.completed = False
        self.calls = 0
        self.missing_file: Path | None = None
        self.procedure: sqlite.Procedure | None = None
        self.raw: Any = None
        """The driver's connection that env.py configured."""
        self.engine: Engine | None = None
        """The engine behind it."""
        self.home: tuple[str, ...] = ()
        """Where that connection looks names up: env.py may have redirected it (``USE``, ``SET search_path``)."""
        self.context: MigrationContext
        self.heads: tuple[str, ...] = ()
        self.blockers = ""
        """The sessions that a schema change waited for too long."""
        self._work = work
        self._wait = wait
        self.endings: Endings | None = None
        """Prevents the application's code from ending the transaction, from `watch` on."""
        self._holds_session_lock = False
        self._limits: Mapping[str, str] = {}
        """The session's own time limits, to be restored."""
        self._configured: Connection | None = None
        self._was_begun = False

    # -- for the engine's generators

    @property
    def connection(self) -> Connection:
        """env.py's connection, as Alembic sees it at this moment."""
        connection = self.context.connection
        if connection is None:
            raise EnvPyError("env.py configured Alembic without a connection (offline mode); fietsupdate needs one.")
        return connection

    @property
    def ledger(self) -> LedgerTable:
        """The ledger that belongs to this version table."""
        context = self.context
        return ledger_of(context.version_table, context.version_table_schema, context.dialect.name)

    @property
    def not_transactional(self) -> str:
        """Why schema and rows cannot change in one transaction here; "" when they can."""
        dialect = self.connection.dialect.name
        if not self.context.impl.transactional_ddl and dialect != "sqlite":
            dialect = "mariadb" if getattr(self.connection.dialect, "is_mariadb", False) else dialect
            return f"{NON_TRANSACTIONAL.get(dialect, dialect)} commits at every schema change"
        if dialect == "sqlite":
            never = sqlite.never_commits(self.connection)
            return "the driver is in autocommit=True mode, in which commit() does nothing" if never else ""
        raw: Any = self.connection.connection.dbapi_connection
        return "env.py's engine is in AUTOCOMMIT mode" if getattr(raw, "autocommit", False) is True else ""

    def lock(self) -> None:
        """Take the database's lock for this transaction; everything read from here on was read while the lock was held.

        Raises:
            BusyError: Another process has the lock.
            MovedError: Another process has changed the ledger since this transaction began.
        """
        if self._holds_session_lock:
            return
        if not lock.try_lock(self.connection, self._lock_name):
            raise BusyError
        if self.connection.dialect.name in MYSQL:
            self._holds_session_lock = True
            self.connection.connection.commit()  # Alembic has read already, before the lock was taken
        elif self._sees_the_past and self.ledger.exists(self.connection):
            with self.nothing_done():
                self.ledger.claim(self.connection)
        self._limits = self._limits or self._lifted()

    def _lifted(self) -> Mapping[str, str]:
        """Lift the time limits of this session; an AUTOCOMMIT engine has no transaction to lift them for."""
        autocommit = self.not_transactional and self.connection.dialect.name == "postgresql"
        return {} if autocommit else limits.lift(self.connection)

    @contextlib.contextmanager
    def nothing_done(self) -> Iterator[None]:
        """Run the very first statements: when another process interferes, leave and come back.

        Raises:
            BusyError: The other process writes.
            MovedError: The other process has changed what is read here.
        """
        try:
            yield
        except DBAPIError as error:
            if lock.is_busy(error):
                raise BusyError from error
            if is_transient(error):
                raise MovedError from error
            raise

    def make_durable(self) -> None:
        """Ask PostgreSQL for a commit that survives a crash, whatever the server's or the user's default is."""
        if self.connection.dialect.name == "postgresql":
            level = self.connection.exec_driver_sql("SHOW synchronous_commit").scalar()
            if level not in {"on", "remote_apply"}:
                self.connection.exec_driver_sql("SET LOCAL synchronous_commit TO on")

    def take_nothing_with_it(self) -> None:
        """Roll back the transaction of a visit that only read.

        Even an empty COMMIT would wait for readers on SQLite.
        """
        self.connection.connection.rollback()

    def commit_phase(self) -> None:
        """Commit at the driver, where the database has no transaction around the whole update anyway."""
        self.connection.connection.commit()

    def current_heads(self) -> tuple[str, ...]:
        """Read Alembic's version table again."""
        return tuple(sorted(self.context.get_current_heads()))

    def steps(
        self,
        revisions: Sequence[str],
        direction: Direction,
        around: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Iterator[RevisionStep]:
        """Yield the steps for these revisions to Alembic, in the given order; each runs inside of a context."""
        if revisions and not self.context._has_version_table():  # noqa: SLF001  # as `alembic ensure_version` does
            self.context._ensure_version_table()  # noqa: SLF001
        lock.limit_waits(self.connection)
        make = MigrationStep.downgrade_from_script if direction == Direction.DOWN else MigrationStep.upgrade_from_script
        for revision in revisions:
            step = make(self.script.revision_map, self.script.get_revision(revision))
            self.running = revision
            step.migration_fn = self._watched(step.migration_fn, around)
            yield step
        self.running = ""

    def set_heads(self, revisions: Sequence[str]) -> None:
        """Write revisions into Alembic's version table without running any, as ``alembic stamp`` does."""
        self.context.stamp(self.script, tuple(revisions) or "base")  # type: ignore[arg-type]  # several are fine, too

    def refuse_broken_keys(self) -> None:
        """Refuse to commit a change that breaks foreign keys which the application enforces (SQLite).

        Raises:
            RefusedError: There are new violations; named by table.
        """
        if self.procedure is not None and (broken := self.procedure.new_violations()):
            raise RefusedError(
                f"The update would break foreign keys: {sqlite.summarise(broken)}.",
                hint="Delete or repair the child rows in the update; cascades do not fire inside an update.",
            )

    def watch(self, txn: str, note: Callable[[str], object]) -> None:
        """Ensure that from here on no other code ends the transaction (invariant 11).

        Args:
            txn: The transaction, whose row is already written in it.
            note: Called with the reason, to store it durably, when the transaction was ended nevertheless.
        """
        connection, is_atomic = self.connection, not self.not_transactional
        is_mysql = connection.dialect.name in MYSQL

        def row_is_there() -> bool:
            begun = self.ledger.begun(connection)
            return begun is not None and begun.txn == txn and (bool(begun.running) or not is_mysql)

        def hold() -> held.HeldTransaction:
            return held.hold(connection, txn) if is_atomic or is_mysql else held.HeldTransaction()

        self.endings = Endings(connection, hold, row_is_there, note)

    def still_inside(self) -> None:
        """Check that the transaction that began is still open (SQLite can end it by itself).

        Raises:
            EnvPyError: The transaction has ended.
        """
        if self.endings is not None:
            self.endings.detect_end()
            self.endings.check()

    def hook_runs(self) -> contextlib.AbstractContextManager[None]:
        """Prevent a hook from ending the transaction.

        Raises:
            FietsupdateError: The hook has tried to, or has ended it.
        """
        if self.connection.dialect.name == "postgresql":
            self._lifted()  # a revision's autocommit_block() may have ended the transaction for which they were lifted
        return contextlib.nullcontext() if self.endings is None else self.endings.hook()

    # -- the course of a visit

    def enter(self, configured: Connection, options: dict[str, Any]) -> None:
        """Prepare env.py's connection, just before Alembic's own ``configure()`` runs."""
        self._configured, self._was_begun = configured, configured.in_transaction()
        self.raw, self.engine = configured.connection.dbapi_connection, configured.engine
        if not self.writes:
            return
        if self.procedure is not None:
            self.procedure.leave()
            self.procedure = None
        dialect = configured.dialect.name
        if dialect == "sqlite" and not sqlite.never_commits(configured):
            self.procedure = sqlite.Procedure(configured)
            self.procedure.prepare()
            event.listen(configured.engine, "commit", self._commit)
            options.update(transactional_ddl=True, transaction_per_migration=False)
        elif dialect not in NON_TRANSACTIONAL:
            options.update(transaction_per_migration=False)

    def run(self, heads: tuple[str, ...], context: MigrationContext) -> Iterator[RevisionStep]:
        """Run the work; called by Alembic from ``run_migrations()``."""
        self.calls += 1
        try:
            if self.calls > 1:
                raise EnvPyError(SEVERAL_RUNS[0], hint=SEVERAL_RUNS[1])
            self.context, self.heads = context, tuple(sorted(heads))
            self.home = home_of(self.connection)
            if self.procedure is not None and not sqlite.in_transaction(self.connection):
                raise EnvPyError(
                    "env.py's connection is not inside a transaction when run_migrations() begins.",
                    hint="Keep `with context.begin_transaction():` around `context.run_migrations()` in env.py.",
                )
            yield from self._work(self)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._unlock()
        self.completed = True

    def leave(self) -> None:
        """Remove our listeners; close what env.py forgot to close."""
        if lock.waited_in_vain(self.failure):
            self._name_blockers()
        connection = self._configured
        is_async = connection is not None and connection.dialect.is_async  # out of reach here
        if connection is not None and not is_async and not connection.closed and not self._was_begun:
            with contextlib.suppress(Exception):
                connection.rollback()  # "idle in transaction" would block the next schema change
                # a refused attempt to end it has left SQLAlchemy without a transaction
                connection.connection.rollback()
        if self.procedure is not None:
            self.procedure.leave()
            with contextlib.suppress(Exception):  # the listener disappears with the engine
                event.remove(self.procedure.connection.engine, "commit", self._commit)
        if connection is not None and self.missing_file is not None:
            # An engine that outlives env.py (Flask-SQLAlchemy's) would go on with the database in memory.
            connection.engine.dispose(close=not connection.dialect.is_async)
        self._configured = None

    def _name_blockers(self) -> None:
        """Find out, on a new connection, which sessions hold the tables."""
        try:
            with self.connection.engine.connect() as connection:
                self.blockers = lock.idle_sessions(connection)
        except Exception:  # noqa: BLE001  # an async engine is out of reach here; the error is told without names
            self.blockers = ""

    def _unlock(self) -> None:
        """Release a lock that belongs to the session: env.py may never close the session."""
        if self.calls and self.writes:
            with contextlib.suppress(Exception):  # the lock is gone with the connection
                lock.unlock(self.connection, self._lock_name)
                limits.restore(self.connection, self._limits)

    @property
    def _sees_the_past(self) -> bool:
        """Whether this transaction only sees what was committed before it had the lock."""
        if self.connection.dialect.name == "postgresql":
            return self.connection.exec_driver_sql("SHOW transaction_isolation").scalar() in SNAPSHOTS
        return self.procedure is not None and not self.procedure.is_immediate

    @property
    def _lock_name(self) -> str:
        return lock.lock_name(self.ledger.rows.name, self.ledger.schema)

    def _watched(
        self, migrate: Callable[..., None], around: Callable[[], contextlib.AbstractContextManager[None]]
    ) -> Callable[..., None]:
        endings = None if self.not_transactional else self.endings  # on other servers the row is committed before

        def run(**kw: Any) -> None:
            try:
                with around(), contextlib.nullcontext() if endings is None else endings.revision():
                    migrate(**kw)
            except BaseException as error:
                self.failure = error
                raise

        return run

    def _commit(self, connection: Connection) -> None:
        """Let env.py's own commit, at the end of the work, wait for readers of the database (SQLite)."""
        ours = connection.connection.dbapi_connection is self.raw
        if self.procedure is None or self._wait is None or not self.completed or not ours:
            return
        try:
            if sqlite.in_transaction(connection):
                self.procedure.commit(connection, self._wait)
        except BaseException as error:
            self.failure = error  # an env.py that ignores the error has still committed nothing
            raise
