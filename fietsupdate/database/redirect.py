"""Redirect env.py and hooks to the clone of a database, and keep them from the real one.

A clone carries a mark that the real database does not have. A connection without the mark cannot be configured, and
SQLAlchemy cannot open a connection to the database that was cloned (protocol, 8).
"""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection, Engine, event

from fietsupdate.config.config import Redirect
from fietsupdate.database.sqlite import named_file
from fietsupdate.errors import EnvPyError
from fietsupdate.views import MYSQL

MARK = "fietsupdate_rehearsal"
"""The table that marks a clone; on PostgreSQL a schema, so that no search path hides it."""
TAKE_IT = (
    "Let env.py and the scripts take the URL from Alembic's configuration or from config: "
    'context.config.get_main_option("sqlalchemy.url"), config["sqlalchemy.url"].'
)
_NAMES = ("database", "dbname", "db")
"""The names that drivers use for the database."""
_WHERE = {"sqlite": "PRAGMA database_list", "postgresql": "SELECT current_database()"}
"""Queries for the database that a connection leads to."""
_DRIVERS = ("psycopg", "psycopg2", "pg8000", "pymysql", "MySQLdb", "mariadb", "mysql.connector")
"""Modules with a blocking function ``connect``; asyncio's drivers are checked where SQLAlchemy uses them."""
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", ""})


def refuse_unmarked(connection: Connection, redirect: Redirect) -> None:
    """Refuse to configure a connection that does not lead to the clone; nothing is changed through it.

    The driver's own cursor is used: a statement through SQLAlchemy would begin a transaction that Alembic then takes
    for an outer one.

    Raises:
        EnvPyError: The connection leads elsewhere.
    """
    table = f"{MARK}.mark" if connection.dialect.name == "postgresql" else MARK
    raw = connection.connection
    word = None
    with contextlib.suppress(Exception):  # the table does not exist; every driver has its own error for that
        cursor = raw.cursor()
        cursor.execute(f"SELECT word FROM {table}")  # noqa: S608  # ours
        word = cursor.fetchone()
        cursor.close()
    if not connection.in_transaction():
        with contextlib.suppress(Exception):
            raw.rollback()
    if word is None or word[0] != redirect.mark:
        raise _not_the_clone(connection.engine.url)


@contextlib.contextmanager
def only_the_clone(redirect: Redirect) -> Iterator[list[str]]:
    """Refuse every connection that SQLAlchemy opens to the real database, and every statement on an open one.

    Yields:
        The refused URLs, without passwords.
    """
    real = sa.make_url(redirect.real)
    refused: list[str] = []

    def refuse(url: sa.URL) -> None:
        refused.append(url.render_as_string(hide_password=True))
        raise _not_the_clone(url)

    def on_connect(dialect: Any, _record: Any, arguments: Any, parameters: Mapping[str, Any]) -> None:
        if _leads_to(real, dialect.name, arguments, parameters):
            refuse(real)

    def on_statement(connection: Connection, *_rest: Any) -> None:
        if is_same(connection.engine.url, real):
            refuse(connection.engine.url)

    def on_checkout(connection: Any, *_rest: Any) -> None:
        if _has_reached(real, connection):
            refuse(real)

    event.listen(Engine, "do_connect", on_connect)
    event.listen(Engine, "before_cursor_execute", on_statement)
    event.listen(sa.Pool, "checkout", on_checkout)
    try:
        with _drivers_asked(on_checkout):
            yield refused
    finally:
        event.remove(Engine, "do_connect", on_connect)
        event.remove(sa.Pool, "checkout", on_checkout)
        event.remove(Engine, "before_cursor_execute", on_statement)


def redirect_config(config: AlembicConfig, redirect: Redirect) -> AlembicConfig:
    """Return Alembic's configuration with the clone's URL in place of that of the real database, everywhere.

    The given configuration may belong to the application, and is not changed. A connection that the application has put
    into its attributes leads to the real database, and is left out.
    """
    copied = copy.copy(config)
    vars(copied)["file_config"] = copy.deepcopy(config.file_config)
    vars(copied)["attributes"] = {key: value for key, value in config.attributes.items() if key != "connection"}
    for section in copied.file_config.sections():
        for key, value in copied.file_config.items(section, raw=True):
            if (other := redirected_url(value.replace("%%", "%"), redirect)) is not None:
                copied.set_section_option(section, key, other.replace("%", "%%"))
    copied.set_main_option("sqlalchemy.url", redirect.url.replace("%", "%%"))
    if copied.config_file_name is not None and redirect.ini is not None:
        copied.config_file_name = str(redirect.ini)  # Alembic has read the file already, above
    return copied


