"""Break a process at its k-th file-changing call or SQL statement, without any support in the code that is broken.

Events are counted where they leave Python: by audit hooks and patched functions for files, by the drivers' own methods
for SQL. A COMMIT counts twice, before it is sent and after its answer: between the two, its result is not known.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from fietsupdate.filesystem.run_file import is_own_thread

FILES, SQL = "files", "sql"
CALLS = frozenset(
    f"os.{name}"
    for name in (
        *("rename", "link", "remove", "mkdir", "rmdir", "symlink", "truncate"),
        *("chmod", "chown", "utime", "setxattr", "removexattr"),
    )
)
"""The audit events that announce a change."""
UNANNOUNCED = ("write", "fsync", "fdatasync", "sendfile", "copy_file_range", "posix_fallocate")
"""The functions of `os` that change files without an audit event."""
STANDARD = (0, 1, 2)
COMMIT, COMMITTED, ROLLBACK = "COMMIT", "COMMITTED", "ROLLBACK"


@dataclass
class Injection:
    """The fault to inject into a process, and the event at which to do it.

    Args:
        action: ``count`` does nothing; ``kill``; a signal's name; an errno's name, raised by the call.
        at: The number of the event, from 1; 0 is never.
        kinds: The kinds of events that are counted.
        every: Whether all events from `at` on are struck, not only the first one (a disk that stays full).
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
        """Patch this process until it ends."""
        if FILES in self.kinds:
            self._watch_files()
        if SQL in self.kinds:
            watch(functools.partial(self.point, SQL))

    def point(self, kind: str, label: str, connection: Any = None) -> None:
        """Count an event, and strike if its number has been reached."""
        if self._busy or is_own_thread():  # the run file is written when the clock says so
            return
        self.seen.append(f"{kind}: {label}")
        due = len(self.seen) >= self.at if self.every else len(self.seen) == self.at
        if not self.at or not due:
            return
        self._busy = True
        try:
            self.fired = self.fired or self.seen[-1]
            self.report()
            self.strike(kind, label, connection)
        finally:
            self._busy = False

    def rest(self) -> None:
        """Stop counting and striking."""
        self._busy = True

    def strike(self, kind: str, _label: str, _connection: Any) -> None:
        """Inject the fault."""
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action.startswith("SIG"):
            self._busy = False  # the handler may unwind from here
            os.kill(os.getpid(), getattr(signal, self.action))
        elif kind == FILES:
            number = getattr(errno, self.action)
            raise OSError(number, os.strerror(number))

    def _watch_files(self) -> None:
        for name in UNANNOUNCED:
            if hasattr(os, name):
                setattr(os, name, self._counted(name, getattr(os, name)))
        from fietsupdate.filesystem.posix import durable

        if durable._syncfs is not None:  # noqa: SLF001  # the one call that does not go through `os`
            durable._syncfs = self._counted("syncfs", durable._syncfs)  # noqa: SLF001
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
            self.point(FILES, f"{event} {short(arguments[0])}")
        elif event == "open" and _opens_for_writing(*arguments):
            self.point(FILES, f"open {short(arguments[0])}")


def short(value: object) -> str:
    """Return a text that fits into a line; for an absolute path its last part."""
    return Path(str(value)).name if str(value).startswith("/") else " ".join(str(value).split())[:60]


def _opens_for_writing(path: object, _mode: object, flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) and path != os.devnull and not isinstance(path, int)


# -- Report every SQL statement, COMMIT and ROLLBACK of this process, where it leaves Python: at the drivers.


COMMITTED = "COMMITTED"
Told = Callable[[str, Any], None]
"""Called with the statement and the driver's connection, before the statement is executed."""
WATCHED = frozenset({"pysqlite", "aiosqlite", "psycopg", "pymysql", "asyncpg", "aiomysql"})
"""SQLAlchemy's names of the drivers whose own methods are replaced."""


def watch(on_point: Told) -> None:
    """Replace the drivers' methods in this process until it ends."""
    _watch_sqlite(on_point)
    for cursor, connection in _drivers():
        for name in ("execute", "executemany"):
            setattr(cursor, name, _statement(on_point, getattr(cursor, name)))
        for name in ("commit", "rollback"):
            setattr(connection, name, _end(on_point, name, getattr(connection, name)))
    _watch_engines(on_point)


def _drivers() -> Iterator[tuple[Any, Any]]:
    """Yield the classes of cursors and connections of the installed drivers that are written in Python."""
    with contextlib.suppress(ImportError):
        psycopg: Any = importlib.import_module("psycopg")
        yield psycopg.Cursor, psycopg.Connection
    with contextlib.suppress(ImportError):
        pymysql: Any = importlib.import_module("pymysql")
        yield pymysql.cursors.Cursor, pymysql.connections.Connection
    from sqlalchemy.dialects.mysql import aiomysql
    from sqlalchemy.dialects.postgresql import asyncpg

    yield aiomysql.AsyncAdapt_aiomysql_cursor, aiomysql.AsyncAdapt_aiomysql_connection
    yield asyncpg.AsyncAdapt_asyncpg_cursor, asyncpg.AsyncAdapt_asyncpg_connection


def _watch_sqlite(on_point: Told) -> None:
    class Cursor(sqlite3.Cursor):
        execute = _statement(on_point, sqlite3.Cursor.execute)
        executemany = _statement(on_point, sqlite3.Cursor.executemany)

    class WatchedConnection(sqlite3.Connection):
        commit = _end(on_point, "commit", sqlite3.Connection.commit)
        rollback = _end(on_point, "rollback", sqlite3.Connection.rollback)

        def cursor(self, factory: type[sqlite3.Cursor] = Cursor) -> sqlite3.Cursor:  # type: ignore[override]
            return super().cursor(factory)

        def execute(self, *args: Any) -> sqlite3.Cursor:
            return self.cursor().execute(*args)

    connect = functools.partial(sqlite3.connect, factory=WatchedConnection)
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]


def _watch_engines(on_point: Told) -> None:
    def is_left(connection: Connection) -> bool:
        return connection.dialect.driver not in WATCHED

    def execute(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if is_left(connection):
            on_point(_short(statement), _owner(cursor))

    def end(name: str, connection: Connection) -> None:
        if is_left(connection):
            on_point(name, connection.connection.dbapi_connection)

    event.listen(Engine, "before_cursor_execute", execute)
    event.listen(Engine, "commit", functools.partial(end, "COMMIT"))
    event.listen(Engine, "rollback", functools.partial(end, "ROLLBACK"))


def _statement(on_point: Told, real: Callable[..., Any]) -> Callable[..., Any]:
    def execute(cursor: Any, statement: Any, *args: Any, **kw: Any) -> Any:
        on_point(_short(statement), _owner(cursor))
        return real(cursor, statement, *args, **kw)

    return execute


def _end(on_point: Told, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def end(connection: Any) -> Any:
        on_point(name.upper(), connection)
        answer = real(connection)
        if name == "commit":
            on_point(COMMITTED, connection)
        return answer

    return end


def _short(statement: object) -> str:
    return " ".join(str(statement).split())[:60]


def _owner(cursor: Any) -> Any:
    """Return the connection of a driver's cursor, if the cursor has it."""
    return getattr(cursor, "connection", None) or getattr(cursor, "_adapt_connection", None)
