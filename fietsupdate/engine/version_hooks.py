"""Version hooks: functions of the application that run once, when its version crosses a range.

They are collected only where the version has changed, from the modules of ``version_hooks``, in that order. Inside of a
module the order is that of the definitions.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from fietsupdate.config import hook_modules
from fietsupdate.config.application import Application
from fietsupdate.config.config import Settings, described
from fietsupdate.config.hook_modules import HookModule
from fietsupdate.engine.data_version import recorded_in
from fietsupdate.errors import UNCHANGED, ConfigError, ScriptError
from fietsupdate.model import VERSION_MARK, Begun, Direction, Entry, Update
from fietsupdate.planning.version_hooks import VersionHook, Versions, is_older, is_version, recorded, wrong_specifier
from fietsupdate.process import Stop, process_state_restored, stdout_on_stderr
from fietsupdate.script import UpdateScript

Hook = TypeVar("Hook", bound=Callable[..., object])

_MARK = "__fietsupdate_versions__"


@dataclass(frozen=True, slots=True)
class HookRange:
    """The arguments of the decorator of a function."""

    old: str
    new: str
    atomic: bool | None
    every: bool
    repeat: bool


def version_upgrade(
    old_version: str | None = None,
    new_version: str | None = None,
    *,
    old: str = "",
    new: str = "",
    atomic: bool | None = None,
    every: bool = False,
    repeat: bool = False,
) -> Callable[[Hook], Hook]:
    """Let a function of a hook module run once, when the application's version crosses a range.

    It is called as ``function(script, config)``: `script` is an `UpdateScript` with ``connection``, ``files``, ``tell``
    and the rest, `config` the settings. A function that can be called without arguments is called without, as in
    Kolibri. The function itself is not changed.

    Args:
        old_version: Kolibri's name for `old`; a bare version, ``"0.6.4"``, means exactly this version.
        new_version: Kolibri's name for `new`.
        old: PEP 440 specifiers for the version that the data belongs to, ``"<0.6.4"``; "" matches every version.
        new: The same for the version that is installed, ``">=1.0.0"``.
        atomic: Whether it works on `script.connection` alone, so that files and database commit together; by default
            true if the function takes `script`.
        every: Whether it runs at each change of version that both ends match, not once.
        repeat: Whether it runs again when the data was taken back to before the version that ran it, and the range is
            crossed again.

    Raises:
        TypeError: One end is named twice.
    """
    if (old and old_version) or (new and new_version):
        raise TypeError("version_upgrade() takes `old` or `old_version`, and `new` or `new_version`, not both")
    said = HookRange(old or _specifier(old_version), new or _specifier(new_version), atomic, every, repeat)

    def mark(function: Hook) -> Hook:
        setattr(function, _MARK, said)
        return function

    return mark


def _specifier(kolibri: str | None) -> str:
    """Return Kolibri's notation of a range as PEP 440 specifiers; "" for all versions."""
    text = (kolibri or "").strip()
    parts = ("" if part.strip() == "*" else part.strip() for part in text.split(","))
    return ",".join(f"=={part}" if part[:1].isdigit() else part for part in parts if part)


def versions_of(
    application: Application, entries: Sequence[Entry], begun: Begun | None, *, is_new: bool = False
) -> Versions | None:
    """Compare the installed version with the recorded one; return None where the configuration names no distribution.

    Args:
        application: The entered configuration.
        entries: The entries of the ledger.
        begun: The interrupted transaction, if there is one.
        is_new: Whether the database is empty: then the version file of an earlier upgrader does not count.

    Raises:
        ConfigError: The version cannot be compared, a plugin is missing, or a hook module cannot be imported.
        ScriptError: A hook has an invalid version range.
    """
    config = application.config
    if not config.distribution:
        return None
    installed = application.app_version
    if not is_version(installed):
        raise ConfigError(
            f"distribution = {config.distribution}: its version {installed!r} is none that could be compared.",
            hint="Versions are written as PEP 440 says: 1.4.2, 2.0rc1.",
        )
    seen = recorded(entries) if is_new else recorded_in(application, entries)
    resumes = begun is not None and begun.direction is Direction.VERSION
    crosses = bool(seen.version) and (seen.version != application.app_version or bool(seen.taken_back_from))
    if not (resumes or crosses):
        return Versions(config.distribution, application.app_version, seen)
    modules = hook_modules.active(config, application.settings)
    without = hook_modules.inactive(config, modules) if is_older(seen.version, application.app_version) else ()
    return Versions(config.distribution, application.app_version, seen, tuple(load(modules)), without)


