"""The estimates of scripts for the time and the space that they need: ``estimate(config)``.

Estimates are requested before the administrator confirms a plan, and never prevent an update: a failing or invalid
estimate is reported and otherwise ignored.
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
from fietsupdate.process import process_state_restored, stdout_on_stderr
from fietsupdate.script import Estimate, Surroundings

NO_CONNECTION = "estimate() runs before any transaction begins"
FORMS = "a fietsupdate.Estimate, a mapping with 'seconds' and 'bytes', a number of seconds, or None"


@dataclass(frozen=True, slots=True)
class Estimates:
    """The estimates of all scripts of a plan."""

    steps: int
    """How many updates the plan has."""
    given: Mapping[str, Estimate]
    """By update id; without the scripts that have no estimate."""
    failures: Mapping[str, str]
    """By update id: why an estimate failed."""

    @property
    def seconds(self) -> float | None:
        """The sum of the times; ``None`` where no script estimates its time."""
        return _sum(one.seconds for one in self.given.values())

    @property
    def bytes(self) -> int | None:
        """The sum of the sizes; ``None`` where no script estimates its space."""
        total = _sum(one.bytes for one in self.given.values())
        return None if total is None else round(total)

    @property
    def silent(self) -> int:
        """The number of updates without an estimate."""
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
    """Call ``estimate(config)`` of every step that has one. It may read, but is prevented from writing files.

    Args:
        plan: The plan.
        modules: The loaded scripts, by update id.
        settings: The settings that hooks receive.
        data_dir: The data directory.
        further: The further roots.
        answers: The answers that were given to the scripts' questions.
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
            with read_only([data_dir, *further.values()], one_call=True), process_state_restored(), stdout_on_stderr():
                estimate = _read(step, hooks.call(module, step, "estimate", around, settings))
        except FietsupdateError as error:
            failures[update_id] = error.message
            continue
        if estimate is not None:
            given[update_id] = estimate
    return Estimates(len(plan.steps), given, failures)


def _read(step: Step, answer: Any) -> Estimate | None:
    """Return the estimate in a script's return value, or None.

    Raises:
        ScriptError: The value is no estimate.
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
