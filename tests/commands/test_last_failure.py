"""The last run that failed is remembered until one succeeds; the note is read as if a stranger had written it."""

from __future__ import annotations

import json
import os

import pytest

from fietsupdate.filesystem import last_failure
from fietsupdate.model import Failure
from support.databases import KINDS, SQLITE
from support.notes import notes

FAILS = "raise RuntimeError('the \\x1b[31mcause')"


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_failed_is_told_until_an_update_succeeds(make_project, kind):
    project = notes(make_project(kind=kind), 1)
    project.run("update", "--yes").succeeded()
    script = project.update("v2", "v1", "r1", up_post=FAILS)
    project.run("update", "--yes").exited(1)
    told = project.run("status", "--json").succeeded().json["last_failure"]
    assert (told["update_id"], told["direction"], told["phase"]) == ("v2", "up", "post")
    assert "RuntimeError: the \\x1b[31mcause" in told["error"]
    assert told["time"].endswith("Z")
    for command in ("status", "history"):
        shown = project.run(command).succeeded().stdout
        assert "update v2 (up, phase post)" in shown
        assert "\x1b" not in shown
    assert project.run("history", "--json").json["last_failure"] == told
    script.write_text(script.read_text().replace(FAILS, "pass"))
    project.run("update", "--yes").succeeded()
    assert project.run("status", "--json").json["last_failure"] is None
    assert "Failed" not in project.run("history").stdout


@pytest.mark.parametrize("command", [["stamp", "v2", "--yes"], ["downgrade", "base", "--yes"]])
def test_whatever_else_succeeds_ends_it_too(make_project, command):
    project = notes(make_project(kind=SQLITE), 1)
    project.run("update", "--yes").succeeded()
    project.update("v2", "v1", "r1", up_pre=FAILS)
    project.run("update", "--yes").exited(1)
    project.run(*command).succeeded()
    assert project.run("status", "--json").json["last_failure"] is None


def test_an_update_that_was_withdrawn_is_forgotten_by_an_update_with_nothing_to_do(project):
    notes(project, 1)
    script = project.update("v2", "v1", "r1", up_pre=FAILS)
    project.run("update", "--yes").exited(1)
    script.unlink()
    project.run("update", "--yes").succeeded()
    assert project.run("status", "--json").json["last_failure"] is None


def _pipe(path):
    os.mkfifo(path)


NOTES = {
    "a pipe": _pipe,
    "a folder": lambda path: path.mkdir(),
    "a link": lambda path: path.symlink_to("/etc/hostname"),
    "too large": lambda path: path.write_text(" " * last_failure.MOST_BYTES + "{}"),
    "no JSON": lambda path: path.write_text("{"),
    "another shape": lambda path: path.write_text('["time"]'),
    "no texts": lambda path: path.write_text(json.dumps(dict.fromkeys(Failure.__dataclass_fields__, 1))),
    "nested": lambda path: path.write_text("[" * 60_000),
}


@pytest.mark.parametrize("kind", NOTES)
def test_a_note_that_is_not_ours_is_none_and_is_replaced(tmp_path, kind):
    (tmp_path / ".fietsupdate").mkdir()
    NOTES[kind](tmp_path / ".fietsupdate" / "failure")
    assert last_failure.noted(tmp_path) is None
    last_failure.note(tmp_path, Failure("2026-11-28T20:00:00.000Z", "v2", "up", "post", "x" * 100_000))
    found = last_failure.noted(tmp_path)
    assert (found is None) == (kind == "a folder")
    assert found is None or len(found.error) == last_failure.LONGEST
    last_failure.forget(tmp_path)
    assert last_failure.noted(tmp_path) is None


def test_a_note_that_cannot_be_written_hides_nothing(tmp_path):
    last_failure.note(tmp_path / "missing", Failure("", "", "", "", "the cause"))
    last_failure.forget(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_an_update_that_is_killed_again_and_again_says_so(make_project):
    """Status does while it lies open, the next run does, and a success ends it."""
    project = notes(make_project(kind=SQLITE), 1)
    project.run("update", "--yes").succeeded()
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    script = project.update("v2", "v1", "r1", up_post=kill)

    def codes():
        return [problem["code"] for problem in project.run("status", "--json").json["problems"]]

    assert project.run("update", "--yes").code == -9
    assert codes() == ["interrupted"]
    assert project.run("update", "--yes").code == -9
    assert codes() == ["interrupted", "interrupted_again"]
    recovered = project.run("recover").succeeded()
    assert "The update v2 was interrupted 2 times since a run succeeded" in recovered.output
    assert "startupProbe" in recovered.output
    assert codes() == ["interrupted_again"]
    script.write_text(script.read_text().replace(kill, "pass"))  # what ended it does so no longer
    assert "v2" in project.run("rehearse").succeeded().stdout
    assert codes() == ["interrupted_again"]
    project.run("update", "--yes").succeeded()
    assert codes() == []


@pytest.mark.parametrize(
    "text", ["", "[]", '{"update_id": "v1", "times": true}', '{"update_id": 5, "times": 3}', "x" * 5000]
)
def test_a_count_that_makes_no_sense_is_ignored(project, text):
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    (project.data / ".fietsupdate" / "interruptions").write_text(text)
    assert project.run("status", "--json").succeeded().json["problems"] == []
