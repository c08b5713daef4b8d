"""The context of the engine's work: both halves of an instance, the receiver of events, and how long to wait.

The configuration must be entered (`fietsupdate.config.application.activated`) while a `Context` is used, and the OS
lock must be held for every change.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fietsupdate import __version__
from fietsupdate.config.application import Application
from fietsupdate.config.config import Settings
from fietsupdate.database.environment import BusyError, Environment, Visit, Work
from fietsupdate.errors import LockedError
from fietsupdate.model import Direction, Entry, Event
from fietsupdate.model.clock import now
from fietsupdate.model.questions import NONE_GIVEN, Answers, GivenAnswers
from fietsupdate.planning.graph import Graph
from fietsupdate.process import Signals

PAUSE = 0.2
"""Seconds between two attempts to get the database's lock, or to commit."""


def actor() -> str:
    """Return the user of this process: ``user@host``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:255]


def make_entry(
    seq: int,
    txn: str,
    update_id: str,
    direction: Direction,
    *,
    checksum: str,
    duration_ms: int,
    app_version: str,
    answers: Answers = (),
) -> Entry:
    """Return a ledger entry that is finished now."""
    return Entry(
        seq=seq,
        txn=txn,
        update_id=update_id,
        direction=direction,
        checksum=checksum,
        finished_at=now(),
        duration_ms=duration_ms,
        app_version=app_version,
        tool_version=__version__,
        actor=actor(),
        answers=answers,
    )


@dataclass(frozen=True)
class Context:
    """Both halves of one installed application, with the receiver of events."""

    application: Application
    environment: Environment
    graph: Graph
    settings: Settings
    signals: Signals
    emit: Callable[[Event], None]
    lock_timeout: float
    """Seconds to wait for the database's lock; 0 does not wait."""
    keep_out: tuple[Path, ...] = ()
    """The application's own SQLite files: no script may touch them."""
    given: GivenAnswers = NONE_GIVEN
    """The answers that were given to the scripts' questions."""
    keep_warning: Callable[[str, str], None] = lambda _txn, _text: None
    """Keeps a warning of a transaction until a run has reached its end."""

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        return self.application.data_dir

    def tell(self, event: str, text: str = "", details: Mapping[str, Any] | None = None, **names: str) -> None:
        """Emit an event; `names` are its further fields."""
        self.emit(Event(event=event, time=now(), text=text, details=details or {}, **names))

    def visit(self, work: Work, *, command: str) -> Visit:
        """Enter env.py to change something; wait outside of it while another process holds the database's lock.

        Raises:
            LockedError: The lock is still taken after `lock_timeout`.
            FietsupdateError: See `Environment.visit`.
        """
        writer = Patience(self, self.lock_timeout, "Another process holds the database's lock or writes to it")
        readers = Patience(self, self.lock_timeout, "The database cannot commit while another process reads it")
        while True:
            try:
                return self.environment.visit(work, writes=True, command=command, wait=readers)
            except BusyError as error:
                writer(str(error))


@dataclass
class Patience:
    """Waits for other processes that use the database, a moment at each call, until the time is over.

    Args:
        context: The instance, whose listener is informed.
        seconds: How long to wait, from the first call on.
        reason: The message when the time is over.
    """

    context: Context
    seconds: float
    reason: str
    deadline: float | None = None
    stopped: bool = field(init=False)
    """Whether a signal had arrived before: it is the reason for undoing the transaction, and must not interrupt that.
    """

    def __post_init__(self) -> None:
        self.stopped = self.context.signals.pending is not None

    def __call__(self, who: str, at_least: float = 0) -> None:
        """Wait a moment.

        Args:
            who: The processes that are waited for; "" if unknown.
            at_least: Seconds to wait even if the lock timeout is shorter.

        Raises:
            LockedError: The time is over.
            Stop: A signal has arrived.
        """
        if not self.stopped:
            self.context.signals.raise_pending()
        first, self.deadline = self.deadline is None, self.deadline or time.monotonic() + max(self.seconds, at_least)
        if time.monotonic() >= self.deadline:
            raise LockedError(
                f"{self.reason}{f': {who}' if who else ''}.",
                hint="Stop it or wait until it is done, then run the same command again; `--lock-timeout SECONDS` "
                "waits longer.",
            )
        if first:
            self.context.tell("waiting", f"for the database, which is used by {who or 'another process'}")
        time.sleep(PAUSE)
