"""Reading commands change nothing and wait for nothing (invariant 10); a run with nothing to do takes no lock."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from fietsupdate.testing.content import dump
from support.databases import POSTGRESQL, SQLITE
from support.projects import Project, result_of
from support.zygote import Zygote

READING = [
    ["status"],
    ["status", "--json"],
    ["check"],
    ["history"],
    ["heads"],
    ["show", "one"],
    ["graph", "--mermaid"],
    ["audit"],
    ["probe", "liveness"],
    ["probe", "startup"],
    ["audit", "--json"],
    ["quarantine", "--dry-run"],
    ["quarantine", "list", "--json"],
    ["quarantine", "purge", "--older-than", "1d", "--dry-run"],
    ["update", "--dry-run"],
    ["update", "one", "--dry-run", "--checks"],
    ["downgrade", "base", "--dry-run"],
    ["--help"],
]


def written(project: Project) -> Project:
    project.revision("aaaa", None, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
    project.update("one", (), "aaaa", up_pre="self.files.write('one.txt', 'one')")
    project.update("two", "one", "aaaa")
    return project


def whole(project: Project) -> tuple[object, object]:
    """Everything on disk but Python's caches, and the database."""
    caches = [str(path.relative_to(project.root)) for path in project.root.rglob("__pycache__")]
    from fietsupdate.testing.content import tree

    return tree(project.root, exclude=[*caches, "migrations", "updates"]), dump(project.database.url)


def test_reading_commands_leave_a_new_instance_untouched(any_project: Project) -> None:
    project = written(any_project)
    before = whole(project)
    for command in READING:
        assert project.run(*command).code in {0, 1, 2, 3}, command
    assert whole(project) == before
    assert list(project.data.iterdir()) == []


def test_reading_commands_leave_an_instance_untouched(any_project: Project) -> None:
    project = written(any_project)
    project.run("update", "one", "--yes").succeeded()
    before = whole(project)
    for command in READING:
        assert project.run(*command).code in {0, 1, 3}, command
    assert whole(project) == before


def test_an_update_with_nothing_to_do_takes_no_lock(any_project: Project) -> None:
    project = written(any_project)
    project.run("update", "--yes").succeeded()
    before = whole(project)
    assert "Nothing to do" in project.run("update", "--yes").succeeded().stdout
    assert whole(project) == before


def test_ten_that_start_together_when_all_is_done_cost_ten_reads(project: Project) -> None:
    written(project).run("update", "--yes").succeeded()
    before = whole(project)
    started: list[subprocess.Popen[str]] = [project.start("update", "--yes") for _ in range(10)]
    assert [result_of(child).code for child in started] == [0] * 10
    assert whole(project) == before


def test_a_sqlite_file_that_is_missing_is_not_created(project: Project) -> None:
    written(project)
    project.run("status").succeeded()
    project.run("update", "--dry-run").succeeded()
    assert not project.database.file.exists()


@pytest.mark.parametrize("command", [["status"], ["check"], ["update", "--yes"]])
def test_a_database_in_memory_is_refused(make_project: Callable[..., Project], command: list[str]) -> None:
    project = written(make_project())
    ini = project.ini.read_text().replace(project.url, "sqlite://")
    project.ini.write_text(ini)
    assert "The database is in memory" in project.run(*command).exited(1).stderr


SHARED_ENGINE = """
from alembic import context
from engines import engine

with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_an_engine_that_outlives_env_py_does_not_keep_the_stand_in_of_a_missing_file(project: Project) -> None:
    """Flask-SQLAlchemy's does: the look at a new instance leaves its connection in the pool."""
    (project.root / "engines.py").write_text(f"import sqlalchemy\nengine = sqlalchemy.create_engine({project.url!r})\n")
    (project.root / "migrations" / "env.py").write_text(SHARED_ENGINE)
    written(project).run("update", "--yes").succeeded()
    assert "t" in project.database.tables()
    assert project.alembic_version() == ["aaaa"]


EVERYTHING = {
    "distribution": "alembic",
    "version_hooks": "hooks",
    "checks": "hooks",
    "running": "test -e running.pid",
    "maintenance": "%(here)s/maintenance",
    "backup": "full",
    "backup_dir": "%(here)s/backups",
    "extra_dirs": "media=%(here)s/media",
}
HOOKS = """
from fietsupdate import version_upgrade

@version_upgrade(old="<9999", new=">=0")
def crossed(script, config):
    script.files.write("crossed.txt", "crossed")

def pre_check(config):
    return "looked"

def post_check(config):
    open(f"{config['fietsupdate.data_dir']}/checked", "w").close()
"""
LOOKING = [
    *READING,
    ["update", "--dry-run", "--json"],
    ["update", "--dry-run", "--no-backup"],
    ["backup", "list"],
    ["backup", "verify"],
    ["backup", "prune", "--keep", "1", "--dry-run"],
    ["restore", "--latest", "--dry-run"],
]


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
def test_nor_do_they_write_where_everything_is_configured(make_project: Callable[..., Project], kind: str) -> None:
    """Backups, version hooks, checks, a maintenance file: none of it makes a look leave something behind."""
    project = written(make_project(kind=kind, section=EVERYTHING))
    (project.root / "media").mkdir()
    (project.root / "hooks.py").write_text(HOOKS)
    with Zygote() as zygote:
        before = whole(project)
        for command in LOOKING:
            assert zygote.run(project, command).code in {0, 1, 2, 3}, command
        assert whole(project) == before
        zygote.run(project, ["update", "one", "--yes"]).succeeded()
        zygote.run(project, ["backup"]).succeeded()
        before = whole(project)
        for command in LOOKING:
            assert zygote.run(project, command).code in {0, 1, 3}, command
        assert whole(project) == before
