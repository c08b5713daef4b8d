"""Measure the progress of a long copy, its speed and the remaining time; a few events a second at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

INTERVAL = 0.5
"""Seconds between two events."""
GUESS = 200
"""Before one in so many bytes is done, the remaining time cannot be estimated."""


class ByteMeter:
    """Counts bytes; called with the number of bytes since the last call.

    Args:
        tell: Called now and then and at the end with ``done`` and ``total`` (bytes), ``rate`` (bytes a second) and
            ``left`` (seconds; 0 as long as it is unknown).
        total: The expected number of bytes; ``None`` if unknown.
        clock: Returns seconds, increasing.
    """

    def __init__(
        self,
        on_progress: Callable[[Mapping[str, Any]], None],
        total: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = on_progress
        self._clock = clock
        self._started = self._told = clock()
        self.total = total
        self.done = 0

    def __call__(self, moved: int) -> None:
        """Add bytes, and report the progress if it is due."""
        self.done += moved
        now = self._clock()
        if now - self._told >= INTERVAL:
            self._told = now
            self._tell(self._details(now))

    def finish(self) -> None:
        """Report that all is done; the expected number was only an estimate."""
        self.total = self.done
        self._tell(self._details(self._clock()))

    def _details(self, now: float) -> Mapping[str, Any]:
        rate = self.done / max(now - self._started, 1e-3)
        total = None if self.total is None else max(self.total, self.done)
        known = rate and total is not None and self.done * GUESS >= total
        left = (total - self.done) / rate if known and total is not None else 0.0
        return {
            "done": self.done,
            "total": total,
            "unit": "bytes",
            "rate": round(rate),
            "left": round(left, 1),
        }
