"""``status --watch``: follows the run that another process is at, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fietsupdate.cli.render import documents, working
from fietsupdate.cli.render.output import Output, on_one_line

if TYPE_CHECKING:
    from fietsupdate.model.probes import Probe

INTERVAL = 5.0
"""Seconds between two lines about the same phase where there is no terminal."""


class Watcher:
    """Shows what a run is at: one line that is redrawn on a terminal, lines now and then elsewhere, or JSON.

    Args:
        out: Where it is shown.
        as_json: Whether each change is a JSON object on a line of its own.
        clock: Seconds, increasing.
    """

    def __init__(self, out: Output, *, as_json: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.out = out
        self._clock = clock
        self._show = self._json if as_json else self._redraw if out.is_terminal else self._line
        self._last: object = None
        self._at = 0.0

    def follow(self, seen: Iterable[Probe]) -> None:
        """Show a run until it ends; nothing where none is at work."""
        shown = False
        for probe in seen:
            self._show(probe)
            shown = True
            if self.out.failure is not None:
                return
        if shown and self._show == self._redraw:
            self.out.draw("\r\x1b[K")

    def _redraw(self, probe: Probe) -> None:
        text, width = on_one_line(said(probe)), self.out.width - 1
        self.out.draw(f"\r\x1b[K{text if len(text) <= width else f'{text[: width - 3]}...'}")

    def _line(self, probe: Probe) -> None:
        """Print a line when something new begins, and every few seconds."""
        state = probe.run.state if probe.run else None
        about = (state.update_id, state.phase, state.part, probe.run.is_hung) if state and probe.run else None
        if about == self._last and self._clock() - self._at < INTERVAL and self._at:
            return
        self._last, self._at = about, self._clock()
        self.out.line(on_one_line(said(probe)))

    def _json(self, probe: Probe) -> None:
        document = {"run": working.document(probe.run)}
        about = {**document["run"], "silent": 0, "heartbeat": 0} if document["run"] else None
        if about != self._last or not self._at:
            self._last, self._at = about, self._clock()
            self.out.line(documents.line(document))


def said(probe: Probe) -> str:
    """Return what a run is at, in one line."""
    return working.line(probe.run) if probe.run else probe.reason
