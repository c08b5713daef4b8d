"""What an application sets on its SQLite connections: ours wins while an update runs, and theirs is back afterwards."""

from __future__ import annotations

import asyncio
import importlib
import json
import sqlite3
import sys
from collections.abc import Callable

import pytest

from fietsupdate import Updater
from fietsupdate.errors import FietsupdateError
from support.notes import notes
from support.projects import Project

OURS = {"foreign_keys": 0, "synchronous": 3, "journal_mode": "delete", "locking_mode": "normal"}
PRAGMAS = tuple(OURS)
LISTENER = """
@sa.event.listens_for({engine}, "connect")
def settings(connection, _):
    cursor = connection.cursor()
    for setting in {settings!r}: cursor.execute(f"PRAGMA {{setting}}")
    cursor.close()
"""
ENV = """
import sqlalchemy as sa
from alembic import context
{source}
with engine.connect() as connection:
    {before}
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""
ASYNC_ENV = """
import asyncio, live
from alembic import context

def run(connection):
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()

async def main():
    async with live.engine.connect() as connection:
        await connection.run_sync(run)

asyncio.run(main())
"""
LIVE = """
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
engine = {make}({url!r}, poolclass={pool})
{listener}
"""
SEEN = f"""
import json
seen = {{name: self.connection.exec_driver_sql(f"PRAGMA {{name}}").scalar() for name in {PRAGMAS}}}
self.files.write("seen", json.dumps(seen))
"""


@pytest.fixture
def application(make_project) -> Callable[..., Project]:
    """Give a function that makes an instance whose env.py opens connections of its own making, at v1 with a row."""

    def make(env: str) -> Project:
        project = notes(make_project(), 1)
        Updater.from_config(project.ini).update()
        project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'one')")
        (project.root / "migrations" / "env.py").write_text(env.replace("@URL@", project.url))
        return project

    return make


def env_with(*settings: str, before: str = "pass") -> str:
    source = "engine = sa.create_engine('@URL@', poolclass=sa.NullPool)"
    source += LISTENER.format(engine="engine", settings=settings)
    return ENV.format(source=source, before=before)


def seen_in_hook(project: Project) -> dict[str, object]:
    project.update("v2", "v1", "r1", up_post=SEEN)
    Updater.from_config(project.ini).update()
    return json.loads((project.data / "seen").read_text())


@pytest.mark.parametrize(
    ("mode", "inside"),
    [("MEMORY", "delete"), ("OFF", "delete"), ("WAL", "wal"), ("TRUNCATE", "truncate"), ("PERSIST", "persist")],
)
def test_a_journal_that_survives_a_crash_is_used(mode, inside, application):
    project = application(env_with(f"journal_mode = {mode}", "locking_mode = EXCLUSIVE"))
    seen = seen_in_hook(project)
    assert seen == {**OURS, "journal_mode": inside}


def test_without_a_journal_an_update_that_fails_is_rolled_back_even_so(application):
    project = application(env_with("journal_mode = OFF"))
    change = 'self.connection.execute(sa.text("UPDATE notes SET text = NULL"))\nself.files.write("a", "a")\n'
    project.update("v2", "v1", "r1", up_post=f"{change}raise RuntimeError('boom')")
    with pytest.raises(FietsupdateError, match="boom"):
        Updater.from_config(project.ini).update()
    assert project.database.execute("SELECT text FROM notes") == [("one",)]
    assert not (project.data / "a").exists()


def test_a_journal_that_cannot_be_changed_any_more_is_refused(application):
    begin = "connection.exec_driver_sql('BEGIN'); connection.exec_driver_sql('SELECT 1 FROM notes')"
    project = application(env_with("journal_mode = MEMORY", before=begin))
    project.update("v2", "v1", "r1", up_post="self.files.write('a', 'a')")
    with pytest.raises(FietsupdateError, match="journal_mode=memory, and env") as caught:
        Updater.from_config(project.ini).update()
    assert "Set no such journal_mode" in caught.value.hint
    assert not (project.data / "a").exists()
    assert project.version == "v1"


def live(project: Project, name: str, *, is_async: bool, settings: tuple[str, ...]) -> object:
    """Import a module with an engine that keeps one connection, as a running application has it."""
    make, engine = ("create_async_engine", "engine.sync_engine") if is_async else ("sa.create_engine", "engine")
    url = project.url.replace("sqlite:", "sqlite+aiosqlite:") if is_async else project.url
    listener = LISTENER.format(engine=engine, settings=settings)
    (project.root / f"{name}.py").write_text(LIVE.format(make=make, url=url, pool="sa.StaticPool", listener=listener))
    return importlib.import_module(name)


THEIRS = ("foreign_keys = ON", "synchronous = NORMAL", "journal_mode = MEMORY")
BACK = {"foreign_keys": 1, "synchronous": 1, "journal_mode": "memory", "locking_mode": "normal"}


@pytest.fixture
def importing(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    yield
    sys.modules.pop("live", None)


@pytest.mark.usefixtures("importing")
def test_a_live_engine_has_its_settings_back(application):
    project = application(ENV.format(source="import live\nengine = live.engine", before="pass"))
    engine = live(project, "live", is_async=False, settings=THEIRS).engine
    assert seen_in_hook(project)["journal_mode"] == "delete"
    with engine.connect() as connection:
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in PRAGMAS} == BACK
    engine.dispose()


@pytest.mark.usefixtures("importing")
def test_a_live_async_engine_has_its_settings_back(application):
    project = application(ASYNC_ENV)
    engine = live(project, "live", is_async=True, settings=THEIRS).engine
    assert seen_in_hook(project) == {
        "foreign_keys": 0,
        "synchronous": 3,
        "journal_mode": "delete",
        "locking_mode": "normal",
    }

    async def read() -> dict[str, object]:
        async with engine.connect() as connection:
            found = {name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in PRAGMAS}
        await engine.dispose()
        return found

    assert asyncio.run(read()) == BACK


@pytest.mark.usefixtures("importing")
def test_an_authorizer_of_the_application_stays(application):
    """It cannot be read back, so ours is not set; a driver's ROLLBACK is noticed then, and nothing more is done."""
    project = application(ENV.format(source="import live\nengine = live.engine", before="pass"))
    engine = live(project, "live", is_async=False, settings=()).engine
    asked: list[int] = []

    def authorize(action: int, *_: object) -> int:
        asked.append(action)
        return sqlite3.SQLITE_OK

    with engine.connect() as connection:
        connection.connection.driver_connection.set_authorizer(authorize)
    body = "raw = self.connection.connection.driver_connection\nself.files.write('a', 'a')\nraw.rollback()\n"
    project.update("v2", "v1", "r1", up_post=f"{body}self.files.write('b', 'b')")
    with pytest.raises(FietsupdateError, match="ended") as caught:
        Updater.from_config(project.ini).update()
    assert "Rows that it wrote may stand" in caught.value.stands
    assert not (project.data / "b").exists()
    assert [path.name for path in (project.data / ".fietsupdate" / "found").rglob("*") if path.is_file()] == ["a"]
    asked.clear()
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM notes")
    assert asked
    engine.dispose()
