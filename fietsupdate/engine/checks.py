"""The checks around a run: the scripts' own ``check`` hooks, and those of the modules that `checks` names.

All pre-checks run before the first change, and all failures are reported together. Post-checks run when every update of
the run is complete in both halves; a failure there undoes nothing.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fietsupdate.config.application import Application
from fietsupdate.config.config import Settings, described
from fietsupdate.engine import hooks
from fietsupdate.engine.answers import Answering
from fietsupdate.engine.unattended import no_input
from fietsupdate.errors import (
    UNCHANGED,
    ChecksFailedError,
    ConfigError,
    FietsupdateError,
    PostChecksFailedError,
    ScriptError,
)
from fietsupdate.filesystem.guard.read_only import read_only
from fietsupdate.model import Event, Plan
from fietsupdate.model.clock import now
from fietsupdate.model.questions import NONE_GIVEN, GivenAnswers
from fietsupdate.process import as_stop, forked_children_exit, process_state_restored, stdout_on_stderr
from fietsupdate.script import Surroundings, only_warns

NO_CONNECTION = "check() runs before any transaction begins"

MODULES = (
    "Correct `checks` in the configuration, or the module; prepend_sys_path of the Alembic section adds import paths."
)

PRE, POST = "pre_check", "post_check"
"""The prefixes of the functions' names."""


def modules(plan: Plan) -> dict[str, ModuleType]:
    """Load every script of a plan, and check that its class and hooks exist.

    Raises:
        ScriptError: Names every script that cannot run.
    """
    loaded, errors = _loaded(plan)
    _refuse(errors)
    return loaded


@dataclass(frozen=True)
class Checks:
    """The checks around one run."""

    application: Application
    settings: Settings
    """The settings that hooks receive, including the database's URL."""
    listener: Callable[[Event], None]
    given: GivenAnswers = NONE_GIVEN
    """The answers that were given to the scripts' questions."""

    def before(self, plan: Plan) -> dict[str, ModuleType]:
        """Load the scripts of a plan and run all its pre-checks, which may read, but are prevented from writing files.

        Returns:
            The loaded scripts, by update id.

        Raises:
            ScriptError: Scripts cannot be loaded, and no check failed; names all of them.
            ChecksFailedError: Names everything that failed.
        """
        loaded, errors = _loaded(plan)
        if plan:
            with read_only([self.application.data_dir, *self.application.config.extra_dirs.values()], one_call=True):
                errors += self._of_scripts(plan, loaded)
                errors += self._of_application(PRE)
        _refuse(errors)
        return loaded

    def after(self, plan: Plan, done: Sequence[str], current: Sequence[str]) -> None:
        """Run the post-checks after a plan was carried out.

        Raises:
            PostChecksFailedError: Names all failures; nothing is undone.
        """
        errors = self._of_application(POST) if plan or done else []
        if errors:
            raise PostChecksFailedError(
                "\n".join(error.message for error in errors),
                stands=f"Every update of this run is complete: database and files are both at "
                f"{', '.join(current) or 'base'}.",
                hint="Mend what the checks name. Neither the updates nor these checks run again; "
                "`fietsupdate downgrade TARGET` goes back, or one of the backups that `fietsupdate backup list` shows.",
                details={"done": list(done), "current": list(current)},
            )

    def _of_scripts(self, plan: Plan, loaded: dict[str, ModuleType]) -> list[FietsupdateError]:
        errors = []
        for step in plan.steps:
            update_id = step.update.update_id
            module = loaded.get(update_id)
            if module is None or not hooks.has(module, step.direction, "check"):
                continue
            around = Surroundings(
                data_dir=self.application.data_dir,
                no_connection=NO_CONNECTION,
                emit=self._emitter(update_id, step.direction),
                ask=Answering(step, self.given),
                unattended=self.given.unattended,
            )
            try:
                with process_state_restored(), stdout_on_stderr():
                    hooks.call(module, step, "check", around, self.settings)
            except FietsupdateError as error:
                if hooks.only_warns(module, step.direction, "check"):
                    around.emit("warning", error.message, {})
                else:
                    errors.append(error)
        return errors

    def _emitter(self, update_id: str, direction: str) -> Callable[[str, str, Any], None]:
        def emit(event: str, text: str, details: Any) -> None:
            self.listener(Event(event, now(), update_id=update_id, direction=direction, text=text, details=details))

        return emit

    def _of_application(self, prefix: str) -> list[FietsupdateError]:
        errors: list[FietsupdateError] = []
        for name in self.application.config.checks:
            try:
                functions = _functions(name)
            except ConfigError as error:
                errors.append(error)
                continue
            for function in functions:
                if function.__name__.startswith(prefix):
                    errors += self._called(function, f"{name}.{function.__name__}")
        return errors

    def _called(self, function: Callable[[Settings], object], name: str) -> list[FietsupdateError]:
        """Call one check: an exception is a failure, the returned texts are warnings."""
        try:
            emit = self._emitter("", "")
            messages = hooks.warnings_told(emit)
            with process_state_restored(), stdout_on_stderr(), forked_children_exit(), self._input(name), messages:
                warnings = list(_texts(function(self.settings)))
        except KeyboardInterrupt as interrupt:
            raise as_stop(interrupt) from None
        except BaseException as error:  # noqa: BLE001  # a check may raise anything, SystemExit among it
            failed = f"{name} failed: {described(error)}."
            if not (isinstance(error, Exception) and only_warns(function)):
                return [ChecksFailedError(failed)]
            warnings = [failed]
        for text in warnings:
            self.listener(Event("warning", now(), text=text, details={"check": name}))
        return []

    def _input(self, name: str) -> AbstractContextManager[None]:
        """Return the context that keeps a check from waiting for input when no administrator is present."""
        emit = self._emitter("", "")
        return no_input(hooks.reading(emit, name)) if self.given.unattended else nullcontext()


