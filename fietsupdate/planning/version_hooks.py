"""Determine the version of the application that the data belongs to, and the version hooks that wait because of it.

The ledger is the only source: every entry names the version of the code that wrote it, and an entry of direction
``version`` without a function's name, ``lessons==0.7.0``, records that all hooks up to that version have run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fietsupdate.model import VERSION_MARK, Begun, Direction, Entry, Problem, Step, Update
from fietsupdate.views import DatabaseView

if TYPE_CHECKING:
    from packaging.version import Version

NOT_ATOMIC = "it takes no `script`, or its decorator says `atomic=False`"


@dataclass(frozen=True, slots=True)
class VersionHook:
    """A function that runs when the application's version crosses a range."""

    update: Update
    """The update that represents the hook in plans; its id is ``module:function``."""
    old: str
    """PEP 440 specifiers that the version of the data must match; "" matches all."""
    new: str
    """The same for the installed version."""
    every: bool = False
    """Whether the hook runs at each change of version that both ends match, also at a change back to an older version.
    """
    repeat: bool = False
    """Whether the hook runs again after the data was taken back to before the version that ran it."""


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run of a hook on an instance."""

    version: str
    """The version that was installed then."""
    in_this_change: bool = True
    """Whether no change of version was completed since."""
    taken_back: bool = False
    """Whether the data was taken back since, to a version older than that of the run."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a ledger records about the application's version."""

    version: str = ""
    """The version whose hooks have all run; "" where no version was ever recorded."""
    newest: str = ""
    """The newest version that has changed anything since."""
    ran: Mapping[str, LastRun] = field(default_factory=dict)
    """All hooks that have ever run, by id."""
    taken_back_from: str = ""
    """The newer version that the data was taken back from, by a stamp of older code, if no change followed; or ""."""
    half_way_to: str = ""
    """Another version that has changed the data since, and has not completed the change; "" for none."""


@dataclass(frozen=True, slots=True)
class Versions:
    """The installed version beside the recorded one, and the hooks of the installed code."""

    distribution: str
    installed: str
    recorded: Recorded
    hooks: tuple[VersionHook, ...] = ()
    """All hooks, in their order; also empty where the hooks did not have to be collected."""
    inactive: tuple[str, ...] = ()
    """Names of installed plugins whose hooks take no part in the waiting change of version."""
    way_back: str = ""
    """Where the data is too new: the name of the newest backup that fits the installed version; "" for none."""

    @property
    def moved(self) -> bool:
        """Whether the installed version differs from the recorded one."""
        return self.installed != self.recorded.version

    @property
    def begins(self) -> bool:
        """Whether a change to the installed version is due and has not begun."""
        before = self.recorded.version
        return bool(before) and self.installed not in {before, self.recorded.half_way_to}

    @property
    def too_new(self) -> bool:
        """Whether a newer version than the installed one has changed the data."""
        return bool(self.recorded.newest) and is_older(self.installed, self.recorded.newest)

    @property
    def waiting(self) -> tuple[Update, ...]:
        """The hooks that will run, in their order."""
        return tuple(hook.update for hook in self.hooks if self._waits(hook))

    def _waits(self, hook: VersionHook) -> bool:
        before, last = self.recorded.version, self.recorded.ran.get(hook.update.update_id)
        if hook.every:
            done = last is not None and last.in_this_change and last.version == self.installed
            start = before if self.moved else self.recorded.taken_back_from
            return bool(start) and not done and crosses(hook, start, self.installed)
        due = last is None or (hook.repeat and last.taken_back)
        return bool(before) and due and is_older(before, self.installed) and crosses(hook, before, self.installed)

    def find(self, update_id: str) -> Update | None:
        """Return the hook, or the end of a change of version, that an id of the ledger names."""
        if VERSION_MARK in update_id:
            return _mark(update_id, "")
        return next((hook.update for hook in self.hooks if hook.update.update_id == update_id), None)


