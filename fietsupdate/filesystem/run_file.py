"""The run file: what a running command tells other processes of itself, rewritten as long as it lives.

It lies in our folder in the data directory, is replaced as a whole a few times a second at the most, and is never
synced: it means nothing after a crash. It decides nothing either. A full disk, or a folder that cannot be written,
costs the file and not the update.

A thread of ours writes it, so that it stays young while a hook or a COMMIT takes its time. A process that is stopped
stops beating; so does code that never lets another thread of Python run. No other thread touches the file, which lets
the guard, and tests that count what a run does, tell our writing from that of hooks: `is_own_thread`. The thread rests
while the process forks, so that no child inherits what it was in the middle of.

A file that was left behind by a process that was killed is recognised by the lock, which the system has freed.
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
from fietsupdate.filesystem.last_failure import shown
from fietsupdate.filesystem.layout import open_home
from fietsupdate.filesystem.lock import holder
from fietsupdate.filesystem.posix.durable import write_all
from fietsupdate.filesystem.posix.ownership import give_owner_of
from fietsupdate.filesystem.posix.processes import boot_id, pid_namespace, started, state_of
from fietsupdate.filesystem.posix.regular import opened
from fietsupdate.model.clock import now
from fietsupdate.model.readback import built, parsed
from fietsupdate.model.run_state import RunState, RunView

NAME = "run.json"
MOST_BYTES = 16 * 1024
"""A file that is larger is not ours."""
PAUSE = 0.5
"""Seconds between two looks at what there is to tell."""
BEAT = 2.0
"""Seconds after which the file is written although nothing has changed."""
_PATIENCE = 2.0
"""Seconds that are waited for the thread: a disk that does not answer must not hold up a run."""
_DRAFT = f".{NAME}.new"

_hearts: list[_Heart] = []
_beating: set[int] = set()
"""The threads that write run files."""
_forking = threading.Lock()


def is_own_thread() -> bool:
    """Return whether the current thread is one that writes a run file."""
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
    """Keep a run file as long as the block lasts. Whoever calls holds the lock.

    Args:
        data_dir: The data directory.
        state: Returns what there is to tell at the moment; called in another thread.
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
    """Return the run that is at work, or ``None``: nothing runs, or it tells nothing of itself. Changes nothing."""
    who, state = holder(data_dir), read(data_dir)
    if who is None or state is None:
        return None
    if who.pid and ((who.pid, who.host) != (state.pid, state.host) or state.started < who.since):
        return None  # an earlier run has left it
    same_system = bool(state.boot) and state.boot == boot_id()
    return RunView(state, _silence(state, same_system=same_system), _process(state) if same_system else "")


def read(data_dir: Path) -> RunState | None:
    """Read the file, which anybody may have written (invariant 12); ``None`` where none makes sense."""
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
    """Look at the process, where its number means the same here."""
    if not state.namespace or state.namespace != pid_namespace():
        return ""
    return state_of(state.pid, state.born)


class Heartbeat(threading.Thread):
    """The thread of a run file; the guard knows it by this class."""


class _Heart:
    """What keeps one run file young."""

    def __init__(self, data_dir: Path, state: Callable[[], RunState]) -> None:
        self._data_dir = data_dir
        self._state = state
        self._thread: threading.Thread | None = None
        self._rests = threading.Event()
        self._written = threading.Event()
        self._is_over = False

    def start(self) -> None:
        """Begin to beat, and wait for the first beat."""
        self._rests.clear()
        self._thread = Heartbeat(target=self._beat, name="heartbeat", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads: then nothing is told
            self._thread = None
        else:
            self._written.wait(_PATIENCE)

    def rest(self) -> None:
        """Let the thread end; the file stays."""
        self._rests.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def stop(self) -> None:
        """Let the thread remove the file and end."""
        self._is_over = True
        self.rest()

    def _beat(self) -> None:
        _beating.add(threading.get_ident())
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
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
    """Replace the file; where that cannot be done, the older one stays and grows old."""
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
    """Forget the runs of the parent: they are told by it."""
    global _forking  # noqa: PLW0603  # the parent may hold it
    _forking = threading.Lock()
    _hearts.clear()
    _beating.clear()


os.register_at_fork(before=_rest_before_fork, after_in_parent=_go_on_in_parent, after_in_child=_end_in_child)
