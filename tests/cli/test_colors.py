"""Colors and widths of a terminal: they set apart what the words say, and nothing depends on them."""

from __future__ import annotations

import json
import os
import pty
import re
import struct
import subprocess
import termios
from fcntl import ioctl

import pytest

from fietsupdate.cli.main import COMMANDS
from fietsupdate.cli.render.paint import painted
from support.notes import notes
from support.projects import Project

SGR = re.compile(r"\x1b\[[\d;]*m")
BAD, GOOD, WAITS, COMMAND = "\x1b[1;31m", "\x1b[32m", "\x1b[33m", "\x1b[1;36m"


def on_terminal(project: Project, *words: str, columns: int = 80, **env: str) -> str:
    """Run a command on a terminal of so many columns, and return what is written to it."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    clean = {key: value for key, value in project._environment(None).items() if "COLOR" not in key}
    process = subprocess.Popen(
        [project.python, "-m", "fietsupdate", *words],
        cwd=project.root,
        env={**clean, "TERM": "xterm", **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # as Linux tells the end
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    process.wait()
    return said.decode().replace("\r\n", "\n")


def waiting(project: Project) -> Project:
    notes(project, 2)
    project.run("update", "--yes").succeeded()
    project.update("v3", "v2", "r3", atomic=False)
    return project


def test_a_terminal_shows_the_same_words_with_colors(project):
    waiting(project)
    for words in (["status"], ["check"], ["history"], ["graph"], ["heads"], ["update", "--dry-run"], ["frobnicate"]):
        plain = project.run(*words).output
        shown = on_terminal(project, *words, columns=110)
        assert SGR.sub("", shown).split() == plain.split(), words
        assert SGR.search(shown) or words == ["heads"]


def test_state_pending_and_the_command_to_type_are_set_apart(project):
    waiting(project)
    status = on_terminal(project, "status")
    assert f"{WAITS}outdated" in status
    assert f"{WAITS}not atomic" in status
    assert f"{COMMAND}fietsupdate update" in status
    project.update("v4", "v3", "r3", up_post="raise RuntimeError('broken')")
    failed = on_terminal(project, "update", "--yes")
    assert f"{BAD}Error:" in failed
    assert f"{WAITS}Now:" in failed
    assert f"{GOOD}Next:" in failed
    assert f"{BAD}drifted" in painted("drifted: the halves do not fit together")
    assert f"{GOOD}okay" in painted("State     okay - up to date")


@pytest.mark.parametrize(
    ("env", "colored"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
    ],
)
def test_the_environment_says_whether_there_are_colors(project, env, colored):
    assert bool(SGR.search(on_terminal(project, "check", **env))) == colored


def test_without_a_terminal_there_are_colors_only_where_they_are_forced_and_never_in_json(project):
    assert not SGR.search(project.run("check").output)
    assert not SGR.search(project.run("check", env={"NO_COLOR": "", "FORCE_COLOR": "0"}).output)
    assert SGR.search(project.run("check", env={"NO_COLOR": "", "FORCE_COLOR": "1"}).output)
    assert json.loads(project.run("status", "--json", env={"NO_COLOR": "", "FORCE_COLOR": "1"}).stdout)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_help_fits_the_terminal(project, columns):
    for words in ([], *(name.split() for name in ("update", "restore", "probe"))):
        said = SGR.sub("", on_terminal(project, *words, "--help", columns=columns))
        assert max(map(len, said.splitlines())) <= max(columns, 45), words
        assert "Options:" in said
    assert {name.split()[0] for name in COMMANDS} <= set(on_terminal(project, "--help", columns=columns).split())


def test_a_name_cannot_color_anything(project):
    """What others have named is made visible before it is painted."""
    project.update("evil").write_text(
        '"""\x1b[31mred."""\nfrom fietsupdate import UpdateScript\nupdate_id = "evil"\nprevious = []\n'
        "alembic_revision = None\n\n\nclass Up(UpdateScript):\n    pass\n"
    )
    assert "\\x1b[31mred" in on_terminal(project, "status")
