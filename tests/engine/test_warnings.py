"""Warnings: checks that only warn where they fail, and texts that nobody misses, however the run ends."""

from __future__ import annotations

import itertools
import os
import warnings

import pytest

from fietsupdate import Updater, ensure_current, severity
from fietsupdate.errors import FietsupdateError, PostChecksFailedError, UpdateFailedError
from fietsupdate.filesystem import run_warnings
from support.databases import KINDS
from support.notes import notes

NUMBERS = itertools.count()
"""A module of checks is imported by its name, so each test has one of its own."""

SEVERE = "from fietsupdate import severity"
WARNS = "@severity('warning')\ndef {0}(self, config):\n    {1}"
FAILS = "raise ValueError('3 records have no file')"


def updater_of(project):
    return Updater.from_config(project.ini)


@pytest.fixture
def checks(monkeypatch):
    """Give a function that gives the application a module of checks."""

    def make(project, text):
        name = f"app_checks_{next(NUMBERS)}"
        (project.root / f"{name}.py").write_text(f"from fietsupdate import severity\n\n{text}\n")
        project.ini.write_text(project.ini.read_text() + f"checks = {name}\n")
        monkeypatch.chdir(project.root)  # Alembic's prepend_sys_path is relative to the working directory
        return name

    return make


# -- severity


@pytest.mark.parametrize("kind", KINDS)
def test_a_verify_that_fails_is_a_warning_where_it_says_so(make_project, kind):
    """Its failed statement does not take the transaction along, and what it wrote itself is taken back."""
    project = notes(make_project(kind=kind), 1)
    text = "self.connection.execute(sa.text(\"INSERT INTO notes (id, text) VALUES ({0}, '{1}')\"))"
    verify = "\n    ".join([text.format(2, "verify"), text.format(1, "again"), "raise AssertionError"])
    more = WARNS.format("verify", verify)
    project.update("v2", "v1", "r2", up_post=text.format(1, "update"), head=SEVERE, up_more=more)
    updater = updater_of(project)
    report = updater.update()
    assert report.done == ("v1", "v2")
    (warning,) = report.warnings
    assert warning.startswith("Up.verify of v2 failed at ")
    assert "IntegrityError" in warning
    assert project.database.execute("SELECT id, text FROM notes") == [(1, "update")]
    assert updater.status().state == "okay"


def test_without_it_a_verify_that_fails_rolls_back(project):
    project.update("v1", (), None, up_more=f"def verify(self, config):\n    {FAILS}")
    with pytest.raises(UpdateFailedError, match="3 records have no file"):
        updater_of(project).update()
    assert updater_of(project).status().current == ()


def test_a_verify_that_only_warns_may_belong_to_a_script_that_is_not_atomic(project):
    project.update("v1", (), None, atomic=None, head=SEVERE, up_more=WARNS.format("verify", FAILS))
    (warning,) = updater_of(project).update().warnings
    assert "ValueError: 3 records have no file" in warning


def test_a_post_check_that_fails_is_a_warning_where_it_says_so_and_the_others_fail_as_ever(project, checks):
    project.update("v1", (), None)
    warns = f"@severity('warning')\ndef post_check_index(config):\n    {FAILS}"
    fails = "def post_check_mail(config):\n    if config['mail'] == 'down': raise OSError('no mail')"
    name = checks(project, f"{warns}\n\n{fails}")
    ini = project.ini.read_text()
    project.ini.write_text(ini.replace("[fietsupdate]", "[app]\nmail = down\n[fietsupdate]\nsettings_section = app"))
    with pytest.raises(PostChecksFailedError, match="no mail") as caught:
        updater_of(project).update()
    expected = f"{name}.post_check_index failed: ValueError: 3 records have no file."
    assert caught.value.warnings == (expected,)
    assert "no file" not in caught.value.message
    project.update("v2", "v1")
    project.ini.write_text(project.ini.read_text().replace("mail = down", "mail = up"))
    assert updater_of(project).update().warnings == (expected,)
    assert updater_of(project).update().warnings == ()


def test_a_pre_check_and_a_script_s_check_may_warn_as_well(project, checks):
    name = checks(project, f"@severity('warning')\ndef pre_check_disk(config):\n    {FAILS}")
    project.update("v1", (), None, head=SEVERE, up_more=WARNS.format("check", "raise ValueError('locked')"))
    script, application = updater_of(project).update().warnings
    assert "Up.check of v1 failed" in script
    assert "locked" in script
    assert application == f"{name}.pre_check_disk failed: ValueError: 3 records have no file."


def test_error_is_what_it_is_without_the_decorator_and_there_is_nothing_else(project):
    project.update("v1", (), None, head=SEVERE, up_more=WARNS.format("verify", FAILS).replace("warning", "error"))
    with pytest.raises(UpdateFailedError, match="3 records have no file"):
        updater_of(project).update()
    with pytest.raises(ValueError, match="severity is 'loud'; it must be 'error' or 'warning'"):
        severity("loud")


# -- repeated at the end

SAYS = "self.warn('{0}')"
BREAKS = "if not Path(config['fietsupdate.data_dir'], 'go').exists(): {0}"


def two(project, end, *, atomic=True):
    """v1 warns and is done; v2 warns in its first phase, and ends like that in its last."""
    project.revision("r1", None, 'op.create_table("t", sa.Column("id", sa.Integer))', 'op.drop_table("t")')
    project.update("v1", (), None, up_pre=SAYS.format("of v1"))
    post = BREAKS.format(end)
    project.update("v2", "v1", "r1", up_pre=SAYS.format("of v2"), up_post=post, atomic=atomic, head="import os, signal")
    return updater_of(project)


