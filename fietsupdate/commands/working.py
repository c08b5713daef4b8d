"""Report a run to other processes: its events are collected into the state that is written to the run file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from fietsupdate.commands.notification import notified
from fietsupdate.config.application import Application
from fietsupdate.filesystem import run_file
from fietsupdate.model import Event, Phase
from fietsupdate.model.listeners import Listener
from fietsupdate.model.run_state import FINISHING, RunState
from fietsupdate.process import Signals

_LONGEST = 200
"""The most characters of a text that are kept."""
_SETTLED = 1.0
"""Seconds after which a rate is reliable."""
_PHASES = {
    "backup_begun": "backup",
    "restore_begun": "restore",
    "cloning": "clone",
    "backup_part": "backup",
    "restore_part": "restore",
}
_LAST = Phase.POST.value
_ENDS = frozenset({"update_finished", "update_undone", "backup_finished", "recovered", "finished"})
"""Events after which no work is in progress until the next event that begins some."""


class Working:
    """The state of a run, according to its events so far.

    Args:
        state: The first state.
        clock: Returns seconds, increasing.
    """

    def __init__(self, state: RunState, clock: Callable[[], float] = time.monotonic) -> None:
        self.state = state
        self._clock = clock
        self._since = 0.0
        self._first = 0

    def __call__(self, event: Event) -> None:
        """Update the state with an event."""
        kind, details = event.event, event.details
        if kind == "progress":
            self._progress(event)
        elif kind == "plan":
            self.state = replace(self.state, step=0, steps=len(details.get("steps", ())))
        elif kind == "update_begun":
            names = {"update_id": event.update_id[:_LONGEST], "direction": event.direction}
            self._at("", step=self.state.step + 1, **names)
        elif kind == "phase_begun":
            self._at(event.phase)
        elif kind == "phase_finished":
            self._at(FINISHING if event.phase == _LAST else event.phase)
        elif kind in _PHASES:
            self._at(_PHASES[kind], part=event.text if kind not in {"backup_begun", "restore_begun"} else "")
        elif kind in _ENDS:
            self._at("", update_id="", direction="")

    def _at(self, phase: str, *, part: str = "", **values: str | int) -> None:
        """Begin a phase."""
        nothing = {"done": 0, "total": 0, "unit": "", "rate": 0, "left": 0}
        self.state = replace(self.state, phase=phase, part=part, **nothing, **values)  # type: ignore[arg-type]

    def _progress(self, event: Event) -> None:
        details = event.details
        done, total = int(details.get("done") or 0), int(details.get("total") or 0)
        if details.get("unit") == "bytes":
            rate, left, unit = int(details.get("rate") or 0), int(details.get("left") or 0), "bytes"
        else:
            unit = event.text[:_LONGEST]
            rate, left = self._pace(done, total, unit)
        self.state = replace(self.state, done=done, total=total, unit=unit, rate=rate, left=left)

    def _pace(self, done: int, total: int, unit: str) -> tuple[int, int]:
        """Return the items per second, and the seconds for the rest; 0 while they would be a guess."""
        now = self._clock()
        if unit != self.state.unit or done < self.state.done or not self.state.total + self.state.done:
            self._since, self._first = now, done
        seconds = now - self._since
        if seconds < _SETTLED or done <= self._first:
            return 0, 0
        rate = (done - self._first) / seconds
        return round(rate), round((total - done) / rate) if total > done else 0


@contextmanager
def run_reported(
    application: Application, command: str, listeners: list[Listener], signals: Signals, emit: Listener
) -> Iterator[None]:
    """Report a run to other processes, and to the command of `notify`, as long as the block lasts.

    Args:
        application: The activated configuration; the lock of its data directory is held.
        command: The running command.
        listeners: The listeners of the run.
        signals: They are held back while the reporting begins and ends.
        emit: Takes a warning where the command of `notify` fails.
    """
    working = Working(run_file.begun(command))
    file = run_file.kept(application.data_dir, lambda: working.state)
    with signals.held():
        file.__enter__()
    listeners.append(working)
    try:
        signals.raise_pending()
        with notified(application, working.state, listeners, signals, emit):
            yield
    finally:
        listeners.remove(working)
        with signals.held():
            file.__exit__(None, None, None)
