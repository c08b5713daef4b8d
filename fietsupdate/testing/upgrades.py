"""Take an instance from release to release of its application, so that its version hooks run on every upgrade path."""

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
    """Return a path in the form ``0.1 -> 0.7``."""
    return " -> ".join(release.version for release in way)


class Upgrades:
    """One instance, installed and upgraded repeatedly. A context manager; afterwards the instance is empty.

    Args:
        instance: Must be before its first update.
        named: The releases that the project names; None for the bounds of the hooks' ranges.
        folder: A folder for copies of the instance.

    Raises:
        NothingToTestError: There are no version hooks; the text says why.
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
        """Yield the path through all releases, then each one from a release to a later one, by their first release."""
        if len(self.releases) > 2:  # noqa: PLR2004  # with two it is the only one
            yield self.releases
        yield from combinations(self.releases, 2)

    def go(self, way: Way) -> None:
        """Install the first release of a path, with its data, and upgrade the instance to each one after it.

        Raises:
            AssertionError: A hook has run twice, or the instance is not up to date afterwards.
            FietsupdateError: A hook has failed.
        """
        self._installed(way[0])
        ran = Counter(hook for release in way[1:] for hook in self._upgraded(release))
        if max(ran.values(), default=0) == 1:
            return
        # including the hooks of its plugins
        often = {hook.update.update_id for hook in hooks_of(self._as(way[-1])) if hook.every}
        if twice := [hook for hook, times in ran.items() if times > 1 and hook not in often]:
            raise AssertionError(f"On the way {described(way)} these have run more than once: {', '.join(twice)}.")

    def install(self, release: Release) -> TemporaryInstance:
        """Return the instance as a new installation of a release, without data that belongs to its version.

        Raises:
            AssertionError: A version hook has run, or the instance is not up to date.
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
        """Check that each hook runs on an upgrade between two releases.

        Raises:
            AssertionError: The message names the hooks that never run.
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
        """Return a few paths on which, together, all hooks run that can run."""
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
        """Return the path between two releases; "" stands for the first or the last one.

        Raises:
            AssertionError: There is no such release, or the newer one is not newer.
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
        """Install the first release of a path, with its data; return the instance as the last one sees it."""
        self._installed(way[0])
        return self._as(way[-1])

    def sweep(self, way: Way, *, every: int) -> Swept:
        """Kill the upgrade of the instance, which is `ready`, at every event; see `fietsupdate.testing.sweep`."""
        there = self._as(way[-1])
        return sweep_version(there, f"{there.config.distribution}{VERSION_MARK}{way[-1].version}", every=every)

    # -- parts

    def _found_hooks(self) -> tuple[VersionHook, ...]:
        distribution_of(self._instance)
        # before the application's callable reads the database
        self._instance.update_through(*self._instance.graph().dag.heads())
        return hooks_of(self._instance)

    def _as(self, release: Release) -> TemporaryInstance:
        return replace(self._instance, config=replace(self._instance.config, release=release))

    def _copy(self) -> InstanceSnapshot:
        return InstanceSnapshot(self._instance, Path(tempfile.mkdtemp(dir=self._folder)))

    def _installed(self, release: Release) -> None:
        """Make the instance a new installation with data; it is copied, as several paths begin there."""
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
        """Put in the data of this version, or of the newest one before it that has any."""
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
