"""Runs a function on files in worker processes, and yields the answers in the order of the files.

The processes are our own rather than those of ``concurrent.futures``: which file a dead worker was busy with must be
known, no thread may be left when a hook returns, and the application's main module is not imported again.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from multiprocessing.connection import Connection, wait
from operator import attrgetter
from types import FunctionType, ModuleType
from typing import Any, Self

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.worker import Setup, Task, TaskResult

AHEAD = 4
"""So many tasks wait in a worker, so that it has one when it has answered another."""
WINDOW = 64
"""So many answers for each worker may wait for the answer of an earlier file."""
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from fietsupdate.filesystem.worker import main; main(*map(int, sys.argv[2:]))"
)


class _Worker:
    """One process, and the tasks that it has not answered."""

    def __init__(self, setup: Setup) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            os.set_inheritable(theirs.fileno(), True)  # as the standard library has it
            # a group of its own: the terminal's Ctrl-C is for the process that runs the update
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, json.dumps(sys.path), str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        self.connection = Connection(ours.detach())
        self.tasks: deque[tuple[int, Task]] = deque()
        with suppress(ConnectionError):  # it has died already, which is noticed when its answers are read
            self.connection.send(setup)

    def submit(self, number: int, task: Task) -> None:
        self.tasks.append((number, task))
        with suppress(ConnectionError):
            self.connection.send(task)

    def answer(self) -> tuple[int, TaskResult] | None:
        """Return the answer to its first task; ``None`` when it has died."""
        try:
            answer: TaskResult = pickle.loads(self.connection.recv_bytes())  # noqa: S301  # from our own child
        except (EOFError, ConnectionError):
            return None
        return self.tasks.popleft()[0], answer

    def stop(self) -> int:
        """End the process, and return its exit code."""
        self.connection.close()
        self._process.kill()
        return self._process.wait()

    def death(self) -> str:
        """Say how a process has ended that has ended by itself."""
        self.connection.close()
        code = self._process.wait()
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


class Workers:
    """Some worker processes; leaving the context ends them at once.

    Args:
        count: The number of processes.
        setup: What each is told.
        at_work: Marks that a process is started by us, and not by the script.
    """

    def __init__(self, count: int, setup: Setup, at_work: Callable[[], AbstractContextManager[object]]) -> None:
        self._count = count
        self._at_work = at_work
        self._setup = setup
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def answers(self, tasks: Iterator[Task | None]) -> Iterator[TaskResult]:
        """Yield an answer for each task, in their order.

        Args:
            tasks: Taken as they are needed; at a ``None`` all earlier ones are answered before the next one is taken.
        """
        done: dict[int, TaskResult] = {}
        given, due, end = 0, 0, None
        while end is None:
            is_pausing = False
            while end is None and not is_pausing and self._has_room(given - due):
                try:
                    task = next(tasks)
                except Exception as error:  # noqa: BLE001  # raised when the tasks before it are answered
                    end = error
                    continue
                is_pausing = task is None
                if task is not None:
                    self._idle().submit(given, task)
                    given += 1
            while due < given and (end is not None or is_pausing or not self._has_room(given - due)):
                done.update(self._collect())
                while due in done:
                    due += 1
                    yield done.pop(due - 1)
        if not isinstance(end, StopIteration):
            raise end

    def _has_room(self, waiting: int) -> bool:
        if waiting >= self._count * WINDOW:
            return False
        return len(self._workers) < self._count or any(len(worker.tasks) < AHEAD for worker in self._workers)

    def _idle(self) -> _Worker:
        """Return the worker with the fewest tasks; one that is not started yet has none."""
        idle = min(self._workers, key=lambda worker: len(worker.tasks), default=None)
        if idle is None or (idle.tasks and len(self._workers) < self._count):
            idle = self._started()
        return idle

    def _started(self) -> _Worker:
        with self._at_work():
            worker = _Worker(self._setup)
        self._workers.append(worker)
        return worker

    def _collect(self) -> Iterator[tuple[int, TaskResult]]:
        by_connection = {worker.connection: worker for worker in self._workers if worker.tasks}
        for connection in wait(list(by_connection)):
            worker = by_connection[connection]  # type: ignore[index]  # only connections were given
            yield worker.answer() or self._replace(worker)

    def _replace(self, worker: _Worker) -> tuple[int, TaskResult]:
        """Start another worker for the tasks of one that has died, and answer the task that it was busy with."""
        number, task = worker.tasks.popleft()
        self._workers.remove(worker)
        error = FilesError(
            f"The worker process {worker.death()} while it was busy with {task.source}.",
            hint="Fewer workers need less memory. Try the function on that file alone.",
            details={"path": task.source},
        )
        if worker.tasks:
            other = self._started()
            for waiting in worker.tasks:
                other.submit(*waiting)
        return number, TaskResult(has_changed=False, error=error)


class _Pickler(pickle.Pickler):
    """Names what is in one module by module and name: an update script's module is in a package that is none."""

    def __init__(self, file: io.BytesIO, module: ModuleType) -> None:
        super().__init__(file)
        self._module = module

    def persistent_id(self, obj: object) -> tuple[str, str] | None:
        if not isinstance(obj, FunctionType | type) or obj.__module__ != self._module.__name__:
            return None
        if attrgetter(obj.__qualname__)(self._module) is not obj:
            raise pickle.PicklingError("another one has its name")
        return obj.__module__, obj.__qualname__


def packed(function: Callable[..., Any]) -> tuple[bytes, list[tuple[str, str]]]:
    """Pickle a function for other processes, with the modules that they have to import by their path.

    Raises:
        TypeError: It has no name in a module.
    """
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    module = sys.modules.get(getattr(inner, "__module__", None) or type(inner).__module__)
    try:
        if module is None or module.__name__ == "__main__":
            raise pickle.PicklingError("it is in no module that can be imported")
        file = io.BytesIO()
        _Pickler(file, module).dump(function)
        return file.getvalue(), [(module.__name__, module.__file__)] if module.__file__ else []
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"Worker processes cannot be given {function!r}: {error}. Define it with 'def' at the top of the update "
            "script, or of a module; what else it needs can be passed by functools.partial."
        ) from error