def redirected_url(text: str, redirect: Redirect) -> str | None:
    """Return the clone's URL for a URL of the real database, with the same driver; None for other text."""
    try:
        url = sa.make_url(text)
        if not is_same(url, sa.make_url(redirect.real)):
            return None
    except (sa.exc.ArgumentError, ValueError):
        return None
    clone = sa.make_url(redirect.url)
    if clone.get_backend_name() == "sqlite":
        file = str(named_file(clone.database or "") or "")
        is_uri = (url.database or "").startswith("file:")
        url = url.set(database=f"file:{quote(file)}" if is_uri else file)
    else:
        url = url.difference_update_query(("user", "password", "passwd")).set(
            database=clone.database,
            username=clone.username,
            password=clone.password,
            host=clone.host,
            port=clone.port,
        )
    return url.render_as_string(hide_password=False)


def files_of(redirect: Redirect) -> dict[Path, Path]:
    """Return the real SQLite file with the clone that replaces it; empty for servers."""
    if not redirect.real.startswith("sqlite"):  # "" where no configuration names a database
        return {}
    files = [named_file(sa.make_url(url).database or "") for url in (redirect.real, redirect.url)]
    return {files[0]: files[1]} if files[0] and files[1] else {}


def sqlite_files(texts: Iterable[str]) -> set[Path]:
    """Return the SQLite files that are named by URLs among some texts."""
    files = set()
    for text in texts:
        if text.startswith("sqlite"):
            with contextlib.suppress(sa.exc.ArgumentError, ValueError):
                files.add(_file(sa.make_url(text).database))
    return {Path(file) for file in files if file}


def configured_texts(config: AlembicConfig) -> Iterator[str]:
    """Yield all values of Alembic's configuration."""
    for section in config.file_config.sections():
        for _, value in config.file_config.items(section, raw=True):
            yield value.replace("%%", "%")


@contextlib.contextmanager
def environment_pointed(redirect: Redirect) -> Iterator[None]:
    """Set environment variables that hold the real database's URL to the clone's."""
    before = {}
    for name, value in list(os.environ.items()):
        if "://" in value and (other := redirected_url(value, redirect)) is not None:
            before[name], os.environ[name] = value, other
    try:
        yield
    finally:
        os.environ.update(before)


def is_same(one: sa.URL, other: sa.URL) -> bool:
    """Return whether two URLs name the same database, whatever driver and user they name."""
    kind = one.get_backend_name()
    if kind != other.get_backend_name() and not {kind, other.get_backend_name()} <= MYSQL:
        return False
    if kind == "sqlite":
        return _file(one.database) is not None and _file(one.database) == _file(other.database)
    hosts = {_host(one), _host(other)}
    return one.database == other.database and len(hosts) == 1 and (one.port or other.port) == (other.port or one.port)


def _leads_to(real: sa.URL, dialect: str, arguments: Any, parameters: Mapping[str, Any]) -> bool:
    """Return whether a driver is about to connect to the real database.

    Compared by its name, as a host has many names.
    """
    if dialect == "sqlite":
        name = str(arguments[0] if arguments else parameters.get("database", ""))
        return real.get_backend_name() == "sqlite" and _file(name) == _file(real.database)
    if dialect != real.get_backend_name() and not {dialect, real.get_backend_name()} <= MYSQL:
        return False
    return any(parameters.get(name) == real.database for name in _NAMES)


@contextlib.contextmanager
def _drivers_asked(check: Callable[[Any], None]) -> Iterator[None]:
    """Check the connections that scripts open directly through a driver, for the drivers that are loaded."""
    before = {name: sys.modules[name] for name in _DRIVERS if hasattr(sys.modules.get(name), "connect")}
    connects = {name: vars(module)["connect"] for name, module in before.items()}
    for name, module in before.items():
        vars(module)["connect"] = _asking(connects[name], check)
    try:
        yield
    finally:
        for name, module in before.items():
            vars(module)["connect"] = connects[name]


def _asking(connect: Callable[..., Any], check: Callable[[Any], None]) -> Callable[..., Any]:
    @functools.wraps(connect)
    def call(*arguments: Any, **named: Any) -> Any:
        connection = connect(*arguments, **named)
        try:
            check(connection)
        except EnvPyError:
            connection.close()
            raise
        return connection

    return call


def _has_reached(real: sa.URL, connection: Any) -> bool:
    """Return whether a driver's connection leads to the real database, by a query on the connection itself."""
    kind = real.get_backend_name()
    question = _WHERE.get(kind, "SELECT database()")
    try:
        cursor = connection.cursor()
        cursor.execute(question)
        rows = cursor.fetchall()
        cursor.close()
        if kind != "sqlite":
            connection.rollback()
    except Exception:  # noqa: BLE001  # a database of another kind does not know the question
        return False
    if kind == "sqlite":
        return any(row[2] and os.path.realpath(row[2]) == _file(real.database) for row in rows)
    return bool(rows) and rows[0][0] == real.database


def _file(name: str | None) -> str | None:
    file = named_file(name or "")
    return None if file is None else os.path.realpath(file)


def _host(url: sa.URL) -> str:
    host = url.host or ""
    return "localhost" if host in _LOCAL else host


def _not_the_clone(url: sa.URL) -> EnvPyError:
    return EnvPyError(
        f"The rehearsal was led to {url.render_as_string(hide_password=True)}, which is not its clone.",
        stands="Nothing was changed: the connection was refused.",
        hint=TAKE_IT,
    )
