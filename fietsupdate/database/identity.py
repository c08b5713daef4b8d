"""Ask the server itself, on env.py's own connection, which database the connection leads to.

A URL does not reliably name that database: ``connect_args``, ``creator``, PGDATABASE, a service file, ``USE`` and a
pooler can all lead elsewhere, and env.py may open several databases. So before a database is dumped or replaced, it is
compared with this answer (`fietsupdate.database.dump.client.DatabaseClient.refuse_another`), and not with a URL.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event

from fietsupdate.database.ledger import INSTANCE_TABLE, LedgerTable
from fietsupdate.database.sqlite import named_file
from fietsupdate.masks import masked
from fietsupdate.views import MYSQL, Whereabouts

ASKED = {
    "postgresql": (
        "SELECT d.datname::text, d.oid::text, extract(epoch FROM pg_postmaster_start_time())::text "
        "FROM pg_database d WHERE d.datname = current_database()"
    ),
    "mysql": "SELECT DATABASE(), @@hostname, CAST(@@port AS CHAR), @@datadir, CAST(@@server_id AS CHAR)",
}
"""The queries for the identity, on env.py's connection and in the client program: text, the database's name first."""

_SCHEMAS = "SELECT current_schemas(false)::text[], current_setting('search_path'), current_user::text"
_TABLES = {
    "postgresql": (
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'r' AND starts_with(c.relname, 'fietsupdate') ORDER BY 1, 2"
    ),
    "mysql": (
        "SELECT '', table_name FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND LEFT(table_name, 11) = 'fietsupdate' ORDER BY 2"
    ),
    "sqlite": (
        "SELECT '', name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 11) = 'fietsupdate' ORDER BY 2"
    ),
}
"""Queries for tables whose names begin like those of ours, each with its schema."""
_ARGUMENTS = "fietsupdate.cli.parser"
_FIELDS = {
    "host": "host",
    "port": "port",
    "user": "username",
    "username": "username",
    "password": "password",
    "passwd": "password",
    "dbname": "database",
    "database": "database",
    "db": "database",
}
"""The names that drivers use for the parts of a URL."""

Rows = Sequence[Sequence[Any]]
Query = Callable[[str], Rows]


def whereabouts(connection: Connection, ledger: LedgerTable, missing_file: Path | None = None) -> Whereabouts:
    """Return the database that a connection leads to.

    Args:
        connection: The connection that env.py configured.
        ledger: The ledger table at the place that env.py's configuration determines.
        missing_file: The SQLite file that does not exist, in whose place an empty database in memory was opened.
    """

    def query(sql: str) -> Rows:
        return connection.exec_driver_sql(sql).fetchall()

    url, dialect = as_connected(connection), connection.dialect.name
    if dialect == "sqlite":
        there = _sqlite(url, query, missing_file)
    elif dialect == "postgresql":
        there = _on_server(url, query)
    else:
        there = _on_server(url, query) if dialect in MYSQL else of_url(url)
    is_own = ledger.schema in {None, "", there.name, "main"} and dialect != "postgresql"
    there = replace(there, version_table=ledger.version_table, schema="" if is_own else ledger.schema or "")
    if dialect == "postgresql":
        there = _postgresql(there, query, ledger)
    return replace(there, others=_others(there, dialect, query, ledger.instance.name))


def home_of(connection: Connection) -> tuple[str, ...]:
    """Return where unqualified names are looked up on a connection; a session may have left its engine's database."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        return tuple(connection.exec_driver_sql("SELECT current_database()::text, current_schemas(false)::text").one())
    return tuple(connection.exec_driver_sql("SELECT DATABASE()").one()) if dialect in MYSQL else ()


def identity_of_file(file: Path) -> tuple[str, ...]:
    """Return the identity of a SQLite file: real path, device and inode; only the path if the file does not exist."""
    real = os.path.realpath(file)
    try:
        status = os.stat(real)
    except OSError:
        return real, ""
    return real, f"{status.st_dev}:{status.st_ino}"


def of_url(url: sa.URL) -> Whereabouts:
    """Return the database that a URL names, without asking a server: only reliable for a file."""
    file = named_file(url.database or "") if url.get_backend_name() == "sqlite" else None
    return Whereabouts(
        url.render_as_string(hide_password=False),
        masked(url.render_as_string(hide_password=True)),
        file,
        identity_of_file(file) if file is not None else (),
    )


