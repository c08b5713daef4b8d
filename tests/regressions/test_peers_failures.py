"""Where the original updater was interrupted and left the halves apart, and what holds here.

Each update moves a file, writes another one and changes the schema; a file outside the instance says when to fail.
"""

from __future__ import annotations

import signal

import pytest

from support.databases import ATOMIC_KINDS, KINDS, MARIADB
from support.notes import hooks, notes, traced
from support.projects import Project

FAIL = "RuntimeError('the cause')"
MOVE = "self.files.move('inbox/a.txt', 'notes/a.txt')\nself.files.write('index', 'a')\n"
MOVED = {"notes/a.txt": b"text of a", "index": b"a"}
BEFORE = {"inbox/a.txt": b"text of a"}


def failing(project: Project, hook: str, failure: str, *, atomic: bool | None = True, revision: str = "") -> None:
    """Bring the instance to v1 and write v2, which does `failure` in `hook` as long as the file ``fail`` is there."""
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    (project.data / "inbox").mkdir()
    (project.data / "notes").mkdir()
    (project.data / "inbox" / "a.txt").write_text("text of a")
    (project.root / "fail").touch()
    body = f"import os, signal, sys\nif Path({str(project.root / 'fail')!r}).exists():\n    {failure}\n"
    bodies = {"up_pre": MOVE, "up_post": "pass"}
    bodies[hook] = bodies[hook] + "\n" + body
    project.update("v2", "v1", revision or "r2", atomic=atomic, **traced(project, "v2", **bodies))


def mend(project: Project) -> None:
    (project.root / "fail").unlink()


def files(project: Project) -> dict[str, bytes]:
    """Give the data directory's files without bookkeeping."""
    found = {path.relative_to(project.data).as_posix(): path for path in sorted(project.data.rglob("*"))}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if path.is_file() and not name.startswith(".fietsupdate") and name != "VERSION"
    }


def assert_completes(project: Project) -> None:
    mend(project)
    project.run("update", "--yes").succeeded()
    assert project.version == "v2"
    assert project.alembic_version() == ["r2"]
    assert files(project) == MOVED
    project.run("check").succeeded()


@pytest.mark.parametrize("hook", ["up_pre", "up_post"])
@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_an_exception_in_an_atomic_update_undoes_everything(kind, hook, make_project):
    project = make_project(kind=kind)
    failing(project, hook, f"raise {FAIL}")
    before, tree = project.database.dump(), project.tree(exclude=[".fietsupdate"])
    told = project.run("update", "--yes").exited(1).told
    assert "v2" in told
    assert "the cause" in told
    assert project.database.dump() == before
    assert project.tree(exclude=[".fietsupdate"]) == tree
    project.run("check").exited(3)
    assert_completes(project)


@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_a_failing_revision_in_an_atomic_update_undoes_everything(kind, make_project):
    project = make_project(kind=kind)
    failing(project, "up_post", "pass")
    project.revision("r2", "r1", 'op.add_column("notes", sa.Column("size", sa.Integer))\nop.execute("SELECT nonsense")')
    before, tree = project.database.dump(), project.tree(exclude=[".fietsupdate"])
    told = project.run("update", "--yes").exited(1).told
    assert "r2" in told
    assert "nonsense" in told
    assert project.database.dump() == before
    assert project.tree(exclude=[".fietsupdate"]) == tree


NOT_ATOMIC = [*((kind, None) for kind in KINDS), (MARIADB, True)]


@pytest.mark.parametrize(("kind", "atomic"), NOT_ATOMIC)
def test_an_exception_in_the_post_hook_resumes_there(kind, atomic, make_project):
    project = make_project(kind=kind)
    failing(project, "up_post", f"raise {FAIL}", atomic=atomic)
    before = project.traces()
    told = project.run("update", "--yes").exited(1).told
    assert "v2" in told
    assert "the cause" in told
    assert files(project) == MOVED
    assert project.run("status", "--json").succeeded().json["state"] == "interrupted"
    project.run("check").exited(7)
    assert_completes(project)
    assert project.traces()[len(before) :] == ["v2 up pre", "v2 up post", "v2 up post"]


