"""Databases that belong to one test: created on a server or as a file, copied, restored, dropped.

A URL is text for SQLAlchemy in this module. Every access uses a blocking driver, whichever driver the application uses;
`blocking` finds one.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fietsupdate.config.config import Config
from fietsupdate.database.environment import Environment, Visit
from fietsupdate.database.redirect import MARK
from fietsupdate.database.sqlite import named_file
from fietsupdate.errors import ConfigError, DatabaseError

DRIVERS = {
    "sqlite": ("pysqlite",),
    "postgresql": ("psycopg", "psycopg2", "pg8000"),
    "mysql": ("pymysql", "mysqldb", "mysqlconnector"),
    "mariadb": ("pymysql", "mysqldb", "mariadbconnector"),
}
"""Blocking drivers, in the order in which they are tried."""
MODULES = {"mysqldb": "MySQLdb", "mysqlconnector": "mysql.connector", "mariadbconnector": "mariadb"}
SQLITE_FILES = ("", "-journal", "-wal", "-shm")
_END_SESSIONS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
_CREATE = {
    # template1 may be in use by another process's CREATE DATABASE; template0 never is.
    "postgresql": "CREATE DATABASE {name} TEMPLATE template0",
    "mysql": "CREATE DATABASE {name} CHARACTER SET utf8mb4",
}


def with_driver_of(url: str, configured: str) -> str:
    """Return `url` with the driver that the application is written for: an async env.py needs an async driver.

    Args:
        url: The URL of the temporary database.
        configured: The application's own URL; "" if it is not known.

    Returns:
        `url` with the configured driver, if both are of the same kind of database; on SQLite with aiosqlite, if the
        configured driver is an async one of another kind.
    """
    if not configured:
        return url
    own, other = sa.make_url(configured), sa.make_url(url)
    if own.get_backend_name() == other.get_backend_name():
        return text(other.set(drivername=own.drivername))
    if other.get_backend_name() == "sqlite" and own.get_dialect().is_async:
        return text(other.set(drivername="sqlite+aiosqlite"))
    return url


def blocking(url: str) -> str:
    """Return the same URL with a blocking driver.

    Raises:
        DatabaseError: No such driver is installed.
    """
    parsed = sa.make_url(url)
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        return text(parsed.set(drivername="sqlite"))
    if "+" not in parsed.drivername or not parsed.get_dialect().is_async:
        return url
    for driver in DRIVERS.get(kind, ()):
        if find_spec(MODULES.get(driver, driver).partition(".")[0]):
            return text(parsed.set(drivername=f"{kind}+{driver}"))
    raise DatabaseError(
        f"No driver that blocks is installed for {kind}; the application's own is {parsed.get_driver_name()}.",
        hint=f"`pip install {DRIVERS.get(kind, ('a driver',))[0]}`, for the tests only.",
    )


@contextmanager
def connect(url: str) -> Iterator[sa.Connection]:
    """Yield a new connection in a transaction that commits; afterwards, nothing stays open."""
    engine = sa.create_engine(blocking(url), poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def create(server: str, name: str) -> str:
    """Create an empty database on a server, and return its URL.

    Raises:
        DatabaseError: The server cannot be reached, or refuses.
    """
    kind = _kind(server)
    if kind not in {"postgresql", "mysql"}:
        raise DatabaseError(f"On {kind} no database of one's own can be made: use SQLite, PostgreSQL or MariaDB.")
    _on_server(server, _CREATE[kind].format(name=name))
    return text(sa.make_url(server).set(database=name))


def drop(url: str) -> None:
    """Drop a database, and end the sessions that still use it. A missing database is no error."""
    kind = _kind(url)
    if kind == "sqlite":
        for ending in SQLITE_FILES:
            Path(f"{file_of(url)}{ending}").unlink(missing_ok=True)
        return
    name = sa.make_url(url).database
    if kind == "postgresql":
        _on_server(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        return
    with _server(url) as connection:
        sessions = sa.text("SELECT id FROM information_schema.processlist WHERE db = :name")
        for session in connection.execute(sessions, {"name": name}).scalars().all():
            _end_session(connection, session)
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")


def is_file(url: str) -> bool:
    """Return whether a database is a file of SQLite."""
    return _kind(url) == "sqlite"


def file_of(url: str) -> Path:
    """Return the file of a SQLite database.

    Raises:
        DatabaseError: The database is in memory.
    """
    file = named_file(sa.make_url(url).database or "")
    if file is None:
        raise DatabaseError(f"{url} is a database in memory: nothing of it outlives env.py.")
    return file


def text(url: sa.URL) -> str:
    """Return a URL as text, including the password."""
    return url.render_as_string(hide_password=False)


class Copy:
    """A copy of a database, which can be restored repeatedly.

    Args:
        url: The database. A missing SQLite file is restored as missing.
        folder: An empty folder for the files of the copy.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self._file = url, folder / "database"
        self._copied = f"{self._name}_{uuid.uuid4().hex[:8]}"
        self._statements: list[str] = []
        kind = _kind(url)
        if kind == "sqlite":
            if file_of(url).exists():
                _copy_file(file_of(url), self._file)
        elif kind == "postgresql":
            _on_server(url, _END_SESSIONS.format(name=self._name))  # a template must not be in use
            _on_server(url, f"CREATE DATABASE {self._copied} TEMPLATE {self._name}")
        else:
            self._statements = _statements(url)

    @property
    def _name(self) -> str:
        return str(sa.make_url(self.url).database)

    def restore(self) -> None:
        """Restore the database from the copy; sessions that still use it are ended."""
        drop(self.url)
        kind = _kind(self.url)
        if kind == "sqlite":
            if self._file.exists():
                _copy_file(self._file, file_of(self.url))
        elif kind == "postgresql":
            _on_server(self.url, f"CREATE DATABASE {self._name} TEMPLATE {self._copied}")
        else:
            _on_server(self.url, _CREATE["mysql"].format(name=self._name))
            with connect(self.url) as connection:
                for statement in self._statements:
                    connection.exec_driver_sql(statement)

    def drop(self) -> None:
        """Remove the copy."""
        if _kind(self.url) == "postgresql":
            _on_server(self.url, f"DROP DATABASE IF EXISTS {self._copied} WITH (FORCE)")


