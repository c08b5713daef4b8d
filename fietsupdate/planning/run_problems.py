"""What to do about a run of another process that gives no sign of life."""

from __future__ import annotations

from dataclasses import replace

from fietsupdate.model import Status
from fietsupdate.model.run_state import RunView


def with_run(status: Status, run: RunView | None) -> Status:
    """Return a status with the run that is at work; where it is hung, its problem proposes more than to wait."""
    if run is None or not run.is_hung:
        return replace(status, run=run)
    problems = tuple(
        replace(problem, hint=_hint(run)) if problem.code == "updating" else problem for problem in status.problems
    )
    return replace(status, run=run, problems=problems)


def _hint(run: RunView) -> str:
    """Return what to type, by what the process was seen to be; its number means nothing elsewhere."""
    pid = run.state.pid
    if run.process == "stopped":
        return f"Type `kill -CONT {pid}`: the process was stopped, and goes on where it was."
    if run.process == "running":
        return (
            f"See what process {pid} does. If it hangs, type `kill {pid}`: it undoes what it was at, as after Ctrl-C. "
            "An update that works long in C code may give no sign of life, and needs time only."
        )
    return f"See on {run.state.host or 'its host'} what process {pid} does; it may need time only."
