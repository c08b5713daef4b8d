"""What docs/guides/when-it-breaks.md says of failures that no other test shows with the real command."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.databases import ATOMIC_KINDS, MARIADB, POSTGRESQL, SQLITE
from support.file_transactions import ours
from support.notes import notes, traced
from support.projects import Project, result_of

FAIL = "RuntimeError('the cause')"
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
MOVE = "self.files.move('a.txt', 'notes/a.txt')\nself.files.write('index', 'new')\n"
NOTHING = "Nothing of v2 stands: it was rolled back, and its file changes are undone."
HALF = "v2 is half applied"


def breaking(project: Project, hook: str, failure: str, *, atomic: bool = True, **bodies: str) -> Project:
    """Bring the instance to v1, with two files, and write v2, which fails in `hook` while ``fail`` is there."""
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    (project.data / "a.txt").write_text("a")
    (project.data / "index").write_text("old")
    (project.root / "fail").touch()
    body = f"import os, signal\nif Path({str(project.root / 'fail')!r}).exists():\n    {failure}\n"
    bodies = {"up_pre": MOVE, **bodies}
    bodies[hook] = f"{bodies.get(hook, '')}\n{body}"
    more = {"up_more": bodies.pop("up_more", "")}
    project.update("v2", "v1", "r2", atomic=atomic, **traced(project, "v2", **bodies), **more)
    return project


def killed(project: Project, *, atomic: bool = True) -> Project:
    """Leave v2 killed in its post hook."""
    breaking(project, "up_post", KILL, atomic=atomic)
    assert project.run("update", "--yes").code == -signal.SIGKILL
    return project


def mend(project: Project) -> None:
    (project.root / "fail").unlink()


def files(project: Project) -> dict[str, str]:
    """Give the data directory's files without bookkeeping."""
    paths = [path for path in project.data.rglob("*") if path.is_file()]
    found = {path.relative_to(project.data).as_posix(): path.read_text() for path in sorted(paths)}
    return {name: text for name, text in found.items() if name != "VERSION" and not name.startswith(".fietsupdate")}


BEFORE = {"a.txt": "a", "index": "old"}
AFTER = {"notes/a.txt": "a", "index": "new"}


def assert_before(project: Project) -> None:
    assert files(project) == BEFORE
    assert (project.version, project.alembic_version()) == ("v1", ["r1"])
    assert ours(project.data) == ["ledger.jsonl", "lock"]


def assert_completes(project: Project) -> None:
    mend(project)
    project.run("update", "--yes").succeeded()
    assert files(project) == AFTER
    assert (project.version, project.alembic_version()) == ("v2", ["r2"])
    project.run("check").succeeded()


# -- in doubt

LATE = """
op.add_column("notes", sa.Column("size", sa.Integer))
op.execute("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql "
           "AS 'BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END'")
op.execute("CREATE CONSTRAINT TRIGGER late AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED "
           "FOR EACH ROW EXECUTE FUNCTION wait()")
op.execute("INSERT INTO notes (id) VALUES (1)")
"""
"""A revision whose COMMIT takes as long as somebody else has the lock 42."""


def test_a_row_that_becomes_visible_after_its_client_was_killed_is_waited_for(make_project):
    """PostgreSQL: the killed client's session is still in its COMMIT when recovery reads that there is no row."""
    project = breaking(make_project(kind=POSTGRESQL), "up_post", "pass")
    project.revision("r2", "r1", LATE)
    waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    with project.database.connect() as other:
        other.execute(sa.text("SELECT pg_advisory_xact_lock(42)"))
        with project.start("update", "--yes") as child:
            while not project.database.execute(waits):
                assert child.poll() is None, result_of(child)
            child.kill()
        assert project.database.execute("SELECT update_id FROM fietsupdate_ledger") == [("v1",)]
        recovery = project.start("recover", "--json")
        assert recovery.stdout is not None
        assert json.loads(recovery.stdout.readline())["event"] == "waiting"
    result_of(recovery).succeeded()
    assert files(project) == AFTER
    assert (project.version, project.alembic_version()) == ("v2", ["r2"])
    project.run("check").succeeded()


