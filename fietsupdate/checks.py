"""The scripts' own pre-checks: all of them, before the first change, and all failures together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from fietsupdate import hooks
from fietsupdate.config import Settings
from fietsupdate.errors import ChecksFailedError, FietsupdateError
from fietsupdate.model import Plan
from fietsupdate.process import put_back, stdout_on_stderr
from fietsupdate.script import Surroundings

NO_CONNECTION = "check() runs before any transaction begins"


def run_checks(plan: Plan, modules: Mapping[str, ModuleType], settings: Settings, data_dir: Path) -> None:
    """Call ``check(config)`` of every step that has one.

    Raises:
        ChecksFailedError: at least one raised; names all of them.
    """
    failures: list[FietsupdateError] = []
    around = Surroundings(data_dir=data_dir, no_connection=NO_CONNECTION)
    for step in plan.steps:
        module = modules[step.update.update_id]
        if not hooks.has(module, step.direction, "check"):
            continue
        try:
            with put_back(), stdout_on_stderr():
                hooks.call(module, step, "check", around, settings)
        except FietsupdateError as error:
            failures.append(error)
    if failures:
        raise ChecksFailedError(
            "\n".join(error.message for error in failures),
            stands="Nothing was changed.",
            hint="Mend what the checks name, and run the same command again.",
        )
