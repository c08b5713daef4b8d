"""The instance that the engine works on: both halves, whom to tell, and how long to wait.

Whoever holds one has entered the configuration (`fietsupdate.config.application.activated`); whoever changes anything
through it holds the OS lock.
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
    """Name who runs this process: ``user@host``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a uid without a name, as containers have it
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
    """Make a ledger entry that is finished now."""
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
    """Both halves of one installed application, and the people who wait for it."""

    site: Application
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
    """The answers that somebody has given to the scripts' questions."""
    keep_warning: Callable[[str, str], None] = lambda _txn, _text: None
    """Keeps a warning of a transaction until a run has come to its end."""

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        return self.site.data_dir

    def tell(self, event: str, text: str = "", details: Mapping[str, Any] | None = None, **names: str) -> None:
        """Emit an event; `names` are its further fields."""
        self.emit(Event(event=event, time=now(), text=text, details=details or {}, **names))

    def visit(self, work: Work, *, command: str) -> Visit:
        """Enter env.py to change something; wait outside of it while somebody else has the database's lock.

        Raises:
            LockedError: the lock is still taken after `lock_timeout`.
            FietsupdateError: see `Environment.visit`.
        """
        writer = Patience(self, self.lock_timeout, "Another process holds the database's lock or writes to it")
        readers = Patience(self, self.lock_timeout, "The database cannot commit while somebody reads it")
        while True:
            try:
                return self.environment.visit(work, writes=True, command=command, wait=readers)
            except BusyError as error:
                writer(str(error))


@dataclass
class Patience:
    """Waits for other processes that use the database, a moment at each call, until the time is over.

    Args:
        instance: Whom to tell.
        seconds: How long to wait, from the first call on.
        reason: What is said when the time is over.
    """

    instance: Context
    seconds: float
    reason: str
    deadline: float | None = None
    stopped: bool = field(init=False)
    """Whether a signal had arrived before: it is why there is something to undo, and must not keep it from being so."""

    def __post_init__(self) -> None:
        self.stopped = self.instance.signals.pending is not None

    def __call__(self, who: str, at_least: float = 0) -> None:
        """Wait a moment.

        Args:
            who: Those who are waited for; "" where nobody knows.
            at_least: Seconds that are waited whatever the lock timeout is.

        Raises:
            LockedError: the time is over.
            Stop: a signal has arrived.
        """
        if not self.stopped:
            self.instance.signals.raise_pending()
        first, self.deadline = self.deadline is None, self.deadline or time.monotonic() + max(self.seconds, at_least)
        if time.monotonic() >= self.deadline:
            raise LockedError(
                f"{self.reason}{f': {who}' if who else ''}.",
                hint="Stop it or wait until it is done, then run the same command again; '--lock-timeout SECONDS' "
                "waits longer.",
            )
        if first:
            self.instance.tell("waiting", f"for the database, which is used by {who or 'another process'}")
        time.sleep(PAUSE)
