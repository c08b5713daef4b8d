"""What other processes see of a run that is at work."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest

from fietsupdate.filesystem import run_file
from fietsupdate.filesystem.layout import make_home
from fietsupdate.filesystem.lock import hold
from fietsupdate.model import Event
from fietsupdate.model.run_state import HUNG
from support.databases import POSTGRESQL
from support.projects import Project, result_of
from support.running import Gate, grow_old, until


@pytest.fixture
def gate(project: Project) -> Gate:
    return Gate(project)


@pytest.fixture
def running(project: Project, gate: Gate) -> Iterator[object]:
    """An update that waits in its post hook, and has told that."""
    child = project.start("update", "--yes")
    try:
        until(gate.reached)
        yield child
    finally:
        child.kill()
        child.communicate()


def test_status_tells_what_another_process_is_at(project, running, gate):
    answer = project.run("status", "--json").succeeded().json
    run = answer["run"]
    assert answer["state"] == "updating"
    assert (run["command"], run["update_id"], run["phase"], run["step"], run["steps"]) == (
        *("update", "convert", "post"),
        *(2, 2),
    )
    assert (run["done"], run["total"], run["percent"], run["unit"]) == (61, 100, 61, "tracks")
    assert (run["pid"], run["hung"], run["process"]) == (running.pid, False, "running")
    assert "working: convert, post hook, 61 %" in project.run("status").succeeded().stdout
    gate.open()
    result_of(running).succeeded()
    assert project.run("status", "--json").json["run"] is None
    assert not [path for path in (project.data / ".fietsupdate").iterdir() if "run.json" in path.name]


def test_a_run_is_followed_until_it_ends(project, running, gate):
    watching = project.start("status", "--watch")
    assert watching.stdout.readline() == "working: convert, post hook, 61 %\n"
    gate.open()
    result_of(running).succeeded()
    rest = result_of(watching).succeeded().stdout.splitlines()
    assert [line.split()[:2] for line in rest if line.startswith("State")] == [["State", "okay"]]


def test_a_run_is_followed_as_json_until_it_ends(project, running, gate):
    watching = project.start("status", "--watch", "--json")
    assert json.loads(watching.stdout.readline())["run"]["percent"] == 61
    gate.open()
    result_of(running).succeeded()
    last = result_of(watching).succeeded().stdout
    assert json.loads(last[last.index("{\n") :])["state"] == "okay"


def test_where_nothing_runs_there_is_nothing_to_follow(project):
    assert project.run("status", "--watch").stdout == project.run("status").stdout


def test_a_run_goes_on_beating_in_a_long_hook_that_has_forked(project, running):
    first = run_file.read_run(project.data).state.beat
    assert until(lambda: run_file.read_run(project.data).state.beat > first)


def test_a_run_goes_on_beating_in_a_long_commit(make_project):
    """A deferred trigger waits at COMMIT for a lock that this test holds."""
    project = make_project(kind=POSTGRESQL)
    wait = (
        "op.execute('CREATE TABLE t (id int)')\n"
        "op.execute('CREATE FUNCTION waits() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END$$')\n"
        "op.execute('CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION waits()')\n"
        "op.execute('INSERT INTO t VALUES (1)')"
    )
    project.revision("r1", None, wait)
    project.update("first", (), "r1")
    with project.database.connect() as holder:
        holder.exec_driver_sql("SELECT pg_advisory_lock(4711)")
        child = project.start("update", "--yes")
        waiting = "SELECT count(*) FROM pg_locks WHERE objid = 4711 AND NOT granted"
        until(lambda: holder.exec_driver_sql(waiting).scalar())
        state = until(lambda: (s := run_file.read_run(project.data).state).phase == "finishing" and s)
        assert state.update_id == "first"
        assert until(lambda: run_file.read_run(project.data).state.beat > state.beat + 2000)
        holder.exec_driver_sql("SELECT pg_advisory_unlock(4711)")
        result_of(child).succeeded()


def test_a_stopped_run_gives_no_sign_of_life_and_goes_on_as_it_is_proposed(project, running, gate):
    running.send_signal(signal.SIGSTOP)
    until(lambda: run_file.read_run(project.data).process == "stopped")
    grow_old(project, HUNG + 160)
    said = " ".join(project.run("status").succeeded().stdout.split())
    assert "no sign of life for 3 minutes (process stopped); last: convert, post hook, 61 %" in said
    assert project.run("status", "--json").json["run"]["hung"] is True
    assert f"Type `kill -CONT {running.pid}`" in said
    os.kill(running.pid, signal.SIGCONT)
    gate.open()
    result_of(running).succeeded()


def test_what_a_killed_run_has_left_is_no_run(project, running):
    running.kill()
    running.wait()
    assert (project.data / ".fietsupdate" / "run.json").exists()
    assert run_file.read_run(project.data) is None
    assert project.run("status", "--json").json["run"] is None
    project.run("recover", "--yes").succeeded()
    assert not (project.data / ".fietsupdate" / "run.json").exists()


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"nonsense", b'{"command": 1}', b'{"command": "\xff"}', b"x" * 100_000, b"[" * 10_000],
)
def test_a_run_file_that_makes_no_sense_is_none(tmp_path, text):
    (make_home(tmp_path) / "run.json").write_bytes(text)
    with hold(tmp_path, timeout=0, on_wait=print, command="fietsupdate update"):
        assert run_file.read_run(tmp_path) is None


def test_a_run_file_cannot_make_a_reader_wait_or_follow(tmp_path):
    os.mkfifo(make_home(tmp_path) / "run.json")
    assert run_file.read(tmp_path) is None
    os.unlink(tmp_path / ".fietsupdate" / "run.json")
    os.symlink("/dev/zero", tmp_path / ".fietsupdate" / "run.json")
    assert run_file.read(tmp_path) is None


def test_a_text_of_a_hook_cannot_move_the_cursor(tmp_path):
    make_home(tmp_path)
    state = run_file.begun("update")
    with (
        hold(tmp_path, timeout=0, on_wait=print, command="fietsupdate update"),
        run_file.kept(tmp_path, lambda: state),
    ):
        file = tmp_path / ".fietsupdate" / "run.json"
        file.write_text(file.read_text().replace('"unit": ""', '"unit": "\\u001b[31m"'))
        assert run_file.read(tmp_path).unit == "\\x1b[31m"


def test_a_run_whose_folder_cannot_be_written_tells_nothing_and_goes_on(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    make_home(tmp_path)
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *a, **k: full() if path == ".run.json.new" else real(path, *a, **k))
    with run_file.kept(tmp_path, lambda: run_file.begun("update")):
        assert run_file.read(tmp_path) is None


def test_the_state_of_a_run_is_the_fold_of_its_events():
    from fietsupdate.commands.working import Working

    time_of = iter([0.0, 10.0])
    working = Working(run_file.begun("update"), clock=lambda: next(time_of))
    for kind, names in (
        ("plan", {"details": {"steps": ["a", "b"]}}),
        ("backup_begun", {"text": "2026"}),
        ("backup_part", {"text": "database"}),
        ("progress", {"text": "dumped", "details": {"done": 5, "total": 10, "unit": "bytes", "rate": 1, "left": 5.0}}),
    ):
        working(Event(kind, "", **names))
    state = working.state
    assert (state.steps, state.phase, state.part, state.percent, state.left) == (2, "backup", "database", 50, 5)
    for kind, names in (
        ("backup_finished", {}),
        ("update_begun", {"update_id": "a", "direction": "up"}),
        ("phase_begun", {"phase": "pre"}),
        ("progress", {"text": "tracks", "details": {"done": 0, "total": 100}}),
        ("progress", {"text": "tracks", "details": {"done": 20, "total": 100}}),
    ):
        working(Event(kind, "", **names))
    state = working.state
    assert (state.update_id, state.step, state.phase, state.part) == ("a", 1, "pre", "")
    assert (state.percent, state.rate, state.left) == (20, 2, 40)
    working(Event("phase_finished", "", phase="post"))
    assert (working.state.phase, working.state.percent) == ("finishing", None)
    working(Event("update_finished", ""))
    assert (working.state.update_id, working.state.phase) == ("", "")
