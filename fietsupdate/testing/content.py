"""The complete logical content of a database and of a folder, as plain values that can be compared.

Two dumps of a database are equal exactly when schema and rows are: tables, columns, constraints, indexes, views,
triggers, enums, and every row in a deterministic order. What a rollback changes by design (the next number of a
sequence or of AUTO_INCREMENT) is not part of a dump. `description` is for comparing the results of different
statements: it ignores the order of columns, and the words in which SQLite records the definition of a table.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fietsupdate.database.ledger import TABLE
from fietsupdate.database.redirect import MARK

Dump = dict[str, Any]
"""``schema``: lines of definitions; ``rows``: every table's rows. ``None`` for a SQLite file that does not exist."""

BOOKKEEPING = "fietsupdate"
"""The prefix of the names of our own tables."""


def dump(url: str, *, bookkeeping: bool = True) -> Dump:
    """Return the content of a database.

    Args:
        url: For SQLAlchemy, with a blocking driver: SQLite, PostgreSQL, MySQL or MariaDB.
        bookkeeping: Whether to include our own tables.
    """
    parsed = sa.make_url(url)
    read = {"sqlite": _sqlite, "postgresql": _postgresql, "mysql": _mysql, "mariadb": _mysql}
    return read[parsed.get_backend_name()](parsed, lambda table: bookkeeping or not table.startswith(BOOKKEEPING))


Wanted = Callable[[str], bool]


def _sqlite(url: sa.URL, wanted: Wanted) -> Dump:
    if not Path(url.database or "").exists():
        return {"schema": None, "rows": {}}
    # mode=rw never creates the file, and can roll back the hot journal of a killed process, as any reader does.
    with closing(sqlite3.connect(f"file:{url.database}?mode=rw", uri=True)) as connection:
        master = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        ).fetchall()
        schema = [f"{kind} {name}: {sql}" for kind, name, table, sql in master if wanted(table)]
        tables = [name for kind, name, _, _ in master if kind == "table" and wanted(name)]
        read = {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}  # noqa: S608
        return {"schema": schema, "rows": _sorted(read)}


_POSTGRESQL_SCHEMA = """
SELECT c.relname, format('column %s.%s.%s %s%s default %s', n.nspname, c.relname, a.attname,
       format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
       pg_get_expr(d.adbin, d.adrelid))
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped AND {ours}
UNION ALL
SELECT c.relname, format('constraint %s.%s %s %s', n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid))
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {ours}
UNION ALL
SELECT c.relname, format('index %s', pg_get_indexdef(i.indexrelid))
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {ours}
UNION ALL
SELECT c.relname, format('view %s.%s %s', n.nspname, c.relname, pg_get_viewdef(c.oid))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND {ours}
UNION ALL
SELECT c.relname, format('trigger %s', pg_get_triggerdef(t.oid))
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT t.tgisinternal AND {ours}
UNION ALL
SELECT c.relname, format('sequence %s.%s', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND {ours}
UNION ALL
SELECT t.typname, format('enum %s.%s %s', n.nspname, t.typname, string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder))
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_enum e ON e.enumtypid = t.oid
 WHERE {ours} GROUP BY n.nspname, t.typname
""".format(ours="n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')")

_POSTGRESQL_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""


def _postgresql(url: sa.URL, wanted: Wanted) -> Dump:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        lines = connection.exec_driver_sql(_POSTGRESQL_SCHEMA).fetchall()
        tables = [row for row in connection.exec_driver_sql(_POSTGRESQL_TABLES).fetchall() if wanted(row[1])]
        read = {
            f"{schema}.{name}": connection.exec_driver_sql(f'SELECT * FROM "{schema}"."{name}"').fetchall()  # noqa: S608
            for schema, name in tables
        }
    return {"schema": sorted(line for name, line in lines if wanted(name)), "rows": _sorted(read)}


def _mysql(url: sa.URL, wanted: Wanted) -> Dump:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    schema, read = [], {}
    with engine.connect() as connection:
        for name, kind in connection.exec_driver_sql("SHOW FULL TABLES").fetchall():
            if not wanted(name):
                continue
            definition = connection.exec_driver_sql(f"SHOW CREATE TABLE `{name}`").one()
            schema.append(re.sub(r" AUTO_INCREMENT=\d+", "", definition[1]))
            if kind == "BASE TABLE":
                read[name] = connection.exec_driver_sql(f"SELECT * FROM `{name}`").fetchall()  # noqa: S608
        schema += [
            str(tuple(row)[:5]) for row in connection.exec_driver_sql("SHOW TRIGGERS").fetchall() if wanted(row[2])
        ]
    return {"schema": sorted(schema), "rows": _sorted(read)}