def is_mark(entry: Entry) -> bool:
    """Return whether an entry ends a change of version."""
    return entry.direction is Direction.VERSION and VERSION_MARK in entry.update_id


def recorded(entries: Iterable[Entry], earlier: str = "") -> Recorded:
    """Fold a ledger into what it records about the application's version.

    The first version that is named counts, then every change of version that was completed, and every stamp that an
    older version made: such a stamp states that the data now belongs to the older version.

    Args:
        entries: The entries of the ledger.
        earlier: The version that the data belonged to before its first entry; "" for unknown.
    """
    version = newest = earlier
    back_from = half_way_to = ""
    ran: dict[str, LastRun] = {}
    for entry in entries:
        ends = is_mark(entry)
        if entry.direction is Direction.VERSION and not ends:
            ran[entry.update_id] = LastRun(entry.app_version)
        app_version = entry.update_id.partition(VERSION_MARK)[2] if ends else entry.app_version
        if not is_version(app_version):
            continue
        taken_back = entry.direction is Direction.STAMP and newest and is_older(app_version, newest)
        if ends or taken_back or not version:
            back_from = newest if taken_back else ""
            ran = {name: _seen_from(last, app_version, taken_back=bool(taken_back)) for name, last in ran.items()}
            version, newest, half_way_to = app_version, app_version, ""
        elif entry.direction is not Direction.DOWN:
            half_way_to = half_way_to if app_version == version else app_version
            newest = app_version if is_older(newest, app_version) else newest
    return Recorded(version, newest, ran, back_from, half_way_to)


def _seen_from(last: LastRun, version: str, *, taken_back: bool) -> LastRun:
    """Return the last run of a hook as it appears after a change of version is completed or taken back."""
    back = last.taken_back or (taken_back and is_older(version, last.version))
    return LastRun(last.version, in_this_change=False, taken_back=back)


def is_version(text: str) -> bool:
    """Return whether a text is a version as PEP 440 defines it."""
    return _parsed(text) is not None


def is_older(one: str, other: str) -> bool:
    """Return whether one version is older than another; the part after a ``+`` names a build and has no order."""
    if one == other:
        return False
    first, second = _parsed(one), _parsed(other)
    return first is not None and second is not None and _public(first) < _public(second)


def crosses(hook: VersionHook, before: str, installed: str) -> bool:
    """Return whether a change of version is in the range of a hook.

    A pre-release counts as its release, for it has the release's code. On the old side it also counts as a version
    before the release: a hook that was written after ``1.0rc1`` still runs when 1.0 comes. A hook that ran for the
    candidate does not run again.
    """
    return _matches(hook.old, before, also_before=True) and _matches(hook.new, installed, also_before=False)


