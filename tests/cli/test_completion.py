"""Command lines are completed in a shell: commands, options, ids of updates, names of backups."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fietsupdate.cli import complete
from fietsupdate.cli.main import COMMANDS
from fietsupdate.cli.shells import SCRIPTS
from support.notes import notes


def completed(line: str) -> list[str]:
    """Complete a line; a blank at its end begins a new word."""
    return complete.candidates(line.split(" "))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("up", ["update"]),
        ("update v", ["v1", "v2", "v3"]),
        ("update he", ["head", "heads"]),
        ("update v1 ", []),
        ("downgrade b", ["base"]),
        ("stamp v1 v2", ["v2"]),
        ("show v3", ["v3"]),
        ("revision --previous v", ["v1", "v2", "v3"]),
        ("update --lock-timeout ", []),
        ("update --lock-t", ["--lock-timeout"]),
        ("update --lock-timeout 3 v2", ["v2"]),
        ("--verb", ["--verbose"]),
        ("-v sho", ["show"]),
        ("probe ", ["liveness", "readiness", "startup"]),
        ("backup ", ["list", "prune", "verify"]),
        ("-c ", []),
        ("-c nowhere.ini update v", []),
    ],
)
def test_what_a_word_may_become_is_offered(project, monkeypatch, line, words):
    notes(project)
    monkeypatch.chdir(project.root)
    assert completed(line) == words


def test_every_command_is_offered_and_every_option_of_each(project, monkeypatch):
    monkeypatch.chdir(project.root)
    assert {*completed("")} == {"help", *(name.split()[0] for name in COMMANDS)}
    for name in COMMANDS:
        assert {"--help", "--config"} <= {*completed(f"{name} -")}, name


def test_backups_are_offered(project, monkeypatch):
    notes(project)
    project.run("update", "--yes").succeeded()
    project.run("backup").succeeded()
    [backup] = project.run("backup", "list", "--json").json["backups"]
    monkeypatch.chdir(project.root)
    assert completed("restore ") == completed("backup verify ") == [backup["name"]]


def test_bash_completes_with_the_script_that_is_printed(project):
    """It calls the program; where there is nothing to offer, bash goes on with files."""
    notes(project)
    script = project.run("--show-completion", "bash").succeeded().stdout
    bash = f"{script}\nCOMP_WORDS=({project.root}/fiets update v); COMP_CWORD=2\n"
    bash += f"_fietsupdate_complete {project.root}/fiets; echo ${{COMPREPLY[@]}}"
    program = project.root / "fiets"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fietsupdate "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(["bash", "-c", bash], cwd=project.root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["v1", "v2", "v3"]


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_script_of_each_shell_can_be_read_by_it(project, shell):
    script = project.run("--show-completion", shell).succeeded().stdout
    assert complete.VARIABLE in script
    if shutil.which(shell):
        assert subprocess.run([shell, "-n", "/dev/stdin"], input=script, text=True, check=False).returncode == 0


def test_a_shell_that_there_is_not_is_refused(project):
    assert "knows bash, zsh, fish" in project.run("--show-completion", "csh").exited(2).told


def test_completing_imports_nothing_heavy(project):
    notes(project)
    code = (
        "import sys; from fietsupdate.cli.complete import candidates; candidates(['update', 'v']); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(project.root), capture_output=True, text=True, check=True
    )
    assert not {"alembic", "sqlalchemy", "rich", "jinja2", "pydantic"} & {*done.stdout.split()}
