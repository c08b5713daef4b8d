"""Calls the command of `notify` when a run begins, ends and fails. What that command does fails nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from fietsupdate import __version__
from fietsupdate.commands.shell import exit_code
from fietsupdate.config.application import Application
from fietsupdate.errors import FietsupdateError
from fietsupdate.masks import masked, masked_parts
from fietsupdate.model import Event
from fietsupdate.model.clock import now
from fietsupdate.model.listeners import Listener
from fietsupdate.model.run_state import RunState
from fietsupdate.process import Signals

LONGEST = 10.0
"""Seconds that the command may take each time."""

SILENT = frozenset({"rehearse"})
"""Commands that change nothing of the instance."""


@contextmanager
def notified(
    application: Application, state: RunState, watchers: list[Listener], signals: Signals, emit: Listener
) -> Iterator[None]:
    """Call the command of `notify` at the beginning and at the end of the block, or when it fails.

    Args:
        application: The entered configuration.
        state: What runs.
        watchers: Those who take the events of the run.
        signals: They wait while the command runs at the end.
        emit: Takes a warning where the command fails.
    """
    if not application.config.notify or state.command in SILENT:
        yield
        return
    told = _Notification(application, state, emit)
    told.call("begin")
    watchers.append(told)
    try:
        yield
    except BaseException as error:
        if os.getpid() == state.pid:
            with signals.held():
                told.call("failure", error)
        raise
    else:
        with signals.held():
            told.call("end")
    finally:
        watchers.remove(told)


class _Notification:
    """What the command is told of one run; it takes the events of the run."""

    def __init__(self, application: Application, state: RunState, emit: Listener) -> None:
        self._application = application
        self._state = state
        self._emit = emit
        self._done: list[str] = []

    def __call__(self, event: Event) -> None:
        if event.event == "update_finished":
            self._done.append(event.update_id)

    def call(self, event: str, error: BaseException | None = None) -> None:
        """Run the command, and warn where it fails."""
        config, state = self._application.config, self._state
        document = {"event": event, "command": state.command, "time": now(), "started": state.started}
        document |= {"data_dir": str(self._application.data_dir), "host": state.host, "tool_version": __version__}
        text = json.dumps({**document, "pid": state.pid, "done": self._done, "error": _error(error)})
        try:
            code, reason = exit_code(config.notify, config.here, LONGEST, masked_parts(text).encode())
        except OSError as failure:
            code, reason = 1, f"{failure.strerror}"
        if code or reason:
            what = reason.replace("not within", "it took longer than") or f"its exit code was {code}"
            self._emit(Event("warning", now(), text=f"The command of `notify` failed at event {event}: {what}."))


def _error(error: BaseException | None) -> dict[str, str] | None:
    if error is None:
        return None
    if isinstance(error, FietsupdateError):
        return {"code": error.code, "message": error.message, "stands": error.stands, "hint": error.hint}
    return {"code": "interrupted", "message": masked(f"Stopped by {error}."), "stands": "", "hint": ""}
