"""The probes of an orchestrator, and the answers."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fietsupdate.model import UpdateState
from fietsupdate.model.run_state import RunView


class ProbeKind(enum.StrEnum):
    """The probes, by the names that Kubernetes gives them."""

    LIVENESS = "liveness"
    """Is the running command still alive?"""
    READINESS = "readiness"
    """May the application serve?"""
    STARTUP = "startup"
    """Is the instance up to date, or on its way?"""


@dataclass(frozen=True, slots=True)
class Probe:
    """The answer to one probe."""

    kind: ProbeKind
    passed: bool
    reason: str
    """The reason in a few words; "" if `run` contains it."""
    state: UpdateState | None = None
    """The state of the instance as far as it was determined; ``None`` if it was not."""
    run: RunView | None = None
    """The run of another process, as far as it reports."""
