"""What an orchestrator asks, and how it is answered."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fietsupdate.model import UpdateState
from fietsupdate.model.run_state import RunView


class ProbeKind(enum.StrEnum):
    """The questions, by the names that Kubernetes gives them."""

    LIVENESS = "liveness"
    """Does what runs still live?"""
    READINESS = "readiness"
    """May the application serve?"""
    STARTUP = "startup"
    """Is the instance up to date, or on its way?"""


@dataclass(frozen=True, slots=True)
class Probe:
    """The answer to one question."""

    kind: ProbeKind
    passed: bool
    reason: str
    """Why, in a few words; "" where `run` says it."""
    state: UpdateState | None = None
    """The state of the instance as far as it was looked at; ``None`` where it was not."""
    run: RunView | None = None
    """The run that another process is at, as far as it tells."""
