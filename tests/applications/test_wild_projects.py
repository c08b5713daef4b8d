"""Projects as they are found: `init` and `revision` look where things are kept, env.py sees what it expects."""

from __future__ import annotations

import json
import pty
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest

from fietsupdate.model import Folder
from fietsupdate.planning.loader import load
from support.databases import KINDS
from support.notes import notes

# -- init and revision


def bare(project):
    """Take our section and folders away again: what is left is an application that has Alembic."""
    project.ini.write_text(project.ini.read_text().partition("\n[fietsupdate]")[0])
    project.updates.rmdir()
    project.data.rmdir()
    return project


LOCATIONS = "context.script.version_locations = [str(__import__('pathlib').Path(__file__).parent / 'elsewhere')]\n"


def test_revisions_that_only_env_py_knows_are_not_taken_for_none(make_project):
    project = bare(make_project("engine_begin"))
    project.revision("r1")
    migrations = project.root / "migrations"
    (migrations / "versions").rename(migrations / "elsewhere")
    env = migrations / "env.py"
    env.write_text(env.read_text().replace("config = context.config", f"config = context.config\n{LOCATIONS}"))
    project.run("init").succeeded()
    [baseline] = project.updates.glob("*.py")
    assert 'alembic_revision = "r1"' in baseline.read_text()
    project.run("revision", "v2").succeeded()
    [script] = project.updates.glob("*_v2.py")
    assert 'alembic_revision = "r1"' in script.read_text()


def test_a_tree_that_is_empty_outside_and_out_of_reach_inside_is_no_tree_without_revisions(project):
    bare(project)
    env = project.root / "migrations" / "env.py"
    env.write_text("raise RuntimeError('no database today')")
    told = project.run("init").exited(1).told
    assert "Outside of env.py no Alembic revision is found, and inside: env.py failed" in told
    assert "Nothing was written." in told
    assert not project.updates.exists()


def test_a_second_configuration_beside_the_first_gets_folders_of_its_own(project):
    bare(project).revision("r1")
    second = project.root / "second.ini"
    second.write_text(project.ini.read_text())
    project.run("init").succeeded()
    project.run("-c", "second.ini", "init").succeeded()
    text = second.read_text()
    assert "updates = %(here)s/updates-second\n" in text
    assert "data_dir = %(here)s/data-second\n" in text
    assert len(list((project.root / "updates-second").glob("*.py"))) == 1


def test_init_serves_an_application_that_makes_alembics_configuration_in_code(project):
    bare(project).revision("r1")
    project.ini.write_text("[app]\nname = notes\n")
    (project.root / "made.py").write_text(
        "from alembic.config import Config\n\n\ndef config():\n    made = Config()\n"
        f"    made.set_main_option('script_location', {str(project.root / 'migrations')!r})\n"
        f"    made.set_main_option('sqlalchemy.url', {project.url!r})\n    return made\n"
    )
    env = {"PYTHONPATH": str(project.root)}
    told = project.run("init", env=env).exited(1).told
    assert "--alembic-config" in told
    project.run("init", "--alembic-config", "made:config", env=env).succeeded()
    assert "alembic_config = made:config\n" in project.ini.read_text()
    (project.root / "data").mkdir()
    project.run("update", "--yes", env=env).succeeded()
    assert project.alembic_version() == ["r1"]


@pytest.mark.parametrize(
    ("there", "chosen", "others"),
    [((), "data", ""), (("uploads",), "uploads", ""), (("media", "uploads"), "uploads", "%(here)s/media")],
)
def test_init_proposes_the_folder_that_is_there(project, there, chosen, others):
    bare(project).revision("r1")
    for name in there:
        (project.root / name).mkdir()
    told = project.run("init").succeeded().stdout
    assert f"data_dir = %(here)s/{chosen}\n" in project.ini.read_text()
    assert ("it may also be" in told) == bool(others)
    assert others in told


def test_init_asks_on_a_terminal_which_folder_it_is(project):
    bare(project).revision("r1")
    (project.root / "uploads").mkdir()
    (project.root / "media").mkdir()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "fietsupdate", "init"]
    with (
        subprocess.Popen(command, cwd=project.root, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE) as child,
        open(ours, "r+b", buffering=0) as terminal,
    ):
        shown = b""
        while b"[1-2]" not in shown:
            shown += terminal.read(1000)
        terminal.write(b"2\n")
        assert child.wait(60) == 0
    assert "data_dir = %(here)s/media\n" in project.ini.read_text()


def test_a_key_whose_callable_cannot_be_imported_is_named(project):
    project.ini.write_text(project.ini.read_text() + "alembic_config = missing.module:config\n")
    assert "alembic_config = missing.module:config: importing" in project.run("status").exited(1).told


# -- what env.py sees

NOTE = """
import json, pathlib
with open(pathlib.Path(__file__).parent.parent / "seen", "a") as file:
    options = config.cmd_opts
    seen = vars(options) if options is not None else None
    if seen is not None:
        seen = {**seen, "cmd": seen["cmd"][0].__name__}
    file.write(json.dumps(seen, default=str) + chr(10))
"""


def seen(project):
    text = (project.root / "seen").read_text()
    (project.root / "seen").unlink()
    return [json.loads(line) for line in text.splitlines()]


