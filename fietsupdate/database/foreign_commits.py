"""Detect that a hook with a database connection of its own commits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Engine, event

from fietsupdate.database import sqlite, statements
from fietsupdate.views import MYSQL


@contextlib.contextmanager
def own_commits_noted(note: Callable[[], object], ours: Any = None) -> Iterator[None]:
    """Call `note` before any SQLAlchemy connection but ours commits for the first time (protocol, 5).

    A statement that commits implicitly counts: on a connection in AUTOCOMMIT mode, and a schema change on MariaDB or
    SQLite. Connections that the hook opens directly at a driver are not detected.

    Args:
        note: Called before the commit; if it raises, nothing is committed.
        ours: The driver's connection that holds the update's transaction, if there is one.
    """
    noted = False

    def on_commit(connection: Connection) -> None:
        nonlocal noted
        if not noted and _driver(connection) is not ours:
            note()
            noted = True

    def before_statement(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if not noted and _commits_itself(connection, statement):
            on_commit(connection)

    event.listen(Engine, "commit", on_commit)
    event.listen(Engine, "before_cursor_execute", before_statement)
    try:
        yield
    finally:
        event.remove(Engine, "commit", on_commit)
        event.remove(Engine, "before_cursor_execute", before_statement)


def _commits_itself(connection: Connection, statement: str) -> bool:
    """Return whether a statement commits implicitly."""
    if statements.commits(statement):
        return True
    if connection.dialect.name in MYSQL | {"sqlite"} and statements.changes_schema(statement):
        return True
    return _in_autocommit(connection) and not statements.only_reads(statement)


def _in_autocommit(connection: Connection) -> bool:
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return True
    driver: Any = _driver(connection)
    if connection.dialect.name == "sqlite":
        return driver.isolation_level is None and not sqlite.in_transaction(connection)
    asked = getattr(driver, "get_autocommit", None)  # a method of MySQL's drivers
    return bool(asked() if asked is not None else getattr(driver, "autocommit", False))


def _driver(connection: Connection) -> Any:
    usable = not connection.closed and not connection.invalidated
    return connection.connection.dbapi_connection if usable else None