def _copy_file(source: Path, target: Path) -> None:
    """Copy a SQLite file by its online backup: a part of its content may still be in the log beside it."""
    with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(target)) as writer:
        reader.backup(writer)


def mark(url: str, word: str) -> None:
    """Mark a database as changeable: `fietsupdate.database.redirect` refuses every other one."""
    with connect(url) as connection:
        name = MARK
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"CREATE SCHEMA {MARK}")
            name = f"{MARK}.mark"
        connection.exec_driver_sql(f"CREATE TABLE {name} (word VARCHAR(40))")
        connection.exec_driver_sql(f"INSERT INTO {name} (word) VALUES ('{word}')")  # noqa: S608  # ours


def bookkeeping(config: Config) -> frozenset[str]:
    """Return the tables that are no part of the application: Alembic's version table and our own."""
    names: list[str] = []

    def work(visit: Visit) -> tuple[()]:
        names.extend([visit.context.version_table, visit.ledger.rows.name, visit.ledger.instance.name])
        return ()

    Environment(config).visit(work, writes=False, command="current")
    return frozenset(names) | {MARK}


def configured_url(config: Config) -> str:
    """Return the URL that Alembic's section names, or "" if it names none, or none that can be read."""
    try:
        return Environment(config).alembic.get_main_option("sqlalchemy.url") or ""
    except (ConfigError, ValueError):
        return ""


def _kind(url: str) -> str:
    name = sa.make_url(url).get_backend_name()
    return "mysql" if name == "mariadb" else name


@contextmanager
def _server(url: str) -> Iterator[sa.Connection]:
    """Connect to the server without using the database itself, which may be about to be dropped."""
    parsed = sa.make_url(blocking(url)).set(database="postgres" if _kind(url) == "postgresql" else "")
    engine = sa.create_engine(parsed, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    except sa.exc.OperationalError as error:
        masked_url = sa.make_url(url).render_as_string()
        raise DatabaseError(f"The server of {masked_url} does not do what a test needs: {error.orig}") from error
    finally:
        engine.dispose()


def _on_server(url: str, statement: str) -> None:
    with _server(url) as connection:
        connection.exec_driver_sql(statement)


def _end_session(connection: sa.Connection, session: int) -> None:
    try:
        connection.exec_driver_sql(f"KILL {session}")
    except sa.exc.DBAPIError as error:
        gone = 1094  # "Unknown thread id": the session has ended by itself
        if error.orig is None or error.orig.args[0] != gone:
            raise


def _statements(url: str) -> list[str]:
    """Return the statements that create the tables of a MySQL or MariaDB database and their rows again."""
    statements = ["SET FOREIGN_KEY_CHECKS = 0"]
    with connect(url) as connection:
        for table in sa.inspect(connection).get_table_names():
            statements.append(connection.exec_driver_sql(f"SHOW CREATE TABLE `{table}`").one()[1].replace("%", "%%"))
            for row in connection.exec_driver_sql(f"SELECT * FROM `{table}`"):  # noqa: S608
                values = ", ".join(_literal(value) for value in row)
                statements.append(f"INSERT INTO `{table}` VALUES ({values})")  # noqa: S608
    return statements


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return str(value) if isinstance(value, int | float) else "x'" + str(value).encode().hex() + "'"
