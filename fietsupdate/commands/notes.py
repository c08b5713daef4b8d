"""The notes in the data directory about runs that did not succeed; the next run that succeeds deletes them all."""

from __future__ import annotations

from pathlib import Path

from fietsupdate.engine.context import Context
from fietsupdate.engine.recovery import Outcome
from fietsupdate.filesystem import interruptions, last_failure, run_warnings
from fietsupdate.planning.file_problems import interrupted_again
from fietsupdate.views import OpenTransaction


def count_interruption(context: Context, header: OpenTransaction, outcome: Outcome) -> None:
    """Count an interruption of an update that was undone, and warn if it was not the first."""
    if outcome is not Outcome.UNDONE:
        return
    counted = interruptions.count(context.data_dir, header.update_id)
    if (problem := interrupted_again(counted)) is not None:
        context.tell("warning", f"{problem.message} {problem.hint}")


def forget(data_dir: Path) -> None:
    """Delete the notes, because a run has succeeded."""
    for note in (last_failure, interruptions, run_warnings):
        note.forget(data_dir)
