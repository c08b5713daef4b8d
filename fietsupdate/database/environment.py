"""Everything that needs the database runs inside the project's own env.py, on its connection, in its transaction.

Alembic calls our function from within ``run_migrations()``; as a generator it stays there for the length of a whole
transaction (protocol, 3). env.py is a stranger: it may swallow errors, loop, commit or not. What came of a visit is
therefore decided by what was seen here, and in the end by the ledger row, never by env.py's returning cleanly.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from alembic.config import Config as AlembicConfig
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, MigrationStep, RevisionStep
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError, OperationalError

from fietsupdate.config import Config, load_callable
from fietsupdate.database import lock, sqlite
from fietsupdate.database.failures import SEVERAL_RUNS, blocked, explain, statement_failed
from fietsupdate.database.ledger import LedgerTable, ledger_of
from fietsupdate.errors import ConfigError, EnvPyError, RefusedError
from fietsupdate.model import Direction
from fietsupdate.process import Stop, put_back, stdout_on_stderr

NON_TRANSACTIONAL = {"mysql": "MySQL", "mariadb": "MariaDB", "oracle": "Oracle"}

T = TypeVar("T")
Work = Callable[["Visit"], Iterable[RevisionStep]]


class BusyError(Exception):
    """Somebody else holds the database's lock; wait outside and come back."""


