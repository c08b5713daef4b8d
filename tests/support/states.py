"""The state of both halves of an instance, as one value; and a copy of an instance to go back to."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fietsupdate.testing import databases
from fietsupdate.testing.content import Dump, Node, tree
from fietsupdate.testing.states import copy_folder
from support.databases import Database
from support.projects import Project

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
    """Return the state of an instance; an empty ledger equals a missing one."""
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
    """Return the rows of the ledger's table, oldest first."""
    if LEDGER not in database.tables():
        return ()
    rows = database.execute(f"SELECT seq, update_id, direction, status FROM {LEDGER} ORDER BY seq")
    return tuple((seq, update_id, direction, status) for seq, update_id, direction, status in rows)


def _copy_of(project: Project) -> tuple[str, ...]:
    path = project.data / ".fietsupdate" / "ledger.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return tuple(json.loads(line)["update_id"] for line in lines)


def age(folder: Path) -> None:
    """Set the times of a folder and everything below it to long ago; hard links share one time."""
    for parent, folders, names in os.walk(folder, topdown=False):
        for name in [*names, *folders]:
            os.utime(os.path.join(parent, name), ns=(OLD, OLD), follow_symlinks=False)
    os.utime(folder, ns=(OLD, OLD))


class Snapshot:
    """A copy of a project and its database, which can be restored repeatedly."""

    def __init__(self, project: Project, folder: Path) -> None:
        self._project, self._folder = project, folder / "snapshot"
        self._folder.mkdir()
        copy_folder(project.root, self._folder / "project")
        self._database = databases.Copy(project.database.url, self._folder)

    def restore(self) -> None:
        """Bring both halves back."""
        shutil.rmtree(self._project.root)
        copy_folder(self._folder / "project", self._project.root)
        self._database.restore()

    def drop(self) -> None:
        """Remove the copy."""
        self._database.drop()


@contextmanager
def quick_folder() -> Iterator[Path]:
    """Return a folder in memory, where there is such a place: a kill does not lose what was not synced."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)
