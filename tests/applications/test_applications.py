"""Real applications start on data of an older release: they update it, or refuse; each in a process of its own.

They lie in ``tests/applications``, are shown in docs/guides/at-application-start.md, and run with warnings as errors.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import alembic.command
import alembic.config
import flask
import flask_migrate
import pytest

from fietsupdate import Updater, UpdateState
from support.paths import APPLICATIONS

HERE = APPLICATIONS
SECTION = "\n[fietsupdate]\nupdates = {updates}\ndata_dir = {data}\n{more}"
SEED = """
import sqlite3
from contextlib import closing
from fietsupdate import Updater
Updater.from_config({ini!r}).update("v1")
with closing(sqlite3.connect("notes.db")) as connection, connection:
    connection.execute("INSERT INTO note (id, text) VALUES (1, 'bread, milk')")
"""

THIRD_PARTY = (
    "ignore:'cgi' is deprecated and slated for removal in Python 3.13:DeprecationWarning",  # WebOb imports it
    "ignore:pkg_resources is deprecated as an API:UserWarning",  # Pyramid imports it
    "ignore:Deprecated call to `pkg_resources.declare_namespace:DeprecationWarning",  # PasteDeploy calls it
    "ignore:'get_engine' is deprecated:DeprecationWarning",  # Flask-Migrate's own env.py calls it
)
"""Warnings that the frameworks themselves provoke."""


class Application:
    """A copy of one of the applications, at v1, with a note."""

    def __init__(self, root: Path, ini: str) -> None:
        self.root, self.ini = root, ini

    def python(self, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run Python in the application's folder, and expect an exit code."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FIETSUPDATE_", "ALEMBIC_"))}
        done = subprocess.run(
            [sys.executable, "-W", "error", *(part for text in THIRD_PARTY for part in ("-W", text)), *args],
            cwd=self.root,
            env={**kept, "PYTHONPATH": str(self.root)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def run(self, script: str) -> str:
        """Run a program on the note of v1, and give what it prints."""
        return self.python("-c", SEED.format(ini=self.ini) + script).stdout

    def state(self) -> UpdateState:
        return Updater.from_config(self.root / self.ini).state()


@pytest.fixture
def application(tmp_path: Path) -> Callable[[str], Application]:
    """Give a function that copies an application, and lets its framework write the migration environment."""

    def copied(name: str) -> Application:
        root = shutil.copytree(HERE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        (root / "data").mkdir()
        shutil.copytree(HERE / "shared" / "updates", root / "updates", ignore=shutil.ignore_patterns("__pycache__"))
        made = Application(root, WRITERS[name](root))
        shutil.copytree(HERE / "shared" / "versions", root / "migrations" / "versions", dirs_exist_ok=True)
        return made

    return copied


def flask_migrate_writes(root: Path) -> str:
    """Do what ``flask db init`` does; its alembic.ini names neither script_location nor URL."""
    application = flask.Flask("written")
    flask_migrate.Migrate(application, object(), directory=str(root / "migrations"))
    with application.app_context(), contextlib.redirect_stdout(io.StringIO()):
        flask_migrate.init()
    ini = root / "migrations" / "alembic.ini"
    more = "setup = notes:for_updates\n"
    section = SECTION.format(updates="%(here)s/../updates", data="%(here)s/../data", more=more)
    ini.write_text(
        ini.read_text().replace("[alembic]", "[alembic]\nprepend_sys_path = .\npath_separator = os", 1) + section
    )
    return "migrations/alembic.ini"


def alembic_writes(root: Path, template: str, driver: str) -> str:
    """Do what ``alembic init`` does, and name the database."""
    options = argparse.Namespace(quiet=True)
    config = alembic.config.Config(root / "alembic.ini", cmd_opts=options, stdout=io.StringIO())
    alembic.command.init(config, str(root / "migrations"), template=template)
    text = (root / "alembic.ini").read_text()
    text = text.replace("driver://user:pass@localhost/dbname", f"{driver}:///%(here)s/notes.db")
    section = SECTION.format(updates="%(here)s/updates", data="%(here)s/data", more="")
    (root / "alembic.ini").write_text(text + section)
    return "alembic.ini"


WRITERS: dict[str, Callable[[Path], str]] = {
    "flask_notes": flask_migrate_writes,
    "fastapi_notes": lambda root: alembic_writes(root, "async", "sqlite+aiosqlite"),
    "pyramid_notes": lambda _root: "development.ini",
    "typer_notes": lambda root: alembic_writes(root, "generic", "sqlite"),
}


def test_flask_with_flask_migrate_updates_in_its_factory(application) -> None:
    started = application("flask_notes")
    script = "from notes import create_app\nprint(create_app().test_client().get('/notes/1').text)"
    assert started.run(script) == "bread, milk\n"
    assert started.python("-m", "fietsupdate", "-c", started.ini, "check").stdout == "okay: up to date\n"


def test_fastapi_with_an_async_env_py_updates_in_its_lifespan(application) -> None:
    """The event loop runs when `ensure_current` is called, and env.py starts one of its own."""
    started = application("fastapi_notes")
    script = """
import asyncio, httpx
from notes import app

async def main():
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://n") as client:
        return (await client.get("/notes/1")).text

print(asyncio.run(main()))
"""
    assert started.run(script) == "bread, milk\n"
    assert started.state() is UpdateState.OKAY


def test_pyramid_does_not_start_before_the_update(application) -> None:
    started = application("pyramid_notes")
    script = """
from pyramid.paster import get_app
from pyramid.request import Request
from fietsupdate import NotCurrentError, Updater
try:
    get_app("development.ini")
except NotCurrentError as error:
    print(error.message, error.hint, sep="\\n")
Updater.from_config("development.ini").update()
print(Request.blank("/notes/1").get_response(get_app("development.ini")).text)
"""
    assert started.run(script).splitlines() == [
        "The instance is outdated: it is at v1, and this code has updates up to v2.",
        f"Type `fietsupdate -c {started.root / 'development.ini'} update`, then start the application again.",
        "bread, milk",
    ]


def test_a_typer_program_updates_unless_it_is_told_not_to(application) -> None:
    started = application("typer_notes")
    started.run("")
    skipped = started.python("notes.py", "--skip-update", "count")
    assert (skipped.stdout, skipped.stderr) == ("1\n", "")
    assert started.state() is UpdateState.OUTDATED
    shown = started.python("notes.py", "show", "1")
    assert shown.stdout == "bread, milk\n"
    assert "fietsupdate: [1/1] Applying v2  Keep each note as a file.\n" in shown.stderr
    assert started.state() is UpdateState.OKAY
    again = started.python("notes.py", "show", "1")
    assert (again.stdout, again.stderr) == ("bread, milk\n", "")


def test_a_typer_program_that_cannot_update_says_why_and_stops(application) -> None:
    started = application("typer_notes")
    started.run("")
    (started.root / "data" / "1.txt").mkdir()  # in the way of the note
    stopped = started.python("notes.py", "show", "1", code=1)
    assert "Nothing of v2 stands: it was rolled back, and its file changes are undone." in stopped.stderr
    assert started.state() is UpdateState.OUTDATED
