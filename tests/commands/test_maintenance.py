"""Nothing is changed under an application that runs; the maintenance file stands while anything is, and no longer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from itertools import cycle

import pytest

from fietsupdate import Updater
from fietsupdate.commands import maintenance
from fietsupdate.errors import ConfigError, FietsupdateError, RefusedError, StoppedError
from fietsupdate.process import Stop
from support.injection import FILES, Injection
from support.notes import hooks, notes
from support.projects import Project
from support.zygote import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture
def make(make_project):
    """Give a function that makes the application of three releases, with more keys in its section."""

    def make(count: int = 3, **section: str) -> Project:
        return notes(make_project(section=section), count)

    return make


def updater(project: Project, **options: str) -> Updater:
    return Updater.from_config(project.ini, options=options)


def sign(project: Project):
    return project.root / "maintenance"


def own_files(project: Project) -> set[str]:
    return {path.name for path in (project.data / ".fietsupdate").iterdir()} - {"txn", "done", "failure"}


# running


def test_while_the_application_runs_nothing_is_updated(make):
    project = make(running="test -e running.pid")
    (project.root / "running.pid").touch()
    with pytest.raises(RefusedError) as caught:
        updater(project).update()
    error = caught.value
    assert error.code == "application_running"
    assert error.message == "The application is running: `test -e running.pid` says so."
    assert (error.stands, error.hint) == ("Nothing was changed.", "Stop it, and type the command again.")
    assert project.traces() == []
    assert project.database.tables() == []


def test_nor_downgraded(make):
    project = make(running="test -e running.pid")
    updater(project).update()
    (project.root / "running.pid").touch()
    with pytest.raises(RefusedError, match="application is running"):
        updater(project).downgrade("v1")
    assert updater(project).status().current == ("v3",)


def test_recover_and_stamp_ask_only_where_something_lies_open(make, zygote):
    """`update` settles it out of service, too; otherwise they change nothing of the application's."""
    project = make(1, running="test -e running.pid")
    project.update("v1", (), None, up_pre="self.files.write('new', b'')\nimport os; os.kill(os.getpid(), 9)")
    recover, stamp = updater(project).recover, lambda: updater(project).stamp("base")
    (project.root / "running.pid").touch()
    recover()
    stamp()
    project.environment["FIETSUPDATE_RUNNING"] = "false"
    assert zygote.run(project, ["update", "--yes"]).was_killed
    for settle in (recover, stamp):
        with pytest.raises(RefusedError, match="application is running"):
            settle()
        assert (project.data / "new").exists()
    (project.root / "running.pid").unlink()
    recover()
    assert not (project.data / "new").exists()


def test_a_dry_run_refuses_as_the_real_run_would(make):
    project = make(running="true")
    with pytest.raises(RefusedError, match="application is running"):
        updater(project).plan()


def test_when_it_does_not_run_everything_goes_on(make):
    project = make(running="test -e running.pid")
    assert updater(project).update().current == ("v3",)


def test_an_instance_that_is_up_to_date_does_not_ask(make):
    project = make(running="test -e running.pid")
    updater(project).update()
    (project.root / "running.pid").touch()
    assert updater(project).update().done == ()
    assert not updater(project).plan()


def test_the_command_is_the_shells_and_runs_beside_the_configuration(make):
    project = make(running="echo $$ | grep -q . && test -f alembic.ini && test -d migrations")
    with pytest.raises(RefusedError, match="application is running"):
        updater(project).update()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("no-such-command-anywhere", "there is no such command"),
        ("./alembic.ini", "it cannot be executed"),
        ("kill -9 $$", "it was ended by a signal"),
        ("sh -c 'kill -9 $$'; exit $?", "it was ended by a signal"),
    ],
)
def test_no_answer_is_not_taken_for_a_no(make, command, reason):
    project = make(running=command)
    with pytest.raises(RefusedError) as caught:
        updater(project).update()
    assert caught.value.code == "running_unknown"
    assert caught.value.message == (
        f"Whether the application runs cannot be told: `{command}` gave no answer, {reason}."
    )
    assert caught.value.stands == "Nothing was changed."
    assert project.traces() == []


def test_a_command_that_hangs_is_ended_with_its_children(make, monkeypatch):
    project = make(running="sleep 1000 & echo $! > child.pid; wait")
    monkeypatch.setattr(maintenance, "LONGEST_ANSWER", 0.3)
    with pytest.raises(RefusedError, match=r"gave no answer, not within 0.3 seconds"):
        updater(project).update()
    child = int((project.root / "child.pid").read_text())
    assert not alive(child)