def noting(project):
    env = project.root / "migrations" / "env.py"
    env.write_text(env.read_text().replace("config = context.config", f"config = context.config\n{NOTE}"))
    return project


def test_env_py_sees_the_command_line_of_alembics_own_command(make_project):
    project = noting(notes(make_project("engine_begin"), 2))
    project.run("update", "--yes").succeeded()
    ours = seen(project)
    by_command = {options["cmd"]: options for options in ours}
    revisions = [options["revision"] for options in ours if options["cmd"] == "upgrade"]
    assert list(dict.fromkeys(revisions)) == ["r1", "r2"]
    project.run("downgrade", "v1", "--yes").succeeded()
    by_command |= {options["cmd"]: options for options in seen(project) if options["cmd"] == "downgrade"}
    project.run("stamp", "v1", "--yes").succeeded()
    by_command |= {options["cmd"]: options for options in seen(project) if options["cmd"] == "stamp"}
    for words in (["current"], ["upgrade", "r2"], ["downgrade", "r1"], ["stamp", "r1"]):
        project.alembic(*words).succeeded()
        [alembics] = seen(project)
        same = {"config", "revisions"}  # which file is read; a stamp leads where it leads
        assert by_command[words[0]].keys() == alembics.keys()
        assert {k: v for k, v in by_command[words[0]].items() if k not in same} == {
            k: v for k, v in alembics.items() if k not in same
        }


def test_a_configuration_made_in_code_has_the_command_line_that_it_was_made_with(make_project):
    project = noting(notes(make_project("engine_begin"), 1))
    (project.root / "made.py").write_text(
        f"from alembic.config import Config\n\n\ndef config():\n    return Config({str(project.ini)!r})\n"
    )
    env = {"PYTHONPATH": str(project.root)}
    project.ini.write_text(project.ini.read_text() + "alembic_config = made:config\n")
    project.run("update", "--yes", env=env).succeeded()
    assert set(map(str, seen(project))) == {"None"}
    project.run("-x", "tenant=b", "status", env=env).succeeded()
    assert [options["x"] for options in seen(project)] == [["tenant=b"]]


# -- adoption


def test_an_adoption_says_which_alembic_revisions_it_runs(make_project):
    project = notes(make_project(), 1)
    project.revision("r2", "r1")
    project.update("v1", (), "r2", baseline=True)
    project.alembic("upgrade", "r1").succeeded()
    assert "after Alembic has run r2" in project.run("status").succeeded().stdout
    assert "Alembic runs r2" in project.run("update", "--dry-run").succeeded().stdout
    events = project.run("update", "--yes", "--json").succeeded().events
    by_name = {event["event"]: event for event in events}
    assert by_name["plan"]["adoption"]["revisions"] == ["r2"]
    assert by_name["revision"]["revision"] == "r2"
    assert by_name["adopted"]["revisions"] == ["r2"]


def test_an_adoption_is_told_to_people_with_its_revisions(make_project):
    project = notes(make_project(), 1)
    project.revision("r2", "r1")
    project.update("v1", (), "r2", baseline=True)
    project.alembic("upgrade", "r1").succeeded()
    assert "Alembic ran r2, and it is recorded that the instance is at v1" in project.run("update", "--yes").stdout


# -- scripts


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_that_no_ledger_holds_is_refused_when_it_is_loaded(make_project, kind):
    project = notes(make_project(kind=kind), 1)
    project.update("v" * 255, "v1", "r1", filename="longest.py")
    project.run("update", "--yes").succeeded()
    script = project.update("w" * 256, "v" * 255, "r1", filename="too_long.py")
    told = project.run("status").exited(1).told
    assert f"{script}:5: update_id has 256 characters; the ledger holds 255." in told


def test_line_ends_change_no_script(make_project):
    project = notes(make_project(), 1)
    project.run("update", "--yes").succeeded()
    script = project.updates / "upd_v1.py"
    script.write_bytes(script.read_bytes().replace(b"\n", b"\r\n"))
    assert "script_changed" not in project.run("status").succeeded().stdout
    script.write_bytes(script.read_bytes() + b"\r\n# another line\r\n")
    assert "script_changed" in project.run("status").succeeded().stdout


def test_a_script_that_was_applied_with_its_crlf_in_the_checksum_is_not_changed(tmp_path):
    import hashlib

    content = b'"""Old."""\r\nupdate_id = "v1"\r\nprevious = []\r\nalembic_revision = None\r\nclass Up: pass\r\n'
    (tmp_path / "v1.py").write_bytes(content)
    [update] = load([Folder("updates", tmp_path)])
    assert update.is_script_of(hashlib.sha256(content).hexdigest())
    assert update.is_script_of(hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest())
    assert not replace(update, checksum="other", checksum_crlf="").is_script_of(update.checksum)


def test_scripts_inside_of_an_archive_are_told_to_be_there(project):
    archive = project.root / "lessons.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("lessons/__init__.py", "")
        file.writestr("lessons/updates/upd_a.py", "")
    text = project.ini.read_text().replace("updates = %(here)s/updates", "updates = lessons:updates")
    project.ini.write_text(text)
    told = project.run("status", env={"PYTHONPATH": str(archive)}).exited(1).told
    assert f"lie inside of the archive {archive}" in told
