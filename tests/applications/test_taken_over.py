"""docs/explanation/coming-from.md takes over applications built as Kallithea's and Fietsboek's documentation says.

The blocks of its two step-by-step sections are carried out in their order: commands are typed, lines of an INI file
appended, Python is put where the text says. Between them the tests see what the page promises.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from support.databases import Database
from support.paths import APPLICATIONS, DOCS
from support.projects import Project, Result

HERE = APPLICATIONS
PAGE = DOCS / "explanation" / "coming-from.md"


class TakenOver(Project):
    """A copy of one of the applications, and the blocks of the page that are still to be carried out."""

    @classmethod
    def copy(cls, name: str, ini: str, section: str, root: Path, database: Database) -> TakenOver:
        shutil.copytree(HERE / name, root, ignore=shutil.ignore_patterns("__pycache__"))
        (root / "data").mkdir()
        path = root / ini
        path.write_text(re.sub(r"sqlite:///\S+", database.url, path.read_text()))
        made = cls(root, database, url=database.url)
        made.name = ini
        text = PAGE.read_text(encoding="utf-8").partition(f"### {section}\n")[2]
        text = re.split(r"^##+ ", text, maxsplit=1, flags=re.MULTILINE)[0]
        made.blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert made.blocks
        return made

    @property
    def ini(self) -> Path:
        return self.root / self.name

    def block(self, language: str) -> str:
        """Give the next block, which must be of this language."""
        found, text = self.blocks.pop(0)
        assert found == language, text
        return text

    def types(self) -> list[Result]:
        """Type the next commands; each succeeds."""
        return [self.typed(*shlex.split(line)) for line in self.block("sh").splitlines()]

    def typed(self, program: str, *args: str) -> Result:
        return (self.run(*args) if program == "fietsupdate" else self.alembic(*args)).succeeded()

    def appends(self) -> None:
        """Append the next lines to the configuration."""
        self.ini.write_text(self.ini.read_text() + self.block("ini"))

    def starts(self) -> subprocess.CompletedProcess[str]:
        """Start the application: its next block is all that it does."""
        start = self.root / "start.py"
        if not start.exists():
            start.write_text(self.block("python"))
        return subprocess.run([sys.executable, start], cwd=self.root, capture_output=True, text=True, check=False)

    def puts(self, path: Path, begins: str) -> None:
        """Put the next block in place of a file's end, which begins so."""
        text = path.read_text()
        assert begins in text
        path.write_text(text.partition(begins)[0] + self.block("python"))

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.database.file)) as connection, connection:
            return connection.execute(statement).fetchall()

    def is_at(self, revision: str, table: str) -> None:
        """Be an installation of long ago, which Alembic has brought to a revision."""
        self.rows(f"CREATE TABLE {table}")
        self.rows("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        self.rows(f"INSERT INTO alembic_version VALUES ('{revision}')")

    def check(self, code: int) -> None:
        self.run("-c", self.name, "check").exited(code)


@pytest.fixture
def forge(tmp_path, sqlite) -> TakenOver:
    return TakenOver.copy("kallithea_like", "my.ini", "Kallithea's way, step by step", tmp_path / "forge", sqlite)


@pytest.fixture
def diary(tmp_path, sqlite) -> TakenOver:
    return TakenOver.copy("fietsboek_like", "myapp.ini", "Fietsboek's way, step by step", tmp_path / "diary", sqlite)


def test_kallithea_s_way_is_taken_over_by_the_page_alone(forge: TakenOver) -> None:
    """An instance at the first of two revisions, with a repository; then a release with a column and new Git hooks."""
    forge.is_at("a1", "repositories (repo_id INTEGER NOT NULL PRIMARY KEY)")
    forge.rows("INSERT INTO repositories VALUES (7)")
    (forge.root / "repos" / "one" / "hooks").mkdir(parents=True)
    forge.types()
    forge.appends()
    refused = forge.starts()
    assert refused.returncode == 1
    assert "fietsupdate" in refused.stderr
    status, _ = forge.types()
    assert "a1" in status.stdout
    assert forge.starts().returncode == 0
    assert forge.rows("SELECT * FROM repositories") == [(7, "")]
    models = forge.root / "myapp" / "db.py"
    column = 'sa.Column("archived", sa.Boolean),'
    models.write_text(models.read_text().replace("# the next release adds a column here", column))
    forge.types()
    (draft,) = (forge.root / "myapp" / "alembic" / "versions").glob("*_archived.py")
    forge.puts(draft, "def upgrade()")
    (script,) = (forge.root / "updates").glob("*_archived.py")
    forge.puts(script, "class Up")
    rehearsed, _ = forge.types()
    stays = "column repositories.archived, files repos:*/hooks/post-receive"
    assert f"On purpose stays: {stays}." in " ".join(rehearsed.stdout.split())
    hook = forge.root / "repos" / "one" / "hooks" / "post-receive"
    assert hook.read_text().startswith("#!/bin/sh\n")
    forge.rows("UPDATE repositories SET archived = 1")
    forge.types()
    forge.check(3)
    assert hook.exists()
    forge.run("-c", "my.ini", "update", "--yes").succeeded()
    assert forge.rows("SELECT * FROM repositories") == [(7, "", 1)]


def test_a_new_installation_of_kallithea_s_kind_is_recorded_at_the_heads(forge: TakenOver) -> None:
    forge.types()
    make = f"import sqlalchemy as sa; from myapp import db; db.metadata.create_all(sa.create_engine({forge.url!r}))"
    subprocess.run([sys.executable, "-c", make], cwd=forge.root, check=True)
    forge.blocks = forge.blocks[-1:]
    forge.types()
    forge.check(0)
    assert forge.alembic_version() == ["a2"]


def test_fietsboek_s_way_is_taken_over_by_the_page_alone(diary: TakenOver) -> None:
    """An instance of v0.4.0 with a track in its database; then a developer works from master."""
    diary.is_at("c1", "tracks (id INTEGER NOT NULL PRIMARY KEY, gpx BLOB)")
    diary.rows("INSERT INTO tracks VALUES (1, x'677078')")
    (diary.data / "VERSION").write_text("v0.4.0")
    diary.appends()
    status, updated = diary.types()
    assert "30ppwg8zi4ujb46f" in status.stdout
    assert "Moving GPX data for track 1 from database to disk" in updated.output
    assert (diary.data / "tracks" / "1" / "track.gpx").read_bytes() == b"gpx"
    assert diary.version == "30ppwg8zi4ujb46f"
    assert diary.starts().returncode == 0
    _, revision, update = diary.types()
    assert "this database is past it" in revision.stderr
    assert "1 update applied" in update.stdout
    assert diary.version == "v0.5.0"
    assert diary.alembic_version() == ["c3"]
    (script,) = (diary.root / "myapp" / "updater" / "scripts").glob("*_v0.5.0.py")
    assert "previous = ['30ppwg8zi4ujb46f']" in script.read_text().replace('"', "'")
    # the same with hooks: the ledger goes back to before, the database stays past it
    diary.run("-c", "myapp.ini", "stamp", "30ppwg8zi4ujb46f", "--yes").succeeded()
    script.write_text(
        script.read_text().replace('"""Run after the Alembic revisions."""', "self.files.write('x', 'x')")
    )
    diary.check(6)
    diary.types()
    diary.check(0)
    assert diary.version == "v0.5.0"
    diary.run("-c", "myapp.ini", "downgrade", "v0.4.0", "--yes").succeeded()
    assert diary.rows("SELECT id, gpx FROM tracks") == [(1, b"gpx")]
    assert diary.starts().returncode == 1