def _functions(name: str) -> list[Callable[[Settings], object]]:
    """Import a module of checks and return its checks, in the order of their definitions.

    Raises:
        ConfigError: The module cannot be imported, or has no checks.
    """
    try:
        with process_state_restored(), stdout_on_stderr():
            module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"checks = {name}: it cannot be imported: {described(error)}.", stands=UNCHANGED, hint=MODULES
        ) from error
    is_check = re.compile(rf"({PRE}|{POST})(_|$)").match
    functions: list[Callable[[Settings], object]] = [
        value for key, value in vars(module).items() if is_check(key) and inspect.isfunction(value)
    ]
    if not functions:
        raise ConfigError(
            f"checks = {name}: it has no function whose name begins with {PRE} or {POST}.",
            stands=UNCHANGED,
            hint=MODULES,
        )
    return functions


def _texts(answer: object) -> Iterator[str]:
    """Yield the warnings that a check returned."""
    if answer is None:
        return
    texts = [answer] if isinstance(answer, str) or not isinstance(answer, Iterable) else list(answer)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"it returned {answer!r}; a check raises, or returns None, a text, or several, as warnings")
        if text:
            yield text


def _loaded(plan: Plan) -> tuple[dict[str, ModuleType], list[FietsupdateError]]:
    loaded: dict[str, ModuleType] = {}
    errors: list[FietsupdateError] = []
    for step in plan.steps:
        try:
            loaded[step.update.update_id] = hooks.inspect(step.update, step.direction)
        except FietsupdateError as error:
            errors.append(error)
    return loaded, errors


def _refuse(errors: Sequence[FietsupdateError]) -> None:
    """Raise one error for everything that prevents a run."""
    if not errors:
        return
    messages = "\n".join(error.message for error in errors)
    if all(isinstance(error, ScriptError) for error in errors):
        raise ScriptError(messages, stands=UNCHANGED, hint=errors[0].hint)
    raise ChecksFailedError(
        messages, stands=UNCHANGED, hint="Mend what the checks name, and run the same command again."
    )
