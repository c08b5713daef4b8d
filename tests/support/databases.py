"""A database of its own for every test that asks for one.

SQLite databases are files; PostgreSQL and MariaDB databases are made on a server and dropped again, even if sessions
are still connected. A missing server skips the test, unless ``FIETSUPDATE_TEST_REQUIRE`` (kinds, comma separated)
names it: then the test fails. ``FIETSUPDATE_TEST_POSTGRESQL_URL`` and ``FIETSUPDATE_TEST_MARIADB_URL`` name other
servers; the user must be allowed to create databases.
"""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fietsupdate.testing.content import Dump, dump

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
MARIADB = "mariadb"
KINDS = (SQLITE, POSTGRESQL, MARIADB)
ATOMIC_KINDS = (SQLITE, POSTGRESQL)
"""Where schema and rows change in one transaction."""

SERVERS = {
    POSTGRESQL: "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    MARIADB: "mysql+pymysql://root@127.0.0.1:3306/",
}
ASYNC_DRIVERS = {SQLITE: "sqlite+aiosqlite", POSTGRESQL: "postgresql+asyncpg", MARIADB: "mysql+aiomysql"}


@dataclass(frozen=True)
class Database:
    """A database that belongs to one test."""

    kind: str
    url: str
    """The URL for SQLAlchemy, with a blocking driver."""
    name: str

    @property
    def async_url(self) -> str:
        """The same database for SQLAlchemy's asyncio engines; not to be had for MariaDB."""
        return _text(sa.make_url(self.url).set(drivername=ASYNC_DRIVERS[self.kind]))

    @property
    def file(self) -> Path:
        """The file of a SQLite database."""
        database = sa.make_url(self.url).database
        assert self.kind == SQLITE
        assert database is not None
        return Path(database)

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """Yield a new connection in a transaction that commits; afterwards, nothing stays open."""
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def execute(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Execute and commit one statement; return its rows, if it has any."""
        with self.connect() as connection:
            result = connection.execute(sa.text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def tables(self) -> list[str]:
        """Return the tables, sorted; a SQLite file that is not there is not created and has none."""
        if self.kind == SQLITE and not self.file.exists():
            return []
        with self.connect() as connection:
            return sorted(sa.inspect(connection).get_table_names())

    def dump(self, *, bookkeeping: bool = True) -> Dump:
        """Return the full logical content; see `fietsupdate.testing.content.dump`."""
        return dump(self.url, bookkeeping=bookkeeping)

    def drop(self) -> None:
        """Remove the database, and end the sessions that still use it."""
        if self.kind == SQLITE:
            for ending in ("", "-journal", "-wal", "-shm"):
                Path(f"{self.file}{ending}").unlink(missing_ok=True)
        else:
            _drop(self.kind, self.name)


def create(kind: str, folder: Path) -> Database:
    """Make an empty database; `folder` takes the file of a SQLite one, which is not created yet.

    Raises:
        pytest.skip.Exception: the server is not there, and is not required.
        pytest.fail.Exception: the server is not there, and `FIETSUPDATE_TEST_REQUIRE` names it.
    """
    name = f"fietsupdate_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    if kind == SQLITE:
        return Database(kind, f"sqlite:///{folder / name}.sqlite", name)
    _require(kind)
    with _server(kind) as connection:
        connection.exec_driver_sql(_CREATE[kind].format(name=name))
    return Database(kind, _text(server_url(kind).set(database=name)), name)


def server_url(kind: str) -> sa.URL:
    """Return the URL with which databases are created and dropped."""
    return sa.make_url(os.environ.get(f"FIETSUPDATE_TEST_{kind.upper()}_URL") or SERVERS[kind])


# template1 may be in use by another process's CREATE DATABASE; template0 never is.
_CREATE = {
    POSTGRESQL: "CREATE DATABASE {name} TEMPLATE template0",
    MARIADB: "CREATE DATABASE {name} CHARACTER SET utf8mb4",
}


@contextmanager
def _server(kind: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(server_url(kind), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _drop(kind: str, name: str) -> None:
    with _server(kind) as connection:
        if kind == POSTGRESQL:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            return
        sessions = sa.text("SELECT id FROM information_schema.processlist WHERE db = :name")
        for session in connection.execute(sessions, {"name": name}).scalars().all():
            _kill(connection, session)
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")


def _kill(connection: sa.Connection, session: int) -> None:
    try:
        connection.exec_driver_sql(f"KILL {session}")
    except sa.exc.DBAPIError as error:
        gone = 1094  # "Unknown thread id": it ended by itself meanwhile
        if error.orig is None or error.orig.args[0] != gone:
            raise


@functools.cache
def _absence(kind: str) -> str:
    """Return why the server cannot be used; "" if it can."""
    try:
        with _server(kind):
            return ""
    except sa.exc.DBAPIError as error:
        return f"no {kind} server at {server_url(kind)}: {error.orig}"


def _require(kind: str) -> None:
    reason = _absence(kind)
    if not reason:
        return
    required = [name.strip() for name in os.environ.get("FIETSUPDATE_TEST_REQUIRE", "").split(",")]
    if kind in required:
        pytest.fail(f"{reason} (FIETSUPDATE_TEST_REQUIRE names it)")
    pytest.skip(reason)


def _text(url: sa.URL) -> str:
    return url.render_as_string(hide_password=False)
