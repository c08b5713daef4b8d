"""Read the rows that name files as a stream on the connection of a visit, with only the columns that are needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from fietsupdate.database.errors import statement_failed
from fietsupdate.errors import DatabaseError
from fietsupdate.model.references import ReferenceRule

FETCHED = 2000
"""Rows that are fetched at a time."""


class MissingTableError(DatabaseError):
    """A reference names a table or column that the database does not have."""

    code = "reference_table"


class UndecodableError(Exception):
    """SQLite contains a text that is not UTF-8: the rows must be read again, byte by byte."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query for the rows of one reference, and the meaning of its columns."""

    rule: ReferenceRule
    keys: tuple[str, ...]
    """The columns of the primary key or, without one, of the path."""
    columns: tuple[str, ...]
    """The selected columns, each once; those of the path come first."""

    @property
    def key_places(self) -> tuple[int, ...]:
        """The positions of the columns of `keys` in a row."""
        return tuple(map(self.columns.index, self.keys))

    def place(self, column: str) -> int | None:
        """Return the position of a column in a row; ``None`` for no column."""
        return self.columns.index(column) if column else None


def query_of(connection: Connection, rule: ReferenceRule, *, digests: bool = True) -> Query:
    """Look up the table of a reference, and return the query for its rows.

    Args:
        connection: The connection of a visit.
        rule: The reference.
        digests: Whether to read the column of the digest.

    Raises:
        MissingTableError: The table, or a column, does not exist.
    """
    inspector = sa.inspect(connection)
    schema = rule.schema or None
    try:
        there = [str(column["name"]) for column in inspector.get_columns(rule.table, schema=schema)]
        keys = tuple(map(str, inspector.get_pk_constraint(rule.table, schema=schema).get("constrained_columns") or ()))
    except NoSuchTableError:
        raise MissingTableError(f"The database has no table {rule.name}.") from None
    wanted = dict.fromkeys([*rule.template.columns, *filter(None, (rule.size, rule.sha256 if digests else ""))])
    names = set(there) if connection.dialect.name == "postgresql" else {name.lower() for name in there}
    for column in wanted:
        if (column if connection.dialect.name == "postgresql" else column.lower()) not in names:
            raise MissingTableError(f"The table {rule.name} has no column {column}.")
    keys = keys or rule.template.columns
    return Query(rule, keys, tuple(dict.fromkeys([*wanted, *keys])))


def is_empty(connection: Connection, rule: ReferenceRule) -> bool:
    """Return whether the table of a reference has no row, whatever `where` says.

    Raises:
        DatabaseError: the table cannot be read.
    """
    table = sa.table(rule.table, schema=rule.schema or None)
    try:
        return connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is None
    except DBAPIError as error:
        raise statement_failed(error) from error


def rows(connection: Connection, query: Query, *, streams: bool = True, bytewise: bool = False) -> Iterator[Any]:
    """Yield the rows of a reference, as the driver returns them.

    Args:
        connection: The connection of a visit.
        query: The query.
        streams: Whether the database may keep the result, so that memory contains only a few rows; it needs a
            transaction.
        bytewise: Whether bytes that are not UTF-8 in texts of SQLite are replaced by surrogates.

    Raises:
        UndecodableError: Such a text was met, and `bytewise` is false.
        DatabaseError: The statement failed.
    """
    rule = query.rule
    table = sa.table(rule.table, schema=rule.schema or None)
    statement: Any = sa.select(*(sa.column(name) for name in query.columns)).select_from(table)
    if rule.where:
        literally = re.sub(":", r"\\:", rule.where)  # a colon begins no parameter here
        statement = statement.where(sa.text(f"({literally})"))
    on_server = streams and connection.dialect.supports_server_side_cursors
    options = {"stream_results": True, "max_row_buffer": FETCHED} if on_server else {}
    with _texts_of_bytes(connection, bytewise=bytewise):
        try:
            result = connection.execute(statement, execution_options=options)
            try:
                yield from _fetched(result if on_server else result.cursor)
            finally:
                result.close()
        except DBAPIError as error:
            raise _failed(connection, error, bytewise=bytewise) from error
        # rows are fetched from the driver here, not through SQLAlchemy
        except connection.dialect.loaded_dbapi.Error as error:
            raise _failed(connection, error, bytewise=bytewise) from error


def _fetched(result: Any) -> Iterator[Sequence[Any]]:
    """Yield the rows of a result, or those of the driver's cursor, which is faster than through SQLAlchemy.

    SQLAlchemy has already fetched the first row of a result that stays on the server.
    """
    while found := result.fetchmany(FETCHED):
        yield from found


def _failed(connection: Connection, error: Exception, *, bytewise: bool) -> Exception:
    if connection.dialect.name == "sqlite" and "decode to UTF-8" in str(error) and not bytewise:
        return UndecodableError()
    if isinstance(error, DBAPIError):
        return statement_failed(error)
    return DatabaseError(f"The rows that name files cannot be read: {type(error).__name__}: {error}.")


@contextmanager
def _texts_of_bytes(connection: Connection, *, bytewise: bool) -> Iterator[None]:
    """Let SQLite's driver return texts that are not UTF-8, too."""
    driver: Any = connection.connection.driver_connection
    driver = getattr(driver, "_conn", driver)  # the connection inside of aiosqlite's
    if not bytewise or not hasattr(driver, "text_factory"):
        yield
        return
    before = driver.text_factory
    driver.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = before
