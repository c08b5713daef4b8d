"""Run everything that needs the database inside the project's own env.py, on its connection, in its transaction.

Alembic calls our function from within ``run_migrations()``; as a generator it stays there for the length of a whole
transaction (protocol, 3). env.py is not trusted: it may swallow errors, loop, commit or not. So the outcome of a visit
is decided by what was seen here, and in the end by the ledger row, never by env.py's returning without an error.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from alembic.config import Config as AlembicConfig
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from fietsupdate.config.config import Config, load_callable
from fietsupdate.database import lock, sqlite
from fietsupdate.database.errors import blocked, explain, is_transient, statement_failed
from fietsupdate.database.identity import home_of, remembering_arguments
from fietsupdate.database.ledger import LedgerTable
from fietsupdate.database.redirect import redirect_config, refuse_unmarked
from fietsupdate.database.visit import BusyError, MovedError, Visit, Work
from fietsupdate.errors import ConfigError, DatabaseBusyError, clear_frames
from fietsupdate.process import Stop, logging_back, process_state_restored, stdout_on_stderr

__all__ = ["BusyError", "Environment", "Visit", "Work"]

PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds between attempts to read tables that another process is changing; after the last one it is an error."""

_WRITING: Mapping[str, Any] = {"sql": False, "tag": None}
OPTIONS: Mapping[str, tuple[list[str], Mapping[str, Any]]] = {
    "current": ([], {"check_heads": False, "verbose": False}),
    "upgrade": (["revision"], _WRITING),
    "downgrade": (["revision"], _WRITING),
    "stamp": (["revisions"], {**_WRITING, "purge": False}),
}
"""The arguments and options of Alembic's commands, as its command line passes them to env.py (alembic 1.20)."""

T = TypeVar("T")


class Environment:
    """The project's migration environment, entered as often as needed; its script directory is loaded once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._last: Visit | None = None
        self.target = "head"
        """The revision that env.py is told to lead to, as ``alembic upgrade`` would tell it."""
        self.alembic = _alembic_config(config)
        self._own_cmd_opts = self.alembic.cmd_opts
        if config.redirect is not None:
            self.alembic = redirect_config(self.alembic, config.redirect)
        try:
            self.script = ScriptDirectory.from_config(self.alembic)
        except CommandError as error:
            raise ConfigError(
                f"Alembic cannot use its configuration: {error}", hint=f"See {config.file_names}."
            ) from error

    def visit(self, work: Work, *, writes: bool, command: str, wait: sqlite.Wait | None = None) -> Visit:
        """Enter env.py and do the work there.

        Args:
            work: Called with the visit; yields the steps of `Visit.steps`.
            writes: Whether this visit may change anything at all.
            command: The Alembic command that env.py is told about: ``current``, ``upgrade``, ``downgrade``, ``stamp``.
            wait: Called with the names of the processes that read a SQLite file which is to be committed; by default
                only SQLite's own timeout of a few seconds applies.

        Where another process changes the tables before any work was done here, the visit is started again.

        Raises:
            BusyError: Another process holds the database's lock; nothing was done.
            DatabaseBusyError: The database cannot even be read, because another process writes to it.
            FietsupdateError: The visit failed; whether something was committed is not known here.
            Stop: A signal arrived.
        """
        pauses = iter(PAUSES)
        while True:
            pause = next(pauses, None)
            try:
                visit = Visit(self.script, work, writes=writes, wait=wait)
                return self._visit(visit, command=command, last=pause is None)
            except MovedError:
                time.sleep(pause or 0)

    @property
    def configured(self) -> Engine | None:
        """The engine whose connection env.py configured in the last visit, even if the visit failed afterwards."""
        return self._last.engine if self._last is not None else None

    def _visit(self, visit: Visit, *, command: str, last: bool) -> Visit:
        self._last = visit
        error: BaseException | None = None
        self.alembic.cmd_opts = self._cmd_opts(command)
        with process_state_restored(), stdout_on_stderr(), remembering_arguments():
            try:
                with _missing_file_is_memory(visit) if not visit.writes else contextlib.nullcontext():
                    self._run_env(visit)
            except BaseException as caught:  # noqa: BLE001  # env.py may raise anything, SystemExit among it
                error = caught
            finally:
                visit.leave()
        clear_frames(error)
        clear_frames(visit.failure)
        _judge(visit, error, last=last)
        return visit

    def peek(self, read: Callable[[LedgerTable, Connection], T]) -> T | None:
        """Read on a fresh connection of the engine that env.py made in the last visit, without entering env.py again.

        Returns:
            The result of `read`; None where no such connection is available (an async engine, a pool of one), or where
                it looks names up elsewhere than env.py's own.
        """
        visit, self._last = self._last, None
        if visit is None or visit.raw is None or not visit.calls or visit.context.dialect.is_async:
            return None
        if visit.missing_file is not None:  # a new connection would create the file
            return None
        try:
            with visit.connection.engine.connect() as connection:
                fresh = connection.connection.dbapi_connection is not visit.raw
                fresh = fresh and home_of(connection) == visit.home
                return read(visit.ledger, connection) if fresh else None
        except Exception:  # noqa: BLE001  # whatever it is, a visit to env.py tells it better
            return None

    def sees(self, read: Callable[[LedgerTable, Connection], bool]) -> bool:
        """Read what the last visit has committed: on a fresh connection of its engine, otherwise in env.py."""
        answer = self.peek(read)
        if answer is not None:
            return answer
        answers: list[bool] = []

        def work(visit: Visit) -> tuple[()]:
            answers.append(read(visit.ledger, visit.connection))
            return ()

        self.visit(work, writes=False, command="current")
        return answers[-1]

    def _run_env(self, visit: Visit) -> None:
        destination = "heads" if self.target == "head" else self.target  # there may be several
        context = EnvironmentContext(
            self.alembic, self.script, fn=visit.run, dont_mutate=True, destination_rev=destination, as_sql=False
        )
        with context:
            original = context.configure

            def configure(connection: Connection | None = None, **options: Any) -> None:
                if isinstance(connection, Connection):
                    if self.config.redirect is not None:
                        refuse_unmarked(connection, self.config.redirect)
                    visit.enter(connection, options)
                logging_back()  # env.py has finished its configuration
                logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)  # our events report the same
                original(connection, **options)

            vars(context)["configure"] = configure  # set on the instance, so that env.py calls it
            self.script.run_env()

    def _cmd_opts(self, command: str) -> argparse.Namespace | None:
        """Return the command line options that env.py expects to read: those of Alembic's own command line.

        An application that makes Alembic's configuration itself calls Alembic without a command line; then env.py sees
        the options of the application, unless -x must reach it.
        """
        own = self._own_cmd_opts
        if self.config.alembic_config and not self.config.x:
            return own
        if own is not None:
            return argparse.Namespace(**{**vars(own), "x": list(self.config.x)})

        def stand_in() -> None:
            """Stand for the command's function, of which only the name is used."""

        stand_in.__name__ = command
        positional, more = OPTIONS[command]
        named = {"revision": self.target, "revisions": [self.target]}
        return argparse.Namespace(
            cmd=(stand_in, positional, list(more)),
            config=[str(self.config.ini)] if self.config.ini else None,
            name=self.config.alembic_section,
            x=list(self.config.x) or None,
            raiseerr=False,
            quiet=False,
            **{name: named[name] for name in positional},
            **more,
        )


