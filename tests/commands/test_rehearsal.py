"""A rehearsal runs the plan on a clone of both halves, tells what it takes, and leaves the real instance as it is."""

from __future__ import annotations

import builtins
import errno
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from fietsupdate.cli.render import rehearsal
from fietsupdate.commands.rehearsal.report import Database as DatabaseFigures
from fietsupdate.commands.rehearsal.report import (
    FileChange,
    FileCounts,
    Rehearsal,
    RehearsalFailure,
    Rehearsed,
    RoundTrip,
    Seclusion,
    Timing,
    last,
)
from fietsupdate.errors import EnvPyError, FietsupdateError, FilesError, LockedError, PlanError, RefusedError
from fietsupdate.filesystem import file_copy, lock, space
from fietsupdate.model import Event
from fietsupdate.updater import Updater
from support import environments
from support.databases import KINDS, MARIADB, POSTGRESQL, SQLITE, Database, _server
from support.example import ORDER, Example
from support.notes import revisions
from support.projects import Project

WRITES = "self.files.write('new.txt', 'n' * 5000); self.files.remove('old.txt'); self.files.write('kept.txt', 'other')"
REMOVES = (
    "self.files.remove('new.txt'); self.files.write('old.txt', 'o' * 300); self.files.write('kept.txt', 'k' * 100)"
)


@pytest.fixture
def outside() -> Iterator[Path]:
    """Give a folder that no rehearsal makes read-only: it lies beside no SQLite database."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def updater(project: Project) -> Updater:
    return Updater.from_config(str(project.ini), x=tuple(project.options[1::2]))


def rehearsed(project: Project, target: str | None = None, **options: object) -> Rehearsal:
    report = updater(project).rehearse(target, **options)
    assert report is not None
    return report


def at_v1(project: Project, **update: object) -> Project:
    """Bring a project to v1, with some files and a row; v2 waits, and is what `update` says."""
    revisions(project)
    project.update("v1", (), "r1")
    updater(project).update()
    (project.data / "old.txt").write_text("o" * 300)
    (project.data / "kept.txt").write_text("k" * 100)
    (project.data / "folder").mkdir()
    (project.data / "folder" / "inside.txt").write_text("i")
    project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'hello')")
    options = {"up_pre": WRITES, "down_post": REMOVES, **update}
    project.update("v2", "v1", "r2", **options)
    return project


def everything(project: Project) -> object:
    """Both halves, without the folder that is ours alone."""
    status = project.data.stat()
    return project.tree(exclude=[".fietsupdate"]), status.st_mtime_ns, status.st_mode, project.database.dump()


@contextmanager
def left_as_it_is(project: Project) -> Iterator[None]:
    """Assert that nothing of the real instance changes, and that nothing of a clone is left."""
    before, databases = everything(project), clones(project)
    yield
    assert everything(project) == before
    assert clones(project) == databases == []


def is_of(link: Path, project: Project) -> bool:
    """Tell whether a name among the temporary files is one of this project's clone."""
    return link.is_symlink() and os.readlink(link).startswith(f"{project.data}/")


TAG = 12
"""Letters in the name of a rehearsal."""
ACCOUNTS = {POSTGRESQL: "SELECT rolname FROM pg_roles", MARIADB: "SELECT user FROM mysql.user"}


def clones(project: Project) -> list[str]:
    """Name all that there is of clones: folders, and databases on the server."""
    folder = project.data / ".fietsupdate" / "rehearsals"
    found = [name for name in (os.listdir(folder) if folder.exists() else []) if name != "last.json"]
    found += [path.name for path in Path(tempfile.gettempdir()).glob("fietsupdate-rehearsal-*") if is_of(path, project)]
    database = project.database
    if database.kind == SQLITE:
        return [*found, *(path.name for path in database.file.parent.glob(f"{database.file.name}.*"))]
    names = {POSTGRESQL: "SELECT datname FROM pg_database", MARIADB: "SHOW DATABASES"}[database.kind]
    with _server(database.kind) as connection:
        there = connection.exec_driver_sql(names).scalars().all()
        accounts = [f"fietsupdate_{name}" for name in found if len(name) == TAG]
        made = connection.exec_driver_sql(ACCOUNTS[database.kind]).scalars().all()
    found += [account for account in accounts if account in made]
    return [*found, *(name for name in there if name.startswith(f"{database.name}_"))]


