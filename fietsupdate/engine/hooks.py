"""Run update scripts: loaded by path, with a fresh object for each hook.

Every exception of a hook becomes an `UpdateFailedError` that names the script's own file and line; `SystemExit` too, so
that ``sys.exit(0)`` in a hook is a failure like any other. Only a signal passes through unchanged.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from fietsupdate import script
from fietsupdate.config.config import Settings, said
from fietsupdate.engine import version_hooks
from fietsupdate.engine.unattended import no_input
from fietsupdate.errors import FietsupdateError, ScriptError, UpdateFailedError, clear_frames
from fietsupdate.model import Direction, Phase, Step, Update
from fietsupdate.process import as_stop, forked_children_exit
from fietsupdate.script import Surroundings, UpdateScript

CLASSES = {Direction.UP: "Up", Direction.DOWN: "Down", Direction.VERSION: version_hooks.CLASS}
HOOKS = {Phase.PRE: "pre_alembic", Phase.POST: "post_alembic"}


def load(update: Update) -> ModuleType:
    """Import an update script by its path, under a name of its own in `sys.modules`.

    Raises:
        ScriptError: The script cannot be imported; names the line.
    """
    name = _module_name(update)
    spec = importlib.util.spec_from_file_location(name, update.path)
    if spec is None or spec.loader is None:
        raise ScriptError(f"{update.path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up by name
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise as_stop(error) from None
        raise ScriptError(
            f"{_place(error, update.path)}: the script of {update.update_id} cannot be imported: {_words(error)}.",
            hint="Install what it needs, or mend the script.",
        ) from error
    finally:
        sys.dont_write_bytecode = writes_bytecode
    return module


def inspect(update: Update, direction: Direction) -> ModuleType:
    """Load a script and check that its class can be instantiated and has both hooks.

    Raises:
        ScriptError: Something is missing.
    """
    module = version_hooks.module_of(update) if direction is Direction.VERSION else load(update)
    hooks = _make(module, update, direction)
    missing = [name for name in HOOKS.values() if not callable(getattr(hooks, name, None))]
    if missing:
        raise ScriptError(
            f"{update.path}: class {CLASSES[direction]} of {update.update_id} has no {' and no '.join(missing)}.",
            hint="Subclass fietsupdate.UpdateScript, which has both.",
        )
    return module


def loaded(update: Update) -> ModuleType | None:
    """Return the module of a script that this process has loaded, without running it again."""
    return sys.modules.get(_module_name(update))


def has(module: ModuleType, direction: Direction, hook: str) -> bool:
    """Return whether the script defines an optional hook."""
    return callable(getattr(getattr(module, CLASSES[direction], None), hook, None))


def only_warns(module: ModuleType, direction: Direction, hook: str) -> bool:
    """Return whether the script declares that a failure of its ``check`` or ``verify`` is only a warning."""
    return script.only_warns(getattr(getattr(module, CLASSES[direction], None), hook, None))


def is_empty(module: ModuleType, direction: Direction, hook: str) -> bool:
    """Return whether the script does not override a hook, so that it does nothing."""
    hooks = getattr(module, CLASSES[direction], None)
    names = (hook, "__init__")
    return all(getattr(hooks, name, None) is getattr(UpdateScript, name, None) for name in names)


def call(module: ModuleType, step: Step, hook: str, around: Surroundings, settings: Settings) -> Any:
    """Call one hook on a fresh object.

    Raises:
        UpdateFailedError: The hook raised an exception.
        Stop: A signal arrived.
    """
    update = step.update
    hooks = _make(module, update, step.direction)
    if isinstance(hooks, UpdateScript):
        hooks._surroundings = around  # noqa: SLF001  # ours; scripts see only what it offers
    with _failures_told(step, hook):
        who = f"{CLASSES[step.direction]}.{hook} of {update.update_id}"
        with forked_children_exit(), _input(around, who), warnings_told(around.emit):
            return getattr(hooks, hook)(settings)


def stream(update: Update, hook: str, around: Surroundings, settings: Settings) -> Iterator[Any]:
    """Yield what a hook of `Up` yields, one by one, on a fresh object of a script that is loaded if it must be.

    Raises:
        ScriptError: The script cannot be loaded.
        UpdateFailedError: The hook raised an exception.
    """
    step = Step(update, Direction.UP, ())
    yielded = iter(call(loaded(update) or load(update), step, hook, around, settings) or ())
    while True:
        with _failures_told(step, hook):
            try:
                one = next(yielded)
            except StopIteration:
                return
        yield one


@contextmanager
def _failures_told(step: Step, hook: str) -> Iterator[None]:
    """Turn whatever a hook raises into an error that names it, and the line of the script."""
    update = step.update
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise as_stop(interrupt) from None
    except BaseException as error:
        where, place, words = f"{CLASSES[step.direction]}.{hook}", _place(error, update.path), _words(error)
        what = "Version hook" if step.direction is Direction.VERSION else f"{where} of"
        own = error.hint if isinstance(error, FietsupdateError) else ""
        clear_frames(error)
        raise UpdateFailedError(
            f"{what} {update.update_id} failed at {place}: {words}.",
            hint=own or "Mend what the message names, and run the same command again; `--traceback` shows more.",
            details={"update_id": update.update_id, "hook": where},
        ) from error


def _input(around: Surroundings, who: str) -> AbstractContextManager[None]:
    """Return the context that keeps a hook from waiting for input when no administrator is present."""
    return no_input(reading(around.emit, who)) if around.unattended else nullcontext()


def reading(emit: Callable[[str, str, dict[str, Any]], object], who: str) -> Callable[[], None]:
    """Return a function that warns that a hook or check reads input although there is none."""
    text = f"{who} reads standard input or the terminal, but gets nothing: the run is unattended. Use self.ask(...)."
    return lambda: (emit("warning", text, {}), None)[1]


@contextmanager
def warnings_told(emit: Callable[[str, str, dict[str, Any]], object]) -> Iterator[None]:
    """Report ``warnings.warn("...")`` of a hook or check like ``self.warn``.

    Warnings of other categories go to Python.
    """
    before = warnings.showwarning

    def told(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category is UserWarning:
            emit("warning", str(message), {})
        else:
            before(message, category, *where, **more)

    warnings.showwarning = told
    try:
        yield
    finally:
        warnings.showwarning = before


def _make(module: ModuleType, update: Update, direction: Direction) -> Any:
    name = CLASSES[direction]
    hooks = getattr(module, name, None)
    if hooks is None:
        raise ScriptError(f"{update.path}: {update.update_id} has no class {name}.")
    try:
        return hooks()
    except Exception as error:
        raise ScriptError(
            f"{_place(error, update.path)}: {name}() of {update.update_id} cannot be made: {_words(error)}.",
            hint="It is made without arguments, afresh for each hook.",
        ) from error


def _words(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r})"
    text = " ".join(said(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place(error: BaseException, path: Path) -> str:
    """Return ``file:line`` of the innermost frame in the script itself."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _module_name(update: Update) -> str:
    return f"fietsupdate_updates.{update.checksum[:16]}_{_identifier(update.update_id)}"


def _identifier(update_id: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in update_id)