def alive(pid: int) -> bool:
    """Tell whether a process still does anything; one that nobody has waited for yet does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def test_for_a_single_run_the_environment_outranks_the_file(make, zygote):
    project = make(running="true")
    project.environment["FIETSUPDATE_RUNNING"] = "false"
    zygote.run(project, ["update", "--yes"]).succeeded()


# maintenance


SEEN = "self.tell(Path({!r}).read_text())"


def test_the_file_stands_while_an_update_runs_and_says_who_works(make):
    project = make(maintenance="%(here)s/maintenance")
    project.update("v4", "v3", None, up_pre=SEEN.format(str(sign(project))))
    told = []
    updater(project).update(on_event=told.append)
    [text] = [event.text for event in told if event.event == "tell"]
    content = json.loads(text)
    assert content["pid"] == os.getpid()
    assert content["command"] == "fietsupdate update"
    assert content["since"].endswith("Z")
    assert not sign(project).exists()
    assert own_files(project) == {"lock", "ledger.jsonl"}


def test_and_while_a_downgrade_runs(make):
    project = make(maintenance="%(here)s/maintenance")
    project.update("v4", "v3", None, down_post=SEEN.format(str(sign(project))))
    updater(project).update()
    told = []
    updater(project).downgrade("v3", on_event=told.append)
    [text] = [event.text for event in told if event.event == "tell"]
    assert json.loads(text)["command"] == "fietsupdate downgrade"
    assert not sign(project).exists()


def test_it_is_removed_when_the_update_fails(make):
    project = make(maintenance="%(here)s/maintenance")
    project.update("v4", "v3", None, up_pre="raise ValueError('no')")
    with pytest.raises(FietsupdateError, match="no"):
        updater(project).update()
    assert not sign(project).exists()
    assert own_files(project) == {"lock", "ledger.jsonl"}


def test_it_can_be_read_by_whoever_may_read_its_folder(make):
    project = make(maintenance="%(here)s/maintenance")
    project.root.chmod(0o755)
    project.update("v4", "v3", None, up_pre=f"self.tell(oct(Path({str(sign(project))!r}).stat().st_mode))")
    told = []
    updater(project).update(on_event=lambda event: told.append(event.text))
    assert "0o100644" in told


def test_an_instance_that_is_up_to_date_is_not_taken_out_of_service(make, zygote):
    project = make(maintenance="%(here)s/maintenance")
    updater(project).update()
    run = zygote.run(project, ["update", "--yes"], Injection(kinds=(FILES,))).succeeded()
    assert [event for event in run.seen if "maintenance" in event] == []


def test_a_file_of_somebody_else_stays_and_is_told(make):
    project = make(maintenance="%(here)s/maintenance")
    sign(project).write_text("back at noon")
    told = []
    report = updater(project).update(on_event=lambda event: told.append((event.event, event.text)))
    warning = f"The maintenance file {sign(project)} was there before; it is left as it is, also afterwards."
    assert ("warning", warning) in told
    assert report.current == ("v3",)
    assert sign(project).read_text() == "back at noon"
    assert own_files(project) == {"lock", "ledger.jsonl"}


def test_a_file_that_somebody_else_puts_in_its_place_meanwhile_stays(make):
    project = make(maintenance="%(here)s/maintenance")
    put = f"Path({str(sign(project))!r}).unlink(); Path({str(sign(project))!r}).write_text('mine')"
    project.update("v4", "v3", None, up_post=put)
    updater(project).update()
    assert sign(project).read_text() == "mine"


@pytest.mark.parametrize("place", ["data/maintenance", "media/down/maintenance"])
def test_it_must_not_lie_where_updates_work(make, place):
    project = make(maintenance=f"%(here)s/{place}", extra_dirs="media=%(here)s/media")
    (project.root / "media" / "down").mkdir(parents=True)
    with pytest.raises(FietsupdateError, match="where all files belong to updates and backups") as caught:
        updater(project).plan()
    assert (caught.value.code, caught.value.stands) == ("config", "Nothing was changed.")


def test_a_folder_of_its_name_is_refused(make):
    """A web server that looks for the file would go on serving."""
    project = make(maintenance="%(here)s/updates")
    with pytest.raises(ConfigError, match="updates is a folder, so no server would see") as caught:
        updater(project).update()
    assert caught.value.hint.endswith(f"maintenance = {project.updates}/maintenance")
    assert project.traces() == []


def test_its_folder_must_be_there_before_anything_changes(make):
    project = make(maintenance="%(here)s/nowhere/maintenance")
    with pytest.raises(FietsupdateError) as caught:
        updater(project).update()
    path = project.root / "nowhere" / "maintenance"
    assert caught.value.message == f"The maintenance file {path} cannot be created: its folder does not exist."
    assert project.traces() == []


# killed, and stopped


def strikes(project: Project, zygote: Zygote, *args: str) -> list[int]:
    """Give the numbers of the events at which the file comes and goes, and of those right after them."""
    updater(project).update()  # the first one also makes the ledger
    again(project)
    seen = zygote.run(project, args, Injection()).succeeded().seen
    at = [number for number, event in enumerate(seen, start=1) if "maintenance" in event]
    assert len(at) > 5, seen
    return sorted({*at, *(number + 1 for number in at)})


def again(project: Project) -> None:
    """Revert everything, as nothing had happened."""
    updater(project, maintenance=str(project.root / "other")).downgrade("base")


def test_after_a_kill_at_any_moment_the_next_run_removes_it(make, zygote):
    project = make(1, maintenance="%(here)s/maintenance")
    for number, way in zip(strikes(project, zygote, "update", "--yes"), cycle(["recover", "update"]), strict=False):
        again(project)
        killed = zygote.run(project, ["update", "--yes"], Injection("kill", number))
        assert killed.was_killed
        zygote.run(project, [way, "--yes"]).succeeded()
        about = f"killed at {killed.fired}, then {way}"
        assert not sign(project).exists(), about
        assert [path.name for path in project.root.glob(".maintenance*")] == [], about
        if way == "recover":  # an update that finds nothing to do has no reason to tidy up a note without a file
            assert own_files(project) == {"lock", "ledger.jsonl"}, about


def test_a_signal_at_any_moment_leaves_no_file(make, zygote):
    project = make(1, maintenance="%(here)s/maintenance")
    numbers = strikes(project, zygote, "update", "--yes")[::2]
    for number, name in zip(numbers, cycle(["SIGTERM", "SIGINT"]), strict=False):
        again(project)
        stopped = zygote.run(project, ["update", "--yes"], Injection(name, number))
        assert stopped.fired
        assert not sign(project).exists(), stopped.fired
        assert own_files(project) == {"lock", "ledger.jsonl"}, stopped.fired


def test_a_second_signal_while_the_first_one_is_obeyed_leaves_no_file(make, monkeypatch):
    """It comes in the one moment before signals are held; the next station removes the file."""
    project = make(1, maintenance="%(here)s/maintenance")
    project.update("v2", "v1", None, up_pre="import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    take_down, at = maintenance._take_down, []

    def interrupted(site, signals, tell, *, killed=False):
        at.append(sign(project).exists())
        if len(at) == 1:
            raise Stop(signal.SIGINT)
        take_down(site, signals, tell, killed=killed)

    monkeypatch.setattr(maintenance, "_take_down", interrupted)
    with pytest.raises(StoppedError):
        updater(project).update()
    assert at == [True, True]
    assert not sign(project).exists()
    assert own_files(project) == {"lock", "ledger.jsonl"}


def test_what_a_killed_run_left_is_told(make, zygote):
    project = make(maintenance="%(here)s/maintenance")
    project.update("v4", "v3", None, up_post="import os; os.kill(os.getpid(), 9)")
    assert zygote.run(project, ["update", "--yes"]).was_killed
    project.update("v4", "v3", None)
    [problem] = [one for one in updater(project).status().problems if one.code == "maintenance_left"]
    assert problem.message == f"The maintenance file {sign(project)} was left by a run that was killed."
    assert not problem.blocks
    assert "fietsupdate recover" in problem.hint
    told = zygote.run(project, ["recover"]).succeeded()
    assert f"had left the maintenance file {sign(project)}; it is removed now" in told.stdout
    assert updater(project).update().done == ("v4",)


def test_an_update_with_nothing_to_do_removes_what_a_killed_run_left(make, zygote):
    project = make(1, maintenance="%(here)s/maintenance")
    last = strikes(project, zygote, "update", "--yes")
    next(number for number in reversed(last) if killed_with_its_file(project, zygote, number))
    assert updater(project).status().current == ("v1",)
    assert updater(project).update().done == ()
    assert not sign(project).exists()
    assert project.traces()[-2:] == hooks("v1")


def killed_with_its_file(project: Project, zygote: Zygote, number: int) -> bool:
    """Kill an update of the whole, and tell whether its file still stands."""
    again(project)
    zygote.run(project, ["update", "--yes"], Injection("kill", number))
    return sign(project).exists()


def test_a_file_that_cannot_be_removed_is_told_and_the_update_stands(make, zygote):
    project = make(1, maintenance="%(here)s/maintenance")
    strikes(project, zygote, "update", "--yes")
    again(project)
    seen = zygote.run(project, ["update", "--yes"], Injection()).succeeded().seen
    removal = max(at for at, event in enumerate(seen, 1) if event == "files: os.remove maintenance") - 2
    again(project)
    run = zygote.run(project, ["update", "--yes"], Injection("EACCES", removal, every=True)).succeeded()
    assert f"Warning: The maintenance file {sign(project)} could not be removed: " in run.stdout
    assert "\n1 update applied in " in run.stdout
    assert sign(project).exists()
    assert updater(project).update().done == ()
    assert not sign(project).exists()