def _sorted(read: dict[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Sort tables by name, and rows by their text: the order in which a database returns rows means nothing."""
    return {name: _rows(read[name]) for name in sorted(read)}


def _rows(rows: Iterable[Any]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in rows), key=repr)


LEDGER_COLUMNS = ("seq", "update_id", "direction", "status")


def ledger(connection: sa.Connection) -> tuple[tuple[Any, ...], ...]:
    """Return ``seq, update_id, direction, status`` of the rows of every ledger in a database, oldest first."""
    inspector = sa.inspect(connection)
    rows: list[tuple[Any, ...]] = []
    for schema in _schemas(inspector):
        for name in inspector.get_table_names(schema):
            if name.startswith(TABLE):
                table = sa.table(name, *map(sa.column, LEDGER_COLUMNS), schema=schema)
                rows += [tuple(row) for row in connection.execute(table.select())]
    return tuple(sorted(rows))


def description(connection: sa.Connection, leave_out: Collection[str] = ()) -> Dump:
    """Return what the application sees of its database, independently of the statements that have made it.

    Args:
        connection: A connection to it.
        leave_out: Names of tables that are left out.

    Returns:
        ``schema``: sorted lines, one for each column, key, constraint, index and view; ``rows``: each table's rows,
        each a sorted tuple of ``(column, value)``.
    """
    inspector = sa.inspect(connection)
    lines: list[str] = []
    rows: dict[str, list[Any]] = {}
    for schema in _schemas(inspector):
        prefix = f"{schema}." if schema else ""
        lines += [f"view {prefix}{view}: {_view(inspector, view, schema)}" for view in inspector.get_view_names(schema)]
        for table in sorted(set(inspector.get_table_names(schema)) - set(leave_out)):
            name = f"{prefix}{table}"
            lines += [f"{name}: {line}" for line in _table_lines(inspector, table, schema, connection.dialect)]
            quoted = connection.dialect.identifier_preparer.format_table(sa.table(table, schema=schema))
            records = connection.exec_driver_sql(f"SELECT * FROM {quoted}").mappings()  # noqa: S608
            rows[name] = sorted((tuple(sorted(row.items())) for row in records), key=repr)
    return {"schema": sorted(lines), "rows": rows}


def _view(inspector: sa.Inspector, view: str, schema: str | None) -> str:
    return " ".join(str(inspector.get_view_definition(view, schema)).split())


def _schemas(inspector: sa.Inspector) -> list[str | None]:
    if inspector.dialect.name != "postgresql":
        return [None]
    own = {inspector.default_schema_name, "information_schema", MARK}
    return [None, *(name for name in inspector.get_schema_names() if name not in own and not name.startswith("pg_"))]


def _table_lines(inspector: sa.Inspector, table: str, schema: str | None, dialect: sa.Dialect) -> Iterator[str]:
    for column in inspector.get_columns(table, schema):
        kind = column["type"].compile(dialect)
        more = {key: column.get(key) for key in ("default", "computed", "identity") if column.get(key) is not None}
        yield f"column {column['name']} {kind}{'' if column['nullable'] else ' not null'}{f' {more}' if more else ''}"
    yield f"primary key {inspector.get_pk_constraint(table, schema)['constrained_columns']}"
    for kind, parts in (
        ("foreign key", inspector.get_foreign_keys(table, schema)),
        ("unique", inspector.get_unique_constraints(table, schema)),
        ("index", inspector.get_indexes(table, schema)),
        ("check", inspector.get_check_constraints(table, schema)),
    ):
        for one in parts:
            yield f"{kind} {', '.join(f'{key}={value}' for key, value in sorted(one.items()) if value)}"


# -- The content of a folder, as plain values: two trees are equal if a rollback has restored everything.


@dataclass(frozen=True, order=True)
class Node:
    """The properties of a path that a rollback must restore; never its inode number or ctime."""

    kind: str
    """``file``, ``dir``, ``link``, or the type as an octal number."""
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    sha256: str = ""
    target: str = ""
    """The target of a symbolic link."""
    same_as: str = ""
    """For hard links: the first path, in order, of the same file."""
    xattrs: tuple[tuple[str, bytes], ...] = ()


def tree(root: Path, *, exclude: Collection[str] = ()) -> dict[str, Node]:
    """Return a node for every path below `root`.

    `exclude` names relative paths to leave out with everything below them.
    """
    nodes: dict[str, Node] = {}
    files: dict[tuple[int, int], str] = {}
    for path in _walk(root, "", frozenset(exclude)):
        nodes[path] = _node(root / path, path, files)
    return nodes


def contents(root: Path, *, exclude: Collection[str] = ()) -> dict[str, bytes]:
    """Return the bytes of every regular file below `root`, for expectations that are written by hand."""
    return {
        name: (root / name).read_bytes() for name, node in tree(root, exclude=exclude).items() if node.kind == "file"
    }


def _walk(root: Path, below: str, exclude: frozenset[str]) -> list[str]:
    paths: list[str] = []
    for name in sorted(os.listdir(root / below)):
        path = f"{below}/{name}" if below else name
        if path in exclude:
            continue
        paths.append(path)
        if (root / path).is_dir() and not (root / path).is_symlink():
            paths += _walk(root, path, exclude)
    return paths


def _node(path: Path, name: str, files: dict[tuple[int, int], str]) -> Node:
    info = path.lstat()
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(info.st_mode), oct(stat.S_IFMT(info.st_mode)))
    first = files.setdefault((info.st_dev, info.st_ino), name) if kind == "file" else name
    return Node(
        kind,
        stat.S_IMODE(info.st_mode),
        info.st_uid,
        info.st_gid,
        info.st_mtime_ns,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest() if kind == "file" else "",
        target=os.readlink(path) if kind == "link" else "",
        same_as=first if first != name else "",
        xattrs=_xattrs(path),
    )


def _xattrs(path: Path) -> tuple[tuple[str, bytes], ...]:
    if not hasattr(os, "listxattr"):
        return ()
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