def _alembic_config(config: Config) -> AlembicConfig:
    if config.alembic_config:
        alembic = load_callable(config.alembic_config, "alembic_config")()
        if not isinstance(alembic, AlembicConfig):
            kind = type(alembic).__name__
            raise ConfigError(f"alembic_config = {config.alembic_config} gave {kind}, not an alembic.config.Config.")
        return alembic
    alembic = AlembicConfig(
        str(config.ini) if config.ini else None,
        toml_file=str(config.toml) if config.toml else None,
        ini_section=config.alembic_section,
    )
    if config.ini and not alembic.get_alembic_option("script_location") and (config.ini.parent / "env.py").exists():
        alembic.set_main_option("script_location", str(config.ini.parent).replace("%", "%%"))  # Flask-Migrate's layout
    return alembic


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


def _judge(visit: Visit, error: BaseException | None, *, last: bool) -> None:
    """Raise the error that a visit came to; return when all of the work was done. The `last` visit is not repeated."""
    if isinstance(error, Stop) or isinstance(visit.failure, Stop):
        raise error if isinstance(error, Stop) else visit.failure  # type: ignore[misc]
    begin_refused = visit.procedure is not None and visit.procedure.busy
    if begin_refused or (visit.writes and not visit.calls and error is not None and lock.is_busy(error)):
        raise BusyError(visit.procedure.writer if visit.procedure else "")
    cause = visit.failure or error
    if not visit.writes and cause is not None and lock.is_busy(cause):
        raise DatabaseBusyError(
            "The database cannot be read: another process writes to it, or waits for its readers.",
            hint="Wait until it is done, then run the same command again.",
        ) from cause
    _look_again(visit, error, last=last)
    if isinstance(visit.failure, Exception) and not visit.running:
        if isinstance(visit.failure, DBAPIError):
            raise statement_failed(visit.failure) from visit.failure
        raise visit.failure
    if error is not None or not visit.completed or visit.failure is not None:
        cause = visit.failure or error
        if lock.waited_in_vain(cause):
            raise blocked(cause, visit.running, visit.blockers) from cause
        raise explain(cause, running=visit.running, calls=visit.calls) from cause


def _look_again(visit: Visit, error: BaseException | None, *, last: bool) -> None:
    """Raise `MovedError` where another process interfered with a visit that had done nothing yet."""
    if isinstance(visit.failure, MovedError):
        if last and visit.failure.__cause__ is not None:
            visit.failure = visit.failure.__cause__
            return
        raise visit.failure
    cause = visit.failure or error
    if not last and is_transient(cause) and not (visit.writes and visit.calls):
        raise MovedError from cause
