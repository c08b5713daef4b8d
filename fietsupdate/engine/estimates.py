"""What scripts themselves say of the time and the space that they need: ``estimate(config)``.

An estimate is asked for when somebody is about to say yes, and never stands in the way: one that fails, or that gives
what is no estimate, is told and counts as none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fietsupdate.config.config import Settings
from fietsupdate.engine import hooks
from fietsupdate.engine.answers import Answering
from fietsupdate.errors import FietsupdateError, ScriptError
from fietsupdate.filesystem.guard.read_only import read_only
from fietsupdate.model import Plan, Step
from fietsupdate.model.questions import NONE_GIVEN, GivenAnswers
from fietsupdate.process import put_back, stdout_on_stderr
from fietsupdate.script import Estimate, Surroundings

NO_CONNECTION = "estimate() runs before any transaction begins"
FORMS = "a fietsupdate.Estimate, a mapping with 'seconds' and 'bytes', a number of seconds, or None"


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the scripts of a plan say together."""

    steps: int
    """How many updates the plan has."""
    given: Mapping[str, Estimate]
    """By update id; those that say nothing are not in it."""
    failures: Mapping[str, str]
    """By update id: why an estimate could not be had."""

    @property
    def seconds(self) -> float | None:
        """Their sum; ``None`` where no script says anything of time."""
        return _sum(one.seconds for one in self.given.values())

    @property
    def bytes(self) -> int | None:
        """Their sum; ``None`` where no script says anything of space."""
        found = _sum(one.bytes for one in self.given.values())
        return None if found is None else round(found)

    @property
    def silent(self) -> int:
        """How many updates give no estimate."""
        return self.steps - len(self.given)


def ask(
    plan: Plan,
    modules: Mapping[str, ModuleType],
    settings: Settings,
    data_dir: Path,
    further: Mapping[str, Path],
    *,
    answers: GivenAnswers = NONE_GIVEN,
) -> Estimates:
    """Call ``estimate(config)`` of every step that has one. It may look, and is kept from writing files.

    Args:
        plan: What will be done.
        modules: The loaded scripts, by update id.
        settings: What hooks get.
        data_dir: The data directory.
        further: The further roots.
        answers: The answers that somebody has given to the scripts' questions.
    """
    given: dict[str, Estimate] = {}
    failures: dict[str, str] = {}
    for step in plan.steps:
        update_id = step.update.update_id
        module = modules[update_id]
        if not hooks.has(module, step.direction, "estimate"):
            continue
        around = Surroundings(data_dir=data_dir, no_connection=NO_CONNECTION, ask=Answering(step, answers))
        try:
            with read_only([data_dir, *further.values()], one_call=True), put_back(), stdout_on_stderr():
                found = _read(step, hooks.call(module, step, "estimate", around, settings))
        except FietsupdateError as error:
            failures[update_id] = error.message
            continue
        if found is not None:
            given[update_id] = found
    return Estimates(len(plan.steps), given, failures)


def _read(step: Step, answer: Any) -> Estimate | None:
    """Understand what a script answered.

    Raises:
        ScriptError: it is no estimate.
    """
    if answer is None or isinstance(answer, Estimate):
        values: Mapping[str, Any] = {} if answer is None else {"seconds": answer.seconds, "bytes": answer.bytes}
    elif isinstance(answer, Mapping):
        values = answer
    elif isinstance(answer, int | float):
        values = {"seconds": answer}
    else:
        raise _no_estimate(step, answer)
    if values.keys() - {"seconds", "bytes"} or not all(_is_amount(value) for value in values.values()):
        raise _no_estimate(step, answer)
    seconds, size = values.get("seconds"), values.get("bytes")
    if seconds is None and size is None:
        return None
    return Estimate(None if seconds is None else float(seconds), None if size is None else round(size))


def _is_amount(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _no_estimate(step: Step, answer: Any) -> ScriptError:
    name = f"{hooks.CLASSES[step.direction]}.estimate of {step.update.update_id}"
    return ScriptError(f"{name} gave {answer!r}; it must give {FORMS}, none of them negative.")


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