def of_engine(engine: Engine) -> Whereabouts:
    """Return the database of an engine, asked on a new connection, where env.py has configured none.

    Not for async engines.
    """
    dialect = engine.dialect.name
    if dialect == "sqlite" or dialect not in {"postgresql", *MYSQL} or engine.dialect.is_async:
        return of_url(engine.url)
    with contextlib.suppress(Exception), engine.connect() as connection:
        return _on_server(as_connected(connection), lambda sql: connection.exec_driver_sql(sql).fetchall())
    return of_url(engine.url)


def as_connected(connection: Connection) -> sa.URL:
    """Return the URL of env.py's engine, with the driver's other arguments (``connect_args``)."""
    url = connection.engine.url
    given: Mapping[str, Any] = connection.info.get(_ARGUMENTS, {})
    if not given or connection.dialect.name == "sqlite":
        return url
    known = connection.dialect.create_connect_args(url)[1]
    more = {name: value for name, value in given.items() if known.get(name) != value}
    parts: dict[str, Any] = {
        _FIELDS[name]: value for name, value in more.items() if name in _FIELDS and isinstance(value, str | int)
    }
    rest = {name: value for name, value in more.items() if name not in _FIELDS and isinstance(value, str)}
    return url.set(**parts).update_query_dict(rest)


@contextlib.contextmanager
def remembering_arguments() -> Iterator[None]:
    """Let every connection that is opened meanwhile remember the arguments of its driver; see `as_connected`."""

    def remember(_dialect: Any, record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        if record is not None:
            record.info[_ARGUMENTS] = parameters

    event.listen(Engine, "do_connect", remember)
    try:
        yield
    finally:
        event.remove(Engine, "do_connect", remember)


def _sqlite(url: sa.URL, query: Query, missing_file: Path | None) -> Whereabouts:
    files = {str(row[1]): str(row[2] or "") for row in query("PRAGMA database_list")}
    main = missing_file or (Path(files["main"]) if files.get("main") else None)
    attached = tuple(sorted(file for name, file in files.items() if name not in {"main", "temp"} and file))
    there = of_url(url)
    if main is None:
        return Whereabouts(there.url, there.masked_url)
    # creator=, or a path that was relative to another folder
    if there.file is None or not _is_same_file(there.file, main):
        there = of_url(url.set(database=str(main)))
    return Whereabouts(there.url, there.masked_url, there.file, identity_of_file(main), attached=attached)


def _is_same_file(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _on_server(url: sa.URL, query: Query) -> Whereabouts:
    identity = tuple(str(value or "") for value in query(ASKED[_kind(url)])[0])
    query_without = {name: value for name, value in url.query.items() if name not in {"dbname", "database"}}
    there = of_url(url.set(database=identity[0], query=query_without) if identity[0] else url)
    return Whereabouts(there.url, there.masked_url, identity=identity if identity[0] else ())


def _postgresql(there: Whereabouts, query: Query, ledger: LedgerTable) -> Whereabouts:
    """Add the schema in which the ledger is found, which need not be named anywhere."""
    if ledger.schema:
        return replace(there, search_path=(ledger.schema,))
    schemas, configured, user = query(_SCHEMAS)[0]
    inside = {row[0] for row in query(_TABLES["postgresql"]) if row[1] == ledger.instance.name}
    own = next((schema for schema in schemas if schema in inside), next(iter(schemas), ""))
    return replace(there, search_path=_names_in(configured, user), schema=own)


def _others(there: Whereabouts, dialect: str, query: Query, own: str) -> tuple[str, ...]:
    """Return the ledgers of other instances, which a copy of the whole database contains, too."""
    if dialect not in {"sqlite", "postgresql", *MYSQL}:
        return ()
    rows = query(_TABLES["mysql" if dialect in MYSQL else dialect])
    ledgers = [(schema, name) for schema, name in rows if name.startswith(INSTANCE_TABLE)]
    home = there.schema if dialect == "postgresql" else ""
    return tuple(f"{schema}.{name}".lstrip(".") for schema, name in ledgers if (schema, name) != (home, own))


def _names_in(search_path: str, user: str) -> tuple[str, ...]:
    """Return the schemas in a search path, including schemas that do not exist yet."""
    names = [name.strip() for name in search_path.split(",") if name.strip()]
    plain = [name[1:-1].replace('""', '"') if name.startswith('"') else name for name in names]
    return tuple(user if name == "$user" else name for name in plain)


def _kind(url: sa.URL) -> str:
    return "postgresql" if url.get_backend_name() == "postgresql" else "mysql"
