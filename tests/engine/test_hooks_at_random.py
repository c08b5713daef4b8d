"""Whatever a hook does and however it ends: no byte that was there before is lost, and nothing lies outside.

Hypothesis writes the hooks: verbs, plain calls, threads, sub-folders swapped for links, rows that go into files,
savepoints, and endings of the transaction that are none of a hook's business; some errors are caught by the hook, as
hooks do. Then the hook returns, raises, or is killed, and the instance is recovered.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fietsupdate import Updater
from fietsupdate.errors import FietsupdateError
from support.databases import POSTGRESQL, SQLITE
from support.notes import notes
from support.projects import Project

FULL = os.environ.get("FIETSUPDATE_SWEEP") == "full"
EXAMPLES = {SQLITE: 400 if FULL else 25, POSTGRESQL: 200 if FULL else 8}
FILES = {"a": "file a", "b": "file b", "d/c": "file d/c", "d/e/f": "file d/e/f"}
ROWS = {1: "row 1", 2: "row 2", 3: "row 3"}
HEAD = """
import os, shutil, signal, threading
from contextlib import suppress
"""
INTO_FILE = """
found = self.connection.execute(sa.text("SELECT text FROM notes WHERE id = {n} AND text IS NOT NULL")).all()
for (text,) in found:
    self.files.write("rows/{n}", text)
    self.connection.execute(sa.text("UPDATE notes SET text = NULL WHERE id = {n}"))
