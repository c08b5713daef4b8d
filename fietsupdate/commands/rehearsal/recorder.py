"""Record the cost of a run on the clone: time and bytes by phase, space, warnings; every event is passed on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fietsupdate.commands.rehearsal.inventory import Taken, taken
from fietsupdate.commands.rehearsal.report import Timing
from fietsupdate.model import Event

PASSED_ON = frozenset({"finished"})
"""The events that are not passed on: a leg of the rehearsal ends, but not the rehearsal."""
TICK = 0.01
"""Seconds for which a file system's clock may stand still: Linux advances it at least a hundred times a second."""


@dataclass
class Recorder:
    """Listens to the events of one leg.

    Args:
        listener: Who is told of them as well.
        roots: The trees of the clone.
        stamp: A file beside them, which shows the time of the file system.
    """

    listener: Callable[[Event], None]
    roots: Iterable[Path]
    stamp: Path
    timings: list[Timing] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)
    most: int = 0
    """The most bytes that the trees and the saved files in them took."""
    looked_ms: int = 0
    """The time for measuring the trees, which the real run does not need."""
    update_id: str = ""
    phase: str = ""
    direction: str = ""
    _phases: dict[str, int] = field(default_factory=dict)
    _written: dict[str, Taken] = field(default_factory=dict)
    _began: float = 0.0
    _since_ns: int = 0
    _looked_before: int = 0

    def __call__(self, event: Event) -> None:
        """Record an event, and pass it on."""
        teller = getattr(self, f"_{event.event}", None)
        if teller is not None:
            teller(event)
        if event.event not in PASSED_ON:
            self.listener(event)

    def measure(self) -> Taken:
        """Measure the space that is taken now, and the changes since the last phase began."""
        began = time.monotonic()
        now = taken(self.roots, self._since_ns)
        self.most = max(self.most, now.occupied)
        self.looked_ms += round((time.monotonic() - began) * 1000)
        return now

    def _update_begun(self, event: Event) -> None:
        self.update_id, self.direction, self.phase = event.update_id, event.direction, ""
        self._phases, self._written, self._looked_before = {}, {}, self.looked_ms

    def _phase_begun(self, event: Event) -> None:
        self.phase, self._since_ns, self._began = event.phase, self._moment(), time.monotonic()

    def _phase_finished(self, event: Event) -> None:
        self._phases[event.phase] = round((time.monotonic() - self._began) * 1000)
        self._written[event.phase] = self.measure()  # after the last phase, old and new bytes both exist

    def _update_finished(self, event: Event) -> None:
        looked = self.looked_ms - self._looked_before
        self.timings.append(
            Timing(
                event.update_id,
                event.direction,
                max(int(event.details.get("duration_ms", 0)) - looked, 0),
                self._phases,
                {phase: one.written for phase, one in self._written.items()},
                {phase: one.inodes for phase, one in self._written.items()},
            )
        )
        self.update_id = self.phase = ""

    def _warning(self, event: Event) -> None:
        about = f"{event.update_id}: " if event.update_id else ""
        self.warnings[f"{about}{event.text}"] = None

    def _moment(self) -> int:
        """Return a ctime that no file has yet, and that every later change will exceed."""
        self.stamp.touch()
        time.sleep(TICK)
        return self.stamp.stat().st_ctime_ns + 1
