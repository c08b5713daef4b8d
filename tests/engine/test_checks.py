"""Checks: what the scripts and the application say before the first change, and what it says after the last one."""

from __future__ import annotations

import itertools
import json

import pytest

from fietsupdate import Updater
from fietsupdate.errors import ChecksFailedError, FietsupdateError, PostChecksFailedError, StoppedError
from fietsupdate.process import Stop
from support.notes import hooks, notes
from support.projects import Project

NUMBERS = itertools.count()
"""For the names of modules: each is imported once a process."""

SHOP = '''
"""The application's own checks."""


def pre_check_space(config):
    raise RuntimeError(f"no space for {config['fietsupdate.data_dir'].rpartition('/')[2]}")


def pre_check(config):
    return "the cache is cold"


def helper_of_pre_check(config):
    raise AssertionError("this is no check")


def pre_check_last(config):
    raise SystemExit(3)
'''


@pytest.fixture
def make(make_project, monkeypatch):
    """Give a function that makes the application of three releases, with a module of checks of its own."""

    def make(text: str) -> Project:
        name = f"shop_checks_{next(NUMBERS)}"
        project = notes(make_project(section={"checks": name}))
        (project.root / f"{name}.py").write_text(text)
        monkeypatch.chdir(project.root)  # Alembic's prepend_sys_path is relative to the working directory
        return project

    return make


def updater(project: Project) -> Updater:
    return Updater.from_config(project.ini)


def module(project: Project) -> str:
    return updater(project).config.checks[0]


# before


def test_a_dry_run_with_checks_collects_every_failure_and_changes_nothing(make):
    project = make(SHOP)
    project.update("v4", "v3", None, up_more="def check(self, config): raise ValueError('not today')")
    project.update("v5", "v4", None, head="import no_such_module_anywhere")
    with pytest.raises(ChecksFailedError) as caught:
        updater(project).plan(checks=True)
    name = module(project)
    lines = caught.value.message.splitlines()
    assert len(lines) == 4, lines
    assert "the script of v5 cannot be imported: ModuleNotFoundError" in lines[0]
    assert "Up.check of v4 failed" in lines[1]
    assert lines[1].endswith("ValueError: not today.")
    assert lines[2] == f"{name}.pre_check_space failed: RuntimeError: no space for data."
    assert lines[3] == f"{name}.pre_check_last failed: SystemExit: 3."
    assert caught.value.stands == "Nothing was changed."
    assert (project.traces(), project.database.tables(), project.tree()) == ([], [], {})


def test_the_real_run_makes_the_same_checks_before_its_first_change(make):
    project = make(SHOP)
    with pytest.raises(ChecksFailedError, match="no space for data"):
        updater(project).update()
    assert project.traces() == []
    assert updater(project).status().current == ()


def test_so_does_a_downgrade(make):
    project = make("def pre_check(config):\n    import os\n    if os.path.exists('stop'): raise ValueError('stop')\n")
    updater(project).update()
    (project.root / "stop").touch()
    project.run("downgrade", "v1", "--yes").exited(1)
    assert updater(project).status().current == ("v3",)


def test_a_dry_run_without_checks_runs_no_code_of_the_application_and_says_so(make):
    project = make("raise AssertionError('imported')")
    told = project.run("update", "--dry-run").succeeded()
    assert "what check hooks and the application's checks say (--checks runs them)" in told.stdout


def test_an_instance_that_is_up_to_date_is_not_checked(make):
    project = make("def pre_check(config): pass")
    updater(project).update()
    (project.root / f"{module(project)}.py").write_text("raise AssertionError('imported')")
    told = project.run("update", "--dry-run", "--checks").succeeded()
    assert "Nothing to do" in told.stdout


def test_a_check_cannot_change_files_by_mistake(make):
    project = make("def pre_check(config):\n    open(config['fietsupdate.data_dir'] + '/mark', 'w').close()\n")
    with pytest.raises(ChecksFailedError, match="pre_check failed"):
        updater(project).plan(checks=True)
    assert project.tree() == {}