def untouched(project):
    """Return what stays where nothing is touched: all but the lock, the run file, and the time of their folder."""
    tree = project.tree(exclude=[".fietsupdate/lock", ".fietsupdate/run.json"])
    return {path: replace(node, mtime_ns=0) if path == ".fietsupdate" else node for path, node in tree.items()}


@pytest.mark.parametrize("command", [["update", "--yes"], ["recover"]])
@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_while_the_database_cannot_be_asked_nothing_is_touched(kind, command, make_project):
    project = killed(make_project(kind=kind))
    tree = untouched(project)
    ini = project.ini.read_text()
    project.ini.write_text(ini.replace(project.url, f"{project.url}_that_is_not_there"))
    told = project.run(*command).exited(1).told
    assert re.search("Nothing was (touched|changed)|nothing is touched|does not exist", told), told
    assert not list(project.root.parent.rglob("*_that_is_not_there")), "a SQLite file was made"
    assert untouched(project) == tree
    project.ini.write_text(ini)
    project.run("recover").succeeded()
    assert_before(project)


@pytest.mark.parametrize("command", [["update", "--yes"], ["recover"]])
def test_another_database_does_not_decide(make_project, command):
    project = killed(make_project())
    other = notes(make_project(name="other"), 1)
    other.run("update", "--yes").succeeded()
    tree, ini = untouched(project), project.ini.read_text()
    project.ini.write_text(ini.replace(project.url, other.url))
    project.run(*command).exited(1)
    assert untouched(project) == tree
    project.ini.write_text(ini)
    project.run("recover").succeeded()
    assert_before(project)


def test_a_copy_of_a_killed_data_directory_is_not_played_back(project):
    killed(project)
    shutil.copytree(project.data, project.root / "copy", symlinks=True)
    project.data.rename(project.root / "original")
    (project.root / "copy").rename(project.data)
    tree = untouched(project)
    assert "but a copy" in project.run("update", "--yes").exited(1).told
    assert untouched(project) == tree
    shutil.rmtree(project.data)
    (project.root / "original").rename(project.data)
    project.run("recover").succeeded()
    assert_before(project)


def test_what_the_application_wrote_after_the_crash_is_kept_and_named(project):
    killed(project)
    (project.data / "index").write_text("written by the application")
    (project.data / "upload").write_text("uploaded meanwhile")
    result = project.run("recover").succeeded()
    assert files(project) == {**BEFORE, "upload": "uploaded meanwhile"}
    found = list((project.data / ".fietsupdate" / "found").rglob("index"))
    assert [path.read_text() for path in found] == ["written by the application"]
    assert ".fietsupdate/found" in "".join(result.output.split())


# -- env.py and the transaction


def test_an_exception_after_the_commit_undoes_nothing(project):
    breaking(project, "up_post", "pass")
    env = project.root / "migrations" / "env.py"
    late = f"""
import pathlib
if "v2 up post" in pathlib.Path({str(project.root / "trace.log")!r}).read_text():
    if (once := pathlib.Path({str(project.root / "fail")!r})).exists():
        once.unlink()
        raise RuntimeError("after the commit")
"""
    env.write_text(env.read_text() + late)
    told = project.run("update", "--yes").exited(1).told
    assert "after the commit" in told
    assert "v2 is complete: database and files both have it." in told
    assert files(project) == AFTER
    project.run("check").succeeded()


COMMITS = {
    "autocommit_block": "with op.get_context().autocommit_block():\n    op.execute('CREATE INDEX i ON notes (text)')",
    "COMMIT": "op.execute('COMMIT')",
}