"""
VERBS = [
    "self.files.write('new{n}', 'new')",
    "self.files.write('a', 'replaced {n}')",
    "self.files.write('d/c', 'replaced {n}')",
    "self.files.move('a', 'moved{n}')",
    "self.files.move('d', 'moved{n}')",
    "self.files.remove('b')",
    "self.files.remove('d')",
    "self.files.write_many([(f'many/{{i}}', 'x') for i in range({n})])",
    "self.files.remove_many(['a', 'b'])",
]
CALLS = [
    "(self.data_dir / 'plain{n}').write_text('new')",
    "(self.data_dir / 'b').write_text('replaced {n}')",
    "os.rename(self.data_dir / 'b', self.data_dir / 'd' / 'b{n}')",
    "os.remove(self.data_dir / 'a')",
    "shutil.rmtree(self.data_dir / 'd')",
    "os.replace(self.data_dir / 'a', self.data_dir / 'b')",
    "with open(self.data_dir / 'd' / 'c', 'a') as file: file.write('more')",
    "os.chmod(self.data_dir / 'a', 0o600)",
]
THREADS = [
    "t = threading.Thread(target=self.files.write, args=('b', 'by a thread')); t.start(); t.join()",
    "t = threading.Thread(target=(self.data_dir / 'a').write_text, args=('by a thread',)); t.start(); t.join()",
    "t = threading.Thread(target=os.remove, args=(self.data_dir / 'd' / 'c',)); t.start(); t.join()",
]
LINKS = [
    "os.rename(self.data_dir / 'd', self.data_dir / 'd{n}'); os.symlink({outside!r}, self.data_dir / 'd')",
    "shutil.rmtree(self.data_dir / 'd'); os.symlink({outside!r}, self.data_dir / 'd')",
    "self.files.move('d', 'd{n}'); self.files.symlink('d', {outside!r})",
    "self.files.write('d/new{n}', 'x')",
    "self.files.remove('d/kept')",
]
SQL = [
    INTO_FILE,
    "self.connection.execute(sa.text(\"INSERT INTO notes (id, text) VALUES ({n} + 10, 'new')\"))",
    "self.connection.execute(sa.text(\"INSERT INTO notes (id, text) VALUES (1, 'again')\"))",
    "self.connection.execute(sa.text('ALTER TABLE notes ADD COLUMN c{n} INTEGER'))",
    "with self.connection.begin_nested(): self.connection.execute(sa.text('DELETE FROM notes')); raise ValueError",
    "with self.session() as s: s.execute(sa.text('DELETE FROM notes WHERE id = {n}')); s.rollback()",
]
BEHIND_OUR_BACK = """
text = self.connection.scalar(sa.text("SELECT text FROM notes WHERE id = {n}"))
self.files.write("rows/{n}", text)
raw = self.connection.connection.driver_connection
for statement in ("ROLLBACK", "UPDATE notes SET text = NULL WHERE id = {n}", "COMMIT"): raw.execute(statement)
"""
SQLITE_ROLLS_BACK = "self.connection.execute(sa.text(\"INSERT OR ROLLBACK INTO notes (id, text) VALUES (1, 'x')\"))"
ENDINGS = [
    "self.connection.rollback()",
    "self.connection.commit()",
    "self.connection.close()",
    "self.connection.execute(sa.text('ROLLBACK'))",
    "self.connection.execute(sa.text('COMMIT'))",
    "self.connection.connection.driver_connection.rollback()",
    "self.connection.connection.driver_connection.commit()",
    "self.connection.connection.driver_connection.execute('ROLLBACK')",
    "self.connection.connection.driver_connection.execute('COMMIT')",
    SQLITE_ROLLS_BACK,
    BEHIND_OUR_BACK,
]
LINES = st.one_of(*map(st.sampled_from, [VERBS, CALLS, THREADS, LINKS, SQL, [INTO_FILE], ENDINGS]))
PROGRAMS = st.lists(st.tuples(LINES, st.integers(1, 3), st.booleans()), min_size=1, max_size=8)
RAISE, KILL, RETURN = "raise RuntimeError('the end')", "os.kill(os.getpid(), signal.SIGKILL)", "pass"


def body(program: list[tuple[str, int, bool]], end: str, outside: Path) -> str:
    lines = [HEAD]
    for line, number, caught in program:
        code = line.strip().format(n=number, outside=str(outside))
        lines.append(f"with suppress(Exception):\n{textwrap.indent(code, '    ')}" if caught else code)
    return "\n".join([*lines, end])


class Instance:
    """One instance at v1, put back before each hook."""

    def __init__(self, make: Callable[[], Project]) -> None:
        self._make = make
        self.project = self._new()
        self.outside = self.project.root.parent / f"outside of {self.project.root.name}"

    def _new(self) -> Project:
        project = notes(self._make(), 1)
        Updater.from_config(project.ini).update()
        return project

    def reset(self) -> None:
        """Put both halves back, or begin with another instance where this one is in the middle of an update."""
        if Updater.from_config(self.project.ini).state() != "outdated" or self._columns() > 2:
            self.project = self._new() if self._is_used else self.project
        self._is_used = True
        data = self.project.data
        for path in data.iterdir():
            if path.name not in {".fietsupdate", "VERSION"}:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.rmtree(data / ".fietsupdate" / "found", ignore_errors=True)
        for name, text in FILES.items():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_text(text)
        shutil.rmtree(self.outside, ignore_errors=True)
        self.outside.mkdir()
        (self.outside / "kept").write_text("outside")
        self.project.database.execute("DELETE FROM notes")
        for number, text in ROWS.items():
            self.project.database.execute(f"INSERT INTO notes (id, text) VALUES ({number}, '{text}')")

    _is_used = False

    def _columns(self) -> int:
        rows = self.project.database.execute("SELECT * FROM notes")
        return len(rows[0]) if rows else 2

    def texts(self) -> Iterator[str]:
        """Return all that can be read in either half, in what was set aside, and in what an open transaction keeps."""
        for folder, _, names in os.walk(self.project.data):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink():
                    yield path.read_text(errors="replace")
        for row in self.project.database.execute("SELECT * FROM notes"):
            yield from (str(value) for value in row)

    def beyond(self) -> dict[str, str]:
        """Return what lies outside, but for what plain calls of the hook itself can have put there through its link."""
        mine = {"c", "b1", "b2", "b3"}
        return {path.name: path.read_text() for path in self.outside.iterdir() if path.name not in mine}

    def rows(self) -> dict[object, object]:
        return {row[0]: row[1] for row in self.project.database.execute("SELECT id, text FROM notes")}


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # a thread's change may be refused
@pytest.mark.parametrize("kind", EXAMPLES)
def test_no_byte_is_lost_and_nothing_lies_outside(kind, tmp_path, make_database):
    number = iter(range(10_000))
    outcomes = set()
    instance = Instance(lambda: Project.create(tmp_path / f"project{next(number)}", make_database(kind)))

    @settings(
        max_examples=EXAMPLES[kind],
        deadline=None,
        derandomize=not FULL,
        suppress_health_check=list(HealthCheck),
    )
    @example(program=[(INTO_FILE, 1, False), (BEHIND_OUR_BACK, 2, True)], end=RAISE)
    @example(program=[(INTO_FILE, 1, False), (BEHIND_OUR_BACK, 2, True), (INTO_FILE, 3, True)], end=KILL)
    @example(program=[(INTO_FILE, 1, False), (SQLITE_ROLLS_BACK, 1, True), (INTO_FILE, 2, True)], end=KILL)
    @example(program=[(INTO_FILE, 1, False)], end=RETURN)
    @given(program=PROGRAMS, end=st.sampled_from([RAISE, RAISE, KILL, RETURN]))
    def check(program: list[tuple[str, int, bool]], end: str) -> None:
        instance.reset()
        project = instance.project
        tree = project.tree(exclude=[".fietsupdate"])
        code = body(program, end, instance.outside)
        project.update("v2", "v1", "r1", up_post=code)
        stands = run(project, killed=end == KILL)
        assert instance.beyond() == {"kept": "outside"}, code
        outcomes.add(
            "complete" if stands is None else "may stand" if "ows that it wrote may stand" in stands else "undone"
        )
        if stands is None:
            return
        there = list(instance.texts())
        lost = [text for text in (*FILES.values(), *ROWS.values()) if not any(text in other for other in there)]
        assert not lost, f"{lost} of\n{code}\n{stands}"
        if stands.startswith("Nothing of v2 stands"):
            assert instance.rows() == ROWS, code
            assert project.tree(exclude=[".fietsupdate"]) == tree, code

    check()
    assert outcomes == {"complete", "undone", "may stand"}


def run(project: Project, *, killed: bool) -> str | None:
    """Update, and recover; give what was said to stand, None when the update is complete."""
    if killed:
        result = project.run("update", "--yes", "--no-backup")
        if result.code == 0:
            return None
        recovered = project.run("recover")
        return " ".join(f"{result.output}\n{recovered.output}".split())
    try:
        Updater.from_config(project.ini).update()
    except FietsupdateError as error:
        return error.stands
    return None
