"""The texts of problems that the data directory alone shows."""

from __future__ import annotations

from fietsupdate.model import Problem
from fietsupdate.views import Interruptions, OpenTransaction


def files_only_open(transaction: OpenTransaction) -> Problem:
    """Return the problem of a command that changes files alone, and was cut off."""
    return Problem(
        "interrupted",
        f"`{transaction.update_id}` was interrupted; what it had done to files is still to be undone. It changes no "
        "row.",
        "Type `fietsupdate recover`; every command that changes the instance does the same by itself before it begins.",
        blocks=False,
    )


def interrupted_again(counted: Interruptions | None) -> Problem | None:
    """Return the problem that an update is interrupted again and again; ``None`` up to the first time.

    Each time an atomic update is undone, and begins again: where a time limit ends it, it never succeeds.
    """
    if counted is None or counted.times < 2:  # noqa: PLR2004  # once may be chance
        return None
    return Problem(
        "interrupted_again",
        f"The update {counted.update_id} was interrupted {counted.times} times since a run succeeded, and begins again "
        "each time. If a time limit ends it, it never succeeds.",
        "Run `fietsupdate update` where nothing ends it, or give it more time: Kubernetes' startupProbe "
        "(failureThreshold times periodSeconds), systemd's TimeoutStartSec, the time limit of a deployment job; "
        "docs/guides/deploy.md shows each. `fietsupdate rehearse` says how long it takes.",
        blocks=False,
    )
