"""An instance that was copied and has changed since; and everything that must be as it was when it is taken back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import fs_support

from support.databases import SQLITE, Database, create
from support.dumps import Dump
from support.injection import Injection
from support.notes import notes
from support.projects import Project
from support.states import Snapshot, quick_folder
from support.trees import Node, tree
from support.zygote import Run, Zygote

OURS = ".fietsupdate"
BELONGS = {"lock", "ledger.jsonl", "backups", "found"}
"""What may lie in our own folder when nothing is open."""


@dataclass(frozen=True)
class Whole:
    """Both halves, to the last bit and the last nanosecond, the ledgers among them."""

    files: dict[str, Node]
    folder: tuple[int, int]
    """Mode and time of the data directory itself."""
    database: Dump
    ledger: bytes


def whole(project: Project) -> Whole:
    """Look at an instance."""
    status, ledger = project.data.stat(), project.data / OURS / "ledger.jsonl"
    names = os.listdir(project.data)
    own = [name for name in names if project.database.kind == SQLITE and project.database.name in name]
    return Whole(
        tree(project.data, exclude=[OURS, *own]),
        (status.st_mode, status.st_mtime_ns),
        project.database.dump(),
        ledger.read_bytes() if ledger.exists() else b"",
    )


def left_over(project: Project) -> list[str]:
    """Name what a restore should have cleared away, in both halves."""
    found = [path for path in fs_support.ours(project.data) if path.split("/")[0] not in BELONGS]
    if project.database.kind == SQLITE:
        file = project.database.file
        return found + [name for name in os.listdir(file.parent) if name.startswith(file.name) and name != file.name]
    return found + [name for name in databases(project.database) if name != project.database.name]


def databases(database: Database) -> list[str]:
    """Name the databases of a server that are this one or made from it."""
    names = {
        "postgresql": "SELECT datname FROM pg_database",
        "mariadb": "SELECT schema_name FROM information_schema.schemata",
    }[database.kind]
    return sorted(name for (name,) in database.execute(names) if name.startswith(database.name[:40]))


def change_everything(project: Project) -> None:
    """Leave nothing as it was: content, names, kinds, modes, links, rows and tables."""
    data = project.data
    for name in ("tracks/1/track.gpx", "one"):
        (data / name).write_text("changed since")
    (data / "tracks" / "2" / "big").unlink()
    (data / "way").unlink()
    (data / "way").mkdir()
    (data / "way" / "new").write_text("not there before")
    (data / "empty").rmdir()
    (data / "empty").write_text("a file now")
    (data / "added").mkdir(mode=0o700)
    project.database.execute("UPDATE notes SET text = 'changed since'")
    project.database.execute("CREATE TABLE more (id INTEGER PRIMARY KEY)")
    project.database.execute("INSERT INTO notes (id, text) VALUES (3, 'drei')")


def inside(root: Path) -> Database:
    """Give a SQLite database whose file will lie in the data directory of a project at this root."""
    return Database(SQLITE, f"sqlite:///{root / 'data' / 'app.sqlite'}", "app.sqlite")


@dataclass
class Bench:
    """An instance to be taken back again and again."""

    project: Project
    zygote: Zygote
    snapshot: Snapshot
    before: Whole
    """What is live."""
    after: Whole
    """What the backup holds."""

    def run(self, *args: str, injection: Injection | None = None) -> Run:
        """Run a command."""
        return self.zygote.run(self.project, args, injection)

    def break_at(self, injection: Injection) -> Run:
        """Begin again with what was live first, and break the restore."""
        self.snapshot.restore()
        return self.run("restore", "--latest", "--yes", injection=injection)

    def problem(self) -> str:
        """Give the code of the gravest problem that ``status`` tells, "" for none."""
        found = self.run("status", "--json").succeeded().json["problems"]
        return str(found[0]["code"]) if found else ""

    def where(self) -> str:
        """Tell what the instance is: ``before``, ``after``, or ``half`` for anything else."""
        now = whole(self.project)
        as_before = replace(now, folder=self.before.folder) == self.before  # a database comes and goes in it
        return "before" if as_before else "after" if now == self.after else "half"


@contextmanager
def changed_instance(zygote: Zygote, kind: str, *, in_data: bool = False) -> Iterator[Bench]:
    """Give the notes at v2, changed everywhere since they were copied at v1."""
    with quick_folder() as folder:
        database = inside(folder / "project") if in_data else create(kind, folder)
        snapshot = None
        try:
            project = notes(Project.create(folder / "project", database), 2)
            fs_support.plant(project.data)
            (project.data / "VERSION").unlink()
            zygote.run(project, ["update", "v1", "--yes"]).succeeded()
            database.execute("INSERT INTO notes (id, text) VALUES (1, 'eins'), (2, 'zwei')")
            zygote.run(project, ["backup"]).succeeded()
            after = whole(project)
            zygote.run(project, ["update", "--yes"]).succeeded()
            change_everything(project)
            snapshot = Snapshot(project, folder)
            snapshot.restore()
            yield Bench(project, zygote, snapshot, whole(project), after)
        finally:
            if snapshot is not None:
                snapshot.drop()
            database.drop()
