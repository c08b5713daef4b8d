"""The answers of probes: one line, or a JSON document."""

from __future__ import annotations

from typing import Any

from fietsupdate.cli.render import working
from fietsupdate.model.probes import Probe

WORDS = {"liveness": ("alive", "hung"), "readiness": ("ready", "not ready"), "startup": ("started", "not started")}
"""The positive and the negative answer of each probe."""


def line(answer: Probe) -> str:
    """Return the answer in one line."""
    reason = working.line(answer.run) if answer.run else " ".join(answer.reason.split())
    said = f"{answer.state}: " if answer.state and not answer.passed and not answer.run else ""
    return f"{WORDS[answer.kind][not answer.passed]}: {said}{reason}"


def document(answer: Probe) -> dict[str, Any]:
    """Return the document of ``probe --json``."""
    reason = working.line(answer.run) if answer.run else answer.reason
    return {
        "probe": answer.kind,
        "passed": answer.passed,
        "reason": reason,
        "state": answer.state,
        "run": working.document(answer.run),
    }
