"""Run the terminal sessions that the documentation shows, and write what the commands really print.

    python docs/tools/run_sessions.py

A session is the ``console`` blocks of one page, in their order, in one directory: for the tour a checkout of this
repository's example, for the README an empty one, for the others an application that knows nothing of fietsupdate. A
block below a line ``% writes FILE`` is written into that file when the session comes to it, one below
``% adds to FILE`` is put at its end; below ``% types ANSWERS`` the commands run on a terminal, where their questions
are answered. A test fails while a page shows something else than what is printed. What differs from one run to the
next (times, random ids, the directory) is replaced by values that stay.
"""

import contextlib
import os
import pty
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

DOCS = Path(__file__).resolve().parents[1]
TOP = DOCS.parent
BLOCK = re.compile(
    r"^% (?P<how>writes|adds to) (?P<file>\S+)\n```(?:python|ini)\n(?P<text>.*?)^```$"
    r"|(?:^% types (?P<answers>.+)\n)?^```console\n(?P<session>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
KEPT = re.compile(r"^(Date created: |previous = |alembic_revision = ).*$", re.MULTILINE)
"""Lines of a written file that stay as they are in the folder: random there, and replaced on the page."""
STAYS = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "2026-11-21 21:00:37"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "2026-11-21T21:00:37.118Z"),
    (re.compile(rf"(?<=upd_){datetime.now():%Y%m%d}"), "20261121"),  # noqa: DTZ005  # as `revision` names files
    (re.compile(r"(?<![A-Za-z0-9])[a-z][a-z0-9]{15}(?![A-Za-z0-9])"), "k2m8x0q4v6t1w9zr"),
    (re.compile(r"\b\d{8}-\d{6}\b"), "20261121-210037"),
    (re.compile(r"(?<=backup 20261121-210037-v1\.0\.0)-\d"), ""),  # the second one in one second
    (re.compile(r"\b\d+ kB\b"), "34 kB"),
    (re.compile(r"\d+\.\d s\b"), "0.1 s"),
    (re.compile(r"\d+\.\d\ds\b.*"), "9.87s"),
    (re.compile(r"\b[0-9a-f]{12}(?=_\w+\.py)"), "9a4d20c6e1b7"),
    (re.compile(r"kim@\S+"), "kim@server"),
    (re.compile(r"by +app version"), "by          app version"),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
)
QUESTION = re.compile(rb"[?:] (?:\[[^]\n]*\]:? )?$")
"""The end of what is on a terminal while an answer is waited for."""
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


PIP = """#!/bin/sh
# Stands in for pip: exchanges what a release of Schoolbox has, and tells its version.
version=${3#schoolbox==}
mkdir -p later && rm -rf schoolbox-*.dist-info && mkdir schoolbox-$version.dist-info
printf 'Metadata-Version: 2.1\\nName: schoolbox\\nVersion: %s\\n' $version > schoolbox-$version.dist-info/METADATA
case $version in
0.5.0) mv migrations/versions/s2_*.py updates/*_v1.0.0.py later ;;
*) mv later/s2_*.py migrations/versions; mv later/upd_*.py updates ;;
esac 2> /dev/null || true
"""


def kolibri_like(folder: Path) -> None:
    """Make an application that is made like Kolibri, and is in use at 0.5.0 with its own upgrader."""
    ignored = shutil.ignore_patterns("__pycache__", "versions")
    source = TOP / "tests" / "applications" / "schoolbox"
    shutil.copytree(source, folder, ignore=ignored, dirs_exist_ok=True)
    run("alembic init migrations", folder)
    shutil.copy(source / "versions" / "s1_lessons.py", folder / "migrations" / "versions")
    ini, home = folder / "alembic.ini", folder / "home"
    text = ini.read_text(encoding="utf-8").replace(
        "driver://user:pass@localhost/dbname", "sqlite:///%(here)s/home/db.sqlite3"
    )
    ini.write_text(text.replace("level = INFO", "level = WARNING"), encoding="utf-8")
    for name, content in {
        "content/a.txt": "algebra",
        "content/c.txt": "chemistry",
        "static/old.js": "old",
        ".data_version": "0.5.0",
        "plugins.json": '{"INSTALLED_PLUGINS": ["schoolbox_quiz"]}',
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content, encoding="utf-8")
    run("alembic upgrade head", folder)
    with closing(sqlite3.connect(home / "db.sqlite3")) as connection, connection:
        connection.execute("INSERT INTO lesson VALUES ('a.txt', 'algebra', 1), ('b.txt', 'botany', 0)")
    programs = {"pip": PIP, "schoolbox": f'#!/bin/sh\nPYTHONPATH={folder} exec python -m schoolbox "$@"\n'}
    (folder / "bin").mkdir()
    for name, content in programs.items():
        (folder / "bin" / name).write_text(content, encoding="utf-8")
        (folder / "bin" / name).chmod(0o755)
    run("pip install --quiet schoolbox==0.5.0", folder)


PAGES: dict[Path, tuple[Callable[[Path], None], str]] = {
    DOCS / "tutorial" / "tour.md": (checkout, "/home/kim/tracklib"),
    TOP / "README.md": (empty, "/home/kim/notes"),
    DOCS / "tutorial" / "first-update.md": (plain_application, "/home/kim/notes"),
    DOCS / "guides" / "from-kolibri.md": (kolibri_like, "/home/kim/schoolbox"),
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
        if found["session"] is not None:
            before = found[0][: found.start("session") - found.start()]
            return f"{before}{run_block(found['session'], folder, PAGES[page][1], found['answers'])}```"
        if found["how"] == "writes":
            write(found["file"], found["text"], folder)
        else:
            path = folder / found["file"]
            path.write_text(path.read_text(encoding="utf-8") + found["text"], encoding="utf-8")
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


def run_block(block: str, folder: Path, shown: str, answers: str | None = None) -> str:
    told = []
    for command in commands_of(block):
        printed = run(command[2:], folder) if answers is None else run_on_terminal(command[2:], folder, answers.split())
        told.append(f"{command}\n{steady(printed, folder, shown)}")
    return "".join(told)


def commands_of(block: str) -> list[str]:
    return [line for line in block.splitlines() if line.startswith("$ ")]


def run(command: str, folder: Path) -> str:
    """Run one command as kim would, and give both its streams."""
    with tempfile.TemporaryDirectory() as temporary:  # pytest's own is named after the user: another one's may be there
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**environment(folder), "PYTEST_DEBUG_TEMPROOT": temporary},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    """Give kim's environment; programs in the folder's own ``bin`` come first."""
    strange = ("FIETSUPDATE_", "ALEMBIC_", "PYTHON")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(strange)}
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": path, "LOGNAME": "kim", "COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**inherited, **own}


def run_on_terminal(command: str, folder: Path, answers: list[str]) -> str:
    """Run one command on a terminal, answer each of its questions when it is there, and give the screen."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvpe("bash", ["bash", "-c", command], {**environment(folder), "TERM": "dumb"})
    screen = b""
    with contextlib.suppress(OSError):  # the terminal ends with its last user
        while piece := os.read(terminal, 4096):
            screen += piece
            if answers and QUESTION.search(screen):
                os.write(terminal, f"{answers.pop(0)}\n".encode())
    os.waitpid(child, 0)
    os.close(terminal)
    return screen.decode().replace("\r\n", "\n")


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
