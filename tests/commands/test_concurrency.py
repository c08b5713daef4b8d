"""Several updaters at once, on each kind of database: one works, the others wait or say for whom they do not wait."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.projects import Project, result_of

REPLICAS = 10
TABLE = "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))"
COLUMN = "op.add_column('t', sa.Column('x', sa.String(20)))"


def written(project: Project, *, post: str = "pass") -> Project:
    """Write three updates, one - two - three; the post hook of the second is `post`."""
    project.revision("aaaa", None, TABLE)
    project.revision("bbbb", "aaaa", COLUMN)
    write = "self.files.write({name!r}, {name!r})"
    project.update("one", (), "aaaa", up_pre=project.trace("one pre"), up_post=write.format(name="one.txt"))
    project.update(
        "two", "one", "bbbb", up_pre=f"{project.trace('two pre')}\n{write.format(name='two.txt')}", up_post=post
    )
    project.update("three", "two", "bbbb", up_post=project.trace("three post"), atomic=False)
    return project


def held(project: Project) -> Project:
    """Write the updates so that the second one's post hook waits until it is let go."""
    for name in ("inside", "go"):
        os.mkfifo(project.root / name)
    inside, go = str(project.root / "inside"), str(project.root / "go")
    return written(project, post=f"open({inside!r}, 'w').close(); open({go!r}).close()")


@contextmanager
def in_the_hook(project: Project) -> Iterator[subprocess.Popen[str]]:
    """Start an update, and come back when its hook waits."""
    with project.start("update", "--yes", "--json") as child:
        try:
            Path(project.root / "inside").open().close()
            yield child
        finally:
            child.kill()


def test_ten_at_once_run_every_hook_once_and_all_succeed(any_project: Project) -> None:
    project = written(any_project)
    children = [project.start("update", "--yes") for _ in range(REPLICAS)]
    for child in children:
        result_of(child).succeeded()
    assert project.traces() == ["one pre", "two pre", "three post"]
    assert project.version == "three"
    project.run("check").succeeded()


def test_whoever_looks_meanwhile_sees_an_update_at_work(any_project: Project) -> None:
    project = held(any_project)
    with in_the_hook(project) as child:
        assert project.run("check").code == 8
        status = project.run("status", "--json").succeeded().json
        assert status["state"] == "updating"
        refused = project.run("update", "--yes", "--json", "--lock-timeout", "0").exited(8).events[-1]["error"]
        assert refused["code"] == "locked"
        assert f"Process {child.pid} on " in refused["message"]
        assert refused["pid"] == child.pid
        Path(project.root / "go").open("w").close()
        out, err = child.communicate()
        assert child.returncode == 0, out + err
    assert project.traces() == ["one pre", "two pre", "three post"]


def test_who_waits_says_for_whom_and_then_finds_nothing_to_do(project: Project) -> None:
    held(project)
    with in_the_hook(project) as child, project.start("update", "--yes", "--json") as waiting:
        assert waiting.stdout is not None
        event = json.loads(waiting.stdout.readline())
        assert (event["event"], event["pid"]) == ("waiting", child.pid)
        Path(project.root / "go").open("w").close()
        child.communicate()
        out, err = waiting.communicate()
        assert waiting.returncode == 0, out + err
        assert json.loads(out.splitlines()[-1])["event"] == "finished"
    assert project.traces() == ["one pre", "two pre", "three post"]


def test_the_lock_of_a_killed_holder_is_free(any_project: Project) -> None:
    project = held(any_project)
    with in_the_hook(project) as child:
        child.kill()
        child.communicate()
    assert project.run("check").code == 7
    with project.start("update", "--yes", "--lock-timeout", "30") as after:
        Path(project.root / "inside").open().close()  # the hook runs again
        Path(project.root / "go").open("w").close()
        out, err = after.communicate()
        assert after.returncode == 0, out + err
    assert project.version == "three"


@pytest.mark.parametrize("command", ["downgrade", "stamp", "recover"])
def test_whatever_changes_an_instance_takes_the_lock(project: Project, command: str) -> None:
    held(project)
    arguments = {"downgrade": ["base"], "stamp": ["one"]}.get(command, [])
    with in_the_hook(project) as child:
        yes = [] if command == "recover" else ["--yes"]
        refused = project.run(command, *arguments, *yes, "--lock-timeout", "0").exited(8)
        assert f"Process {child.pid} on " in refused.told
