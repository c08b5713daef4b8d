"""Run the terminal sessions that the documentation shows, and write what the commands really print.

    python docs/run_sessions.py

A session is the ``console`` blocks of one page, in their order, in one directory: for the tour a checkout of this
repository's example, for the README an empty one, for the first update a plain application. A block below a line
``% writes FILE`` is written into that file when the session comes to it. A test fails while a page shows something else
than what is printed. What differs from one run to the next (times, random ids, the directory) is replaced by values
that stay.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

DOCS = Path(__file__).resolve().parent
TOP = DOCS.parent
BLOCK = re.compile(r"^% writes (\S+)\n```python\n(.*?)^```$|(?<=^```console\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
KEPT = re.compile(r"^(Date created: |previous = |alembic_revision = ).*$", re.MULTILINE)
"""Lines of a written file that stay as they are in the folder: random there, and replaced on the page."""
STAYS = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "2026-11-21 21:00:37"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "2026-11-21T21:00:37.118Z"),
    (re.compile(rf"(?<=upd_){datetime.now():%Y%m%d}"), "20261121"),  # noqa: DTZ005  # as `revision` names files
    (re.compile(r"(?<![A-Za-z0-9])[a-z][a-z0-9]{15}(?![A-Za-z0-9])"), "k2m8x0q4v6t1w9zr"),
    (re.compile(r"\d+\.\d s\b"), "0.1 s"),
    (re.compile(r"\d+\.\d\ds\b.*"), "9.87s"),
    (re.compile(r"\b[0-9a-f]{12}(?=_\w+\.py)"), "9a4d20c6e1b7"),
    (re.compile(r"kim@\S+"), "kim@server"),
    (re.compile(r"by +app version"), "by          app version"),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
)
MESSAGE = re.compile(r"^(?:Error:  |Now:    |Next:   )\S.*(?:\n {8}\S.*)*", re.MULTILINE)
"""Where a message breaks its lines depends on the length of the directory's name."""


def checkout(folder: Path) -> None:
    """Copy what the tour works with."""
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    shutil.copytree(DOCS / "example", folder / "docs" / "example", ignore=ignored)
    shutil.copy(TOP / "alembic.ini", folder)


def empty(folder: Path) -> None:
    """Leave the folder as it is."""


def plain_application(folder: Path) -> None:
    """Make an application with Alembic and a row in its database, which knows nothing of fietsupdate."""
    shutil.copytree(DOCS / "first-update", folder, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    run("alembic init migrations", folder)
    ini, env = folder / "alembic.ini", folder / "migrations" / "env.py"
    text = ini.read_text(encoding="utf-8")
    text = re.sub(r"^sqlalchemy.url = .*", "sqlalchemy.url = sqlite:///%(here)s/notes.db", text, flags=re.MULTILINE)
    ini.write_text(text.replace("level = INFO", "level = WARNING"), encoding="utf-8")
    models = "from notes.models import Base\n\ntarget_metadata = Base.metadata"
    env.write_text(env.read_text(encoding="utf-8").replace("target_metadata = None", models), encoding="utf-8")
    run("alembic revision --autogenerate -m notes && alembic upgrade head", folder)
    with closing(sqlite3.connect(folder / "notes.db")) as connection:
        connection.execute(
            "INSERT INTO notes (text, picture) VALUES ('with a picture', x'89504e47'), ('without', NULL)"
        )
        connection.commit()


PAGES: dict[Path, tuple[Callable[[Path], None], str]] = {
    DOCS / "tour.md": (checkout, "/home/kim/tracklib"),
    TOP / "README.md": (empty, "/home/kim/notes"),
    DOCS / "first-update.md": (plain_application, "/home/kim/notes"),
}
"""How to make the directory of a page's session, and the name by which the page calls it."""


def refreshed(page: Path) -> str:
    """Run the session of a page, and give the page as it should be."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made).resolve()
        PAGES[page][0](folder)
        return told(page, folder)


def told(page: Path, folder: Path) -> str:
    """Run the session of a page in a folder that is prepared, and give the page as it should be."""

    def block(found: re.Match[str]) -> str:
        if found[1] is None:
            return run_block(found[3], folder, PAGES[page][1])
        write(found[1], found[2], folder)
        return found[0]

    return BLOCK.sub(block, page.read_text(encoding="utf-8"))


def write(pattern: str, text: str, folder: Path) -> None:
    """Write a block of the page into a file; a pattern names one that is there."""
    path = next(folder.glob(pattern), folder / pattern)
    if path.exists():
        kept = {match[1]: match[0] for match in KEPT.finditer(path.read_text(encoding="utf-8"))}
        text = KEPT.sub(lambda match: kept[match[1]], text)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run_block(block: str, folder: Path, shown: str) -> str:
    commands = commands_of(block)
    return "".join(f"{command}\n{steady(run(command[2:], folder), folder, shown)}" for command in commands)


def commands_of(block: str) -> list[str]:
    return [line for line in block.splitlines() if line.startswith("$ ")]


def run(command: str, folder: Path) -> str:
    """Run one command as kim would, and give both its streams."""
    strange = ("FIETSUPDATE_", "ALEMBIC_", "PYTHON")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(strange)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "LOGNAME": "kim", "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as temporary:  # pytest's own is named after the user: another one's may be there
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**inherited, **own, "PYTEST_DEBUG_TEMPROOT": temporary},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    return done.stdout


def steady(text: str, folder: Path, shown: str) -> str:
    """Replace what differs from one run to the next."""
    text = text.replace(str(folder), shown)
    for changing, stays in STAYS:
        text = changing.sub(stays, text)
    text = MESSAGE.sub(lambda message: wrapped(message[0]), text)
    return text if not text or text.endswith("\n") else f"{text}\n"


def wrapped(message: str) -> str:
    label, _, rest = message.partition(":")
    start = f"{label}:".ljust(8)
    return textwrap.fill(
        " ".join(rest.split()), 100, initial_indent=start, subsequent_indent=" " * 8, break_on_hyphens=False
    )


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(refreshed(page), encoding="utf-8")
