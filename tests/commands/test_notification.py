"""The command of `notify` is told of a run, and fails nothing."""

from __future__ import annotations

import json
import os

import pytest

from fietsupdate import Updater
from fietsupdate.commands import notification
from fietsupdate.errors import FietsupdateError
from support.notes import notes
from support.projects import Project

WRITES = "cat >> events; echo >> events"


@pytest.fixture
def make(make_project):
    """Give a function that makes the application of three releases, with a command to notify."""

    def make(notify: str = WRITES, **section: str) -> Project:
        return notes(make_project(section={"notify": notify, **section}))

    return make


def events(project: Project) -> list[dict]:
    return [json.loads(line) for line in (project.root / "events").read_text().splitlines()]


def updater(project: Project) -> Updater:
    return Updater.from_config(project.ini)


def test_the_command_is_told_of_begin_and_end(make):
    project = make()
    updater(project).update("v2")
    begin, end = events(project)
    assert (begin["event"], begin["command"], begin["done"], begin["error"]) == ("begin", "update", [], None)
    assert (end["event"], end["done"], end["error"]) == ("end", ["v1", "v2"], None)
    assert (end["data_dir"], end["pid"], end["started"]) == (str(project.data), os.getpid(), begin["started"])


def test_the_command_is_told_of_a_failure_and_what_stands(make):
    project = make()
    project.update("v4", "v3", "r3", up_post="raise RuntimeError('broken')")
    with pytest.raises(FietsupdateError) as caught:
        updater(project).update()
    failure = events(project)[-1]
    assert (failure["event"], failure["done"]) == ("failure", ["v1", "v2", "v3"])
    assert failure["error"]["code"] == "update_failed"
    assert failure["error"]["message"] == caught.value.message
    assert failure["error"]["stands"] == caught.value.stands


def test_an_instance_that_is_up_to_date_notifies_nobody_nor_does_a_rehearsal(make):
    project = make()
    updater(project).rehearse()
    assert not (project.root / "events").exists()
    updater(project).update()
    updater(project).update()
    assert [event["event"] for event in events(project)] == ["begin", "end"]


@pytest.mark.parametrize(
    ("notify", "reason"),
    [
        ("exit 3", "its exit code was 3"),
        ("no-such-command-anywhere", "there is no such command"),
        ("kill -9 $$", "it was ended by a signal"),
        ("mkfifo fifo; cat fifo", "it took longer than 0.2 seconds"),
    ],
)
def test_a_command_that_fails_fails_nothing(make, notify, reason, monkeypatch):
    monkeypatch.setattr(notification, "LONGEST", 0.2 if "longer" in reason else 10.0)
    project = make(notify)
    report = updater(project).update()
    assert report.done == ("v1", "v2", "v3")
    assert report.warnings == (
        f"The command of `notify` failed at event begin: {reason}.",
        f"The command of `notify` failed at event end: {reason}.",
    )


def test_a_signal_is_told_as_a_failure(make):
    project = make()
    project.update("v4", "v3", "r3", up_post="import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    project.run("update", "--yes").exited(143)
    failure = events(project)[-1]
    assert (failure["event"], failure["error"]["code"]) == ("failure", "interrupted")
    assert "SIGTERM" in failure["error"]["message"]