def test_when_the_run_fails_later_they_stand_under_the_error(project):
    two(project, "1 / 0")
    told = project.run("update", "--yes").exited(1)
    assert told.stderr.endswith("\n2 warnings:\n  - of v1\n  - of v2\n")
    events = project.run("update", "--yes", "--json").exited(1).events
    assert events[-1]["error"]["warnings"] == ["of v1", "of v2"]
    with pytest.raises(FietsupdateError) as caught:
        ensure_current(project.ini)
    assert caught.value.__notes__[-2:] == ["It has warned: of v1", "It has warned: of v2"]


def test_the_run_that_goes_on_repeats_those_of_what_does_not_run_again(project):
    updater = two(project, "1 / 0", atomic=None)
    with pytest.raises(UpdateFailedError):
        updater.update()
    assert updater.status().state == "interrupted"
    (project.data / "go").touch()
    report = updater.update()
    assert (report.done, report.warnings) == (("v2",), ("of v1", "of v2"))
    assert updater.update().warnings == ()


def test_what_was_undone_warns_for_itself_when_it_runs_again(project):
    updater = two(project, "1 / 0")
    with pytest.raises(UpdateFailedError):
        updater.update()
    script = project.updates / "upd_v2.py"
    script.write_text(script.read_text().replace(SAYS.format("of v2"), "pass"))
    (project.data / "go").touch()
    assert updater.update().warnings == ("of v1",)


@pytest.mark.parametrize("atomic", [True, None])
def test_neither_are_they_lost_by_a_kill(project, atomic):
    updater = two(project, "os.kill(os.getpid(), signal.SIGKILL)", atomic=atomic)
    project.run("update", "--yes").exited(-9)
    (project.data / "go").touch()
    told = project.run("update", "--yes").succeeded().stdout
    assert told.endswith("2 warnings:\n  - of v1\n  - of v2\n")
    assert updater.status().last_failure is None
    assert not (project.data / ".fietsupdate" / "warnings").exists()


def test_a_run_that_finds_nothing_left_to_do_tells_them_too(project, checks):
    """The run before was killed after its last update, and nobody has seen its end."""
    project.update("v1", (), None, up_pre=SAYS.format("of v1"))
    checks(project, "import os, signal\n\ndef post_check(config):\n    os.kill(os.getpid(), signal.SIGKILL)")
    project.run("update", "--yes").exited(-9)
    assert updater_of(project).update().warnings == ("of v1",)
    assert updater_of(project).update().warnings == ()


def test_all_of_many_updates_stand_at_the_end(project):
    for number in range(30):
        previous = f"v{number - 1:02}" if number else ()
        project.update(f"v{number:02}", previous, None, up_pre=SAYS.format(f"of v{number:02}"))
    told = project.run("update", "--yes").succeeded().stdout
    assert told.split("30 warnings:\n")[1].splitlines() == [f"  - of v{number:02}" for number in range(30)]


@pytest.mark.parametrize("content", [b"", b'\xff\n[]\n[1, 2]\nnull\n["t", "of old\\u001b[2J"]\n["t", "half'])
def test_what_others_have_written_there_stops_nobody_and_moves_no_cursor(project, content):
    project.update("v1", (), None)
    updater = updater_of(project)
    updater.update()
    (project.data / ".fietsupdate" / "warnings").write_bytes(content)
    assert updater.update().warnings == (("of old\\x1b[2J",) if content else ())


def test_notes_that_cannot_be_written_fail_nothing(project):
    project.update("v1", (), None, up_pre=SAYS.format("of v1"))
    updater = updater_of(project)
    (project.data / ".fietsupdate").mkdir(mode=0o700)
    os.symlink("/nonexistent", project.data / ".fietsupdate" / "warnings")
    assert updater.update().warnings == ("of v1",)


def test_no_more_are_kept_than_there_is_room_for(tmp_path, monkeypatch):
    (tmp_path / ".fietsupdate").mkdir()
    monkeypatch.setattr(run_warnings, "MOST_BYTES", 100)
    for number in range(20):
        run_warnings.keep(tmp_path, "t", f"number {number}")
    assert len(run_warnings.kept(tmp_path)) == 100 // len('["t", "number 1"]\n')
    run_warnings.drop(tmp_path, "t")
    assert run_warnings.kept(tmp_path) == ()


@pytest.mark.filterwarnings("default::UserWarning", "ignore::DeprecationWarning")
def test_what_python_warns_of_in_a_hook_is_told_and_repeated_too(project, checks):
    """Recipes of Invenio's upgrader warn like that. Python's own kinds of warnings stay what they are."""
    warn = "warnings.warn('3 records have no file', stacklevel=1)"
    other = "warnings.warn('old', DeprecationWarning, stacklevel=1)"
    project.update("v1", (), None, head="import warnings", up_pre=f"{warn}\n{other}")
    checks(project, "import warnings\n\ndef post_check(config):\n    warnings.warn('no index', stacklevel=1)")
    before = warnings.showwarning
    assert updater_of(project).update().warnings == ("3 records have no file", "no index")
    assert warnings.showwarning is before


def test_several_texts_of_one_error_are_told_one_after_another(project):
    project.update("v1", (), None, up_more="def check(self, config):\n    raise RuntimeError('no space', 'no time')")
    with pytest.raises(FietsupdateError, match="RuntimeError: no space; no time"):
        updater_of(project).update()