class Visit:
    """One stay inside env.py: its connection, Alembic's context, and the ledger on that connection."""

    def __init__(self, script: ScriptDirectory, work: Work, *, writes: bool) -> None:
        self.script = script
        self.writes = writes
        self.failure: BaseException | None = None
        self.running = ""
        """The Alembic revision that runs, or that failed."""
        self.completed = False
        self.calls = 0
        self.missing_file: Path | None = None
        self.procedure: sqlite.Procedure | None = None
        self.raw: Any = None
        """The driver's connection that env.py configured."""
        self.context: MigrationContext
        self.heads: tuple[str, ...] = ()
        self.blockers = ""
        """The sessions that kept a schema change waiting for too long."""
        self._work = work
        self._lost = ""
        self._configured: Connection | None = None
        self._was_begun = False

    # -- what the engine's generators use

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
        """Take the database's lock for this transaction.

        Raises:
            BusyError: somebody else has it.
        """
        if not lock.try_lock(self.connection, self._lock_name):
            raise BusyError
        if self.procedure is not None and not self.procedure.is_immediate and self.ledger.exists(self.connection):
            try:
                self.ledger.claim(self.connection)
            except OperationalError as error:
                raise (BusyError() if lock.is_busy(error) else error) from error

    def make_durable(self) -> None:
        """Ask PostgreSQL for a commit that survives a crash, whatever the server's or the user's default is."""
        if self.connection.dialect.name == "postgresql":
            level = self.connection.exec_driver_sql("SHOW synchronous_commit").scalar()
            if level not in {"on", "remote_apply"}:
                self.connection.exec_driver_sql("SET LOCAL synchronous_commit TO on")

    def commit_phase(self) -> None:
        """Commit at the driver, where the database has no transaction around the whole update anyway."""
        self.connection.connection.commit()

    def current_heads(self) -> tuple[str, ...]:
        """Read Alembic's version table again."""
        return tuple(sorted(self.context.get_current_heads()))

    def steps(self, revisions: Sequence[str], direction: Direction) -> Iterator[RevisionStep]:
        """Hand Alembic the revisions to run, in the order in which they are given."""
        if revisions and not self.context._has_version_table():  # noqa: SLF001  # as `alembic ensure_version` does
            self.context._ensure_version_table()  # noqa: SLF001
        lock.limit_waits(self.connection)
        make = MigrationStep.downgrade_from_script if direction == Direction.DOWN else MigrationStep.upgrade_from_script
        for revision in revisions:
            step = make(self.script.revision_map, self.script.get_revision(revision))
            self.running = revision
            step.migration_fn = self._watched(step.migration_fn)
            yield step
        self.running = ""

    def refuse_broken_keys(self) -> None:
        """Refuse to commit what breaks foreign keys that the application enforces (SQLite).

        Raises:
            RefusedError: new violations, by table.
        """
        if self.procedure is not None and (broken := self.procedure.new_violations()):
            raise RefusedError(
                f"The update would break foreign keys: {sqlite.summarise(broken)}.",
                hint="Delete or repair the child rows in the update; cascades do not fire inside an update.",
            )

    def still_inside(self) -> None:
        """Check that the transaction that began is still the one that runs (SQLite can end it by itself).

        Raises:
            EnvPyError: it is not.
        """
        if self._lost:
            raise EnvPyError(f"The transaction ended in the middle of the update: {self._lost}")

    # -- how a visit goes

    def enter(self, configured: Connection, options: dict[str, Any]) -> None:
        """Prepare env.py's connection, just before Alembic's own ``configure()`` runs."""
        self._configured, self._was_begun = configured, configured.in_transaction()
        self.raw = configured.connection.dbapi_connection
        if not self.writes:
            return
        if self.procedure is not None:
            self.procedure.leave()
            self.procedure = None
        dialect = configured.dialect.name
        if dialect == "sqlite" and not sqlite.never_commits(configured):
            self.procedure = sqlite.Procedure(configured)
            self.procedure.prepare()
            event.listen(configured.engine, "handle_error", self._look_again)
            options.update(transactional_ddl=True, transaction_per_migration=False)
        elif dialect not in NON_TRANSACTIONAL:
            options.update(transaction_per_migration=False)

    def run(self, heads: tuple[str, ...], context: MigrationContext) -> Iterator[RevisionStep]:
        """Be the function that Alembic calls from ``run_migrations()``."""
        self.calls += 1
        try:
            if self.calls > 1:
                raise EnvPyError(SEVERAL_RUNS[0], hint=SEVERAL_RUNS[1])
            self.context, self.heads = context, tuple(sorted(heads))
            if self.procedure is not None and not sqlite.in_transaction(self.connection):
                raise EnvPyError(
                    "env.py's connection is not inside a transaction when run_migrations() begins.",
                    hint="Keep 'with context.begin_transaction():' around 'context.run_migrations()' in env.py.",
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
        """Take our listeners away; close what env.py forgot to close."""
        if self.procedure is not None:
            self.procedure.leave()
            with contextlib.suppress(Exception):  # the listener goes with the engine, if that is gone
                event.remove(self.procedure.connection.engine, "handle_error", self._look_again)
        if lock.waited_in_vain(self.failure):
            self._name_blockers()
        connection = self._configured
        if connection is not None and not connection.closed and not self._was_begun:
            with contextlib.suppress(Exception):  # an async connection is out of reach here
                connection.rollback()  # "idle in transaction" would block the next schema change
        self._configured = None

    def _name_blockers(self) -> None:
        """Look, on a connection of its own, at who keeps the tables from us."""
        try:
            with self.connection.engine.connect() as connection:
                self.blockers = lock.idle_sessions(connection)
        except Exception:  # noqa: BLE001  # an async engine is out of reach here; the error is told without names
            self.blockers = ""

    def _unlock(self) -> None:
        """Give back a lock that belongs to the session: env.py may never close it."""
        if self.calls and self.writes:
            with contextlib.suppress(Exception):  # with the connection the lock is gone, too
                lock.unlock(self.connection, self._lock_name)

    @property
    def _lock_name(self) -> str:
        return lock.lock_name(self.ledger.rows.name, self.ledger.schema)

    def _watched(self, migrate: Callable[..., None]) -> Callable[..., None]:
        def run(**kw: Any) -> None:
            try:
                migrate(**kw)
            except BaseException as error:
                self.failure = error
                raise

        return run

    def _look_again(self, context: Any) -> None:
        if not sqlite.in_transaction(self.connection):
            self._lost = f"after {type(context.original_exception).__name__}: {context.original_exception}"


class Environment:
    """The project's migration environment, entered as often as needed; its script directory is loaded once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._last: Visit | None = None
        self.alembic = _alembic_config(config)
        try:
            self.script = ScriptDirectory.from_config(self.alembic)
        except CommandError as error:
            raise ConfigError(f"Alembic cannot use its configuration: {error}", hint=f"See {config.shown}.") from error

    def visit(self, work: Work, *, writes: bool, command: str) -> Visit:
        """Enter env.py and do the work there.

        Args:
            work: Called with the visit; yields what `Visit.steps` gives.
            writes: Whether this visit may change anything at all.
            command: The Alembic command that env.py is told about: ``current``, ``upgrade``, ``downgrade``, ``stamp``.

        Raises:
            BusyError: the database's lock is held by somebody else; nothing was done.
            FietsupdateError: what went wrong; whether something was committed is not known here.
            Stop: a signal arrived.
        """
        self._last = visit = Visit(self.script, work, writes=writes)
        error: BaseException | None = None
        self.alembic.cmd_opts = self._cmd_opts(command)
        with put_back(), stdout_on_stderr():
            try:
                with _missing_file_is_memory(visit) if not writes else contextlib.nullcontext():
                    self._run_env(visit)
            except BaseException as caught:  # noqa: BLE001  # env.py may raise anything, SystemExit among it
                error = caught
            finally:
                visit.leave()
        _judge(visit, error)
        return visit

    def peek(self, read: Callable[[LedgerTable, Connection], T]) -> T | None:
        """Read on a fresh connection of the engine that env.py made in the last visit, without entering env.py again.

        Returns:
            What `read` gives; None where such a connection cannot be had (an async engine, a pool of one).
        """
        visit, self._last = self._last, None
        if visit is None or visit.raw is None or not visit.calls or visit.context.dialect.is_async:
            return None
        try:
            with visit.connection.engine.connect() as connection:
                fresh = connection.connection.dbapi_connection is not visit.raw
                return read(visit.ledger, connection) if fresh else None
        except Exception:  # noqa: BLE001  # whatever it is, a visit to env.py tells it better
            return None

    def _run_env(self, visit: Visit) -> None:
        context = EnvironmentContext(
            self.alembic, self.script, fn=visit.run, dont_mutate=True, destination_rev="heads", as_sql=False
        )
        with context:
            original = context.configure

            def configure(connection: Connection | None = None, **options: Any) -> None:
                if isinstance(connection, Connection):
                    visit.enter(connection, options)
                logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)  # our events say it all
                original(connection, **options)

            vars(context)["configure"] = configure  # the instance's own, so that env.py meets it
            self.script.run_env()

    def _cmd_opts(self, command: str) -> argparse.Namespace:
        """Give what env.py files in the wild read from the command line."""

        def stand_in() -> None:
            """Be the command's function; only its name is looked at."""

        stand_in.__name__ = command
        return argparse.Namespace(
            cmd=(stand_in, ["revision"], ["sql", "tag"]),
            config=[str(self.config.ini)] if self.config.ini else None,
            name=self.config.alembic_section,
            x=list(self.config.x) or None,
            revision="heads",
            sql=False,
            tag=None,
            autogenerate=False,
            raiseerr=False,
            quiet=False,
            verbose=False,
        )


def _alembic_config(config: Config) -> AlembicConfig:
    if config.alembic_config:
        made = load_callable(config.alembic_config)()
        if not isinstance(made, AlembicConfig):
            kind = type(made).__name__
            raise ConfigError(f"alembic_config = {config.alembic_config} gave {kind}, not an alembic.config.Config.")
        return made
    made = AlembicConfig(
        str(config.ini) if config.ini else None,
        toml_file=str(config.toml) if config.toml else None,
        ini_section=config.alembic_section,
    )
    if config.ini and not made.get_alembic_option("script_location") and (config.ini.parent / "env.py").exists():
        made.set_main_option("script_location", str(config.ini.parent).replace("%", "%%"))  # Flask-Migrate's layout
    return made


@contextlib.contextmanager
def _missing_file_is_memory(visit: Visit) -> Iterator[None]:
    """Connect to an empty database in memory where the SQLite file does not exist: reading must not create it."""

    def connect(dialect: Any, _record: Any, cargs: Sequence[Any], cparams: dict[str, Any]) -> Any:
        if dialect.name != "sqlite":
            return None
        name = str(cargs[0] if cargs else cparams.get("database", ""))
        file = sqlite.named_file(name)
        if file is None or file.exists():
            return None
        visit.missing_file = file
        return dialect.connect(":memory:", **{key: value for key, value in cparams.items() if key != "database"})

    event.listen(Engine, "do_connect", connect)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", connect)


def _judge(visit: Visit, error: BaseException | None) -> None:
    """Raise what a visit came to; return when all of the work was done."""
    if isinstance(error, Stop) or isinstance(visit.failure, Stop):
        raise error if isinstance(error, Stop) else visit.failure  # type: ignore[misc]
    begin_refused = visit.procedure is not None and visit.procedure.busy
    if begin_refused or (visit.writes and not visit.calls and error is not None and lock.is_busy(error)):
        raise BusyError
    if isinstance(visit.failure, Exception) and not visit.running:
        if isinstance(visit.failure, DBAPIError):
            raise statement_failed(visit.failure) from visit.failure
        raise visit.failure
    if error is not None or not visit.completed or visit.failure is not None:
        cause = visit.failure or error
        if lock.waited_in_vain(cause):
            raise blocked(cause, visit.running, visit.blockers) from cause
        raise explain(cause, running=visit.running, calls=visit.calls) from cause
