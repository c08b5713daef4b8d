"""Detect child processes, however they are started; not every way reports to Python's audit hooks.

``multiprocessing`` (spawn, forkserver) starts its processes without audit events, and so does a C library that calls
system(3).
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

_TASKS = "/proc/self/task"


class Children:
    """The child processes of this process at one moment."""

    def __init__(self) -> None:
        self._ended = _ended()
        self._alive = _alive()

    def have_changed(self) -> bool:
        """Return whether any thread of this process has started a child since then."""
        return _ended() != self._ended or bool(_alive() - self._alive)


def _ended() -> tuple[float, ...]:
    """Return the resources used by children that have ended and were waited for; they grow with each child."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime, used.ru_stime, used.ru_minflt


def _alive() -> frozenset[bytes]:
    """Return the process ids of the running children, where the system shows them."""
    found: set[bytes] = set()
    with suppress(OSError):
        for task in os.listdir(_TASKS):
            with suppress(OSError), open(f"{_TASKS}/{task}/children", "rb") as children:
                found.update(children.read().split())
    return frozenset(found)
