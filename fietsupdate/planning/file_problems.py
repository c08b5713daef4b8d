"""The texts of problems with files alone, in which no row has a part."""

from __future__ import annotations

from fietsupdate.model import Problem
from fietsupdate.views import OpenTransaction


def files_only_open(transaction: OpenTransaction) -> Problem:
    """Return the problem of a command that changes files alone, and was cut off."""
    return Problem(
        "interrupted",
        f"`{transaction.update_id}` was interrupted; what it had done to files is still to be undone. It changes no "
        "row.",
        "Type `fietsupdate recover`; every command that changes the instance does the same by itself before it begins.",
        blocks=False,
    )
