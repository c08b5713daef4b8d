"""SQLite files that other processes use while an update runs: who reads is waited for, named, and never a doubt."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager

import pytest

from support.notes import notes
from support.projects import result_of

READER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN" + sys.argv[2])
connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
print("reads", flush=True)
sys.stdin.read()
"""


@contextmanager
def somebody_at(project, begin=""):
    """Let another process read the database, or hold it for writing, as long as the block lasts."""
    command = [sys.executable, "-c", READER, str(project.database.file), begin]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "reads\n"
        yield child
        child.stdin.close()


@pytest.fixture
def project(make_project):
    project = notes(make_project(), 1)
    text = project.ini.read_text().replace(project.url, f"{project.url}?timeout=0.1")  # seconds, of the driver
    project.ini.write_text(text)
    project.run("update", "--yes").succeeded()
    (project.data / "a.txt").write_text("a")
    return project


def test_an_update_that_fails_while_somebody_reads_is_undone(project):
    project.update("v2", "v1", "r1", up_post="self.files.move('a.txt', 'b.txt')\nraise RuntimeError('the cause')")
    with somebody_at(project):
        told = project.run("update", "--yes").exited(1).told
        assert "RuntimeError: the cause" in told
        assert "Nothing of v2 stands" in told
        project.run("check").exited(3)
    assert (project.data / "a.txt").read_text() == "a"


def test_what_was_killed_is_recovered_while_somebody_reads(project):
    project.update("v2", "v1", "r1", up_post="self.files.move('a.txt', 'b.txt')\nimport os\nos.kill(os.getpid(), 9)")
    assert project.run("update", "--yes").code == -signal.SIGKILL
    with somebody_at(project):
        project.run("recover").succeeded()
    assert (project.data / "a.txt").read_text() == "a"


@pytest.mark.parametrize("variant", ["stock", "async", "swallows_errors"])
def test_a_commit_waits_for_who_reads_and_names_them(make_project, variant):
    project = notes(make_project(variant), 1)
    project.run("update", "--yes").succeeded()
    project.update("v2", "v1", "r1", up_post="self.files.write('a.txt', 'new')")
    with somebody_at(project) as reader:
        child = project.start("update", "--yes", "--json")
        events = iter(map(json.loads, child.stdout))
        waiting = next(event for event in events if event["event"] == "waiting")
        assert f"process {reader.pid} (python" in waiting["text"]
        reader.stdin.close()
        reader.wait()
        assert [event["event"] for event in events][-1] == "finished"
    result_of(child).succeeded()
    project.run("check").succeeded()


def test_who_never_stops_reading_is_named_and_both_halves_are_as_before(project, monkeypatch):
    project.update("v2", "v1", "r1", up_post="self.files.move('a.txt', 'b.txt')")
    with somebody_at(project) as reader:
        told = project.run("update", "--yes", "--lock-timeout", "0").exited(8).told
        assert f"cannot commit while another process reads it: process {reader.pid} (python" in told
        assert "Nothing of v2 stands" in told
        project.run("check").exited(3)
    assert (project.data / "a.txt").read_text() == "a"
    project.run("update", "--yes").succeeded()


def test_a_signal_ends_the_waiting_for_readers(project):
    project.update("v2", "v1", "r1", up_post="self.files.move('a.txt', 'b.txt')")
    with somebody_at(project):
        child = project.start("update", "--yes", "--json")
        for line in child.stdout:
            if json.loads(line)["event"] == "waiting":
                child.send_signal(signal.SIGINT)
                break
        result_of(child).exited(130)
        project.run("check").exited(3)
    assert (project.data / "a.txt").read_text() == "a"


def test_a_reader_within_the_update_itself_is_told_from_others(project):
    leak = f"import sqlite3, builtins\nbuiltins.leaked = sqlite3.connect({str(project.database.file)!r})\n"
    leak += "builtins.leaked.execute('BEGIN')\nbuiltins.leaked.execute('SELECT * FROM sqlite_master').fetchall()"
    project.update("v2", "v1", "r1", up_post=leak)
    told = project.run("update", "--yes", "--lock-timeout", "0").exited(8).told
    assert "no other process, so probably this one" in told
    project.run("check").exited(3)


def test_who_writes_for_longer_than_the_lock_timeout_is_named(project):
    project.update("v2", "v1", "r1")
    with somebody_at(project, " IMMEDIATE") as writer:
        told = project.run("update", "--yes", "--lock-timeout", "0").exited(8).told
        assert f"or writes to it: process {writer.pid} (python" in told


def test_a_killed_update_whose_database_is_held_by_a_writer_says_to_wait(project):
    project.update("v2", "v1", "r1", up_post="self.files.move('a.txt', 'b.txt')\nimport os\nos.kill(os.getpid(), 9)")
    assert project.run("update", "--yes").code == -signal.SIGKILL
    with sqlite3.connect(project.database.file, isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        told = project.run("recover", "--lock-timeout", "0").exited(1).told
        assert "Wait until the other process is done, or stop it; then type `fietsupdate recover`." in told
        writer.execute("ROLLBACK")
    project.run("recover").succeeded()
    assert (project.data / "a.txt").read_text() == "a"
