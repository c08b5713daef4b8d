"""Sums over the rows of each table, so that a database can be compared at two moments with little memory.

Neither the order of rows nor that of columns matters: a column that was dropped and added again is the last one.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Container, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path

from fietsupdate.database.dump.store import Store
from fietsupdate.database.environment import Environment, Visit
from fietsupdate.database.quoting import backquoted, quoted
from fietsupdate.errors import DatabaseError

OURS = "fietsupdate_"
"""The prefix of our own tables' names."""
_MASK = (1 << 64) - 1
_POSTGRESQL = """
SELECT n.nspname, c.relname, a.attname
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg!_%' ESCAPE '!'
 ORDER BY n.nspname, c.relname, a.attname
"""
_MYSQL = """
SELECT '', c.table_name, c.column_name
  FROM information_schema.columns c JOIN information_schema.tables t
    ON t.table_schema = c.table_schema AND t.table_name = c.table_name
 WHERE c.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'
 ORDER BY c.table_name, c.column_name
"""


def is_ours(table: str) -> bool:
    """Return whether a table, which may be called ``schema.table``, is bookkeeping of ours."""
    return any(part.startswith(OURS) for part in table.split("."))


def digests(store: Store, without: Mapping[str, Container[str]] | None = None) -> dict[str, str]:
    """Return, for each table but our own, a text that differs when its rows differ.

    Args:
        store: The database.
        without: Columns that do not count, by table.

    Raises:
        DatabaseError: The rows cannot be read.
    """
    digests_by_table = sums(store, without=without) if store.file is None else _sqlite(store.file, without or {})
    return {table: digest for table, digest in digests_by_table.items() if not is_ours(table)}


def sums(
    store: Store, leave_out: Container[str] = (), *, without: Mapping[str, Container[str]] | None = None
) -> dict[str, str]:
    """Return such texts for the tables of a server's database, from one statement, and so from one moment.

    Args:
        store: The database.
        leave_out: Tables that are not read.
        without: Columns that are not read, by table.

    Raises:
        DatabaseError: The rows cannot be read.
    """
    is_postgresql = store.dialect == "postgresql"
    rows = store.query(_POSTGRESQL if is_postgresql else _MYSQL)
    tables: list[tuple[str, list[str]]] = []
    statements = []
    for (schema, table), group in groupby(rows, key=lambda row: (row[0] or "", row[1] or "")):
        name = table if schema in {"", "public"} else f"{schema}.{table}"
        if name in leave_out:
            continue
        columns = _counted([column or "" for _, _, column in group], name, without or {})
        if not columns:
            continue
        wanted = _postgresql_sum(schema, table, columns) if is_postgresql else _mysql_sum(table, columns)
        statements.append(f"SELECT {len(tables)}, {wanted}")
        tables.append((name, columns))
    answers = store.query(" UNION ALL ".join(statements)) if statements else []
    return {
        tables[int(number or 0)][0]: f"{count} rows, {total}, {', '.join(tables[int(number or 0)][1])}"
        for number, count, total in answers
    }


def definitions(schema: str) -> list[str]:
    """Split the text of a schema into its definitions, as `Store.schema_text` separates them."""
    return (
        schema.splitlines(keepends=True)
        if ";\n" not in schema
        else [f"{one};\n" for one in schema.split(";\n") if one.strip()]
    )


def version_tables(environment: Environment) -> tuple[str, ...]:
    """Return the name of Alembic's version table, read inside env.py; nothing is changed."""
    names: list[str] = []

    def work(visit: Visit) -> tuple[()]:
        names.append(visit.context.version_table)
        return ()

    environment.visit(work, writes=False, command="current")
    return tuple(names)


def _counted(columns: Sequence[str], table: str, without: Mapping[str, Container[str]]) -> list[str]:
    return [column for column in columns if column not in without.get(table, ())]


def _sqlite(file: Path, without: Mapping[str, Container[str]]) -> dict[str, str]:
    """Add up the tables of a file; a virtual table whose module this Python lacks has its rows in other tables."""
    digests_by_table = {}
    with closing(sqlite3.connect(file)) as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        try:
            for (table,) in connection.execute(names).fetchall():
                try:
                    if text := _sqlite_sum(connection, table, without):
                        digests_by_table[table] = text
                except sqlite3.OperationalError as error:
                    if "no such module" not in str(error):
                        raise
        except sqlite3.Error as error:
            raise DatabaseError(f"The rows of {file} cannot be read: {error}.") from error
    return digests_by_table


def _sqlite_sum(connection: sqlite3.Connection, table: str, without: Mapping[str, Container[str]]) -> str:
    names = sorted(row[1] for row in connection.execute(f"PRAGMA table_info({quoted(table)})"))
    columns = _counted(names, table, without)
    if not columns:
        return ""
    wanted = ", ".join(map(quoted, columns))
    count = total = 0
    for row in connection.execute(f"SELECT {wanted} FROM {quoted(table)}"):  # noqa: S608  # quoted
        count += 1
        total += int.from_bytes(hashlib.sha256(repr(row).encode(errors="surrogateescape")).digest()[:8])
    return f"{count} rows, {total & _MASK:x}, {', '.join(columns)}"


def _postgresql_sum(schema: str, table: str, columns: list[str]) -> str:
    row = ", ".join(map(quoted, columns))
    number = f"('x' || left(md5(ROW({row})::text), 15))::bit(60)::bigint"
    return f"count(*), sum({number}) FROM {quoted(schema)}.{quoted(table)}"  # quoted


def _mysql_sum(table: str, columns: list[str]) -> str:
    values = ", ".join(f"IFNULL(HEX(CAST({backquoted(column)} AS BINARY)), 'NULL')" for column in columns)
    number = f"CAST(CONV(LEFT(MD5(CONCAT_WS(',', {values})), 15), 16, 10) AS UNSIGNED)"
    return f"count(*), sum({number}) FROM {backquoted(table)}"  # quoted
