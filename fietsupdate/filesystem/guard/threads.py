"""Determine whether a thread belongs to code that we call (hooks, revisions, checks), or to the application around us.

Audit hooks belong to the process and are called in every thread. In an application that updates itself as it starts,
other threads go on with their own work meanwhile, which is neither undone nor refused.

A thread belongs to called code when that code runs in it or has started it, or when it works in that code's context
(``asyncio.to_thread`` and tasks of asyncio pass it on, https://docs.python.org/3/library/contextvars.html). A worker of
a pool that existed before may work for either side, so it counts as unsure.

Python 3.11 has no audit event for a thread that starts, so `threading.Thread.start` is wrapped while a call runs.
"""

from __future__ import annotations

import enum
import gc
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet

GRACE = 0.2
"""Seconds that a thread may still need to end when the code that started it has returned."""

_HARMLESS = frozenset({("tqdm._monitor", "TMonitor"), ("fietsupdate.filesystem.run_file", "Heartbeat")})
"""Classes of threads that never end by themselves and change no file of the application: tqdm's only reads the clock,
ours, which starts again after a fork, writes the run file."""

_started: WeakSet[threading.Thread] = WeakSet()
"""Threads that called code has started, now or in an earlier call."""
_calls: list[CalledCode] = []
"""The calls that are running."""
_context: ContextVar[CalledCode | None] = ContextVar("fietsupdate_call", default=None)


class Whose(enum.Enum):
    """To whom a thread belongs."""

    CALLED = "called"
    UNSURE = "unsure"
    OTHERS = "others"


class CalledCode:
    """One run of called code, in the thread that creates this object."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._before = frozenset(sys._current_frames())  # noqa: SLF001  # documented, and the only list of raw threads
        self._own: WeakSet[threading.Thread] = WeakSet()
        self._others: WeakSet[threading.Thread] = WeakSet()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mark the context of the called code, and record the threads that are started."""
        token = _context.set(self)
        _calls.append(self)
        real = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            for call in _calls:
                call.note_start(thread)
            real(thread)

        threading.Thread.start = start  # type: ignore[assignment,method-assign]  # see above
        self._before |= frozenset(sys._current_frames())  # noqa: SLF001  # as above; from here on starts are noted
        try:
            yield
        finally:
            # otherwise other code has wrapped it again, and our wrapper does nothing any more
            if threading.Thread.start is start:
                threading.Thread.start = real  # type: ignore[method-assign]
            _calls.remove(self)
            _context.reset(token)

    def whose(self) -> Whose:
        """Return to whom the current thread belongs."""
        number = threading.get_ident()
        if number == self._thread or _context.get() is self:
            return Whose.CALLED
        thread = threading.current_thread()
        if thread in self._own:
            return Whose.CALLED
        if thread in _started or _is_pooled(thread):
            return Whose.UNSURE
        return Whose.OTHERS if number in self._before or thread in self._others else Whose.UNSURE

    def note_start(self, thread: threading.Thread) -> None:
        """Record that the current thread starts another one."""
        if self.whose() is Whose.CALLED:
            self._own.add(thread)
            _started.add(thread)
        else:
            self._others.add(thread)

    def left_running(self) -> list[Left]:
        """Return the threads that called code has started and that still run after `GRACE`."""
        known = {thread.ident for thread in [*self._own, *self._others]}
        raw = sys._current_frames().keys() - self._before - known  # noqa: SLF001  # as above
        unnamed = [Left(number, f"number {number}", None) for number in sorted(raw)]
        left = self._alive(unnamed)
        for step in range(20 if left else 0):
            time.sleep(GRACE / 20)
            if step == 0:
                gc.collect()  # the workers of a pool that is not referenced any more end
            if not (left := self._alive(unnamed)):
                break
        return left

    def _alive(self, unnamed: list[Left]) -> list[Left]:
        named = [thread for thread in [*self._own] if thread.is_alive() and not _is_harmless(thread)]
        left = [Left(thread.ident or 0, thread.name, thread) for thread in named]
        return left + [thread for thread in unnamed if thread.is_alive]


class Left:
    """A thread that outlives the code that started it."""

    def __init__(self, number: int, name: str, thread: threading.Thread | None) -> None:
        self.number = number
        self.name = name
        self._thread = thread

    @property
    def is_current(self) -> bool:
        """Whether it is the current thread."""
        return threading.get_ident() == self.number and self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        if self._thread is not None:
            return self._thread.is_alive()
        return self.number in sys._current_frames()  # noqa: SLF001  # as above


def _is_pooled(thread: threading.Thread) -> bool:
    """Return whether a thread is a worker of a `ThreadPoolExecutor`."""
    pools: Any = sys.modules.get("concurrent.futures.thread")
    return pools is not None and thread in getattr(pools, "_threads_queues", ())


def _is_harmless(thread: threading.Thread) -> bool:
    return (type(thread).__module__, type(thread).__qualname__) in _HARMLESS
