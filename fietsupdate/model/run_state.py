"""What a running command tells other processes of itself, and how that is understood."""

from __future__ import annotations

from dataclasses import dataclass

HUNG = 20.0
"""Seconds without a heartbeat after which a run counts as hung; it beats every two."""

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
    """The update that is at work; "" before the first one, and between two of them."""
    direction: str = ""
    phase: str = ""
    """``pre``, ``alembic``, ``post``, ``finishing``; outside of updates ``backup``, ``restore``, ``clone``; or ""."""
    part: str = ""
    """The half that is copied, ``database`` or ``files``; "" otherwise."""
    step: int = 0
    """The number of the update in the plan, from 1; 0 before the first one."""
    steps: int = 0
    done: int = 0
    """Items, or bytes, that are done in this phase."""
    total: int = 0
    """As many are to do; 0 where that is not known."""
    unit: str = ""
    """``bytes``, or what the items are."""
    rate: int = 0
    """Done in a second."""
    left: int = 0
    """Seconds that are left of this phase; 0 where that is not known."""
    heartbeat: str = ""
    """When this was written, as `started`."""
    beat: int = 0
    """The same by the clock that runs since the system was booted, in milliseconds."""
    boot: str = ""
    """Which boot of which system that is; "" where the system does not say."""
    namespace: str = ""
    """The namespace in which `pid` means the process; "" where the system does not say."""
    born: int = 0
    """When the process began, in the system's own units: a number that is given again has another one."""

    @property
    def percent(self) -> int | None:
        """How much of this phase is done; ``None`` where that is not known."""
        return min(100 * self.done // self.total, 100) if self.total > 0 else None


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as another process sees it."""

    state: RunState
    silent: float
    """Seconds since its last heartbeat."""
    process: str = ""
    """The state of the process: ``running``, ``stopped``, ``gone``; "" where it could not be looked at from here."""

    @property
    def is_hung(self) -> bool:
        """Whether it has given no sign of life for longer than `HUNG`."""
        return self.silent > HUNG
