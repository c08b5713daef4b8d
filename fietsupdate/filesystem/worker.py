"""What a worker process of ``transform`` runs: it reads files, calls the function, and writes drafts.

A worker is a new interpreter (as with the start method "spawn"), which imports neither the application's main module
nor ours, and has no connection to the database. It takes tasks from a socket and answers them in their order. When the
socket closes, because the process that runs the update has ended in whatever way, it ends as well.

A worker changes nothing in the transaction's roots but the draft of its task: Python's audit hooks tell of every other
call (https://docs.python.org/3/library/audit_events.html), which is refused.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import io
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.posix.audit_events import is_reading, names, paths_of

_PROGRAMS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.system", "os.fork", "os.forkpty"})
_PARENT_DEATH = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


class Setup(NamedTuple):
    """What a worker is told once."""

    function: bytes
    """The function, pickled."""
    modules: Sequence[tuple[str, str]]
    """Modules that are imported by their path: update scripts have names that no import finds."""
    roots: Sequence[str]
    """The folders in which only drafts may be written."""
    as_paths: bool
    """Whether the function takes two paths, and not a content."""


class Task(NamedTuple):
    """One file, by absolute paths."""

    source: str
    draft: str
    """Where the new content goes. With paths this is a file in a folder of its own, which exists."""


class TaskResult(NamedTuple):
    """The result of a task."""

    has_changed: bool
    error: BaseException | None = None
    trace: str = ""
    """The traceback in the worker."""
    programs: Sequence[str] = ()
    """The programs that the function has started."""


class Fence:
    """Refuses changes in the roots."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = [f"{root}/" for root in roots]
        self.allowed = ""
        """What may be changed: the draft, or everything in its folder."""
        self.programs: list[str] = []

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Look at an audit event.

        Raises:
            FilesError: It announces a change in a root.
        """
        if event in _PROGRAMS:
            self.programs.append(str(arguments[0]) if arguments else "a child process")
        if is_reading(event, arguments):
            return
        for path, folder in paths_of(event, arguments):
            if isinstance(path, int) and event == "open":
                continue  # an open descriptor gets a file object
            for name in names(path, folder):
                self._check(os.path.realpath(name))

    def _check(self, real: str) -> None:
        if real == self.allowed or real.startswith(f"{self.allowed}/"):
            return
        if any(f"{real}/".startswith(root) for root in self._roots):
            raise FilesError(
                f"A worker may change its own file only, and not {real}.",
                hint="Return the new content, or write it to the path that the function is given.",
            )


def perform(function: Callable[..., Any], task: Task, *, as_paths: bool) -> bool:
    """Call the function for one file, and write the draft; return whether there is a new content.

    Raises:
        TypeError: The function returned a value of another type.
    """
    if as_paths:
        if (new := function(Path(task.source), Path(task.draft))) is not None:
            raise TypeError(
                f"The function gave {type(new).__name__} for {task.source}, and not None: it writes a file."
            )
        return os.path.lexists(task.draft)
    with open(os.open(task.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        content = file.read()
    new = checked(function(content), task.source)
    if new is None or new == content:
        return False
    descriptor = os.open(task.draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with open(descriptor, "wb") as file:
        file.write(new)
    return True


def checked(new: object, path: str) -> bytes | None:
    """Return what a function has returned for a file.

    Raises:
        TypeError: It is neither bytes nor ``None``.
    """
    if not isinstance(new, bytes | None):
        raise TypeError(f"The function gave {type(new).__name__} for {path}, not bytes or None.")
    return new


def main(number: int, parent: int) -> None:
    """Answer tasks until the socket with this number is closed.

    Args:
        number: The descriptor of the socket.
        parent: The number of the process that runs the update. If it was killed by now, its tasks are void.
    """
    os.set_inheritable(number, False)  # as the standard library has it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    if os.getppid() != parent:
        return
    connection = Connection(number)
    with suppress(EOFError, ConnectionError):
        setup: Setup = connection.recv()
        fence = Fence(setup.roots)
        function = _function(setup)
        sys.addaudithook(fence.hear)
        while True:
            connection.send_bytes(_answer(function, connection.recv(), setup, fence))


def _answer(function: Callable[..., Any] | Exception, task: Task, setup: Setup, fence: Fence) -> bytes:
    fence.allowed = os.path.dirname(task.draft) if setup.as_paths else task.draft
    fence.programs.clear()
    try:
        if isinstance(function, Exception):
            raise function
        answer = TaskResult(perform(function, task, as_paths=setup.as_paths))
    except Exception as error:  # noqa: BLE001  # whatever the function raises is told to the process that asked
        answer = TaskResult(has_changed=False, error=_portable(error), trace=traceback.format_exc())
    return pickle.dumps(answer._replace(programs=[*fence.programs]))


def _portable(error: Exception) -> Exception:
    """Return an exception that can be read in another process: the same one, or its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    except Exception:  # noqa: BLE001  # exceptions with arguments of their own fail in many ways
        return FilesError(f"{type(error).__name__}: {error}")
    return error


def _function(setup: Setup) -> Callable[..., Any] | Exception:
    """Load the function; where that fails, return the error, which the first task is answered with."""
    try:
        for name, path in setup.modules:
            _load(name, path)
        function: Callable[..., Any] = _Unpickler(io.BytesIO(setup.function)).load()  # from our own parent
    except Exception as error:  # noqa: BLE001  # as above
        return error
    return function


class _Unpickler(pickle.Unpickler):
    """Finds what is named by module and name."""

    def persistent_load(self, pid: Any) -> Any:
        module, name = pid
        return attrgetter(name)(importlib.import_module(module) if module not in sys.modules else sys.modules[module])


def _load(name: str, path: str) -> None:
    with suppress(ImportError, ValueError):
        if importlib.util.find_spec(name) is not None:
            return
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is not None and spec.loader is not None:
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        sys.dont_write_bytecode = True
        spec.loader.exec_module(module)


def _end_with_parent() -> None:
    """Let the system kill this process when its parent is killed in the middle of a task."""
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