@pytest.mark.parametrize("hook", ["up_pre", "up_post"])
@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_an_atomic_update_that_was_killed_is_undone_by_the_next_one(kind, hook, make_project):
    project = make_project(kind=kind)
    failing(project, hook, "os.kill(os.getpid(), signal.SIGKILL)")
    before = project.database.dump()
    assert project.run("update", "--yes").code == -signal.SIGKILL
    assert project.database.dump() == before
    project.run("check").exited(7)
    project.run("recover", "--yes").succeeded()
    assert files(project) == BEFORE
    assert project.version == "v1"
    assert project.run("update", "--yes").code == -signal.SIGKILL
    assert_completes(project)


@pytest.mark.parametrize(("kind", "atomic"), NOT_ATOMIC)
@pytest.mark.parametrize("hook", ["up_pre", "up_post"])
def test_an_update_that_is_not_atomic_and_was_killed_completes(kind, atomic, hook, make_project):
    project = make_project(kind=kind)
    failing(project, hook, "os.kill(os.getpid(), signal.SIGKILL)", atomic=atomic)
    assert project.run("update", "--yes").code == -signal.SIGKILL
    project.run("check").exited(7)
    assert "text of a" in {content.decode() for content in files(project).values()}
    assert_completes(project)


def test_an_error_that_is_its_own_cause_is_a_failure_like_any_other(project):
    failing(project, "up_pre", f"error = {FAIL}\n    raise error from error")
    tree = project.tree(exclude=[".fietsupdate"])
    assert "the cause" in project.run("update", "--yes").exited(1).told
    assert project.tree(exclude=[".fietsupdate"]) == tree


@pytest.mark.parametrize("leave", ["sys.exit(0)", "exit()"])
@pytest.mark.parametrize("hook", ["up_pre", "up_post"])
def test_leaving_a_hook_by_an_exit_is_a_failure_like_any_other(project, hook, leave):
    failing(project, hook, leave)
    before, tree = project.database.dump(), project.tree(exclude=[".fietsupdate"])
    project.run("update", "--yes").exited(1)
    assert project.database.dump() == before
    assert project.tree(exclude=[".fietsupdate"]) == tree
    assert_completes(project)


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("hook", ["up_pre", "up_post"])
@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_a_signal_undoes_an_atomic_update_and_the_exit_code_tells_which(kind, hook, number, code, make_project):
    project = make_project(kind=kind)
    failing(project, hook, f"os.kill(os.getpid(), signal.{number})")
    before, tree = project.database.dump(), project.tree(exclude=[".fietsupdate"])
    project.run("update", "--yes").exited(code)
    assert project.database.dump() == before
    assert project.tree(exclude=[".fietsupdate"]) == tree
    project.run("check").exited(3)


OWN_CONNECTION = """
engine = sa.create_engine(config["sqlalchemy.url"])
connection = engine.connect()
connection.execute(sa.text("INSERT INTO notes (id, text) VALUES (1, 'own')"))
connection.commit()
assert connection.execute(sa.text("SELECT count(*) FROM notes")).scalar() == 1
"""


def test_a_hook_may_open_a_connection_of_its_own_and_never_close_it(any_project):
    """The original's hooks do; the connection then idles in a transaction that has read the table to be altered."""
    notes(any_project, 1, atomic=None)
    any_project.run("update", "--yes").succeeded()
    any_project.update("v2", "v1", "r2", atomic=None, **traced(any_project, "v2", up_pre=OWN_CONNECTION))
    any_project.run("update", "--yes").succeeded()
    assert any_project.traces() == hooks("v1", "v2")
    assert any_project.database.execute("SELECT id, text, size FROM notes") == [(1, "own", None)]


def test_the_failed_downgrade_of_an_atomic_update_undoes_everything(project):
    notes(project, 1)
    project.update("v2", "v1", "r2", **traced(project, "v2", down_post=f"raise {FAIL}"))
    project.run("update", "--yes").succeeded()
    before, tree = project.database.dump(), project.tree(exclude=[".fietsupdate"])
    assert "the cause" in project.run("downgrade", "--yes", "v1").exited(1).told
    assert project.database.dump() == before
    assert project.tree(exclude=[".fietsupdate"]) == tree
    project.run("check").succeeded()


def test_an_update_without_down_is_refused_before_a_downgrade_starts(project):
    """V1 - v2 (no Down) - v3."""
    notes(project, 1)
    project.update("v2", "v1", "r2", has_down=False, **traced(project, "v2"))
    project.update("v3", "v2", "r3", **traced(project, "v3"))
    project.run("update", "--yes").succeeded()
    told = project.run("downgrade", "--yes", "v1").exited(1).told
    assert "v2" in told
    assert project.version == "v3"
    assert project.traces() == hooks("v1", "v2", "v3")
