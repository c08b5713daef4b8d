"""What somebody meets who reads the documentation for the first time, and types what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.databases import POSTGRESQL, SQLITE
from support.paths import TOP
from support.projects import Project, Result

DOCS = TOP / "docs"
PICTURE = (
    "from fastapi.testclient import TestClient; from notes.main import app; "
    "print(TestClient(app).get('/notes/1/picture').content.hex())"
)
REVISIONS = [f"r{number:02}" for number in range(51)]
"""r00 makes the table, each other one a column; the last belongs to the first update."""
BEHIND = "r36"
ADD = "op.add_column('notes', sa.Column('c{0}', sa.Integer))"
DROP = "op.drop_column('notes', 'c{0}')"
TABLE = "op.create_table('notes', sa.Column('id', sa.Integer, primary_key=True), sa.Column('text', sa.String(20)))"
HOOK = """
for row in self.connection.execute(sa.text("SELECT id, text FROM notes ORDER BY id")).all():
    self.files.write(f"notes/{row.id}.txt", row.text)
"""


@pytest.fixture
def sessions(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "tools"))
    import run_sessions

    return run_sessions


def picture(folder: Path) -> str:
    """Ask the application for the picture of its first note."""
    command = [sys.executable, "-W", "ignore", "-c", PICTURE]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def test_a_plain_application_has_its_first_tested_update_in_under_ten_commands(sessions, tmp_path):
    """The page itself is followed: its commands are run, its files written; it shows what is printed."""
    page = DOCS / "tutorial" / "first-update.md"
    text = page.read_text(encoding="utf-8")
    sessions.plain_application(tmp_path)
    before = picture(tmp_path)
    told = sessions.told(page, tmp_path)
    assert told == text
    commands = re.findall(r"^\$ .+", text, re.MULTILINE) + re.findall(r"^pip install .+", text, re.MULTILINE)
    assert len(commands) < 10
    assert (tmp_path / "data" / "pictures" / "1.png").read_bytes() == b"\x89PNG"
    assert picture(tmp_path) == before == "89504e47"
    back = Project(tmp_path, None).run("downgrade", "-1", "--yes").succeeded()
    assert "1 update reverted" in back.output
    assert not (tmp_path / "data" / "pictures").exists()


class Container:
    """docs/deploy/entrypoint.sh in an application's folder; a stand-in takes gunicorn's place."""

    def __init__(self, project: Project) -> None:
        self.project = project
        programs = project.root / "bin"
        programs.mkdir()
        for name, text in (
            ("gunicorn", 'echo "gunicorn $1"'),
            ("fietsupdate", f'exec {sys.executable} -m fietsupdate "$@"'),
        ):
            (programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs / name).chmod(0o755)
        self.environ = project._environment({"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"})

    def start(self) -> subprocess.Popen[str]:
        """Start it; it has no terminal."""
        return subprocess.Popen(
            ["/bin/sh", str(DOCS / "deploy" / "entrypoint.sh"), "gunicorn", "myapp:create_app()"],
            cwd=self.project.root,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def ended(container: subprocess.Popen[str]) -> Result:
    out, err = container.communicate(timeout=120)
    return Result(["entrypoint.sh"], container.returncode, out, err)


@pytest.fixture
def live(request, make_project) -> Project:
    """An application of fifty revisions without any word of fietsupdate, whose files are in use."""
    project = make_project(kind=request.param)
    text = project.ini.read_text(encoding="utf-8")
    project.ini.write_text(text.partition("\n[fietsupdate]")[0] + "\n", encoding="utf-8")
    project.updates.rmdir()
    for number, revision in enumerate(REVISIONS[:-1]):
        before = REVISIONS[number - 1] if number else None
        up, down = (ADD.format(number), DROP.format(number)) if number else (TABLE, "op.drop_table('notes')")
        project.revision(revision, before, up, down)
    (project.data / "upload").write_text("of a user")
    return project


def in_use(project: Project, revision: str) -> Container:
    """Let it be used at a revision; then its developers adopt fietsupdate and write their first update."""
    project.alembic("upgrade", revision).succeeded()
    project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'as'), (2, 'it was')")
    project.run("init", "--data-dir", "%(here)s/data").succeeded()
    last = len(REVISIONS) - 1
    project.revision(REVISIONS[-1], REVISIONS[-2], ADD.format(last), DROP.format(last))
    written = project.run("revision", "notes_on_disk", "-m", "Keep each note as a file.").succeeded()
    script = Path(written.stdout.strip())
    hook = HOOK.replace("\n", "\n        ")
    docstring = '        """Run before the Alembic revisions."""\n'
    assert docstring in script.read_text()
    script.write_text(script.read_text().replace(docstring, f"        import sqlalchemy as sa\n{hook}\n", 1))
    return Container(project)


@pytest.mark.parametrize("live", [POSTGRESQL], indirect=True)
def test_an_application_with_fifty_revisions_and_live_data_updates_unattended(live):
    """Two containers start at once, on an old revision: one updates, both start, and the next has nothing to do."""
    container = in_use(live, BEHIND)
    both = [container.start(), container.start()]
    for started in both:
        assert ended(started).succeeded().stdout.endswith("gunicorn myapp:create_app()\n")
    assert (live.data / "notes" / "2.txt").read_text() == "it was"
    assert (live.data / "upload").read_text() == "of a user"
    assert live.alembic_version() == [REVISIONS[-1]]
    entries = live.run("history", "--json").json["entries"]
    assert [entry["direction"] for entry in entries] == ["stamp", "up"]
    again = ended(container.start()).succeeded()
    assert again.stdout == "okay: up to date\ngunicorn myapp:create_app()\n"


def test_without_the_option_the_environment_says_yes(make_project):
    project = make_project()
    project.revision("r00", None, TABLE, "op.drop_table('notes')")
    project.update("first", (), "r00", baseline=True)
    refused = project.run("update").exited(2)
    assert "FIETSUPDATE_YES=1" in refused.told
    project.run("update", env={"FIETSUPDATE_YES": "1"}).succeeded()


@pytest.mark.parametrize("live", [SQLITE], indirect=True)
def test_a_container_without_its_volume_does_not_start(live):
    """The data directory is not there: the message names it, and the application is not started."""
    container = in_use(live, REVISIONS[-2])
    (live.data / "upload").unlink()
    live.data.rmdir()
    refused = ended(container.start())
    assert refused.code == 1
    assert "gunicorn" not in refused.output
    assert "Is the volume mounted?" in refused.told
