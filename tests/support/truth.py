"""Check that a broken run reports the true state; and the errors that a run may meet anywhere."""

from __future__ import annotations

import re

from support.breaking import Bench
from support.injection import FILES, SQL, Injection
from support.zygote import Run

UNDONE = "it was rolled back, and its file changes are undone."
NO_RECORD = "has no record of"
"""The message if rows may exist whose commit was never confirmed."""
NOTHING = "Nothing was changed."
COMPLETE = "is complete: database and files both have it."
ERRORS = {"EIO": FILES, "ENOSPC": FILES, "cut": SQL}
"""The errors of a call or a statement, and their kind."""


def said(stands: str) -> int:
    """Return the state that a message reports: how many updates of the run are complete.

    Raises:
        AssertionError: The message reports none.
    """
    assert "lies open" not in stands
    finished = re.search(
        r"(\d+) of \d+ updates of this run were finished before it|Finished by this run: (.*)\.", stands
    )
    before = 0
    if finished:
        before = int(finished[1]) if finished[1] else len(finished[2].split(", "))
    if COMPLETE in stands:
        return before + 1
    assert stands == "" or any(text in stands for text in (NOTHING, UNDONE, NO_RECORD, "Finished by this run")), stands
    return before


def assert_is_true(bench: Bench, run: Run) -> None:
    """Compare the message of a failed run with the actual state, and go on from there."""
    about = f"event {len(run.seen)}, {run.fired!r}\n{run.output}\n{bench.difference()}"
    last = len(bench.states) - 1
    if run.code == 0:
        assert bench.position() == last, about
        return
    assert run.code in {1, 8}, about
    error = run.events[-1]["error"]
    assert error["code"] != "unexpected", about
    stands = error["stands"]
    if not is_open(error):
        assert bench.position() == said(stands), about
        return
    assert "fietsupdate" in error["hint"], about
    if not bench.recovered():
        done = bench.mended_update()
        assert done.code == 0, f"{about}\n{done.output}"
    assert bench.position() in ({0, last} if last == 1 else range(last + 1)), f"{about}\n{bench.difference()}"


def is_open(error: dict[str, str]) -> bool:
    """Return whether an error says that something is left to settle or to resume."""
    stands = error["stands"]
    doubtful = error["code"] == "in_doubt" or "fietsupdate recover" in error["hint"]
    return "is half applied" in stands or "lies open" in stands or (doubtful and COMPLETE not in stands)


def strike(bench: Bench, name: str, number: int) -> Run:
    """Let one call or statement fail, and check that the message about it is true."""
    run = bench.break_at(Injection(name, number, (ERRORS[name],)))
    if run.code != 0 or not bench.sets_aside:  # the script of plain calls itself suppresses an OSError
        assert_is_true(bench, run)
    return run
