"""Run the program hundreds of times: a warm process forks a child for each run, which behaves like any other process.

The warm process does nothing but import, so that a child begins like a new interpreter after its imports; and a child
ends when its threads have ended, as an interpreter does.
"""

from __future__ import annotations

import base64
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import pickle
import pkgutil
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import fietsupdate
from fietsupdate.cli.main import main as program
from fietsupdate.cli.session import Session
from fietsupdate.config.config import Config
from fietsupdate.testing.injection import Injection

LONGEST = 60
"""Seconds after which a run counts as hanging; its stacks are then on its stderr."""
DRIVERS = ("aiosqlite", "asyncpg", "psycopg", "pymysql", "aiomysql")
MODULES = ("alembic.command", "sqlalchemy.ext.asyncio", "sqlalchemy.orm", *DRIVERS)
"""The modules that a run may import, if they are installed."""


@dataclass(frozen=True)
class Result:
    """The result of a run."""

    args: Sequence[str]
    code: int
    stdout: str
    stderr: str
    fired: str
    """The event at which the run was broken, or "" if there was no event with that number."""
    seen: tuple[str, ...]
    """Every event up to the end, or up to the kill."""

    @property
    def was_killed(self) -> bool:
        """Whether the run was ended by SIGKILL."""
        return self.code == -signal.SIGKILL


class HangsError(AssertionError):
    """A run did not end by itself."""


class Zygote:
    """A warm process; as a context manager, it is ended at the end of the block.

    Args:
        module: The module that the warm process runs; it calls `serve`.
        folder: The working directory of the process.
        python: The interpreter; by default the one of this process.
    """

    def __init__(
        self,
        module: str = "fietsupdate.testing.forkserver",
        folder: Path | None = None,
        *,
        python: str = sys.executable,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [python, "-B", "-W", "ignore", "-m", module],  # bytecode caches would change the numbers of events
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._folder.cleanup()

    def command(
        self,
        args: Sequence[str],
        *,
        folder: Path,
        environ: Mapping[str, str],
        injection: Injection | None = None,
        config: Config | None = None,
    ) -> Result:
        """Run ``fietsupdate`` in a child, and break it on the way.

        Args:
            args: The words after the program's name.
            folder: The working directory.
            environ: The complete environment.
            injection: The fault to inject; by default none.
            config: Used in place of the configuration that `args` name; `sys.path` is then that of this process.

        Raises:
            HangsError: The run took longer than `LONGEST`.
        """
        injection = injection or Injection()
        paths = {name: f"{self._folder.name}/{name}" for name in ("out", "err", "report")}
        request = {
            "cwd": str(folder),
            "environ": dict(environ),
            "args": list(args),
            "injection": [injection.action, injection.at, injection.kinds, injection.every],
            "config": base64.b64encode(pickle.dumps(config)).decode() if config else "",
            "path": sys.path if config else [],
            **paths,
        }
        code = self._asked(request)
        fired, *seen = Path(paths["report"]).read_text(encoding="utf-8").splitlines() or [""]
        out, err = (Path(paths[name]).read_text(encoding="utf-8", errors="replace") for name in ("out", "err"))
        if code is None:
            raise HangsError(f"{list(args)} hangs, {injection}\n{out}\n{err}")
        return Result(args, code, out, err, fired, tuple(seen))

    def _asked(self, request: Mapping[str, Any]) -> int | None:
        asking, answering = self._process.stdin, self._process.stdout
        if asking is None or answering is None:
            raise AssertionError("both are pipes")
        print(json.dumps(request), file=asking, flush=True)
        answer: int | None = json.loads(answering.readline())
        return answer


def serve(make: Callable[..., Injection] = Injection) -> None:
    """Serve requests, one per line of stdin, until stdin ends; a child never returns from here."""
    _import_everything()
    for line in sys.stdin:
        request = json.loads(line)
        done, alive = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(done)
            _become(request, make(*request["injection"]))
        os.close(alive)
        sys.stdout.write(f"{json.dumps(_wait(child, done))}\n")
        sys.stdout.flush()
        os.close(done)


def _wait(child: int, done: int) -> int | None:
    """Wait for a child's end, which closes `done`: no other process holds its other end. None if the child hangs."""
    hangs = not select.select([done], [], [], LONGEST)[0]
    if hangs:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return None if hangs else code


def _become(request: Mapping[str, Any], injection: Injection) -> None:
    """Become the program."""
    _redirect(request)
    faulthandler.dump_traceback_later(LONGEST - 5, file=sys.stderr)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.path[:] = request["path"] or [request["cwd"], *sys.path[1:]]  # as ``python -m`` does
    sys.argv = ["fietsupdate", *request["args"]]
    report = os.open(request["report"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    write, truncate = os.pwrite, os.ftruncate

    def tell() -> None:
        truncate(report, write(report, "\n".join([injection.fired, *injection.seen]).encode(), 0))

    injection.report = tell
    session = _session(request["config"])
    injection.install()
    code = program(session=session)
    injection.rest()
    tell()
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  # as the interpreter does at its end
    os._exit(code)


def _session(config: str) -> Session | None:
    if not config:
        return None
    from fietsupdate.updater import Updater

    # The bytes come from our own parent, over a pipe that no other process can write to.
    given: Config = pickle.loads(base64.b64decode(config))  # noqa: S301

    class Fixed(Updater):
        """The updater of one configuration, whatever the command line names."""

        @classmethod
        def from_config(cls, *_files: str | Path, **_options: Any) -> Fixed:
            return cls(given)

    return Session(updater_class=lambda: Fixed)


def _redirect(request: Mapping[str, Any]) -> None:
    files = (os.devnull, os.O_RDONLY), (request["out"], os.O_WRONLY), (request["err"], os.O_WRONLY)
    for number, (path, mode) in enumerate(files):
        opened = os.open(path, mode if number == 0 else mode | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)


def _import_everything() -> None:
    """Import everything that a run may need: the drivers, the whole package, and typer's reading of the commands."""
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for module in pkgutil.walk_packages(fietsupdate.__path__, "fietsupdate."):
        if not module.name.endswith(("__main__", "pytest_plugin")):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        program(["heads", "--help"])
    gc.freeze()


if __name__ == "__main__":
    serve()
