"""Takes an instance from release to release of its application, so that its version hooks run on every way there is."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Self

from packaging.version import Version

from fietsupdate.config.config import Release
from fietsupdate.model import VERSION_MARK, Direction, UpdateState
from fietsupdate.planning.version_hooks import VersionHook
from fietsupdate.testing.instance import TemporaryInstance
from fietsupdate.testing.releases import Named, crossing, distribution_of, hooks_of, releases_of
from fietsupdate.testing.states import InstanceSnapshot
from fietsupdate.testing.sweep import Swept, sweep_version

Way = tuple[Release, ...]
"""The releases that an instance has, one after the other."""


def described(way: Way) -> str:
    """Write a way as ``0.1 -> 0.7``."""
    return " -> ".join(release.version for release in way)


class Upgrades:
    """One instance, installed and upgraded again and again. A context manager; afterwards the instance is empty.

    Args:
        instance: Stands before its first update.
        named: The releases, as the project names them; None for the bounds of the hooks' ranges.
        folder: Takes copies of the instance.

    Raises:
        NothingToTestError: there are no version hooks; says why.
    """

    def __init__(self, instance: TemporaryInstance, named: Named | None, folder: Path) -> None:
        self._instance, self._folder = instance, folder
        self._empty = self._copy()
        self._start: tuple[Release, InstanceSnapshot] | None = None
        try:
            self.hooks = self._found_hooks()
            self.releases = releases_of(instance.graph(), self.hooks, named, instance.status().app_version)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the instance empty, and remove the copies."""
        self._forget_start()
        self._empty.restore()
        self._empty.drop()

    def ways(self) -> Iterator[Way]:
        """Yield the way through all releases, and every one from a release to a later one; by where they begin."""
        if len(self.releases) > 2:  # noqa: PLR2004  # with two it is the only one
            yield self.releases
        yield from combinations(self.releases, 2)

    def go(self, way: Way) -> None:
        """Install the first release of a way, with its data, and upgrade the instance to each one after it.

        Raises:
            AssertionError: a hook has run twice, or the instance is not up to date afterwards.
            FietsupdateError: a hook has failed.
        """
        self._installed(way[0])
        ran = Counter(hook for release in way[1:] for hook in self._upgraded(release))
        if max(ran.values(), default=0) == 1:
            return
        often = {hook.update.update_id for hook in hooks_of(self._as(way[-1])) if hook.every}  # of its plugins, too
        if twice := [hook for hook, times in ran.items() if times > 1 and hook not in often]:
            raise AssertionError(f"On the way {described(way)} these have run more than once: {', '.join(twice)}.")

    def install(self, release: Release) -> TemporaryInstance:
        """Make the instance a new installation of a release, without data that belongs to its version.

        Raises:
            AssertionError: a version hook has run, or it is not up to date.
        """
        self._empty.restore()
        instance = self._as(release)
        instance.update_through(*instance.graph().dag.heads())
        instance.update()
        entries = instance.run(instance.updater.history)
        ran = [one.update_id for one in entries if one.direction is Direction.VERSION and ":" in one.update_id]
        if ran:
            raise AssertionError(
                f"On a new installation of {release.version} version hooks have run: {', '.join(ran)}."
            )
        _see_that_it_is_current(instance, f"A new installation of {release.version}")
        return instance

    def see_that_all_can_run(self) -> None:
        """See that each hook runs on some way between releases.

        Raises:
            AssertionError: names those that never do.
        """
        run = {hook for old, new in combinations(self.releases, 2) for hook in crossing(self.hooks, old, new)}
        dead = [hook for hook in self.hooks if hook.update.update_id not in run]
        if dead:
            lines = [f"  {one.update.update_id} (old {one.old!r}, new {one.new!r})" for one in dead]
            versions = ", ".join(release.version for release in self.releases)
            raise AssertionError(
                "\n".join([f"No upgrade between the releases {versions} runs these version hooks:", *lines])
                + "\nCorrect their ranges, or name the releases that they are for: fietsupdate_versions."
            )

    def fewest_ways(self) -> tuple[Way, ...]:
        """Return a few ways on which, together, all hooks run that can."""
        left = {hook.update.update_id for hook in self.hooks}
        runs = {way: set(crossing(self.hooks, *way)) for way in combinations(self.releases, 2)}
        chosen: list[Way] = []
        while True:
            best = max(runs, key=lambda way: len(runs[way] & left))
            if not runs[best] & left:
                return tuple(chosen)
            chosen.append(best)
            left -= runs[best]

    def way(self, old: str, new: str) -> Way:
        """Return the way between two releases, or from the first, or to the last one, where a version is "".

        Raises:
            AssertionError: there is no such release, or the newer one is not newer.
        """
        by_version = {Version(release.version): release for release in self.releases}
        first, last = Version(old) if old else min(by_version), Version(new) if new else max(by_version)
        if unknown := [str(one) for one in (first, last) if one not in by_version]:
            known = ", ".join(release.version for release in self.releases)
            raise AssertionError(f"There is no release {', '.join(unknown)}; fietsupdate_versions has {known}.")
        if not first < last:
            raise AssertionError(f"{last} is no newer release than {first}.")
        return by_version[first], by_version[last]

    def ready(self, way: Way) -> TemporaryInstance:
        """Install the first release of a way, with its data; return the instance as the last one finds it."""
        self._installed(way[0])
        return self._as(way[-1])

    def sweep(self, way: Way, *, every: int) -> Swept:
        """Kill the upgrade of the instance, which is `ready`, at every event; see `fietsupdate.testing.sweep`."""
        there = self._as(way[-1])
        return sweep_version(there, f"{there.config.distribution}{VERSION_MARK}{way[-1].version}", every=every)

    # -- parts

    def _found_hooks(self) -> tuple[VersionHook, ...]:
        distribution_of(self._instance)
        self._instance.update_through(*self._instance.graph().dag.heads())  # where the application's callable looks
        return hooks_of(self._instance)

    def _as(self, release: Release) -> TemporaryInstance:
        return replace(self._instance, config=replace(self._instance.config, release=release))

    def _copy(self) -> InstanceSnapshot:
        return InstanceSnapshot(self._instance, Path(tempfile.mkdtemp(dir=self._folder)))

    def _installed(self, release: Release) -> None:
        """Bring the instance to a new installation with data; it is copied, as several ways begin there."""
        if self._start is not None and self._start[0] == release:
            self._start[1].restore()
            return
        self._forget_start()
        instance = self.install(release)
        self._fill(instance, release.version)
        self._start = release, self._copy()

    def _forget_start(self) -> None:
        if self._start is not None:
            self._start[1].drop()
        self._start = None

    def _fill(self, instance: TemporaryInstance, version: str) -> None:
        """Put in the data of this version, or of the newest one before it for which there is any."""
        begins = f"{instance.config.distribution}{VERSION_MARK}"
        fills = {
            Version(name.removeprefix(begins)): fill for name, fill in instance.data.items() if name.startswith(begins)
        }
        if reached := [one for one in fills if one <= Version(version)]:
            fills[max(reached)](instance)

    def _upgraded(self, release: Release) -> Sequence[str]:
        instance = self._as(release)
        done = instance.update().done
        if again := instance.update().done:
            raise AssertionError(f"At {release.version} already, these ran once more: {', '.join(again)}.")
        _see_that_it_is_current(instance, f"The instance that was upgraded to {release.version}")
        return [update_id for update_id in done if ":" in update_id]


def _see_that_it_is_current(instance: TemporaryInstance, what: str) -> None:
    status = instance.status()
    if status.state is not UpdateState.OKAY or status.data_version != status.app_version:
        lines = [f"{problem.message} {problem.hint}" for problem in status.problems]
        raise AssertionError("\n".join([f"{what} is {status.state}, with data of {status.data_version}.", *lines]))
