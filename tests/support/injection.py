"""Breaks a process at its k-th file-changing call, SQL statement or line of output; the package knows nothing of it.

Events are counted where they leave Python: audit hooks and patched functions for files, the drivers' own methods for
SQL. A COMMIT counts twice, before it is sent and when its answer has come: between the two nobody knows.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from support.databases import MARIADB, POSTGRESQL, server_url

FILES, SQL, OUTPUT = "files", "sql", "output"
CALLS = frozenset(
    f"os.{name}"
    for name in (
        *("rename", "link", "remove", "mkdir", "rmdir", "symlink", "truncate"),
        *("chmod", "chown", "utime", "setxattr", "removexattr"),
    )
)
"""Audit events that announce a change."""
UNANNOUNCED = ("write", "fsync", "fdatasync", "sendfile", "copy_file_range", "posix_fallocate")
"""Functions of `os` that change files without an audit event."""
STANDARD = (0, 1, 2)
STATEMENT, COMMIT, COMMITTED, ROLLBACK = "statement", "COMMIT", "COMMITTED", "ROLLBACK"


@dataclass
class Injection:
    """What is done to a process, and when.

    Args:
        action: ``count`` does nothing; ``kill``; a signal's name; an errno's name, raised by the call; ``cut`` ends
            the database session from another one (SQLite, which has none, fails as if the disk did).
        at: The number of the event, from 1; 0 is never.
        kinds: What is counted.
        every: Whether all events from `at` on are struck, not only that one (a disk that stays full).
    """

    action: str = "count"
    at: int = 0
    kinds: tuple[str, ...] = (FILES, SQL)
    every: bool = False
    seen: list[str] = field(default_factory=list)
    fired: str = ""
    report: Callable[[], None] = lambda: None
    _busy: bool = False

    def install(self) -> None:
        """Patch this process; it stays so until it ends."""
        if FILES in self.kinds:
            self._watch_files()
        if SQL in self.kinds:
            self._watch_drivers()
        if OUTPUT in self.kinds:
            self._watch_output()

    def point(self, kind: str, label: str, connection: Any = None) -> None:
        """Count an event, and strike if its turn has come."""
        if self._busy:
            return
        self.seen.append(f"{kind}: {label}")
        due = len(self.seen) >= self.at if self.every else len(self.seen) == self.at
        if not self.at or not due:
            return
        self._busy = True
        try:
            self.fired = self.fired or self.seen[-1]
            self.report()
            self._strike(kind, label, connection)
        finally:
            self._busy = False

    def rest(self) -> None:
        """Count and strike no more."""
        self._busy = True

    def _strike(self, kind: str, label: str, connection: Any) -> None:
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action.startswith("SIG"):
            self._busy = False  # the handler may unwind from here
            os.kill(os.getpid(), getattr(signal, self.action))
        elif self.action == "cut":
            if kind == SQL:
                cut(connection, answered=label != COMMITTED)
        elif kind == FILES:
            number = getattr(errno, self.action)
            raise OSError(number, os.strerror(number))

    # -- files

    def _watch_files(self) -> None:
        for name in UNANNOUNCED:
            if hasattr(os, name):
                setattr(os, name, self._counted(name, getattr(os, name)))
        from fietsupdate.filesystem import durable

        durable._syncfs = self._counted("syncfs", durable._syncfs)
        sys.addaudithook(self._audit)

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def call(*args: Any, **kw: Any) -> Any:
            if not (name == "write" and args[0] in STANDARD):
                self.point(FILES, name)
            return real(*args, **kw)

        return call

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in CALLS:
            self.point(FILES, f"{event} {_short(arguments[0])}")
        elif event == "open" and _opens_for_writing(*arguments):
            self.point(FILES, f"open {_short(arguments[0])}")

    # -- SQL

    def _watch_drivers(self) -> None:
        self._watch_sqlite()
        import psycopg
        import pymysql
        from sqlalchemy.dialects.postgresql import asyncpg

        adapted = asyncpg.AsyncAdapt_asyncpg_connection
        for cursor, connection in (
            (psycopg.Cursor, psycopg.Connection),
            (pymysql.cursors.Cursor, pymysql.connections.Connection),
            (asyncpg.AsyncAdapt_asyncpg_cursor, adapted),
        ):
            for name in ("execute", "executemany"):
                setattr(cursor, name, self._statement(getattr(cursor, name)))
            for name in ("commit", "rollback"):
                setattr(connection, name, self._end(name, getattr(connection, name)))

    def _watch_sqlite(self) -> None:
        class Cursor(sqlite3.Cursor):
            execute = self._statement(sqlite3.Cursor.execute)
            executemany = self._statement(sqlite3.Cursor.executemany)

        class Connection(sqlite3.Connection):
            commit = self._end("commit", sqlite3.Connection.commit)
            rollback = self._end("rollback", sqlite3.Connection.rollback)

            def cursor(self, factory: type[sqlite3.Cursor] = Cursor) -> sqlite3.Cursor:
                return super().cursor(factory)

            def execute(self, *args: Any) -> sqlite3.Cursor:
                return self.cursor().execute(*args)

        connect = functools.partial(sqlite3.connect, factory=Connection)
        sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]

    def _statement(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def execute(cursor: Any, statement: Any, *args: Any, **kw: Any) -> Any:
            self.point(SQL, " ".join(str(statement).split())[:60], _owner(cursor))
            return real(cursor, statement, *args, **kw)

        return execute

    def _end(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def end(connection: Any) -> Any:
            self.point(SQL, name.upper(), connection)
            answer = real(connection)
            if name == "commit":
                self.point(SQL, COMMITTED, connection)
            return answer

        return end

    # -- output

    def _watch_output(self) -> None:
        from fietsupdate.render.output import Output

        real = Output.write

        def write(output: Output, text: str) -> None:
            self.point(OUTPUT, f"before {_short(text)}")
            real(output, text)
            self.point(OUTPUT, f"after {_short(text)}")

        Output.write = write  # type: ignore[method-assign]


def cut(connection: Any, *, answered: bool) -> None:
    """End a database session as an administrator would; without `answered` its last answer is lost on the way."""
    if isinstance(connection, sqlite3.Connection):
        raise sqlite3.OperationalError("disk I/O error")
    raw = getattr(connection, "_connection", connection)
    kind = MARIADB if hasattr(raw, "thread_id") else POSTGRESQL
    engine = sa.create_engine(server_url(kind), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as other:
        if kind == MARIADB:
            other.exec_driver_sql(f"KILL {raw.thread_id()}")
            alive = f"SELECT count(*) FROM information_schema.processlist WHERE id = {raw.thread_id()}"
            while other.exec_driver_sql(alive).scalar():
                pass
        else:
            pid = raw.get_server_pid() if hasattr(raw, "get_server_pid") else raw.info.backend_pid
            other.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
    if not answered:
        raise _lost(raw, kind)


def _lost(raw: Any, kind: str) -> Exception:
    if kind == MARIADB:
        import pymysql

        return pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
    if hasattr(raw, "get_server_pid"):
        return ConnectionResetError("connection was lost")
    import psycopg

    return psycopg.OperationalError("server closed the connection unexpectedly")


def _opens_for_writing(path: object, _mode: object, flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and path != os.devnull and not isinstance(path, int)


def _owner(cursor: Any) -> Any:
    """Give the connection of a driver's cursor."""
    for name in ("connection", "_adapt_connection"):
        if getattr(cursor, name, None) is not None:
            return getattr(cursor, name)
    raise AssertionError(f"{cursor!r} names no connection")


def _short(value: object) -> str:
    return Path(str(value)).name if str(value).startswith("/") else " ".join(str(value).split())[:60]