# -- what it tells


@pytest.mark.parametrize(
    ("kind", "variant"),
    [(SQLITE, "stock"), (SQLITE, "async"), (POSTGRESQL, "async"), (MARIADB, "stock")],
)
def test_it_tells_what_the_updates_do_and_changes_nothing(make_project: Callable[..., Project], kind, variant) -> None:
    insert = "self.connection.execute(sa.text(\"INSERT INTO notes (id, text) VALUES (2, 'new')\"))"
    delete = "self.connection.execute(sa.text('DELETE FROM notes WHERE id = 2'))"
    rewritten = "self.files.write('new.txt', 'n' * 6)"
    project = at_v1(make_project(variant, kind), up_post=f"{insert}; {rewritten}", down_pre=delete, up_more=VERIFY)
    with left_as_it_is(project):
        report = rehearsed(project, round_trip=True)
    assert report.failure is None
    assert (report.current, report.result) == (("v1",), ("v2",))
    assert [timing.update_id for timing in report.timings] == ["v2"]
    assert set(report.timings[0].phases) == {"pre", "alembic", "post"}
    assert report.timings[0].bytes_written == {"pre": 5005, "alembic": 0, "post": 6}
    assert report.timings[0].inodes_written == {"pre": 2, "alembic": 0, "post": 1}
    assert report.duration_ms >= report.timings[0].duration_ms
    files = report.files
    assert files is not None
    assert files.changes == (
        FileChange("changed", "kept.txt", "file", 5),
        FileChange("added", "new.txt", "file", 6),
        FileChange("removed", "old.txt", "file", 300),
    )
    assert (files.added, files.changed, files.removed) == (1, 1, 1)
    assert (files.bytes_written, files.inodes_written) == (11, 2)
    assert report.peak_bytes >= 5000
    assert report.database is not None
    assert (report.database.rows_before, report.database.rows_after) == ({"notes": 1}, {"notes": 2})
    added = [line for line in report.database.schema.splitlines() if line.startswith("+") and "size" in line]
    assert len(added) == 1
    assert report.verified == ("v2",)
    assert report.round_trip is not None
    assert report.round_trip.restored
    assert last(project.data) == report


VERIFY = "def verify(self, config):\n    pass"


def test_the_example_goes_up_down_and_up(tmp_path: Path) -> None:
    example = Example.copy(tmp_path / "example").at_first_release()
    before = example.files(), example.rows()
    report = example.run("rehearse", "--round-trip", "--json").succeeded().json["rehearsal"]
    assert [one["update_id"] for one in report["updates"]] == list(ORDER[1:])
    assert report["round_trip"]["restored"]
    assert (example.files(), example.rows()) == before


def test_scripts_that_pass_over_our_own_folder_find_the_clone(project: Project) -> None:
    passes_over = "'.fietsupdate' not in path.parts and path.is_file()"
    at_v1(project, up_pre=f"for path in self.data_dir.rglob('*'):\n    if {passes_over}: path.unlink()")
    with left_as_it_is(project):
        files = rehearsed(project).files
    assert files is not None
    assert files.removed == 3


def test_nothing_waits_so_nothing_is_rehearsed(project: Project) -> None:
    at_v1(project)
    updater(project).update()
    with left_as_it_is(project):
        assert updater(project).rehearse() is None
    assert project.run("rehearse").succeeded().stdout == "Nothing to rehearse.\n"
    assert project.run("rehearse", "--json").succeeded().json == {"rehearsal": None}


