"""Listens to a run on the clone, and notes what it takes: time by phase, space, warnings; everything is passed on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fietsupdate.filesystem.inventory import occupied
from fietsupdate.model import Event, Phase
from fietsupdate.rehearsing.report import Timing

PASSED_ON = frozenset({"finished"})
"""What is not: the run of a leg ends, the rehearsal does not."""


@dataclass
class Recorder:
    """Takes the events of one leg.

    Args:
        tell: Who is told of them as well.
        roots: The trees of the clone.
    """

    tell: Callable[[Event], None]
    roots: Iterable[Path]
    timings: list[Timing] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)
    most: int = 0
    """The most bytes that the trees and what was saved of them took."""
    update_id: str = ""
    phase: str = ""
    direction: str = ""
    _phases: dict[str, int] = field(default_factory=dict)
    _began: float = 0.0

    def __call__(self, event: Event) -> None:
        """Take one event."""
        teller = getattr(self, f"_{event.event}", None)
        if teller is not None:
            teller(event)
        if event.event not in PASSED_ON:
            self.tell(event)

    def measure(self) -> int:
        """Look at how much is taken now."""
        now = occupied(self.roots)
        self.most = max(self.most, now)
        return now

    def _update_begun(self, event: Event) -> None:
        self.update_id, self.direction, self.phase, self._phases = event.update_id, event.direction, "", {}

    def _phase_begun(self, event: Event) -> None:
        self.phase, self._began = event.phase, time.monotonic()

    def _phase_finished(self, event: Event) -> None:
        self._phases[event.phase] = round((time.monotonic() - self._began) * 1000)
        if event.phase == Phase.POST:
            self.measure()  # just before the commit: old and new bytes are both there

    def _update_finished(self, event: Event) -> None:
        duration = int(event.details.get("duration_ms", 0))
        self.timings.append(Timing(event.update_id, event.direction, duration, self._phases))
        self.update_id = self.phase = ""

    def _warning(self, event: Event) -> None:
        about = f"{event.update_id}: " if event.update_id else ""
        self.warnings[f"{about}{event.text}"] = None
