"""Runs the program hundreds of times: a warm process forks a child for each run, which is a process like any other.

The warm process imports, and does nothing else, so a child begins like a fresh interpreter that has its imports
behind it; and it ends when its threads have ended, as an interpreter does.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import fietsupdate
from fietsupdate.cli import main as program
from support.databases import ASYNC_DRIVERS, SERVERS
from support.injection import Injection
from support.projects import Project, Result

LONGEST = 60
"""Seconds after which a run is taken to hang; its stacks are then on its stderr."""


@dataclass(frozen=True)
class Run(Result):
    """What a run left behind."""

    fired: str
    """The event that was struck, or "" when there was none with its number."""
    seen: tuple[str, ...]
    """Every event up to the end, or up to the kill."""

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL


class Zygote:
    """A warm process; close it in the end."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "support.zygote"],
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End it."""
        self._process.communicate()
        self._folder.cleanup()

    def run(self, project: Project, args: Sequence[str], injection: Injection | None = None) -> Run:
        """Run ``fietsupdate`` in a project's folder, as `Project.run` does, and break it on the way."""
        injection = injection or Injection()
        paths = {name: f"{self._folder.name}/{name}" for name in ("out", "err", "report")}
        request = {
            "cwd": str(project.root),
            "environ": project.environment,
            "args": [*project.options, *args],
            "injection": [injection.action, injection.at, injection.kinds, injection.every],
            **paths,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        code = json.loads(self._process.stdout.readline())
        fired, *seen = Path(paths["report"]).read_text().splitlines() or [""]
        out, err = (Path(paths[name]).read_text() for name in ("out", "err"))
        done = Run([*project.options, *args], code, out, err, fired, tuple(seen))
        assert code is not None, f"{done.args} hangs, {injection}\n{out}\n{err}"
        return done


def main() -> None:
    """Serve requests, one a line, until there are no more; a child never comes back."""
    _import_everything()
    for line in sys.stdin:
        request = json.loads(line)
        done, alive = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(done)
            _become(request)
        os.close(alive)
        sys.stdout.write(f"{json.dumps(_wait(child, done))}\n")
        sys.stdout.flush()
        os.close(done)


def _wait(child: int, done: int) -> int | None:
    """Wait for a child's end: nobody else holds the other end of `done`. None for one that had to be ended."""
    hangs = not select.select([done], [], [], LONGEST)[0]
    if hangs:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if hangs else code


def _become(request: Mapping[str, Any]) -> None:
    """Be the program."""
    _redirect(request)
    faulthandler.dump_traceback_later(LONGEST - 5, file=sys.stderr)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    for name in [name for name in os.environ if name.startswith(("FIETSUPDATE_", "ALEMBIC_"))]:
        if not name.startswith("FIETSUPDATE_TEST_"):
            del os.environ[name]
    os.environ.update(request["environ"])
    sys.argv = ["fietsupdate", *request["args"]]
    injection = Injection(*request["injection"])
    report = os.open(request["report"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    write, truncate = os.pwrite, os.ftruncate

    def tell() -> None:
        truncate(report, write(report, "\n".join([injection.fired, *injection.seen]).encode(), 0))

    injection.report = tell
    injection.install()
    code = program()
    injection.rest()
    tell()
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter's end waits for
    os._exit(code)


def _redirect(request: Mapping[str, Any]) -> None:
    files = (os.devnull, os.O_RDONLY), (request["out"], os.O_WRONLY), (request["err"], os.O_WRONLY)
    for number, (path, mode) in enumerate(files):
        opened = os.open(path, mode if number == 0 else mode | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)


def _import_everything() -> None:
    """Import whatever a run may need: the dialects, the whole package, and typer's reading of the commands."""
    for name in ("alembic.command", "sqlalchemy.ext.asyncio", "sqlalchemy.orm"):
        importlib.import_module(name)

    for url in (*SERVERS.values(), *(f"{driver}://" for driver in ASYNC_DRIVERS.values()), "sqlite://"):
        sa.create_engine(url)
    for module in pkgutil.walk_packages(fietsupdate.__path__, "fietsupdate."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        program(["heads", "--help"])
    gc.freeze()


if __name__ == "__main__":
    main()
