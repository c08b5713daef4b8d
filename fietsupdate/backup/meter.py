"""How far a long copy has come, how fast it goes, and how long it will take: a few events a second at the most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

INTERVAL = 0.5
"""Seconds between two events."""
GUESS = 200
"""Before one in so many bytes is done, how long the rest will take is anybody's guess."""


class ByteMeter:
    """Counts bytes; called with the number of bytes since the last time.

    Args:
        tell: Told, now and then and at the end, of ``done`` and ``total`` (bytes), ``rate`` (bytes a second) and
            ``left`` (seconds; 0 as long as nobody can tell).
        total: Bytes that are expected; ``None`` where nobody can tell.
        clock: Seconds, increasing.
    """

    def __init__(
        self, tell: Callable[[Mapping[str, Any]], None], total: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._started = self._told = clock()
        self.total = total
        self.done = 0

    def __call__(self, moved: int) -> None:
        """Count."""
        self.done += moved
        now = self._clock()
        if now - self._told >= INTERVAL:
            self._told = now
            self._tell(self._details(now))

    def finish(self) -> None:
        """Report that all is done; what was expected was only an estimate."""
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
