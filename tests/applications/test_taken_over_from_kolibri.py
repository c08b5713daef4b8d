"""An application like Kolibri is taken over step by step, with what the documentation says to type and to write.

`applications/schoolbox` is as such an application is before: its functions import ``kolibri.core.upgrade``, its home
holds ``.data_version`` and ``plugins.json``, and instances at 0.5.0 are in use. Only its program starts as
docs/guides/at-application-start.md shows.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pty
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import alembic.command
import alembic.config
import pytest

from support.paths import APPLICATIONS, DOCS
from support.zygote import Zygote

SOURCE = APPLICATIONS / "schoolbox"
GUIDE = DOCS / "explanation" / "coming-from.md"


class Schoolbox:
    """The application on one machine, with its home."""

    def __init__(self, root: Path, zygote: Zygote) -> None:
        self.root, self.home, self.zygote = root, root / "home", zygote
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FIETSUPDATE_", "ALEMBIC_"))}
        self.environment = {**kept, "PYTHONPATH": str(root)}

    def install(self, version: str) -> None:
        """Do what pip does."""
        for old in self.root.glob("schoolbox-*.dist-info"):
            shutil.rmtree(old)
        folder = self.root / f"schoolbox-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: schoolbox\nVersion: {version}\n")

    def type(self, line: str, code: int = 0) -> str:
        """Type a command of ours, and expect an exit code; give what it prints, on one line."""
        done = self.zygote.command(line.split(), folder=self.root, environ=self.environment)
        assert done.code == code, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())

    def start(self, line: str) -> str:
        """Start the program itself; give what it prints, on one line."""
        done = subprocess.run(
            [sys.executable, "-m", "schoolbox", *line.split()],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return " ".join((done.stdout + done.stderr).split())

    def choose(self, line: str, answers: str) -> str:
        """Type a command of ours on a terminal, and answer its questions."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.root)
            os.execve(sys.executable, [sys.executable, "-m", "fietsupdate", *line.split()], self.environment)
        os.write(terminal, answers.encode())
        shown = b""
        with contextlib.suppress(OSError):  # the terminal ends with its last user
            while piece := os.read(terminal, 4096):
                shown += piece
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown.decode()
        os.close(terminal)
        return shown.decode()

    def titles(self) -> list[str]:
        """Give the titles of its lessons."""
        with contextlib.closing(sqlite3.connect(self.home / "db.sqlite3")) as connection:
            return [title for (title,) in connection.execute("SELECT title FROM lesson ORDER BY file")]

    def backups(self) -> list[Path]:
        """Give the folders of its backups, oldest first."""
        return sorted((self.home / ".fietsupdate" / "backups").iterdir())


@pytest.fixture
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture
def in_use(tmp_path: Path, zygote: Zygote) -> Schoolbox:
    """Give the application as it is before, at 0.5.0: with a lesson that only the disk knows, and static files."""
    root = shutil.copytree(SOURCE, tmp_path / "schoolbox", ignore=shutil.ignore_patterns("__pycache__"))
    made = Schoolbox(root, zygote)
    ini = made.root / "alembic.ini"
    config = alembic.config.Config(ini, cmd_opts=argparse.Namespace(quiet=True), stdout=io.StringIO())
    alembic.command.init(config, str(made.root / "migrations"))
    shutil.move(made.root / "versions" / "s1_lessons.py", made.root / "migrations" / "versions")
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", "sqlite:///%(here)s/home/db.sqlite3"))
    for name, text in {"content/a.txt": "algebra", "content/c.txt": "chemistry", "static/old.js": "old"}.items():
        path = made.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (made.home / ".data_version").write_text("0.5.0")
    (made.home / "plugins.json").write_text('{"INSTALLED_PLUGINS": ["schoolbox_quiz"]}')
    alembic.command.upgrade(alembic.config.Config(ini, cmd_opts=argparse.Namespace(quiet=True)), "head")
    with contextlib.closing(sqlite3.connect(made.home / "db.sqlite3")) as connection, connection:
        connection.execute("INSERT INTO lesson VALUES ('a.txt', 'algebra', 1), ('b.txt', 'botany', 0)")
    made.install("0.5.0")
    return made


