"""An instance that was copied and has changed since; and everything that must be as it was when it is taken back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fietsupdate.testing.content import Dump, Node, tree
from support import file_transactions, mariadb
from support.databases import MARIADB, SQLITE, Database, create
from support.injection import USER, Injection
from support.notes import notes
from support.projects import Project
from support.states import Snapshot, quick_folder
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
    """Return the state of an instance."""
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
    """Return what a restore should have removed, in both halves."""
    found = [path for path in file_transactions.ours(project.data) if path.split("/")[0] not in BELONGS]
    if project.database.kind == SQLITE:
        file = project.database.file
        return found + [name for name in os.listdir(file.parent) if name.startswith(file.name) and name != file.name]
    own = re.compile(rf"{re.escape(project.database.name)}(_[0-9a-f]{{8}})?")  # the second is a test's own copy
    kept = "kept" if project.database.kind == MARIADB else "/"  # no update is atomic there
    others = [name for name in databases(project.database) if not own.fullmatch(name)]
    return [path for path in found if not path.startswith(kept)] + others


def databases(database: Database) -> list[str]:
    """Return the databases of a server that are this one or made from it."""
    names = {
        "postgresql": "SELECT datname FROM pg_database",
        "mariadb": "SELECT schema_name FROM information_schema.schemata",
    }[database.kind]
    return sorted(name for (name,) in database.execute(names) if name.startswith(database.name[:40]))


def change_everything(project: Project) -> None:
    """Change everything: content, names, kinds, modes, links, rows and tables."""
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
    """Return a SQLite database whose file will lie in the data directory of a project at this root."""
    return Database(SQLITE, f"sqlite:///{root / 'data' / 'app.sqlite'}", "app.sqlite")


@dataclass
class Bench:
    """An instance that is restored repeatedly."""

    project: Project
    zygote: Zygote
    snapshot: Snapshot
    before: Whole
    """The live state."""
    after: Whole
    """The state in the backup."""
    breaks_off: bool = False
    """Whether an update is begun and breaks off each time; the folder of an open transaction cannot be copied."""

    def run(self, *args: str, injection: Injection | None = None) -> Run:
        """Run a command."""
        return self.zygote.run(self.project, args, injection)

    def break_at(self, injection: Injection) -> Run:
        """Begin again with what was live first, and break the restore."""
        self.snapshot.restore()
        if self.project.database.kind == SQLITE:
            file = self.project.database.file
            if user := int(self.project.environment.get(USER, "0")):
                os.chown(file, user, user)
            for left in file.parent.glob(f"{file.name}.*"):
                left.unlink()
        if self.breaks_off:
            self.run("update", "--yes").exited(1)
        return self.run("restore", "--latest", "--yes", injection=injection)

    def problem(self) -> str:
        """Return the code of the gravest problem that ``status`` reports, "" for none."""
        found = self.run("status", "--json").succeeded().json["problems"]
        return str(found[0]["code"]) if found else ""

    def where(self) -> str:
        """Return the state of the instance: ``before``, ``after``, or ``half`` for anything else."""
        now = replace(whole(self.project), folder=(0, 0))  # a database comes and goes in it
        known = {"before": self.before, "after": self.after}
        return next((name for name, one in known.items() if now == replace(one, folder=(0, 0))), "half")

    def is_exact(self) -> bool:
        """Return whether the instance is as in the backup, including the time of the data directory itself."""
        return whole(self.project) == self.after


@contextmanager
def changed_instance(zygote: Zygote, kind: str, *, in_data: bool = False, user: int = 0) -> Iterator[Bench]:
    """Return the notes at v2, changed everywhere since they were copied at v1.

    Args:
        zygote: Runs the commands.
        kind: Of database.
        in_data: Whether the database lies in the data directory.
        user: The number of the ordinary user whose all of it is, and who runs the commands; on MariaDB he is an
            ordinary one there, too. He has a folder that its own mode closes.
    """
    with quick_folder() as folder, ExitStack() as stack:
        database = inside(folder / "project") if in_data else create(kind, folder)
        if user and kind == MARIADB:
            name = stack.enter_context(mariadb.user(database, mariadb.everywhere(database)))
            database = replace(database, url=mariadb.as_user(database.url, name))
        snapshot = None
        try:
            project = notes(Project.create(folder / "project", database), 2)
            file_transactions.plant(project.data)
            (project.data / "VERSION").unlink()
            if user:
                _give_away(project, folder, user)
            zygote.run(project, ["update", "v1", "--yes"]).succeeded()
            database.execute("INSERT INTO notes (id, text) VALUES (1, 'eins'), (2, 'zwei')")
            zygote.run(project, ["backup"]).succeeded()
            after = whole(project)
            zygote.run(project, ["update", "--yes"]).succeeded()
            change_everything(project)
            if user:
                _chown(folder, user)
            snapshot = Snapshot(project, folder)
            snapshot.restore()
            yield Bench(project, zygote, snapshot, whole(project), after)
        finally:
            if snapshot is not None:
                snapshot.drop()
            database.drop()


def _give_away(project: Project, folder: Path, user: int) -> None:
    """Make an instance an ordinary user's own."""
    folder.chmod(0o755)
    (project.data / "closed").mkdir()
    (project.data / "closed" / "note").write_text("not to be changed")
    (project.data / "closed").chmod(0o555)
    _chown(folder, user)
    project.environment[USER] = str(user)


def _chown(folder: Path, user: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)


HALF_WAY = """
self.files.write("tracks/1/track.gpx", "as the update wants it")
self.files.remove("one")
self.files.move("tracks/2", "moved")
engine = sa.create_engine(config["sqlalchemy.url"])
with engine.begin() as connection:
    connection.execute(sa.text("DELETE FROM notes"))
engine.dispose()
raise ValueError("half-way")
"""


@contextmanager
def broken_off_instance(zygote: Zygote) -> Iterator[Bench]:
    """Return the notes in the middle of an update that is not atomic; before it the database was dumped."""
    with quick_folder() as folder:
        database = create(SQLITE, folder)
        project = notes(Project.create(folder / "project", database, section={"backup": "auto"}), 1)
        file_transactions.plant(project.data)
        (project.data / "VERSION").unlink()
        project.update("bad", "v1", "r1", up_pre=HALF_WAY, atomic=False)
        zygote.run(project, ["update", "v1", "--yes"]).succeeded()
        database.execute("INSERT INTO notes (id, text) VALUES (1, 'eins'), (2, 'zwei')")
        after = whole(project)
        snapshot = Snapshot(project, folder)
        zygote.run(project, ["update", "--yes"]).exited(1)
        yield Bench(project, zygote, snapshot, whole(project), after, breaks_off=True)