def test_ctrl_c_in_a_check_is_ctrl_c(make):
    """For a dry run nobody has installed a handler: it is Python's own."""
    project = make("import os\ndef pre_check(config):\n    if not os.path.exists('mute'): raise KeyboardInterrupt\n")
    with pytest.raises(Stop):
        updater(project).plan(checks=True)
    with pytest.raises(StoppedError) as caught:
        updater(project).update()
    assert (str(caught.value), caught.value.stands) == ("Stopped by SIGINT.", "Nothing was changed.")
    (project.root / "mute").touch()
    for head, check in (("", "raise KeyboardInterrupt"), ("raise KeyboardInterrupt", "pass")):
        project.update("v1", (), None, up_more=f"def check(self, config): {check}", head=head)
        with pytest.raises(Stop):
            updater(project).plan(checks=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module_anywhere", "it cannot be imported: ModuleNotFoundError: No module named"),
        ("def check(config): pass", "it has no function whose name begins with pre_check or post_check."),
        ("def pre_check(config): return False", "pre_check failed: TypeError: it returned False; a check raises, or"),
        ("async def pre_check(config): pass", "pre_check failed: TypeError: it returned <coroutine"),
        ("def pre_check(config): return ['a', 2]", "pre_check failed: TypeError: it returned ['a', 2]"),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_a_check_that_is_none_is_an_error(make, text, message):
    project = make(text)
    with pytest.raises(ChecksFailedError) as caught:
        updater(project).update()
    assert message in caught.value.message
    assert project.traces() == []


# after


AFTER = """
def post_check_orphans(config):
    return ["2 notes have no file", "1 file has no note"]


def post_check_fine(config):
    return None


def post_check_empty(config):
    return ""
"""


def test_warnings_end_in_the_report_and_in_the_finished_event(make):
    project = make(AFTER)
    events = []
    report = updater(project).update(on_event=events.append)
    assert report.warnings == ("2 notes have no file", "1 file has no note")
    assert events[-1].event == "finished"
    assert events[-1].details["warnings"] == ["2 notes have no file", "1 file has no note"]
    [told] = [event for event in events if event.text == "1 file has no note"]
    assert (told.event, told.details["check"]) == ("warning", f"{module(project)}.post_check_orphans")


def test_on_the_terminal_warnings_are_the_last_words(make):
    project = make(AFTER)
    told = project.run("update", "--yes").succeeded()
    assert told.stdout.splitlines()[-3:] == ["2 warnings:", "  - 2 notes have no file", "  - 1 file has no note"]


def test_in_json_the_last_line_has_them(make):
    project = make(AFTER)
    last = project.run("update", "--yes", "--json").succeeded().events[-1]
    assert last["event"] == "finished"
    assert last["warnings"] == ["2 notes have no file", "1 file has no note"]


def test_they_run_once_after_all_updates_and_not_when_there_was_nothing_to_do(make):
    project = make("def post_check(config):\n    with open('trace.log', 'a') as log: log.write('post check\\n')\n")
    project.run("update", "--yes").succeeded()
    project.run("update", "--yes").succeeded()
    assert project.traces() == [*hooks("v1", "v2", "v3"), "post check"]


def test_a_post_check_that_raises_exits_1_and_says_that_both_halves_are_at_the_new_state(make):
    project = make(AFTER + "\n\ndef post_check_broken(config): raise ValueError('the index is empty')\n")
    told = project.run("update", "--yes").exited(1)
    assert f"{module(project)}.post_check_broken failed: ValueError: the index is empty." in told.told
    assert "Every update of this run is complete: database and files are both at v3." in told.told
    assert "Neither the updates nor these checks run again" in told.told
    assert "2 notes have no file" in told.stdout
    project.run("check").succeeded()
    project.run("update", "--yes").succeeded()


def test_every_post_check_runs_and_all_that_fail_are_told(make):
    project = make("def post_check_a(config): raise ValueError('a')\ndef post_check_b(config): raise ValueError('b')\n")
    with pytest.raises(PostChecksFailedError) as caught:
        updater(project).update()
    name = module(project)
    assert (
        caught.value.message
        == f"{name}.post_check_a failed: ValueError: a.\n{name}.post_check_b failed: ValueError: b."
    )
    assert caught.value.details == {"done": ["v1", "v2", "v3"], "current": ["v3"]}


def test_after_an_update_that_failed_no_post_check_runs(make):
    project = make("def post_check(config): raise AssertionError('ran')")
    project.update("v4", "v3", None, up_pre="raise ValueError('no')")
    with pytest.raises(FietsupdateError, match="ValueError: no"):
        updater(project).update()


# of the scripts themselves


def test_a_hook_may_warn_and_goes_on(project):
    notes(project)
    project.update(
        "v4",
        "v3",
        None,
        up_more="def check(self, config): self.warn('slow disk')\n"
        "def verify(self, config): self.warn('3 previews are blank')\n",
    )
    events = []
    report = updater(project).update(on_event=events.append)
    assert report.warnings == ("slow disk", "3 previews are blank")
    assert [event.update_id for event in events if event.event == "warning"] == ["v4", "v4"]
    assert report.current == ("v4",)


def test_a_dry_run_with_checks_tells_warnings(project):
    notes(project)
    project.update("v4", "v3", None, up_more="def check(self, config): self.warn('slow disk')")
    told = project.run("update", "--dry-run", "--checks").succeeded()
    assert told.stdout.splitlines()[-2:] == ["1 warning:", "  - slow disk"]
    document = json.loads(project.run("update", "--dry-run", "--checks", "--json").succeeded().stdout)
    assert document["warnings"] == ["slow disk"]


def test_a_warning_outside_of_a_run_is_printed(capsys):
    from fietsupdate import UpdateScript

    UpdateScript().warn("slow disk")
    assert capsys.readouterr().out == "slow disk\n"