def take_over(app: Schoolbox) -> None:
    """Do what the documentation says: a command, some lines of configuration, and one line of each hook module."""
    guide = GUIDE.read_text()
    assert "fietsupdate init --data-dir '%(here)s/home'" in guide
    app.type("init --data-dir %(here)s/home")
    [block] = re.findall(r"   ```ini\n(.*?)   ```", guide, re.DOTALL)
    with (app.root / "alembic.ini").open("a") as ini:
        ini.write(textwrap.dedent(block))
    new, old = re.search(r"`(from [^`]+)` in place of `(from [^`]+)`", guide).groups()
    for path in app.root.glob("*/upgrade.py"):
        text = path.read_text()
        path.write_text(text.replace(" ".join(old.split()), new))
        assert path.read_text() != text


def release(app: Schoolbox) -> None:
    """Make and install 1.0.0, as its developers do: a revision of Alembic's, and an update that needs it."""
    shutil.move(app.root / "versions" / "s2_questions.py", app.root / "migrations" / "versions")
    assert "`fietsupdate revision v1.0.0`" in GUIDE.read_text()
    app.type("revision v1.0.0")
    app.install("1.0.0")


def take_back(app: Schoolbox) -> None:
    """Install the release before again."""
    shutil.move(app.root / "migrations" / "versions" / "s2_questions.py", app.root / "versions")
    [script] = (path for path in app.root.glob("updates/*.py") if 'update_id = "v1.0.0"' in path.read_text())
    script.unlink()
    app.install("0.5.0")


def test_an_application_like_kolibri_is_taken_over_by_the_documentation_alone(in_use: Schoolbox) -> None:
    """Upgraded as it starts, unless told not to or while it runs; and back, by the three forms of `dbrestore`."""
    app = in_use
    take_over(app)
    release(app)

    # The switch: nothing is looked at, and nothing is changed.
    assert app.start("--skip-update lessons") == "algebra botany"
    assert not (app.home / ".fietsupdate").exists()

    # While the server runs: refused.
    (app.home / "server.pid").touch()
    assert "The application is running" in app.type("update --yes", code=1)
    (app.home / "server.pid").unlink()

    # The start of any command upgrades: backup, migrations, functions of the application and of its active plugin.
    told = app.start("lessons")
    assert told.startswith("algebra botany chemistry fietsupdate: Planned: v1.0.0")
    log = told.partition("Copying both halves")[2]
    order = ["Applying v1.0.0", "record_content_that_is", "big_leap", "You've just upgraded", "clear_static", "ask_in"]
    assert sorted(order, key=log.index) == order, told
    assert "mend_what" not in told
    assert not (app.home / "static").exists()
    [before] = app.backups()
    assert before.name.endswith("-0.5.0-to-1.0.0")
    assert app.type("check") == "okay: up to date"

    # The release before is installed again: it refuses newer data, and names the way back; --latest takes it.
    take_back(app)
    assert f"`fietsupdate restore {before.name}`" in app.type("status")
    assert f"Restored {before.name}" in app.type("restore --latest --yes")
    assert app.titles() == ["algebra", "botany"]
    assert (app.home / "static" / "old.js").read_text() == "old"

    # A path, and a choice on the terminal.
    (app.home / "content" / "a.txt").write_text("lost")
    app.type(f"restore {before} --yes")
    assert (app.home / "content" / "a.txt").read_text() == "algebra"
    (app.home / "content" / "a.txt").write_text("lost")
    assert " 0.5.0 to 1.0.0 " in app.choose("restore", "1\ny\n")
    assert (app.home / "content" / "a.txt").read_text() == "algebra"
