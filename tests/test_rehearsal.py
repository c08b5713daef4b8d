"""A rehearsal runs the plan on a clone of both halves, tells what it takes, and leaves the real instance as it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from fietsupdate.errors import EnvPyError, FietsupdateError, FilesError, PlanError, RefusedError
from fietsupdate.rehearsal import last
from fietsupdate.rehearsing import clone as cloning
from fietsupdate.rehearsing.report import Change, Rehearsal
from fietsupdate.updater import Updater
from support import environments
from support.databases import Database, KINDS, MARIADB, POSTGRESQL, SQLITE, _server
from support.notes import revisions
from support.projects import Project

WRITES = "self.files.write('new.txt', 'n' * 5000); self.files.remove('old.txt'); self.files.write('kept.txt', 'other')"
REMOVES = (
    "self.files.remove('new.txt'); self.files.write('old.txt', 'o' * 300); self.files.write('kept.txt', 'k' * 100)"
)


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


def clones(project: Project) -> list[str]:
    """Name all that there is of clones: folders, and databases on the server."""
    folder = project.data / ".fietsupdate" / "rehearsals"
    found = [name for name in (os.listdir(folder) if folder.exists() else []) if name != "last.json"]
    database = project.database
    if database.kind == SQLITE:
        return [*found, *(path.name for path in database.file.parent.glob(f"{database.file.name}.*"))]
    names = {POSTGRESQL: "SELECT datname FROM pg_database", MARIADB: "SHOW DATABASES"}[database.kind]
    with _server(database.kind) as connection:
        there = connection.exec_driver_sql(names).scalars().all()
    return [*found, *(name for name in there if name.startswith(f"{database.name}_"))]


# -- what it tells


@pytest.mark.parametrize(
    ("kind", "variant"),
    [(SQLITE, "stock"), (SQLITE, "async"), (POSTGRESQL, "stock"), (POSTGRESQL, "async"), (MARIADB, "stock")],
)
def test_it_tells_what_the_updates_do_and_changes_nothing(make_project: Callable[..., Project], kind, variant) -> None:
    insert = "self.connection.execute(sa.text(\"INSERT INTO notes (id, text) VALUES (2, 'new')\"))"
    delete = "self.connection.execute(sa.text('DELETE FROM notes WHERE id = 2'))"
    project = at_v1(make_project(variant, kind), up_post=insert, down_pre=delete, up_more=VERIFY)
    with left_as_it_is(project):
        report = rehearsed(project, round_trip=True)
    assert report.failure is None
    assert (report.current, report.result) == (("v1",), ("v2",))
    assert [timing.update_id for timing in report.timings] == ["v2"]
    assert set(report.timings[0].phases) == {"pre", "alembic", "post"}
    assert report.duration_ms >= report.timings[0].duration_ms
    files = report.files
    assert files is not None
    assert files.changes == (
        Change("changed", "kept.txt", "file", 5),
        Change("added", "new.txt", "file", 5000),
        Change("removed", "old.txt", "file", 300),
    )
    assert (files.added, files.changed, files.removed) == (1, 1, 1)
    assert (files.bytes_written, files.inodes_written) == (5005, 2)
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
    project.update("v2", "v1", "r2", up_pre=project.trace("v2"))
    with left_as_it_is(project):
        assert rehearsed(project).result == ("v2",)
    assert project.traces() == ["v2"]


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
        Change("changed", "kept.txt", "file", 7),
        Change("changed", os.fsdecode(b"odd\xff\nname"), "file", 3),
        Change("changed", "old.txt", "file", 8),
        Change("changed", "one", "file", 4),
        Change("changed", "two", "file", 4),
        Change("removed", "film", "file", 50, "media"),
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
    assert "the clone is gone" in caught.value.stands
    assert "context.config" in caught.value.hint
    assert last(project.data) is None


def test_a_connection_made_by_hand_does_not_show_the_clones_mark(postgresql: Database, tmp_path: Path) -> None:
    project = at_v1(Project.create(tmp_path / "project", postgresql))
    url = sa.make_url(postgresql.url)
    arguments = f"host={url.host!r}, port={url.port!r}, user={url.username!r}, dbname={url.database!r}"
    online = BY_ITS_OWN_HANDS.format(module="psycopg", dialect="postgresql+psycopg", arguments=arguments)
    with_env_py(project, online)
    # The URL of such an engine names no database, so the store cannot be opened by it either.
    with left_as_it_is(project), pytest.raises(FietsupdateError):
        rehearsed(project)
