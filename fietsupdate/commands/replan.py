"""Plans that no longer fit: an agreed plan that has changed, and an instance that changes all the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fietsupdate.engine.transaction import PlanChangedError
from fietsupdate.errors import UNCHANGED, PlanError, RefusedError
from fietsupdate.model import Plan


def refuse_another(plan: Plan, agreed: Plan) -> None:
    """Refuse to run any plan but the one that the user has agreed to, or the rest of it.

    Raises:
        PlanError: The plan is another one.
    """
    rest = agreed.steps[len(agreed.steps) - len(plan.steps) :]
    same = [(step.update, step.direction) for step in plan.steps] == [(step.update, step.direction) for step in rest]
    if not same or plan.adoption not in {None, agreed.adoption}:
        raise PlanError(
            "The plan has changed since it was shown.",
            stands=UNCHANGED,
            hint="Run the same command again, and look at the new plan.",
        )


def without_replanning(action: Callable[[], None]) -> None:
    """Run an action for which no new plan can be made."""
    try:
        action()
    except PlanChangedError as error:
        raise concurrent_change(()) from error


def concurrent_change(done: Sequence[str]) -> RefusedError:
    """Return the error of an instance that changes each time before its plan can begin."""
    return RefusedError(
        "The instance moves while it is to be changed: another process is at work on its database.",
        stands=f"Finished by this run: {', '.join(done) or 'nothing'}.",
        hint="Find out who else runs migrations here, then run the same command again.",
    )
