"""The state of both halves of an instance, as one value; and a copy of an instance to go back to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from support import databases
from support.databases import MARIADB, SQLITE, Database
from support.dumps import Dump
from support.projects import Project
from support.trees import Node, tree

OLD = 10**18
"""Modification time, in ns, of whatever no update has touched: September 2001."""
LEDGER = "fietsupdate_ledger"


@dataclass(frozen=True)
class State:
    """Both halves, without what differs from run to run: UUIDs, and times later than `OLD`."""

    files: dict[str, Node]
    database: Dump
    ledger: tuple[tuple[int, str, str, str], ...]
    """``seq, update_id, direction, status`` of the table's rows."""
    copy: tuple[str, ...]
    """Ids in the data directory's ledger."""


def state_of(project: Project) -> State:
    """Look at an instance; an empty ledger is none."""
    content = project.database.dump(bookkeeping=False)
    return State(
        files=files_of(project.data),
        database={"schema": content["schema"] or [], "rows": content["rows"]},
        ledger=ledger_of(project.database),
        copy=_copy_of(project),
    )


def files_of(folder: Path) -> dict[str, Node]:
    """Map every path to its node, the folder itself among them and our own left out."""
    found = {path: _timeless(node) for path, node in tree(folder, exclude=[".fietsupdate"]).items()}
    status = folder.stat()
    return {".": _timeless(Node("dir", status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)), **found}


def _timeless(node: Node) -> Node:
    return node if node.mtime_ns < OLD + 10**12 else replace(node, mtime_ns=0)


def ledger_of(database: Database) -> tuple[tuple[int, str, str, str], ...]:
    """Give the rows of the ledger's table, oldest first."""
    if LEDGER not in database.tables():
        return ()
    rows = database.execute(f"SELECT seq, update_id, direction, status FROM {LEDGER} ORDER BY seq")
    return tuple((seq, update_id, direction, status) for seq, update_id, direction, status in rows)


def _copy_of(project: Project) -> tuple[str, ...]:
    path = project.data / ".fietsupdate" / "ledger.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return tuple(json.loads(line)["update_id"] for line in lines)


def age(folder: Path) -> None:
    """Give a folder and all below it a time of long ago; what is hard linked gets one time."""
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in [*names, *folders]:
            os.utime(os.path.join(parent, name), ns=(OLD, OLD), follow_symlinks=False)
    os.utime(folder, ns=(OLD, OLD))


class Snapshot:
    """A copy of a project and its database, to begin again from."""

    def __init__(self, project: Project, folder: Path) -> None:
        self._project, self._folder = project, folder / "snapshot"
        self._folder.mkdir()
        self._statements: list[str] = []
        _copy(project.root, self._folder / "project")
        database = project.database
        if database.kind == SQLITE:
            if database.file.exists():
                shutil.copy(database.file, self._folder / "database")
        elif database.kind == MARIADB:
            self._statements = _mariadb_statements(database)
        else:
            _server(database, f"CREATE DATABASE {database.name}_s TEMPLATE {database.name}")

    def restore(self) -> None:
        """Bring both halves back."""
        shutil.rmtree(self._project.root)
        _copy(self._folder / "project", self._project.root)
        database = self._project.database
        database.drop()
        if database.kind == SQLITE:
            if (self._folder / "database").exists():
                shutil.copy(self._folder / "database", database.file)
        elif database.kind == MARIADB:
            _server(database, f"CREATE DATABASE {database.name} CHARACTER SET utf8mb4")
            with database.connect() as connection:
                for statement in self._statements:
                    connection.exec_driver_sql(statement)
        else:
            _server(database, f"CREATE DATABASE {database.name} TEMPLATE {database.name}_s")

    def drop(self) -> None:
        """Remove the copy."""
        if self._project.database.kind not in {SQLITE, MARIADB}:
            _server(self._project.database, f"DROP DATABASE {self._project.database.name}_s")


def _copy(source: Path, target: Path) -> None:
    """Copy with hard links, times and attributes."""
    subprocess.run(["cp", "-a", source, target], check=True)


def _server(database: Database, statement: str) -> None:
    with databases._server(database.kind) as connection:
        connection.exec_driver_sql(statement)


def _mariadb_statements(database: Database) -> list[str]:
    statements = ["SET FOREIGN_KEY_CHECKS = 0"]
    with database.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            statements.append(connection.exec_driver_sql(f"SHOW CREATE TABLE `{table}`").one()[1].replace("%", "%%"))
            for row in connection.exec_driver_sql(f"SELECT * FROM `{table}`"):
                values = ", ".join(_literal(value) for value in row)
                statements.append(f"INSERT INTO `{table}` VALUES ({values})")
    return statements


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return str(value) if isinstance(value, int | float) else "x'" + str(value).encode().hex() + "'"


@contextmanager
def quick_folder() -> Iterator[Path]:
    """Give a folder in memory, where there is such a place: a kill does not lose what was not synced."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)
