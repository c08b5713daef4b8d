"""Events as they happen: a live view on a terminal, plain lines elsewhere, a JSON object a line for programs.

A listener is called with every `Event` of a run. It never raises: a fault of the screen must not stop an update.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fietsupdate.cli.render import backups, documents, questions, restores, steps
from fietsupdate.cli.render.layout import duration
from fietsupdate.cli.render.output import Output, on_one_line
from fietsupdate.model import Event
from fietsupdate.model.clock import shown_time

INTERVAL = 5.0
"""Seconds between two lines of progress where there is no terminal."""

INDENT = " " * 6


class EventPrinter:
    """Receives events; as a context it cleans up the screen. This base class prints nothing."""

    def __init__(self) -> None:
        self.finished = False
        """Whether the run has reported its end."""
        self.failure: Exception | None = None
        """Why nothing is shown any more."""

    def __call__(self, event: Event) -> None:
        """Handle one event."""
        self.finished = self.finished or event.event == "finished"
        if self.failure is None:
            try:
                self.show(event)
            except Exception as error:  # noqa: BLE001  # invisible progress is better than an update undone for it
                self.failure = error

    def show(self, event: Event) -> None:
        """Show one event."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen in its final state."""


class JsonListener(EventPrinter):
    """Writes each event as a line of JSON."""

    def __init__(self, out: Output) -> None:
        super().__init__()
        self.out = out

    def show(self, event: Event) -> None:
        """Write one event."""
        self.out.line(documents.line(documents.event(event)))


RECOVERED = {
    "undone": "it is not in the database, and its journal of files was played back",
    "done": "it was complete, and is now tidied up",
    "taken_back": "what it had done to files is undone",
}
"""The findings of recovery, by the outcome in a ``recovered`` event."""


def _set_aside(event: Event, indent: str) -> list[str]:
    """Return the files that were in the way of an undo and are kept."""
    return [f"{indent}set aside: {path}" for path in event.details.get("found", ())]


def _not_undone(event: Event, indent: str) -> list[str]:
    """Return what may remain of an update that was undone, and what was set aside."""
    reason, unseen = event.details.get("reason"), event.details.get("unseen")
    rows = [f"{indent}rows that it wrote may stand: {reason}; nothing was deleted"] if reason else []
    return [*rows, *([f"{indent}{unseen}"] if unseen else []), *_set_aside(event, indent)]


@dataclass
class Narrator:
    """Turns events into lines of text; knows the number of the current update."""

    verbose: bool = False
    total: int = 0
    number: int = 0
    update_id: str = ""
    phase: str = ""

    def lines(self, event: Event) -> list[str]:
        """Return the lines for an event; often none."""
        teller: Callable[[Event], list[str]] | None = getattr(self, f"_{event.event}", None)
        return teller(event) if teller else []

    def _plan(self, event: Event) -> list[str]:
        self.total, self.number = len(event.details.get("steps", ())), 0
        return []

    def _waiting(self, event: Event) -> list[str]:
        who = event.details
        if not who.get("pid"):
            return [f"Waiting {event.text}."]
        since = shown_time(str(who.get("since", "")))
        return [f"Waiting {event.text}: process {who['pid']} on {who.get('host', '?')}, at work since {since}."]

    def _recovered(self, event: Event) -> list[str]:
        if event.text == "restored":
            return [f"A restore of {event.update_id} was interrupted: it is finished now.", *_set_aside(event, "")]
        what = RECOVERED.get(event.text, event.text)
        return [f"An earlier run of {event.update_id} was interrupted: {what}.", *_not_undone(event, "")]

    def _adopted(self, event: Event) -> list[str]:
        ids = ", ".join(event.details.get("update_ids", ())) or event.update_id
        revisions = ", ".join(event.details.get("revisions", ()))
        ran = f"Alembic ran {revisions}, and it is recorded" if revisions else "Recorded"
        return [f"{ran} that the instance is at {ids}" + (f": {event.text}" if event.text else ".")]

    def _update_begun(self, event: Event) -> list[str]:
        self.number += 1
        self.update_id, self.phase = event.update_id, ""
        verb = steps.beginning(event.direction, event.update_id)
        summary = f"  {event.text}" if event.text else ""
        return [f"{self._position()}{verb} {event.update_id}{summary}"]

    def _position(self) -> str:
        return f"[{self.number}/{self.total}] " if self.total else ""

    def _phase_begun(self, event: Event) -> list[str]:
        self.phase = event.phase
        return [f"{INDENT}phase {event.phase}"] if self.verbose else []

    def _revision(self, event: Event) -> list[str]:
        revision = event.details.get("revision", "")
        return [f"{INDENT}Alembic revision {revision}"] if self.verbose else []

    def _tell(self, event: Event) -> list[str]:
        return [f"{INDENT}{line}" for line in event.text.splitlines()]

    def _answered(self, event: Event) -> list[str]:
        return [f"{INDENT}{questions.answered(event)}"]

    def _update_finished(self, event: Event) -> list[str]:
        took = event.details.get("duration_ms")
        return [f"{INDENT}done in {duration(took)}" if took is not None else f"{INDENT}done"]

    def _update_undone(self, event: Event) -> list[str]:
        return [f"{INDENT}rolled back in the database, undone in the files", *_not_undone(event, INDENT)]

    def _warning(self, event: Event) -> list[str]:
        return [f"Warning: {event.text}"]

    def _cloning(self, event: Event) -> list[str]:
        return [f"Cloning the {event.text}"]

    def _backup_begun(self, event: Event) -> list[str]:
        return [backups.begun(event)]

    def _backup_finished(self, event: Event) -> list[str]:
        return [f"{INDENT}{backups.finished(event)}"]

    def _restore_begun(self, event: Event) -> list[str]:
        return [f"Restoring {event.text}"]

    def _restore_part(self, event: Event) -> list[str]:
        return [f"{INDENT}{restores.part(event)}"]

    def _backups_pruned(self, event: Event) -> list[str]:
        return [f"Took away older backups: {event.text}"]


class LineListener(EventPrinter):
    """Writes plain lines, progress only now and then.

    Args:
        out: The output for the lines.
        verbose: Whether to show phases and Alembic revisions, too.
        clock: Returns seconds, increasing.
    """

    def __init__(self, out: Output, *, verbose: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.out = out
        self.narrator = Narrator(verbose=verbose)
        self.clock = clock
        self.told = clock()

    def show(self, event: Event) -> None:
        """Write the lines for an event."""
        if event.event == "update_begun":
            self.told = self.clock()
        for line in self.narrator.lines(event):
            self.out.show(on_one_line(line))
        if event.event == "progress" and self.clock() - self.told >= INTERVAL:
            self.told = self.clock()
            about = f"{event.text}: " if event.details.get("unit") == "bytes" and event.text else ""
            self.out.line(f"{INDENT}{about}{amount(event)}")


def amount(event: Event) -> str:
    """Return "340 of 1000 tracks", or "1.2 GB of 3.4 GB, 120 MB/s, 20 s left"."""
    if event.details.get("unit") == "bytes":
        return backups.pace(event.details)
    done, total = event.details.get("done", 0), event.details.get("total")
    of = f" of {total}" if total else ""
    return f"{done}{of} {event.text}".rstrip()


def listener(out: Output, *, as_json: bool, quiet: bool, verbose: bool) -> EventPrinter:
    """Return the listener for these options."""
    if as_json:
        return JsonListener(out)
    if quiet:
        return EventPrinter()
    if out.moves and out.draws:
        from fietsupdate.cli.render.live import LiveListener

        return LiveListener(out, verbose=verbose)
    return LineListener(out, verbose=verbose)
