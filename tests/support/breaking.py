"""A small application whose update uses every verb, revisions and hooks, and what the sweeps do with it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from support import file_transactions
from support.databases import MARIADB, Database, create
from support.example import Example
from support.injection import Injection
from support.projects import Project
from support.states import Snapshot, State, age, quick_folder, state_of
from support.zygote import Run, Zygote

FULL = os.environ.get("FIETSUPDATE_SWEEP") == "full"
"""Whether every event is struck everywhere, as ``make sweep`` wants it."""

TABLE = (
    "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True), sa.Column('x', sa.String(20)))\n"
    "op.execute(\"INSERT INTO t (id, x) VALUES (1, 'as'), (2, 'it'), (3, 'was')\")"
)
CHANGES = (
    "op.add_column('t', sa.Column('y', sa.String(20)))\n"
    'op.execute("UPDATE t SET y = x")\n'
    "op.create_table('u', sa.Column('id', sa.Integer, primary_key=True))"
)
INSERT = 'self.connection.execute(sa.text("INSERT INTO {table} (id) VALUES ({id})"))'
VERBS, CALLS = "every_verb(self.files)", "every_plain_call(self.data_dir)"
"""What the hook of the small application does to its files."""
SOURCES = "import os, shutil\nfrom contextlib import suppress\n" + "\n".join(
    inspect.getsource(function) for function in (file_transactions.every_verb, file_transactions.every_plain_call)
)
HALF_A_REVISION = {
    "aaaa": ("DROP TABLE IF EXISTS t",),
    "bbbb": ("ALTER TABLE t DROP COLUMN IF EXISTS y", "DROP TABLE IF EXISTS u"),
    "9a4d20c6e1b7": ("ALTER TABLE tracks DROP COLUMN IF EXISTS size",),
    "6e92d4fa0c58": ("DROP TABLE IF EXISTS track_tags", "DROP TABLE IF EXISTS tags"),
    "c5078be91f34": ("ALTER TABLE tracks DROP COLUMN IF EXISTS sha256",),
}
"""Statements that revert half a revision by hand, on databases that commit each schema change (MariaDB)."""
LAST_OF_A_REVISION = {
    "9a4d20c6e1b7": ("gpx", "UPDATE alembic_version SET version_num = '9a4d20c6e1b7'"),
    "6e92d4fa0c58": ("tags", "INSERT INTO alembic_version (version_num) VALUES ('6e92d4fa0c58')"),  # a second branch
}
"""The column of ``tracks`` that a revision drops at its end, and what is left to be done by hand when it is gone."""


@dataclass
class Bench:
    """An instance whose commands are broken repeatedly."""

    project: Project
    zygote: Zygote
    snapshot: Snapshot
    states: list[State]
    """The states that an update may leave, in the order in which it goes through them."""
    command: Sequence[str] = ("update", "--yes")
    own_connections: bool = False
    """Whether the last update is not atomic: its hooks run outside of our transaction."""
    sets_aside: bool = False
    """Whether a file that a hook was writing by a plain call when it was killed is not recognised, and set aside."""
    is_clean: bool = True

    def __post_init__(self) -> None:
        self.traces = self._traces()

    @property
    def is_atomic(self) -> bool:
        """Whether schema and rows change in one transaction here."""
        return self.project.database.kind != MARIADB and not self.own_connections

    def run(self, *args: str, injection: Injection | None = None) -> Run:
        """Run a command."""
        return self.zygote.run(self.project, args, injection)

    def break_at(self, injection: Injection) -> Run:
        """Begin again where the bench stood at first, and break the command."""
        if not self.is_clean:
            self.snapshot.restore()
        self.is_clean = False
        return self.run(*self.command, "--json", injection=injection)

    def commit_of_update(self, moment: str, kinds: tuple[str, ...]) -> int:
        """Return the number of the COMMIT, or of its answer, that ends the last update: later ones end mere reading."""
        seen = self.break_at(Injection(kinds=kinds)).succeeded().seen
        finish = max(at for at, event in enumerate(seen) if event.startswith("sql: UPDATE fietsupdate_ledger"))
        return seen.index(f"sql: {moment}", finish) + 1

    def position(self) -> int:
        """Return the index of the state that both halves of the instance are in, without leftovers; -1 for none."""
        now = state_of(self.project)
        if now not in self.states:
            return -1
        self.is_clean = now == self.states[0] and self._traces() == self.traces
        return self.states.index(now)

    def _traces(self) -> tuple[list[str], list[str]]:
        """Return our own files and all tables: with other ones a run goes another way."""
        return file_transactions.ours(self.project.data), self.project.database.tables()

    @property
    def is_untouched(self) -> bool:
        """Whether the command had not yet changed anything that the next run would see."""
        return self.position() == 0 and self.is_clean

    def leftovers(self) -> list[str]:
        """Return the paths in our own folder that must not exist when no transaction is open."""
        allowed = {"lock", "ledger.jsonl", "found" if self.sets_aside else "", "" if self.is_atomic else "kept"}
        own = [path for path in file_transactions.ours(self.project.data) if path.split("/")[0] not in allowed]
        return [] if own == ["txn"] else own  # an empty folder

    def recovered(self) -> bool:
        """Recover: False where an update that cannot be atomic is half done, which is said, with the way on."""
        done = self.run("recover")
        if not self.is_atomic and self.run("check").code == 7:
            assert "fietsupdate update" in done.output, done.output
            return False
        assert done.code == 0, done.output
        return True

    def mended_update(self) -> Run:
        """Repeat the command, by hand where a revision is half done: its message says so."""
        done = self.run(*self.command, "--json")
        if done.code != 1 or self.is_atomic:
            return done
        error = done.events[-1]["error"]
        assert error["code"] == "revision_failed", done.output
        for statement in _by_hand(self.project.database, error["revision"]):
            self.project.database.execute(statement)
        return self.run(*self.command, "--json")

    def difference(self) -> str:
        """Return how the instance differs from each of its states."""
        now = state_of(self.project)
        lines = [f"left over: {self.leftovers()}", f"ledger: {now.ledger} {now.copy}"]
        for number, state in enumerate(self.states):
            paths = sorted(set(now.files) | set(state.files))
            differ = [path for path in paths if now.files.get(path) != state.files.get(path)]
            lines.append(f"files differ from state {number}: {differ}")
            lines.append(f"database is as in state {number}: {now.database == state.database}")
        return "\n".join(lines)


def _by_hand(database: Database, revision: str) -> Sequence[str]:
    """Return the commands with which an administrator completes a half-done revision."""
    if revision in LAST_OF_A_REVISION:
        column, rest = LAST_OF_A_REVISION[revision]
        if not database.execute(f"SHOW COLUMNS FROM tracks LIKE '{column}'"):
            return (rest,)
    return HALF_A_REVISION[revision]


def every(stride: int, start: int = 1) -> Iterator[int]:
    """Return the numbers of the events to strike."""
    return count(start, 1 if FULL else stride)


@contextmanager
def small_application(
    zygote: Zygote,
    kind: str,
    variant: str = "stock",
    *,
    work: str = VERBS,
    from_nothing: bool = False,
    own_connections: bool = False,
) -> Iterator[Bench]:
    """Return the small application, at its first update or before it; its second update may be non-atomic."""
    inserts = ["pass", "pass"] if own_connections else [INSERT.format(table="t", id=4), INSERT.format(table="u", id=5)]
    with quick_folder() as folder, _dropped(kind, folder) as database:
        project = Project.create(folder / "project", database, variant)
        project.revision("aaaa", None, TABLE, "op.drop_table('t')")
        project.revision("bbbb", "aaaa", CHANGES)
        project.update("one", (), "aaaa")
        project.update(
            "two",
            "one",
            "bbbb",
            head=SOURCES,
            up_pre=f"{work}\n{inserts[0]}",
            up_post=f"{inserts[1]}\nself.files.write('post', 'hook')",
            atomic=not own_connections,
            up_more="def verify(self, config): assert self.files.exists('post')",
        )
        file_transactions.plant(project.data)
        (project.data / "VERSION").unlink()
        if not from_nothing:
            zygote.run(project, ["update", "one", "--yes"]).succeeded()
        age(project.data)
        with _bench(project, zygote, folder) as bench:
            bench.own_connections = own_connections
            bench.sets_aside = work == CALLS or own_connections
            yield bench


@contextmanager
def example_application(zygote: Zygote, kind: str, *, back: bool = False) -> Iterator[Bench]:
    """Return the example of the documentation, at its first release; or at its last one, to go back from there."""
    with quick_folder() as folder, _dropped(kind, folder) as database:
        example = Example.copy(folder / "example", database).at_first_release()
        if back:
            zygote.run(example, ["update", "--yes"]).succeeded()
        age(example.data)
        with _bench(example, zygote, folder, "v1.0" if back else "") as bench:
            yield bench


@contextmanager
def _bench(project: Project, zygote: Zygote, folder: Path, back_to: str = "") -> Iterator[Bench]:
    """Take the copy, and go through all states once: forward to the end, or back to an update."""
    snapshot = Snapshot(project, folder)
    bench = Bench(project, zygote, snapshot, [state_of(project)])
    if back_to:
        bench.command = ("downgrade", back_to, "--yes")
    try:
        for _ in bench.run(*bench.command[:-1], "--dry-run", "--json").json["plan"]["steps"]:
            bench.run(bench.command[0], "-1" if back_to else "+1", "--yes").succeeded()
            bench.states.append(state_of(project))
        snapshot.restore()
        yield bench
    finally:
        snapshot.drop()


@contextmanager
def _dropped(kind: str, folder: Path) -> Iterator[object]:
    database = create(kind, folder)
    try:
        yield database
    finally:
        database.drop()
