"""The run of another process as text: its work, its progress, the time left, and whether it is still alive.

Every sentence states what was observed, and no more (invariant 13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # nothing is imported before there is a run: probes must be quick
    from fietsupdate.model.run_state import RunState, RunView

PHASES = {"pre": "pre hook", "alembic": "Alembic", "post": "post hook", "finishing": "finishing"}
"""The names of the phases of an update in text."""
COPIES = {"backup": "backup", "restore": "restore", "clone": "clone"}
"""The phases in which one half, or both, are copied."""
_PROCESSES = {
    "stopped": "process stopped",
    "gone": "process gone",
    "running": "process there",
    "": "process not to be seen from here",
}


def line(run: RunView) -> str:
    """Return "working: convert, post hook, 61 %, 14 minutes left", or for how long there was no sign of life."""
    what = ", ".join(doing(run.state))
    if not run.is_hung:
        return f"working: {what}"
    return f"no sign of life for {span(run.silent)} ({_PROCESSES.get(run.process, run.process)}); last: {what}"


def doing(state: RunState, *, progress: bool = True) -> list[str]:
    """Return what a run is at, in parts: update or copy, phase and, if wanted, percent and time left."""
    what = state.update_id or state.command
    copies = COPIES.get(state.phase, "")
    if copies:
        copies += f" of the {state.part}" if state.part else ""
        what = f"{what}, {copies}" if what != state.phase else (copies if state.part else what)
    phase = PHASES.get(state.phase, "")
    if not progress:
        return [part for part in (what, phase) if part]
    percent = f"{state.percent} %" if state.percent is not None else _done(state)
    left = f"{span(state.left)} left" if state.left else ""
    return [part for part in (what, phase, percent, left) if part]


def _done(state: RunState) -> str:
    """Return how much is done if the total is not known."""
    return f"{state.done} {state.unit}".strip() if state.done else ""


def span(seconds: float) -> str:
    """Return a length of time in one unit: "40 seconds", "1 minute", "14 minutes", "3 hours"."""
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * size:
            return f"{round(seconds / size)} {unit}s"
    number = round(seconds)
    if number >= 60:  # noqa: PLR2004  # seconds
        return "1 minute"
    return f"{number} second{'' if number == 1 else 's'}"


def document(run: RunView | None) -> dict[str, Any] | None:
    """Return the object ``run`` of ``status --json``."""
    if run is None:
        return None
    from dataclasses import asdict

    state = asdict(run.state)
    for inner in ("beat", "boot", "namespace", "born"):
        del state[inner]
    shown = {"percent": run.state.percent, "silent": round(run.silent, 1), "hung": run.is_hung}
    return {**state, **shown, "process": run.process or None}
