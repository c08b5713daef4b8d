"""The state of a running command for other processes, and its interpretation."""

from __future__ import annotations

from dataclasses import dataclass

HUNG = 20.0
"""Seconds without a heartbeat after which a run counts as hung; there is one every two seconds."""

FINISHING = "finishing"
"""The phase of an update after its last hook: files are made durable, the database commits."""


@dataclass(frozen=True, slots=True)
class RunState:
    """The content of the run file."""

    command: str
    """``update``, ``downgrade``, ``backup``, ``restore``, ``recover``, ``rehearse``, ``stamp``."""
    pid: int
    host: str
    started: str
    """UTC, ISO 8601 with milliseconds and ``Z``."""
    update_id: str = ""
    """The update at work; "" before the first one, and between two of them."""
    direction: str = ""
    phase: str = ""
    """``pre``, ``alembic``, ``post``, ``finishing``; outside of updates ``backup``, ``restore``, ``clone``; or ""."""
    part: str = ""
    """The half that is copied, ``database`` or ``files``; "" otherwise."""
    step: int = 0
    """The number of the update in the plan, from 1; 0 before the first one."""
    steps: int = 0
    done: int = 0
    """The items or bytes that are done in this phase."""
    total: int = 0
    """The items or bytes of the whole phase; 0 if that is not known."""
    unit: str = ""
    """``bytes``, or a word for the items."""
    rate: int = 0
    """The items or bytes per second."""
    left: int = 0
    """The seconds that are left of this phase; 0 if that is not known."""
    heartbeat: str = ""
    """The time of writing, in the format of `started`."""
    beat: int = 0
    """The same by the clock that runs since the system was booted, in milliseconds."""
    boot: str = ""
    """The id of that boot; "" if the system has none."""
    namespace: str = ""
    """The namespace in which `pid` is valid; "" if the system has none."""
    born: int = 0
    """The time when the process began, in the system's own units: it distinguishes processes with the same number."""

    @property
    def percent(self) -> int | None:
        """The percentage of this phase that is done; ``None`` if it is not known."""
        return min(100 * self.done // self.total, 100) if self.total > 0 else None


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as another process sees it."""

    state: RunState
    silent: float
    """Seconds since its last heartbeat."""
    process: str = ""
    """The state of the process: ``running``, ``stopped``, ``gone``; "" if it cannot be inspected from here."""

    @property
    def is_hung(self) -> bool:
        """Whether there has been no sign of life for longer than `HUNG`."""
        return self.silent > HUNG
