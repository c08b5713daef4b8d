"""The hook for commits: the ready tests that need no instance, in a user's repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.projects import Project, Result

TOP = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
HOOK = [sys.executable, "-m", "fietsupdate.testing"]


def run(project: Project, *command: str | Path, **environ: str) -> Result:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=project.root,
        env=project._environment({"PATH": path, **environ}),
        capture_output=True,
        text=True,
        check=False,
    )
    return Result([str(word) for word in command], done.returncode, done.stdout, done.stderr)


def released(project: Project) -> None:
    (project.root / "test_updates.py").write_text(
        "from fietsupdate.pytest_plugin import test_released_scripts_are_unchanged\n", encoding="utf-8"
    )
    run(project, sys.executable, "-m", "pytest", "-q", "--fietsupdate-release", "test_updates.py").succeeded()


def test_scripts_without_a_fault_pass_and_no_instance_is_made(project):
    project.update("first")
    released(project)
    project.data.rmdir()
    assert run(project, *HOOK).succeeded().stdout == "Update scripts without a fault: 1\n"
    assert not project.data.exists()


def test_every_fault_is_told_at_once(project):
    script = project.update("first")
    released(project)
    script.write_text(script.read_text(encoding="utf-8") + "\nLATER = 1\n", encoding="utf-8")
    project.update("left", "first", head="import a_module_that_is_gone")
    project.update("right", "first")
    told = run(project, *HOOK).exited(1).stderr
    assert "a_module_that_is_gone" in told
    assert "has 2 heads: " in told
    assert "(first) has changed" in told


@pytest.mark.parametrize(("text", "said"), [("previous = [", "first"), ("", "update_id")])
def test_a_script_that_cannot_be_read_is_named(project, text, said):
    script = project.update("first")
    script.write_text(text, encoding="utf-8")
    told = run(project, *HOOK).exited(1).stderr
    assert said in told


def test_pre_commit_runs_it(project, tmp_path):
    """With the hook's definition of this repository, as a user's repository gets it."""
    if not (BIN / "pre-commit").exists():
        pytest.skip("pre-commit is not installed")
    definition = tmp_path / "definition"
    definition.mkdir()
    shutil.copy(TOP / ".pre-commit-hooks.yaml", definition)
    script = project.update("first")
    home = {"PRE_COMMIT_HOME": str(tmp_path / "home"), "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=kim", "-c", "user.email=kim@example.org"]
    for folder in (definition, project.root):
        for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "all"]):
            subprocess.run(["git", "-C", folder, *words], check=True, env={**os.environ, **home})
    command = [BIN / "pre-commit", "try-repo", definition, "fietsupdate-scripts", "--all-files"]
    assert "Passed" in run(project, *command, **home).succeeded().stdout
    script.write_text(script.read_text(encoding="utf-8") + "\nimport a_module_that_is_gone\n", encoding="utf-8")
    assert "a_module_that_is_gone" in run(project, *command, **home).exited(1).stdout
