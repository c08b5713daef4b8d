"""Probes: what an orchestrator is answered, how quickly, and that no update is killed for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from fietsupdate import Updater
from fietsupdate.cli import quick
from fietsupdate.filesystem import run_file
from fietsupdate.model import run_state
from support.databases import create
from support.notes import notes
from support.projects import Project, result_of
from support.running import Gate, grow_old, until

KINDS = ("liveness", "readiness", "startup")


def asked(project: Project, kind: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Ask as an orchestrator does."""
    return subprocess.run(
        [project.python, "-m", "fietsupdate", "probe", kind, *more],
        cwd=project.root,
        env=project._environment(None),
        capture_output=True,
        text=True,
        check=False,
    )


def quickly(project: Project, kind: str, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """Ask the quick answer alone."""
    monkeypatch.chdir(project.root)
    return quick.answered(["probe", kind], {})


def rewrite(project: Project, old: str, new: str) -> None:
    path = project.updates / "upd_v3.py"
    path.write_text(path.read_text().replace(old, new))


def apply(project: Project, *words: str) -> None:
    project.run(*words, "--yes").succeeded()


def opened(project: Project) -> None:
    """A run was killed in the middle of an update."""
    project.update("v4", "v3", "r3", up_post="import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    project.run("update", "--yes")


STATES: dict[str, Callable[[Project], object]] = {
    "new": lambda _: None,
    "up to date": lambda p: apply(p, "update"),
    "behind": lambda p: apply(p, "update", "v2"),
    "reverted": lambda p: (apply(p, "update"), apply(p, "downgrade", "v2")),
    "reverted and updated": lambda p: (apply(p, "update"), apply(p, "downgrade", "v2"), apply(p, "update")),
    "all reverted": lambda p: (apply(p, "update"), apply(p, "downgrade", "base")),
    "stamped": lambda p: (p.alembic("upgrade", "r3"), apply(p, "stamp", "v3")),
    "stamped below": lambda p: (apply(p, "update"), apply(p, "stamp", "v2")),
    "a script is new": lambda p: (apply(p, "update"), p.update("v4", "v3", "r3")),
    "a script is gone": lambda p: (apply(p, "update"), (p.updates / "upd_v3.py").unlink()),
    "a script has changed": lambda p: (apply(p, "update"), rewrite(p, "Update v3", "Update v3, changed")),
    "line ends have changed": lambda p: (apply(p, "update"), rewrite(p, "\n", "\r\n")),
    "VERSION is older": lambda p: (apply(p, "update"), (p.data / "VERSION").write_text("v2")),
    "VERSION is gone": lambda p: (apply(p, "update"), (p.data / "VERSION").unlink()),
    "the ledger is damaged": lambda p: (apply(p, "update"), (p.data / ".fietsupdate/ledger.jsonl").write_text("{}\n")),
    "interrupted": lambda p: (apply(p, "update"), opened(p)),
    "no data": lambda p: p.data.rmdir(),
}


@pytest.mark.parametrize("state", STATES)
def test_an_instance_is_ready_when_check_says_so(project, state, monkeypatch):
    """The database fits its files in all of these states, so the files must lead to the same answer."""
    notes(project)
    STATES[state](project)
    okay = project.run("check").code == 0
    answer = Updater.from_config(project.ini).probe("readiness")
    assert answer.passed == okay, answer
    assert quickly(project, "readiness", monkeypatch) in ({None, 0} if okay else {None})
    assert quickly(project, "liveness", monkeypatch) == 0
    assert Updater.from_config(project.ini).probe("startup").passed == okay


def test_the_usual_answers_are_quick_and_the_others_are_the_same(project, monkeypatch, capsys):
    notes(project)
    said = [asked(project, kind) for kind in KINDS]
    assert [one.returncode for one in said] == [0, 1, 1]
    assert said[0].stdout == "alive: nothing runs\n"
    assert said[1].stdout == "not ready: outdated: 3 updates wait: v1, v2, v3\n"
    assert said[2].stdout == "not started: outdated: 3 updates wait: v1, v2, v3\n"
    apply(project, "update")
    for kind, answer in zip(KINDS, ("alive: nothing runs", "ready: up to date", "started: up to date"), strict=True):
        assert quickly(project, kind, monkeypatch) == 0
        assert capsys.readouterr().out == f"{answer}\n"
        assert project.run("probe", kind).succeeded().stdout == f"{answer}\n"
        assert asked(project, kind, "--json").stdout == project.run("probe", kind, "--json").succeeded().stdout
    assert asked(project, "readiness", "--database").stdout == "ready: up to date\n"


def test_a_database_that_does_not_fit_is_seen_where_it_is_asked(project):
    notes(project)
    apply(project, "update")
    project.database.drop()
    assert asked(project, "readiness").returncode == 0
    assert asked(project, "readiness", "--database").returncode == 1


def test_what_is_typed_wrongly_is_told(project):
    said = project.run("probe", "readyness").exited(2)
    assert "there are liveness, readiness, startup" in said.told


LOADED = """
import sys
sys.argv = ["fietsupdate", "probe", sys.argv[1]]
from fietsupdate.cli import process
code = process()
print(code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("up_to_date", [True, False])
def test_a_probe_imports_neither_alembic_nor_sqlalchemy_and_the_usual_one_hardly_anything(project, kind, up_to_date):
    notes(project)
    if up_to_date:
        apply(project, "update")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, kind], cwd=project.root, capture_output=True, text=True, check=True
    )
    _answer, found = done.stdout.splitlines()
    code, *modules = found.split()
    assert int(code) == (not up_to_date and kind != "liveness")
    assert not {"alembic", "sqlalchemy", "rich", "jinja2", "pydantic"} & {*modules}
    if code == "0":
        assert not {"typer", "dataclasses", "typing", "pathlib"} & {*modules}


@pytest.mark.parametrize(
    "section",
    [
        {"setup": "application:for_updates"},
        {"distribution": "alembic"},
        {"updates": "alembic:updates"},
        {"data_dir": "~/data"},
        {"data_dir": "%(missing)s/data"},
    ],
)
def test_what_is_unusual_is_left_to_the_whole_program(tmp_path, section, monkeypatch):
    project = Project.create(tmp_path / "project", create("sqlite", tmp_path), section=section)
    assert quickly(project, "readiness", monkeypatch) is None
    (project.root / "pyproject.toml").write_text("[tool.fietsupdate]\ndata_dir = 'elsewhere'\n")
    assert quickly(project, "liveness", monkeypatch) is None


def test_a_run_that_works_is_alive_and_started_and_not_ready(project, monkeypatch, capsys):
    gate = Gate(project)
    child = project.start("update", "--yes")
    try:
        until(gate.reached)
        assert [asked(project, kind).returncode for kind in KINDS] == [0, 1, 0]
        assert quickly(project, "liveness", monkeypatch) == 0
        assert capsys.readouterr().out == "alive: working: convert, post hook, 61 %\n"
        assert asked(project, "startup").stdout == "started: working: convert, post hook, 61 %\n"
        assert asked(project, "readiness").stdout == "not ready: working: convert, post hook, 61 %\n"
        assert json.loads(asked(project, "liveness", "--json").stdout)["run"]["update_id"] == "convert"
        gate.open()
        result_of(child).succeeded()
    finally:
        child.kill()
        child.communicate()
    assert [asked(project, kind).returncode for kind in KINDS] == [0, 0, 0]


def test_a_stopped_run_is_hung(project):
    gate = Gate(project)
    child = project.start("update", "--yes")
    try:
        until(gate.reached)
        child.send_signal(signal.SIGSTOP)
        until(lambda: run_file.read_run(project.data).process == "stopped")
        grow_old(project, 200)
        for kind, word in (("liveness", "hung"), ("startup", "not started")):
            said = asked(project, kind)
            assert said.returncode == 1
            assert said.stdout.startswith(f"{word}: no sign of life for 3 minutes (process stopped); last: convert")
    finally:
        child.kill()
        child.communicate()


def test_a_probe_that_kills_what_is_hung_lets_a_long_update_end(project, monkeypatch):
    """Time runs ten times as fast: the update beats each 0.2 s, and is hung after 2 s; it takes three times as long."""
    fast = "import fietsupdate.filesystem.run_file as file\nfile.BEAT = 0.2\nfile.PAUSE = 0.05"
    monkeypatch.setattr(run_state, "HUNG", 2.0)
    gate = Gate(project, head=fast)
    child = project.start("update", "--yes")
    updater, asked_for = Updater.from_config(project.ini), 0

    def probed() -> bool:
        nonlocal asked_for
        asked_for += 1
        if not updater.probe("liveness").passed:
            child.kill()
            return True
        seen = run_file.read_run(project.data)
        return bool(gate.reached() and seen and seen.state.beat / 1000 > begun + 3 * run_state.HUNG)

    until(gate.reached)
    begun = run_file.read_run(project.data).state.beat / 1000
    until(probed)
    gate.open()
    result_of(child).succeeded()
    assert asked_for > 30
    assert os.path.exists(project.data / "VERSION")


def test_the_two_limits_are_one():
    assert quick.HUNG == run_state.HUNG