def test_an_instance_without_anything_can_be_rehearsed(project: Project) -> None:
    revisions(project)
    project.update(
        "v1", (), "r1", up_pre="self.files.write('first.txt', 'f')", down_post="self.files.remove('first.txt')"
    )
    report = rehearsed(project, round_trip=True)
    assert report.failure is None
    assert report.files is not None
    assert [change.path for change in report.files.changes] == ["first.txt"]
    assert report.database is not None
    assert report.database.rows_after == {"notes": 0}
    assert "fietsupdate" not in report.database.schema
    assert not project.database.file.exists()
    assert project.tree(exclude=[".fietsupdate"]) == {}


def test_a_baseline_is_rehearsed_with_what_comes_after_it(project: Project) -> None:
    revisions(project)
    assert project.alembic("upgrade", "r1").code == 0
    project.update("v1", (), "r1", baseline=True)
    project.update("v2", "v1", "r2", up_pre="self.files.write('v2', '')")
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.result == ("v2",)
    assert report.files is not None
    assert [change.path for change in report.files.changes] == ["v2"]


def test_a_target_is_the_one_of_update(project: Project) -> None:
    at_v1(project)
    project.update("v3", "v2", "r3")
    assert [one.update_id for one in rehearsed(project, "v2").updates] == ["v2"]
    assert [one.update_id for one in rehearsed(project).updates] == ["v2", "v3"]


def test_warnings_are_told(project: Project) -> None:
    at_v1(project, up_post="import subprocess; subprocess.run(['true'])")
    assert rehearsed(project).warnings == ("v2: The hook starts true; what other programs change is not undone.",)


def test_files_of_every_kind_are_cloned_and_compared(make_project: Callable[..., Project], tmp_path: Path) -> None:
    project = make_project(section={"extra_dirs": f"media={tmp_path / 'media'}"})
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "film").write_text("f" * 50)
    at_v1(project, up_pre="self.dirs['media'].remove('film')", up_post=CHANGES, down_post="pass")
    data = project.data
    (data / "one").write_text("1")
    os.link(data / "one", data / "two")
    os.symlink(data / "old.txt", data / "absolute")
    os.symlink("kept.txt", data / "relative")
    (data / os.fsdecode(b"odd\xff\nname")).write_text("odd")
    with left_as_it_is(project):
        files = rehearsed(project).files
    assert files is not None
    assert files.changes == (
        FileChange("changed", "kept.txt", "file", 7),
        FileChange("changed", os.fsdecode(b"odd\xff\nname"), "file", 3),
        FileChange("changed", "old.txt", "file", 8),
        FileChange("changed", "one", "file", 4),
        FileChange("changed", "two", "file", 4),
        FileChange("removed", "film", "file", 50, "media"),
    )
    assert (tmp_path / "media" / "film").exists()


CHANGES = """\
import os
(self.data_dir / 'absolute').write_text('absolute')
(self.data_dir / 'relative').write_text('through')
(self.data_dir / os.fsdecode(b'odd\\xff\\nname')).chmod(0o600)
with open(self.data_dir / 'one', 'r+') as file: file.write('both')
"""


# -- the real instance stays out of reach