@pytest.mark.parametrize("how", COMMITS)
def test_a_commit_in_the_middle_makes_an_update_that_goes_forward(how, make_project):
    project = make_project(kind=POSTGRESQL)
    breaking(project, "up_post", f"raise {FAIL}")
    column = 'op.add_column("notes", sa.Column("size", sa.Integer))'
    project.revision("r2", "r1", f"{column}\n{COMMITS[how]}")
    told = project.run("update", "--yes").exited(1).told
    assert HALF in told
    assert files(project) == AFTER
    assert "nothing was undone, and every replaced file is kept" in told
    project.run("check").exited(7)
    assert "Finished phases: pre." in told
    mend(project)
    project.database.execute("DROP INDEX IF EXISTS i")
    project.database.execute("ALTER TABLE notes DROP COLUMN size")  # the revision runs as a whole or not at all
    project.run("update", "--yes").succeeded()
    assert project.traces()[-3:] == ["v2 up pre", "v2 up post", "v2 up post"]
    assert project.alembic_version() == ["r2"]
    project.run("check").succeeded()


@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_a_failing_verify_undoes_the_update(kind, make_project):
    project = breaking(make_project(kind=kind), "up_post", "pass")
    verify = f"def verify(self, config):\n    if Path({str(project.root / 'fail')!r}).exists(): raise {FAIL}"
    project.update("v2", "v1", "r2", **traced(project, "v2", up_pre=MOVE), up_more=verify)
    told = project.run("update", "--yes").exited(1).told
    assert "the cause" in told
    assert NOTHING in told
    assert_before(project)
    assert_completes(project)


def test_the_updates_before_a_failing_one_stand(project):
    notes(project, 3)
    project.update("v3", "v2", "r3", up_post=f"raise {FAIL}")
    told = project.run("update", "--yes").exited(1).told
    assert "2 of 3 updates of this run were finished before it" in told
    assert (project.version, project.alembic_version()) == ("v2", ["r2"])
    project.run("check").exited(3)


def test_a_failing_check_stops_the_run_before_its_first_update(project):
    notes(project, 3)
    project.update("v3", "v2", "r3", up_more=f"def check(self, config): raise {FAIL}")
    assert "the cause" in project.run("update", "--yes").exited(1).told
    assert project.version is None
    assert project.traces() == []


# -- updates that are not atomic

OWN = """
with sa.create_engine(config["sqlalchemy.url"]).begin() as connection:
    connection.execute(sa.text("INSERT INTO notes (id, text) VALUES (1, 'own')"))
"""


def test_a_hook_of_its_own_that_committed_nothing_is_undone_and_nothing_deleted(project):
    breaking(project, "up_pre", f"raise {FAIL}", atomic=False)
    told = project.run("update", "--yes").exited(1).told
    assert "Rows that it wrote may stand: its hooks work on database connections of their own" in told
    assert files(project) == BEFORE
    assert [path.read_text() for path in (project.data / ".fietsupdate" / "found").rglob("index")] == ["new"]
    mend(project)
    project.run("update", "--yes").succeeded()
    assert files(project) == AFTER


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL, MARIADB])
@pytest.mark.parametrize("failure", [f"raise {FAIL}", KILL])
def test_a_hook_that_has_committed_is_not_undone_and_runs_again(kind, failure, make_project):
    """It must bear that: here it looks whether its file has been moved already."""
    moved = f"if not self.files.exists('notes/a.txt'):\n{indented(MOVE + OWN)}"
    project = breaking(make_project(kind=kind), "up_pre", failure, atomic=False, up_pre=moved)
    project.run("update", "--yes")
    assert files(project) == AFTER
    project.run("check").exited(7)
    assert_completes(project)
    assert project.traces()[-3:] == ["v2 up pre", "v2 up pre", "v2 up post"]
    assert project.database.execute("SELECT id, text FROM notes") == [(1, "own")]


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


COLUMN_INTO_FILES = """
for row in self.connection.execute(sa.text("SELECT id, text FROM notes")):
    self.files.write(f"notes/{row.id}.txt", row.text)
"""


