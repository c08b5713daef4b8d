"""The run file: what a running command reports to other processes, rewritten as long as it runs.

The file is in our folder in the data directory, is replaced as a whole at most a few times a second, and is never
synced: it means nothing after a crash. No decision depends on it. If the disk is full, or the folder cannot be written,
the file is missing, but the update goes on.

A thread of ours writes the file, so that it stays up to date during a long hook or COMMIT. The thread stops together
with the process; it also stops while code keeps every other thread of Python from running. No other thread touches the
file, so that the guard, and tests that count calls, can distinguish our writing from that of hooks: `is_own_thread`.
The thread ends before the process forks, so that a child never inherits its unfinished work.

The file of a killed process is recognised by the lock, which the system has released.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.layout import open_home
from fietsupdate.filesystem.lock import holder
from fietsupdate.filesystem.note import shown
from fietsupdate.filesystem.posix.durable import write_all
from fietsupdate.filesystem.posix.ownership import give_owner_of
from fietsupdate.filesystem.posix.processes import boot_id, pid_namespace, started, state_of
from fietsupdate.filesystem.posix.regular import opened
from fietsupdate.model.clock import now
from fietsupdate.model.readback import built, parsed
from fietsupdate.model.run_state import RunState, RunView

NAME = "run.json"
MOST_BYTES = 16 * 1024
"""The most bytes of the file; a larger one is not ours."""
PAUSE = 0.5
"""Seconds between two checks for a new state."""
BEAT = 2.0
"""Seconds after which the file is written even if the state is the same."""
_PATIENCE = 2.0
"""The longest wait for the thread in seconds: a disk that does not answer must not hold up a run."""
_DRAFT = f".{NAME}.new"

_hearts: list[_Heart] = []
_beating: set[int] = set()
"""The threads that write run files."""
_forking = threading.Lock()


def is_own_thread() -> bool:
    """Return whether the current thread writes a run file."""
    return threading.get_ident() in _beating


def begun(command: str) -> RunState:
    """Return the state of a run that begins in this process."""
    pid = os.getpid()
    return RunState(
        command,
        pid,
        socket.gethostname(),
        now(),
        boot=boot_id(),
        namespace=pid_namespace(),
        born=started(pid),
    )


@contextmanager
def kept(data_dir: Path, state: Callable[[], RunState]) -> Iterator[None]:
    """Write a run file as long as the block lasts. The caller holds the lock.

    Args:
        data_dir: The data directory.
        state: Returns the present state; called in another thread.
    """
    heart, pid = _Heart(data_dir, state), os.getpid()
    try:
        _hearts.append(heart)
        heart.start()
        yield
    finally:
        if os.getpid() == pid:
            _hearts.remove(heart)
            heart.stop()


def read_run(data_dir: Path) -> RunView | None:
    """Return the run at work; ``None`` if no command runs, or it reports nothing. Changes nothing."""
    who, state = holder(data_dir), read(data_dir)
    if who is None or state is None:
        return None
    if who.pid and ((who.pid, who.host) != (state.pid, state.host) or state.started < who.since):
        return None  # the file is left from an earlier run
    same_system = bool(state.boot) and state.boot == boot_id()
    return RunView(state, _silence(state, same_system=same_system), _process(state) if same_system else "")


def read(data_dir: Path) -> RunState | None:
    """Read the file, which any user may have written (invariant 12); ``None`` if it cannot be read or is not valid."""
    with suppress(OSError, FilesError, ValueError, TypeError):
        folder = open_home(data_dir)
        try:
            with os.fdopen(opened(NAME, folder=folder), "rb") as file:
                state = built(RunState, parsed(file.read(MOST_BYTES)))
        finally:
            os.close(folder)
        texts = {field.name: shown(getattr(state, field.name)) for field in fields(state) if field.type == "str"}
        return replace(state, **texts)  # type: ignore[arg-type]  # all of them are texts
    return None


def _silence(state: RunState, *, same_system: bool) -> float:
    if same_system:
        return max(time.monotonic() - state.beat / 1000, 0.0)
    from datetime import UTC, datetime

    with suppress(ValueError):
        return max((datetime.now(UTC) - datetime.fromisoformat(state.heartbeat)).total_seconds(), 0.0)
    return 0.0


def _process(state: RunState) -> str:
    """Return the state of the process, if its number is valid here."""
    if not state.namespace or state.namespace != pid_namespace():
        return ""
    return state_of(state.pid, state.born)


class Heartbeat(threading.Thread):
    """The thread of a run file; the guard recognises it by this class."""


class _Heart:
    """Keeps one run file up to date."""

    def __init__(self, data_dir: Path, state: Callable[[], RunState]) -> None:
        self._data_dir = data_dir
        self._state = state
        self._thread: threading.Thread | None = None
        self._rests = threading.Event()
        self._written = threading.Event()
        self._is_over = False

    def start(self) -> None:
        """Start the thread, and wait until it has written the file."""
        self._rests.clear()
        self._thread = Heartbeat(target=self._beat, name="heartbeat", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads are possible: then nothing is reported
            self._thread = None
        else:
            self._written.wait(_PATIENCE)

    def rest(self) -> None:
        """End the thread; the file stays."""
        self._rests.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def stop(self) -> None:
        """Remove the file, and end the thread."""
        self._is_over = True
        self.rest()

    def _beat(self) -> None:
        _beating.add(threading.get_ident())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals belong to the main thread
            self._go_on()
            if self._is_over:
                _remove(self._data_dir)
        finally:
            _beating.discard(threading.get_ident())

    def _go_on(self) -> None:
        told: RunState | None = None
        at = 0.0
        while True:
            state = self._state()
            if state != told or time.monotonic() - at >= BEAT:
                told, at = state, time.monotonic()
                _write(self._data_dir, replace(state, heartbeat=now(), beat=round(at * 1000)))
            self._written.set()
            if self._rests.wait(PAUSE):
                return


def _write(data_dir: Path, state: RunState) -> None:
    """Replace the file; if that is impossible, the older file stays."""
    with suppress(OSError, FilesError):
        folder = open_home(data_dir)
        try:
            _clear(folder, _DRAFT)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(_DRAFT, flags, 0o600, dir_fd=folder)
            try:
                give_owner_of(descriptor, os.fstat(folder))
                write_all(descriptor, json.dumps(asdict(state)).encode())
            finally:
                os.close(descriptor)
            os.rename(_DRAFT, NAME, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            _clear(folder, _DRAFT)
            os.close(folder)


def _remove(data_dir: Path) -> None:
    with suppress(OSError, FilesError):
        folder = open_home(data_dir)
        try:
            _clear(folder, NAME)
        finally:
            os.close(folder)


def _clear(folder: int, name: str) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)


def _rest_before_fork() -> None:
    if _hearts:
        _forking.acquire(timeout=_PATIENCE)
        for heart in _hearts:
            heart.rest()


def _go_on_in_parent() -> None:
    if _hearts:
        for heart in _hearts:
            heart.start()
        with suppress(RuntimeError):
            _forking.release()


def _end_in_child() -> None:
    """Remove the runs of the parent, which reports them itself."""
    global _forking  # noqa: PLW0603  # the parent may hold it
    _forking = threading.Lock()
    _hearts.clear()
    _beating.clear()


os.register_at_fork(before=_rest_before_fork, after_in_parent=_go_on_in_parent, after_in_child=_end_in_child)