@pytest.mark.parametrize("variant", ["x_argument", "url_from_environment", "attributes_connection", "file_config"])
def test_an_env_py_that_takes_its_url_from_elsewhere_is_led_to_the_clone(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    project = make_project(variant)
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    at_v1(project)
    with left_as_it_is(project):
        assert rehearsed(project).failure is None
    assert dict(os.environ).items() >= project.environment.items()


READS_THE_FILE = """
import configparser

parser = configparser.ConfigParser({"here": "/nowhere"})
parser.read(config.config_file_name)


def run_migrations_online() -> None:
    with create_engine(parser["alembic"]["sqlalchemy.url"], poolclass=pool.NullPool).connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""
TOUCHES_FIRST = """
def run_migrations_online() -> None:
    engine = create_engine({url!r}, poolclass=pool.NullPool, isolation_level="AUTOCOMMIT")
    with engine.begin() as connection:
        if config.get_main_option("sqlalchemy.url") != {url!r}:
            connection.exec_driver_sql("INSERT INTO notes (id, text) VALUES (77, 'from env.py')")
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""
BY_ITS_OWN_HANDS = """
def run_migrations_online() -> None:
    import {module} as driver

    engine = create_engine("{dialect}://", creator=lambda: driver.connect({arguments}), poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target_metadata)
        with context.begin_transaction():
            context.run_migrations()
"""


def with_env_py(project: Project, online: str) -> Project:
    text = environments.HEAD + online + environments.TAIL
    (project.root / "migrations" / "env.py").write_text(text)
    return project


def test_an_env_py_that_reads_the_ini_itself_is_led_to_the_clone(project: Project) -> None:
    at_v1(with_env_py(project, READS_THE_FILE))
    with left_as_it_is(project):
        assert rehearsed(project).failure is None


@pytest.mark.parametrize("kind", KINDS)
def test_an_env_py_that_ignores_the_new_url_is_caught_before_it_touches_anything(
    make_project: Callable[..., Project], kind: str
) -> None:
    project = at_v1(make_project(kind=kind))
    with_env_py(project, TOUCHES_FIRST.format(url=project.database.url))
    with left_as_it_is(project), pytest.raises(EnvPyError) as caught:
        rehearsed(project)
    assert caught.value.message.endswith("which is not its clone.")
    assert caught.value.stands.startswith("The real instance is as it was before the updates: ")
    assert caught.value.stands.endswith(" The clone is gone.")
    assert "context.config" in caught.value.hint
    assert last(project.data) is None


@pytest.mark.parametrize("stranger", ["", "somebody_else"])
def test_a_connection_made_by_hand_does_not_show_the_clones_mark(
    postgresql: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stranger: str
) -> None:
    """Where its URL is not enough for the server's programs, that is what is told, and no clone is asked after."""
    project = at_v1(Project.create(tmp_path / "project", postgresql))
    url = sa.make_url(postgresql.url)
    monkeypatch.setenv("PGUSER", stranger or url.username or "")
    arguments = f"host={url.host!r}, port={url.port!r}, user={url.username!r}, dbname={url.database!r}"
    online = BY_ITS_OWN_HANDS.format(module="psycopg", dialect="postgresql+psycopg", arguments=arguments)
    with_env_py(project, online)
    # The URL of such an engine names no database, so the store cannot be opened by it either.
    with left_as_it_is(project), pytest.raises(FietsupdateError) as caught:
        rehearsed(project)
    assert not stranger or f'role "{stranger}" does not exist' in str(caught.value)


OWN_ENGINE = """
from sqlalchemy import create_engine
engine = create_engine({url})
with engine.begin() as connection:
    connection.exec_driver_sql("INSERT INTO notes (id, text) VALUES (99, 'mine')")
engine.dispose()
"""


@pytest.mark.parametrize("kind", [SQLITE, MARIADB])
def test_hooks_with_engines_of_their_own_reach_the_clone_only(make_project: Callable[..., Project], kind: str) -> None:
    body = OWN_ENGINE.format(url="config['sqlalchemy.url']")
    project = at_v1(make_project(kind=kind), up_pre=body, atomic=None)
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is None
    assert report.database is not None
    assert report.database.rows_after == {"notes": 2}


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
def test_a_hook_that_connects_to_the_real_database_fails_the_rehearsal(
    make_project: Callable[..., Project], kind: str
) -> None:
    project = make_project(kind=kind)
    at_v1(project, up_pre=OWN_ENGINE.format(url=repr(project.database.url)), atomic=None)
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is not None
    assert (report.failure.update_id, report.failure.phase) == ("v2", "pre")
    assert "which is not its clone" in report.failure.message


def test_an_engine_that_is_connected_to_the_real_database_already_is_no_way_around(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sa.make_url(project.url)
    at_v1(
        project, up_pre="from builtins import pooled\nwith pooled.begin() as c: c.execute(sa.text('DELETE FROM notes'))"
    )
    engine = sa.create_engine(url, poolclass=sa.QueuePool)
    with engine.connect():
        pass
    monkeypatch.setattr(builtins, "pooled", engine, raising=False)
    with left_as_it_is(project):
        report = rehearsed(project)
    engine.dispose()
    assert report.failure is not None
    assert "which is not its clone" in report.failure.message


def test_a_hook_that_would_change_a_real_file_fails_the_rehearsal(project: Project) -> None:
    at_v1(project, up_pre=f"Path({str(project.data)!r}, 'kept.txt').write_text('bad')")
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is not None
    assert report.failure.message.endswith("belongs to the real instance, which nothing may change now.")
    assert report.failure.hint == "Take paths from self.data_dir, self.files or config, never from elsewhere."
    assert report.files is None


def test_a_hook_that_swallows_the_refusal_fails_the_rehearsal_too(project: Project) -> None:
    path = str(project.data / "kept.txt")
    at_v1(project, up_pre=f"try: open({path!r}, 'w')\nexcept Exception: pass")
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is not None
    assert report.failure.code == "trespass"
    assert path in report.failure.message


SETTINGS = """
def for_updates():
    folder = {data!r}
    return {{
        "app.upload": folder + "/uploads", "app.url": {url!r}, "app.other": folder + "-other/x",
        "app.nested": {{"paths": [folder, "file://" + folder + "/x"]}},
    }}
"""
TELLS_SETTINGS = """
import json
with open({out!r}, 'w') as file:
    told = {{key: config[key] for key in config if key.startswith(('app', 'sqlalchemy', 'fietsupdate'))}}
    json.dump({{"data": str(self.data_dir), **told}}, file)
"""


def test_settings_that_lead_into_the_real_instance_lead_into_the_clone(
    make_project: Callable[..., Project], outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(section={"app.folder": "%(here)s/data/uploads", "setup": "rehearsal_settings:for_updates"})
    monkeypatch.syspath_prepend(project.root)
    code = SETTINGS.format(data=str(project.data), url=project.url)
    (project.root / "rehearsal_settings.py").write_text(code)
    out = str(outside / "settings.json")
    at_v1(project, up_pre=TELLS_SETTINGS.format(out=out))
    with left_as_it_is(project):
        assert rehearsed(project).failure is None
    told = json.loads(Path(out).read_text())
    clone = told["data"]
    assert clone != str(project.data)
    assert told["fietsupdate.data_dir"] == clone
    assert told["app.folder"] == told["app.upload"] == f"{clone}/uploads"
    assert told["app.url"] == told["sqlalchemy.url"] != project.url
    assert told["app.other"] == f"{project.data}-other/x"
    assert told["app.nested"] == {"paths": [clone, f"file://{clone}/x"]}


# -- what fails


def test_a_failing_rehearsal_leaves_a_report_that_one_can_act_on(project: Project) -> None:
    at_v1(project, up_post="raise ValueError('no such tile: 12/3')")
    with left_as_it_is(project):
        told = project.run("rehearse").exited(1)
    assert "Rehearsed 1 update: it FAILED." in told.stdout
    assert "Failed  applying v2, in phase post\n" in told.stdout
    assert "ValueError: no such tile: 12/3." in " ".join(told.stdout.split())
    report = last(project.data)
    assert report is not None
    assert report.failure is not None
    assert (report.failure.update_id, report.failure.phase, report.failure.code) == ("v2", "post", "update_failed")
    dry = " ".join(project.run("update", "--dry-run").succeeded().stdout.split())
    assert "failed (applying v2, in phase post): Up.post_alembic of v2 failed at" in dry
    document = project.run("rehearse", "--json").exited(1).json
    assert document["error"]["code"] == "update_failed"
    assert document["rehearsal"]["failure"]["update_id"] == "v2"
    asked = project.run("--traceback", "rehearse")
    assert asked.code == 1
    assert asked.stderr.startswith("Traceback (most recent call last):\n")
    assert "    raise ValueError('no such tile: 12/3')\nValueError: no such tile: 12/3\n" in asked.stderr
    assert "Traceback" not in asked.stdout + (project.data / ".fietsupdate/rehearsals/last.json").read_text()


def test_a_script_that_cannot_be_loaded_and_a_failing_check_are_reported(project: Project) -> None:
    path = at_v1(project, head="import no_such_module").updates / "upd_v2.py"
    failure = rehearsed(project).failure
    assert failure is not None
    assert (failure.code, "no_such_module" in failure.message) == ("script", True)
    project.update("v2", "v1", "r2", up_more="def check(self, config): raise ValueError('not today')")
    failure = rehearsed(project).failure
    assert failure is not None
    assert (failure.code, "not today" in failure.message) == ("checks_failed", True)
    assert path.exists()


def test_a_signal_ends_it_and_the_clone_is_gone(project: Project) -> None:
    at_v1(project, up_pre="import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    with left_as_it_is(project):
        told = project.run("rehearse").exited(143)
    assert "Whether the real instance is as it was, was not looked at. The clone is gone." in told.told
    assert last(project.data) is None


KILLED = "import os; os.kill({pid}, 9)"


@pytest.mark.parametrize("kind", KINDS)
def test_updates_that_kill_their_process_fail_the_rehearsal(make_project: Callable[..., Project], kind: str) -> None:
    project = at_v1(make_project(kind=kind), up_pre=KILLED.format(pid="os.getpid()"))
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is not None
    assert report.failure.message == "The process that ran the updates ended by SIGKILL."
    assert (report.failure.code, report.failure.update_id, report.failure.phase) == ("died", "v2", "pre")


@pytest.mark.parametrize("command", ["rehearse", "recover"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_rehearsal_has_left_is_swept(
    make_project: Callable[..., Project], kind: str, command: str
) -> None:
    """The clone, its database, its account and its name among the temporary files go with the next command."""
    project = at_v1(make_project(kind=kind), up_pre=KILLED.format(pid="os.getppid()") + "; import time; time.sleep(60)")
    before = everything(project)
    assert project.run("rehearse").code == -9
    assert len(clones(project)) == (2 if kind == SQLITE else 4), clones(project)
    assert project.run("status", "--json").succeeded().json["state"] == "outdated"
    project.update("v2", "v1", "r2")
    project.run(command).succeeded()
    assert clones(project) == []
    assert everything(project) == before


# -- refused


def test_an_interrupted_instance_is_not_rehearsed(project: Project) -> None:
    at_v1(project, up_pre="import os; os.kill(os.getpid(), 9)")
    assert project.run("update", "--yes").code == -9
    project.update("v2", "v1", "r2")
    with pytest.raises(RefusedError) as caught:
        rehearsed(project)
    assert caught.value.message == "An interrupted update lies open: there is nothing to begin a rehearsal from."
    assert "fietsupdate recover" in caught.value.hint


def test_a_round_trip_without_a_way_back_is_refused(project: Project) -> None:
    at_v1(project, has_down=False)
    with left_as_it_is(project), pytest.raises(PlanError) as caught:
        rehearsed(project, round_trip=True)
    assert "Update v2 cannot be reverted" in caught.value.message
    assert rehearsed(project).failure is None


def test_down_that_does_not_restore_is_told_file_by_file(project: Project) -> None:
    delete = "self.connection.execute(sa.text('DELETE FROM notes'))"
    at_v1(
        project,
        up_pre="self.files.write('kept.txt', 'other')",
        down_pre=delete,
        down_post="self.files.write('more', '')",
    )
    with left_as_it_is(project):
        told = project.run("rehearse", "--round-trip").exited(1)
    assert (
        "Reverting did NOT restore what was there:\n  ~ kept.txt  5 B\n  + more  0 B\n  other rows in notes\n"
        in told.stdout
    )
    report = last(project.data)
    assert report is not None
    assert report.failure is not None
    assert report.failure.message == (
        "Reverting the updates does not restore what was there: 2 files are not what they were; "
        "other rows are in notes."
    )


def test_without_room_nothing_begins(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    at_v1(project)
    monkeypatch.setattr(space, "RESERVE", 1 << 60)
    with left_as_it_is(project), pytest.raises(FilesError) as caught:
        rehearsed(project)
    assert caught.value.message.startswith(
        "A clone needs 1 MiB, and 1099511627776 MiB more are to stay free; there are "
    )
    assert "rehearsal_dir" in caught.value.hint
    assert caught.value.stands == "Nothing was changed, and nothing was cloned."


def test_a_full_disk_is_told_with_the_place_of_the_clone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    at_v1(project, up_pre="raise OSError(28, 'No space left on device')")
    place = re.escape(f"{project.data}/.fietsupdate/rehearsals/") + r"\w+/clone"
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is not None
    assert re.fullmatch(rf"The clone is in {place}: free some space there, or .*", report.failure.hint)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_copy, "write_all", full)
    with left_as_it_is(project), pytest.raises(FilesError) as caught:
        rehearsed(project)
    assert re.fullmatch(
        rf"The disk is full: the clone in {place} could not be finished \(No space left on device\)\.",
        caught.value.message,
    )
    assert caught.value.stands == "No update ran. The clone is gone."


def test_the_clone_goes_where_the_configuration_says(make_project: Callable[..., Project], tmp_path: Path) -> None:
    project = make_project(section={"rehearsal_dir": str(tmp_path / "roomy")})
    at_v1(project, up_pre="self.tell(str(self.data_dir))")
    told: list[Event] = []
    with left_as_it_is(project):
        assert rehearsed(project, on_event=told.append).failure is None
    places = [event.text for event in told if event.event == "tell"]
    assert len(places) == 1
    assert places[0].startswith(f"{tmp_path}/roomy/fietsupdate-rehearsal-")
    assert os.listdir(tmp_path / "roomy") == []


# -- beside others


def test_the_real_instance_is_locked_only_while_it_is_cloned(project: Project) -> None:
    look = "from fietsupdate.filesystem.lock import holder\nassert holder(Path({data!r})) is None"
    at_v1(project, up_pre=look.format(data=str(project.data)))
    with left_as_it_is(project):
        assert rehearsed(project).failure is None


def test_an_updater_that_is_at_work_is_waited_for(project: Project) -> None:
    at_v1(project)
    quick = {"timeout": 0, "on_wait": lambda _holder: None, "command": "update"}
    with lock.hold(project.data, **quick), left_as_it_is(project), pytest.raises(LockedError):
        rehearsed(project, lock_timeout=0)


# -- what is told before a real run


def test_a_dry_run_tells_the_figures_as_long_as_the_scripts_are_the_same(project: Project) -> None:
    at_v1(project)
    report = rehearsed(project)
    dry = project.run("update", "--dry-run").succeeded().stdout
    when = report.made_at[:19].replace("T", " ")
    assert f"Rehearsed on {when} UTC: less than a second (" in dry
    assert "5.0 kB and 2 inodes written" in dry
    document = project.run("update", "--dry-run", "--json").succeeded().json
    assert document["outlook"]["rehearsal"]["files"]["bytes_written"] == 5005
    project.update("v2", "v1", "r2", up_pre="pass")
    assert "Rehearsed" not in project.run("update", "--dry-run").succeeded().stdout
    assert project.run("update", "--dry-run", "--json").succeeded().json["outlook"]["rehearsal"] is None


def test_it_runs_beside_the_application_and_makes_no_backup_and_no_maintenance_file(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    sign = tmp_path / "down"
    project = make_project(section={"maintenance": str(sign), "backup": "full"})
    no_backup = "assert not (self.data_dir / '.fietsupdate' / 'backups').exists()"
    at_v1(project, up_pre=f"assert not Path({str(sign)!r}).exists()\n{no_backup}")
    text = project.ini.read_text()
    project.ini.write_text(f"{text}running = true\n")
    made = sorted((project.data / ".fietsupdate").glob("backups/*"))
    with pytest.raises(RefusedError):
        updater(project).update()
    with left_as_it_is(project):
        assert rehearsed(project).failure is None
    assert sorted((project.data / ".fietsupdate").glob("backups/*")) == made


def test_the_report_is_told_in_words() -> None:
    report = Rehearsal(
        made_at="2026-11-21T21:00:37.118Z",
        tool_version="0.1.0",
        current=("v1",),
        result=("v2",),
        updates=(Rehearsed("v2", "up", "ab"),),
        duration_ms=192_000,
        clone_ms=48_000,
        timings=(
            Timing(
                "v2", "up", 190_000, {"pre": 182_000, "alembic": 4100, "post": 3900}, {"pre": 1_200_000}, {"pre": 13}
            ),
        ),
        files=FileCounts(
            12, 1, 0, 1_200_000_000, 13, tuple(FileChange("added", f"f{n}", "file", 10) for n in range(12))
        ),
        database=DatabaseFigures(
            {"t": 1, "gone": 2}, {"t": 5}, "--- before\n+++ after\n@@ -1 +1 @@\n-a\n+b", 2_100_000, 900_000
        ),
        peak_bytes=1_300_000_000,
        verified=("v2",),
        warnings=("v2: careful",),
        seclusion=Seclusion(read_only=True, account="fietsupdate_ab", compared=("9 files", "the database's schema")),
        round_trip=RoundTrip(times=3, down=(Timing("v2", "down", 5000, {}),)),
    )
    assert rehearsal.report(report, 80) == TOLD
    seclusion = Seclusion(gaps=("Nothing keeps programs away.",), compared=("9 files",), changed=("/data/x",))
    failed = replace(
        report,
        files=None,
        database=None,
        timings=(),
        warnings=(),
        round_trip=None,
        failure=FAILURE,
        seclusion=seclusion,
    )
    assert rehearsal.report(failed, 80) == FAILED
    assert Rehearsal.from_json(report.to_json()) == report
    assert Rehearsal.from_json(failed.to_json()) == failed


DIFFERENCE = "--- before\n+++ after\n@@ -1 +1 @@\n-a\n+b"
FAILURE = RehearsalFailure(
    "update_failed", "Up.pre_alembic of v2 failed at u.py:3: OSError.", "Mend it.", "v2", "pre", "up"
)
TOLD = """\
Rehearsed 1 update: all went well.

From      v1
To        v2
Real run  will take about 3 minutes (3 min 12 s)
Clone     made in 48 s
Written   1.2 GB and 13 inodes written
Files     12 added, 1 changed, 0 removed
Database  2.1 MB before, 900 kB after
Extra     1.3 GB of space at the most
Verified  v2

update  took        pre        alembic  post
v2      3 min 10 s  3 min 2 s  4.1 s    3.9 s

update  phase  written  inodes
v2      pre    1.2 MB   13

Files:
  + f0  10 B
  + f1  10 B
  + f2  10 B
  + f3  10 B
  + f4  10 B
  + f5  10 B
  + f6  10 B
  + f7  10 B
  + f8  10 B
  + f9  10 B
  ... and 2 more; --json names all

table  rows before  after
gone   2            -
t      1            5

Schema:
  @@ -1 +1 @@
  -a
  +b

Warning  v2: careful

Way back  Reverting restored everything, in 5.0 s. But for the times of 3 files.

Kept apart  The system kept the real files from being changed.
            On the server, fietsupdate_ab had no rights outside the clone.
Compared    9 files; the database's schema: as before.

The clone is gone."""
FAILED = """\
The real instance is NOT as it was before the updates: /data/x.

Rehearsed 1 update: it FAILED.

From  v1
To    v2

Failed  applying v2, in phase pre
Why     Up.pre_alembic of v2 failed at u.py:3: OSError.
Next    Mend it.

Not kept  Nothing keeps programs away.
Compared  9 files: NOT as before.

The clone is gone."""