@pytest.mark.parametrize("failure", [f"raise {FAIL}", KILL])
def test_a_column_that_went_into_files_is_not_lost_when_the_post_hook_fails(failure, make_project):
    """MariaDB: the column is gone for good, so the files stay, and the update goes on at its post hook."""
    project = make_project(kind=MARIADB)
    breaking(project, "up_post", failure, up_pre=COLUMN_INTO_FILES)
    project.revision("r2", "r1", 'op.drop_column("notes", "text")')
    project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'one'), (2, 'two')")
    project.run("update", "--yes")
    for _ in range(2):
        assert {"notes/1.txt": "one", "notes/2.txt": "two"}.items() <= files(project).items()
        project.run("check").exited(7)
        assert "goes on at phase post" in project.run("recover").exited(1).told
    mend(project)
    project.run("update", "--yes").succeeded()
    assert {"notes/1.txt": "one", "notes/2.txt": "two"}.items() <= files(project).items()
    assert project.traces()[-3:] == ["v2 up pre", "v2 up post", "v2 up post"]
    project.run("check").succeeded()


def test_a_half_done_revision_is_completed_by_hand_and_accepted(make_project):
    """MariaDB: the first schema change stands, so the revision cannot run again."""
    project = make_project(kind=MARIADB)
    breaking(project, "up_post", "pass")
    column = 'op.add_column("notes", sa.Column("size", sa.Integer))'
    project.revision("r2", "r1", f'{column}\nop.execute("SELECT nonsense")')
    told = project.run("update", "--yes").exited(1).told
    assert HALF in told
    assert "Duplicate column" in project.run("update", "--yes").exited(1).told
    assert files(project) == AFTER
    project.database.execute("UPDATE alembic_version SET version_num = 'r2'")
    project.run("recover", "--accept", "--yes").succeeded()
    assert project.version == "v2"
    project.run("check").succeeded()
    assert files(project) == AFTER


def test_what_an_update_that_is_not_atomic_replaced_is_kept_until_it_is_purged(project):
    breaking(project, "up_post", "pass", atomic=False)
    project.run("update", "--yes").succeeded()
    kept = Path(project.data / ".fietsupdate" / "kept")
    assert "old" in [path.read_text() for path in kept.rglob("vault/*")]
    project.run("recover", "--purge", "--yes").succeeded()
    assert not kept.exists()


# -- at the limits of the guard


def test_a_program_that_the_hook_starts_is_told_and_not_undone(project):
    program = "import subprocess\nsubprocess.run(['touch', str(self.data_dir / 'by a program')], check=True)"
    breaking(project, "up_post", f"raise {FAIL}", up_pre=MOVE + program)
    output = " ".join(project.run("update", "--yes").exited(1).output.split())
    assert "The hook starts touch; what other programs change is not undone." in output
    assert files(project) == {**BEFORE, "by a program": ""}


def test_a_file_left_open_for_writing_fails_the_update(project):
    leave_open = "global left; left = open(self.data_dir / 'index', 'a'); left.write('x')"
    breaking(project, "up_pre", leave_open)
    told = project.run("update", "--yes").exited(1).told
    assert "is open for writing" in told
    assert_before(project)
    assert_completes(project)


def test_what_this_user_may_not_delete_is_told_and_stops_nothing(project: Project) -> None:
    """Here not even root may: the file is immutable."""
    notes(project, 3)
    file = project.data / "tree" / "file"
    file.parent.mkdir()
    file.touch()
    project.update("removes", "v3", up_pre="self.files.remove('tree')")
    if subprocess.run(["chattr", "+i", file], capture_output=True, check=False).returncode:
        pytest.skip("no file can be made immutable here")
    done = project.data / ".fietsupdate" / "done"
    try:
        first, *rest = (
            project.run(*words) for words in (["update", "--yes"], ["recover"], ["downgrade", "v1", "--yes"])
        )
        assert "1 warning" in first.succeeded().stdout
        for result in (first, *rest):
            assert f"{next(done.iterdir())} holds what an update removed" in " ".join(result.succeeded().output.split())
    finally:
        subprocess.run(["chattr", "-R", "-i", project.data], check=True)
    assert "holds what" not in project.run("recover").succeeded().output
    assert not done.exists()