def load(modules: Iterable[HookModule]) -> Iterator[VersionHook]:
    """Import the hook modules and yield their hooks, in the order in which they run.

    Raises:
        ConfigError: A module cannot be imported.
        ScriptError: A hook has an invalid version range.
    """
    imported = [(module.name, _imported(module.name, module.said)) for module in modules]
    for name, module in imported:
        yield from _hooks_of(name, module)


def module_of(update: Update) -> ModuleType:
    """Return the module that the engine runs for a hook: like a loaded update script, its class calls the function.

    Raises:
        ScriptError: The function does not exist.
    """
    module = ModuleType(f"fietsupdate_versions.{update.update_id}")
    setattr(module, CLASS, UpdateScript if VERSION_MARK in update.update_id else _class_around(_function(update)))
    return module


CLASS = "Version"
"""The class in such a module, as ``Up`` and ``Down`` are those of an update script."""


def _class_around(function: Callable[..., object]) -> type[UpdateScript]:
    given = takes(function)

    class Version(UpdateScript):
        def post_alembic(self, config: Settings) -> None:
            function(*(self, config)[:given])

    return Version


def takes(function: Callable[..., object]) -> int:
    """Return the number of arguments for a hook: none if it can be called so, otherwise `script` and `config`.

    Raises:
        TypeError: It can be called neither way.
    """
    signature = inspect.signature(function)
    if not any(one.kind is inspect.Parameter.VAR_POSITIONAL for one in signature.parameters.values()):
        with contextlib.suppress(TypeError):
            signature.bind()
            return 0
    both = (None, None)
    signature.bind(*both)
    return len(both)


def _function(update: Update) -> Callable[..., object]:
    name, _, function = update.update_id.partition(":")
    hook = getattr(_imported(name, "version_hooks"), function, None)
    if not callable(hook):
        raise ScriptError(f"{name} has no function {function!r}.", stands=UNCHANGED)
    return hook  # type: ignore[no-any-return]


def _imported(name: str, where: str) -> ModuleType:
    try:
        with process_state_restored(), stdout_on_stderr():
            return importlib.import_module(name)
    except Stop:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{where}: importing the version hooks in {name} failed: {described(error)}.",
            stands=UNCHANGED,
            hint="Install what the module needs, or mend it: without its hooks the version cannot be recorded.",
        ) from error


def _hooks_of(name: str, module: ModuleType) -> Iterator[VersionHook]:
    path = Path(getattr(module, "__file__", None) or name)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    for attribute, function in vars(module).items():
        mark = getattr(function, _MARK, None) if callable(function) else None
        # A function that a module has imported from another one is the other module's hook.
        if mark is None or (function.__module__, function.__qualname__) != (name, attribute):
            continue
        yield _hook(f"{name}:{attribute}", mark, function, path=path, checksum=checksum)


def _hook(update_id: str, mark: HookRange, function: Any, *, path: Path, checksum: str) -> VersionHook:
    line = function.__code__.co_firstlineno if inspect.isfunction(function) else 1
    for argument, text in (("old", mark.old), ("new", mark.new)):
        if wrong := wrong_specifier(text):
            raise ScriptError(
                f"{path}:{line}: {argument} of {update_id}: {wrong}.",
                stands=UNCHANGED,
                hint='Write PEP 440 specifiers, commas between them: ">=0.5,<0.6.4".',
            )
    try:
        given = takes(function)
    except TypeError as error:
        raise ScriptError(
            f"{path}:{line}: {update_id} cannot be called: {error}.",
            stands=UNCHANGED,
            hint="A version hook takes `script` and `config`, or nothing.",
        ) from error
    # Without `script` it has connections of its own, which would wait for the transaction around it.
    atomic = bool(given) if mark.atomic is None else mark.atomic
    summary = (inspect.getdoc(function) or "").partition("\n")[0]
    update = Update(update_id, (), (), "", path, checksum, atomic=atomic, has_down=False, summary=summary, id_line=line)
    return VersionHook(update, mark.old, mark.new, mark.every, mark.repeat)