def wrong_specifier(text: str) -> str:
    """Return what is wrong with version specifiers, or "" when they are valid."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        return str(error)
    return ""


def resumed(versions: Versions | None, begun: Begun | None, database: DatabaseView) -> tuple[Step, ...]:
    """Return the step that resumes an interrupted hook.

    An empty tuple where no hook was interrupted or it is not known.
    """
    if begun is None or begun.direction is not Direction.VERSION:
        return ()
    update = versions.find(begun.update_id) if versions else None
    return (_step(update, database, begun),) if update else ()


def version_steps(
    versions: Versions | None, database: DatabaseView, *, besides: Collection[str], changes: bool
) -> tuple[Step, ...]:
    """Return the steps that take the data to the installed version: its hooks, and the entry that ends the change.

    Args:
        versions: The installed and the recorded version; None where the configuration names no distribution.
        database: What was found in the database.
        besides: Ids of hooks that an earlier step of the plan runs.
        changes: Whether the plan writes other entries, too; those name the version as well.
    """
    if versions is None or not (versions.moved or versions.waiting):
        return ()
    steps = [_step(update, database) for update in versions.waiting if update.update_id not in besides]
    mark = f"{versions.distribution}{VERSION_MARK}{versions.installed}"
    if (versions.recorded.version or not changes) and mark not in besides:
        before = versions.recorded.version if versions.moved else versions.recorded.taken_back_from
        summary = f"Records the version; it was {before}." if before else "Records the version, for the first time."
        if versions.inactive:
            summary += f" Without the hooks of {', '.join(versions.inactive)}: not activated here."
        steps.append(_step(_mark(mark, summary), database))
    return tuple(steps)


def data_too_new(versions: Versions, current: Sequence[str], *, taken_back: bool = True) -> Problem:
    """Return the problem that a newer version of the application has changed the data.

    Args:
        versions: The installed and the recorded version.
        current: The updates that the instance is at.
        taken_back: Whether the change may have been undone already.
    """
    name, newest = versions.distribution, versions.recorded.newest
    return Problem(
        "too_new",
        f"The instance was changed by {name} {newest}, and {name} {versions.installed} is installed, which is older.",
        f"Install {name} {newest} or a newer version.{_way_back(versions)}"
        + (f" {_stamp(versions.installed, current)}" if taken_back else ""),
    )


def _stamp(installed: str, current: Sequence[str]) -> str:
    return (
        f"If both halves were taken back for {installed}, type `fietsupdate stamp {' '.join(current) or 'base'}`: it "
        "records that the data belongs to this version."
    )


def _way_back(versions: Versions) -> str:
    if not versions.way_back:
        return ""
    return (
        f" Or go back to the newest backup that {versions.distribution} {versions.installed} fits, and lose what came "
        f"since: `fietsupdate restore {versions.way_back}`."
    )


def plugins_inactive(versions: Versions) -> Problem:
    """Return the problem that installed plugins have version hooks that this instance does not activate."""
    names, several = ", ".join(versions.inactive), len(versions.inactive) > 1
    lines = ", ".join(f"`{name}:`" for name in versions.inactive)
    return Problem(
        "plugins_inactive",
        f"Installed here, but not activated: {names}. The version hooks of "
        f"{'these plugins' if several else 'this plugin'} will not run when {versions.distribution} goes from "
        f"{versions.recorded.version} to {versions.installed}.",
        f"If {'one of them is' if several else 'it is'} in use here, add {lines} to version_hooks before you update; "
        "if not, leave it so.",
        blocks=False,
    )


def _mark(update_id: str, summary: str) -> Update:
    return Update(update_id, (), (), "", Path(), "", atomic=True, has_down=False, summary=summary)


def _step(update: Update, database: DatabaseView, begun: Begun | None = None) -> Step:
    step = Step(update, Direction.VERSION, (), finished=begun.finished if begun else ())
    if step.only_records:
        return step  # rows alone commit together on every server
    return replace(step, not_atomic=database.not_transactional if update.atomic else NOT_ATOMIC)


def _matches(specifiers: str, text: str, *, also_before: bool) -> bool:
    from packaging.specifiers import SpecifierSet

    version = _parsed(text)
    if version is None:
        return False
    release = _parsed(version.base_version) if version.is_prerelease else version
    for specifier in SpecifierSet(specifiers):
        asked = version if specifier.prereleases else release
        if specifier.contains(str(asked), prereleases=True):
            continue
        if not (also_before and version.is_prerelease and _before(specifier.operator, specifier.version, version)):
            return False
    return True


def _before(operator: str, bound: str, version: Version) -> bool:
    """Return whether a pre-release lies before a bound; PEP 440 excludes the pre-releases of the bound from ``<``."""
    limit = _parsed(bound)
    return operator in {"<", "<="} and limit is not None and version < limit


@lru_cache
def _parsed(text: str) -> Version | None:
    if not text:
        return None
    from packaging.version import InvalidVersion, Version

    try:
        return Version(text)
    except InvalidVersion:
        return None


def _public(version: Version) -> Version:
    return version if version.local is None else type(version)(version.public)
