"""The releases of an application between which its version hooks are tested, and the updates that each brings.

Only today's hooks exist, so today's code acts as every release: it takes that version for the installed one, and sees
only the update scripts that the release had.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from packaging.specifiers import Specifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from fietsupdate.config import hook_modules
from fietsupdate.config.application import activated
from fietsupdate.config.config import Release
from fietsupdate.engine import version_hooks
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.target import find
from fietsupdate.planning.version_hooks import Recorded, VersionHook, Versions

if TYPE_CHECKING:
    from fietsupdate.testing.instance import TemporaryInstance

Named = Mapping[str, str | Sequence[str] | None] | Sequence[str]
"""Versions, or versions with the last updates of each."""


class NothingToTestError(Exception):
    """There are no version hooks; the text says why."""


def distribution_of(instance: TemporaryInstance) -> str:
    """Return the distribution whose version is followed.

    Raises:
        NothingToTestError: The configuration names no distribution.
    """
    if instance.config.distribution:
        return instance.config.distribution
    raise NothingToTestError("the configuration names no distribution: no version is followed, no version hook runs")


def hooks_of(instance: TemporaryInstance) -> tuple[VersionHook, ...]:
    """Return the version hooks of the application and of the plugins that the instance activates, in their order.

    Raises:
        NothingToTestError: There are no version hooks.
        FietsupdateError: A module is missing, or has a range that is not valid.
    """
    config = instance.config

    def load() -> tuple[VersionHook, ...]:
        with activated(config) as application:
            url = config.redirect.url if config.redirect is not None else instance.url
            return tuple(version_hooks.load(hook_modules.active(config, application.with_url(url).settings)))

    if hooks := instance.run(load):
        return hooks
    raise NothingToTestError("version_hooks names no module, and no plugin, that has version hooks")


def releases_of(graph: Graph, hooks: Sequence[VersionHook], named: Named | None, installed: str) -> tuple[Release, ...]:
    """Return the releases in their order; the last one brings all updates.

    Args:
        graph: All updates.
        hooks: All version hooks.
        named: The releases that the project names; None for versions on both sides of each bound of the hooks' ranges.
        installed: The version of the tested code; it counts as a release if it is the newest.

    Raises:
        AssertionError: There is only one release, a version is not valid, or an update does not exist.
    """
    said = _said(named) if named is not None else dict.fromkeys(_bounds(graph, hooks))
    last = Version(installed).base_version
    if not said or all(_version(text) < Version(last) for text in said):
        said[last] = None
    ordered = sorted(said, key=_version)
    if len(ordered) == 1:
        raise AssertionError(f"There is one release only, {ordered[0]}: no upgrade path leads to it.")
    brought = [_updates(graph, text, said[text]) for text in ordered[:-1]]
    return tuple(Release(text, ids) for text, ids in zip(ordered, [*brought, None], strict=True))


def crossing(hooks: Sequence[VersionHook], old: Release, new: Release) -> tuple[str, ...]:
    """Return the ids of the hooks that run when an instance that was installed as the older release is upgraded."""
    versions = Versions("", new.version, Recorded(old.version, old.version), tuple(hooks))
    return tuple(update.update_id for update in versions.waiting)


def _said(named: Named) -> dict[str, str | Sequence[str] | None]:
    if isinstance(named, str):
        raise AssertionError(f"fietsupdate_versions is {named!r}; it must be a list of versions.")  # noqa: TRY004
    return dict(named) if isinstance(named, Mapping) else dict.fromkeys(named)


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise AssertionError(f"{text!r} is no version; write it as PEP 440 says: 1.4.2, 2.0rc1.") from None


def _updates(graph: Graph, version: str, said: str | Sequence[str] | None) -> frozenset[str] | None:
    """Return the ids of the updates of a release: the project's, or all up to the newest release update."""
    if said is not None:
        ids = [find(graph, text) for text in ([said] if isinstance(said, str) else said)]
        return frozenset(graph.dag.ancestors(ids))
    marks = _release_updates(graph)
    if not marks:
        return None
    reached = [mark for mark in marks if mark <= Version(version)] or [min(marks)]
    return frozenset(graph.dag.ancestors([marks[max(reached)]]))


def _release_updates(graph: Graph) -> dict[Version, str]:
    """Return the updates whose id is a version, such as ``v1.2.0``."""
    ids_by_version = {}
    for update_id in graph.updates:
        if "." not in update_id and not update_id.startswith("v"):
            continue  # a date
        try:
            ids_by_version[Version(update_id)] = update_id
        except InvalidVersion:
            continue
    return ids_by_version


def _bounds(graph: Graph, hooks: Iterable[VersionHook]) -> list[str]:
    """Return a version on each side of every bound of the hooks' ranges: between two bounds, all versions are alike."""
    ranges = [SpecifierSet(text) for hook in hooks for text in (hook.old, hook.new)]
    sides = {side for one in ranges for specifier in one for side in _sides(specifier)}
    lowest = min(sides, default=Version("1"))
    before = [mark for mark in _release_updates(graph) if mark < lowest]
    return [str(side) for side in {*sides, max(before, default=Version("0"))}]


def _sides(specifier: Specifier) -> Iterator[Version]:
    text = specifier.version
    try:
        bound = Version(text.removesuffix(".*"))
    except InvalidVersion:
        return  # "===" compares texts
    yield bound
    if specifier.operator == "~=":
        yield _next(bound.release[:-1])
    elif text.endswith(".*"):
        yield _next(bound.release)
    elif specifier.operator not in {"<", ">="}:
        yield Version(f"{bound.base_version}.0.1")


def _next(release: Sequence[int]) -> Version:
    return Version(".".join(str(part) for part in (*release[:-1], release[-1] + 1)))
