"""Select the modules with version hooks: only those that the configuration names; being installed is not enough.

A line of ``version_hooks`` is a module; or ``name:``, under which an installed plugin publishes a module by an entry
point of the group `GROUP`; or ``module:callable``, a function of the application that returns such lines.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from fietsupdate.config.application import provider
from fietsupdate.config.config import Config, Settings, described, load_callable
from fietsupdate.config.files import nearest
from fietsupdate.config.keys import is_callable, is_module, published_name
from fietsupdate.errors import UNCHANGED, ConfigError
from fietsupdate.process import Stop, process_state_restored, stdout_on_stderr

GROUP = "fietsupdate.version_hooks"
"""The group of entry points: ``"lessons.quizzes" = "lessons_quizzes.upgrades"`` publishes hooks for ``lessons``."""
KEY = "version_hooks"


@dataclass(frozen=True, slots=True)
class HookModule:
    """A module whose version hooks are active."""

    name: str
    said: str
    """The line that names the module: the beginning of a message about it."""


def active(config: Config, settings: Settings) -> tuple[HookModule, ...]:
    """Return the modules whose hooks are active, in the order in which they run.

    Args:
        config: The configuration, which names a distribution.
        settings: The settings for a callable of the application, the same that hooks receive.

    Raises:
        ConfigError: A name is published by no plugin, or by several; or the application's callable fails.
    """
    modules: dict[str, HookModule] = {}
    for line in config.version_hooks:
        for module in _modules_of(line, config, settings):
            modules.setdefault(module.name, module)
    return tuple(modules.values())


def inactive(config: Config, modules: Iterable[HookModule]) -> tuple[str, ...]:
    """Return the names of published hooks for this application that are not active, sorted.

    An application with a callable has decided itself which hooks are active; then there are no inactive ones.
    """
    if any(is_callable(line) for line in config.version_hooks):
        return ()
    there = {module.name for module in modules}
    return tuple(sorted({point.name for point in _published(config.distribution) if point.value not in there}))


def _modules_of(line: str, config: Config, settings: Settings) -> Iterator[HookModule]:
    said = f"{KEY} = {line.removesuffix(':')}"
    if not is_callable(line):
        yield _module(line, said, config.distribution)
        return
    for name in _answer(line, said, settings):
        yield _module(name, f"{said}, which names {name.removesuffix(':')}", config.distribution)


def _module(line: str, said: str, distribution: str) -> HookModule:
    name = published_name(line)
    return _found(name, said, distribution) if name else HookModule(line, said)


def _answer(line: str, said: str, settings: Settings) -> list[str]:
    """Call the application's function for the lines of its active plugins."""
    try:
        with process_state_restored(), stdout_on_stderr():
            answer = load_callable(line, KEY)(settings)
            lines = [] if answer is None else sorted(answer) if isinstance(answer, AbstractSet) else list(answer)
    except Stop:
        raise
    except ConfigError as error:
        error.stands = error.stands or UNCHANGED
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{said} failed: {described(error)}.", stands=UNCHANGED) from error
    wrong = [name for name in lines if not isinstance(name, str) or not (is_module(name) or published_name(name))]
    if wrong or isinstance(answer, str):
        text = repr(answer if isinstance(answer, str) else wrong[0])
        raise ConfigError(
            f"{said} returned {text}; it must return a list of modules, `package.module`, and of names under which "
            "plugins publish theirs, `name:`.",
            stands=UNCHANGED,
        )
    return lines


def _found(name: str, said: str, distribution: str) -> HookModule:
    """Return the module that is published under a name for this application."""
    published = _published(distribution)
    points = [point for point in published if _normal(point.name) == _normal(name)]
    modules = {point.value for point in points}
    if not points:
        raise _unpublished(name, said, distribution, published)
    if len(modules) > 1:
        by = ", ".join(sorted(f"{point.value} (of {provider(point)})" for point in points))
        raise ConfigError(
            f"{said}: several installed plugins publish version hooks under this name: {by}.",
            stands=UNCHANGED,
            hint=f"Name the module of one of them in place of {name}:",
        )
    point = points[0]
    if not is_module(point.value):
        raise ConfigError(
            f"{said}: the entry point {point.name} = {point.value} of {provider(point)} names no module.",
            stands=UNCHANGED,
            hint=f"Its value must be package.module; the fault is that of {provider(point)}.",
        )
    return HookModule(point.value, f"{said}, the entry point {point.name} = {point.value} of {provider(point)}")


def _unpublished(name: str, said: str, distribution: str, published: Collection[EntryPoint]) -> ConfigError:
    known = sorted({point.name for point in published})
    return ConfigError(
        f"{said}: no installed plugin publishes version hooks for {distribution} under the name "
        f"{name!r}{nearest(name, known) or '.'}",
        stands=UNCHANGED,
        hint=f"Published for {distribution} in this Python: {', '.join(known) or 'nothing'}. Install the plugin. Or "
        f"take '{name}:' out of {KEY}: then its hooks do not run here.",
    )


def _published(distribution: str) -> list[EntryPoint]:
    """Return the entry points for a distribution: named like it, or with a name that begins with it and a dot."""
    ours = _normal(distribution)
    points = entry_points(group=GROUP)
    return [point for point in points if any(_normal(part) == ours for part in _beginnings(point.name))]


def _beginnings(name: str) -> Iterable[str]:
    """Return all prefixes of a dotted name, the name included: a distribution's own name may have dots."""
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _normal(name: str) -> str:
    """Return a distribution's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
