"""Tells of every SQL statement, COMMIT and ROLLBACK of this process, where it leaves Python: at the drivers.

A driver whose methods cannot be replaced (it is written in C) is watched where SQLAlchemy hands it a statement. A
COMMIT is told of twice, before it is sent and, where that can be seen, when its answer has come.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Engine, event

COMMITTED = "COMMITTED"
Told = Callable[[str, Any], None]
"""Called with the statement and the driver's connection, before it happens."""
WATCHED = frozenset({"pysqlite", "aiosqlite", "psycopg", "pymysql", "asyncpg", "aiomysql"})
"""SQLAlchemy's names of the drivers whose own methods are replaced."""


def watch(told: Told) -> None:
    """Replace the drivers' methods in this process; it stays so until it ends."""
    _watch_sqlite(told)
    for cursor, connection in _drivers():
        for name in ("execute", "executemany"):
            setattr(cursor, name, _statement(told, getattr(cursor, name)))
        for name in ("commit", "rollback"):
            setattr(connection, name, _end(told, name, getattr(connection, name)))
    _watch_engines(told)


def _drivers() -> Iterator[tuple[Any, Any]]:
    """Give the classes of cursors and connections of the drivers that are installed and written in Python."""
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


def _watch_sqlite(told: Told) -> None:
    class Cursor(sqlite3.Cursor):
        execute = _statement(told, sqlite3.Cursor.execute)
        executemany = _statement(told, sqlite3.Cursor.executemany)

    class WatchedConnection(sqlite3.Connection):
        commit = _end(told, "commit", sqlite3.Connection.commit)
        rollback = _end(told, "rollback", sqlite3.Connection.rollback)

        def cursor(self, factory: type[sqlite3.Cursor] = Cursor) -> sqlite3.Cursor:  # type: ignore[override]
            return super().cursor(factory)

        def execute(self, *args: Any) -> sqlite3.Cursor:
            return self.cursor().execute(*args)

    connect = functools.partial(sqlite3.connect, factory=WatchedConnection)
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]


def _watch_engines(told: Told) -> None:
    def is_left(connection: Connection) -> bool:
        return connection.dialect.driver not in WATCHED

    def execute(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if is_left(connection):
            told(_short(statement), _owner(cursor))

    def end(name: str, connection: Connection) -> None:
        if is_left(connection):
            told(name, connection.connection.dbapi_connection)

    event.listen(Engine, "before_cursor_execute", execute)
    event.listen(Engine, "commit", functools.partial(end, "COMMIT"))
    event.listen(Engine, "rollback", functools.partial(end, "ROLLBACK"))


def _statement(told: Told, real: Callable[..., Any]) -> Callable[..., Any]:
    def execute(cursor: Any, statement: Any, *args: Any, **kw: Any) -> Any:
        told(_short(statement), _owner(cursor))
        return real(cursor, statement, *args, **kw)

    return execute


def _end(told: Told, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def end(connection: Any) -> Any:
        told(name.upper(), connection)
        answer = real(connection)
        if name == "commit":
            told(COMMITTED, connection)
        return answer

    return end


def _short(statement: object) -> str:
    return " ".join(str(statement).split())[:60]


def _owner(cursor: Any) -> Any:
    """Give the connection of a driver's cursor, where it names one."""
    return getattr(cursor, "connection", None) or getattr(cursor, "_adapt_connection", None)
