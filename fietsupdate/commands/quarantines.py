"""The content of the quarantine: listed, released, and deleted for good. No row changes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fietsupdate.commands.inspection import Inspection
from fietsupdate.commands.run import Run
from fietsupdate.config.application import Application
from fietsupdate.engine.files_only import files_only
from fietsupdate.errors import UNCHANGED, FilesError, RefusedError, UsageError
from fietsupdate.filesystem.layout import check_home
from fietsupdate.filesystem.place import Place, placed
from fietsupdate.filesystem.quarantine import store
from fietsupdate.filesystem.quarantine.release import release as move_back
from fietsupdate.filesystem.quarantine.release import selector
from fietsupdate.filesystem.quarantine.store import Look, Quarantine
from fietsupdate.model import Event
from fietsupdate.model.clock import now

LIST = "Type `fietsupdate quarantine list`."
_AGE = re.compile(r"(\d+)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Held:
    """The present content of one quarantine."""

    name: str
    created_at: str
    command: str
    """The command that put the files there."""
    files: int
    bytes: int
    roots: Mapping[str, int]
    """The number of files by root; "" is the data directory."""
    paths: tuple[str, ...] = ()
    """The files, in the form of the command line; only if a single quarantine was requested."""
    absent: tuple[str, ...] = ()
    """The further roots whose part is missing: not mounted, or not configured any more."""
    damaged: str = ""
    """Why the content cannot be read; "" if it can."""


@dataclass(frozen=True, slots=True)
class QuarantineList:
    """The quarantines of an instance."""

    quarantines: tuple[Held, ...]
    """Newest first."""
    damaged: Mapping[str, str]
    """Folders that cannot be read as a quarantine, each with the reason."""


@dataclass(frozen=True, slots=True)
class ReleasedFiles:
    """The files that were released from quarantine."""

    files: int
    bytes: int
    names: tuple[str, ...]
    """The quarantines that files were taken from."""
    occupied: tuple[str, ...]
    """The files that stay there, since their paths are taken."""


@dataclass(frozen=True, slots=True)
class Purged:
    """The quarantines that were deleted for good, or would be."""

    quarantines: tuple[Held, ...]

    @property
    def files(self) -> int:
        """The number of files in them."""
        return sum(one.files for one in self.quarantines)

    @property
    def bytes(self) -> int:
        """The bytes of those files."""
        return sum(one.bytes for one in self.quarantines)


def roots_of(application: Application) -> dict[str, Path]:
    """Return all roots of an instance by name; "" is the data directory."""
    return {"": application.data_dir, **application.config.extra_dirs}


def listed(application: Application, name: str | None = None) -> QuarantineList:
    """Return the content of the quarantine; this needs no database, and changes nothing.

    Args:
        application: The entered configuration.
        name: The quarantine whose files are listed, too; ``None`` for all, without their files.

    Raises:
        UsageError: No quarantine has this name.
    """
    there = _look(application)
    chosen = there.quarantines if name is None else (_named(there, name),)
    held = tuple(_held(one, with_paths=name is not None) for one in chosen)
    return QuarantineList(held, {} if name is not None else there.damaged)


def release(run: Run, words: Sequence[str]) -> ReleasedFiles:
    """Release files from quarantine; no existing file is replaced.

    Args:
        run: The instance.
        words: Names of quarantines, and paths of files or folders; none for everything.

    Raises:
        FietsupdateError: The release failed; nothing was changed.
    """
    with run.interruptible([]):
        run.check_hands()
        with run.locked("quarantine release"):
            inspection = settled(run, "quarantine release")
            there = _look(run.application)
            names = {one.name for one in there.quarantines}
            places = {placed(word, roots_of(run.application)): False for word in words if word not in names}
            chosen = [one for one in there.quarantines if places or not words or one.name in words]
            done = _released(run, inspection, chosen, set(words) & names, places)
    details = {"files": done.files, "bytes": done.bytes, "quarantines": [*done.names], "occupied": [*done.occupied]}
    run.emit(Event("finished", now(), details=details))
    return done


def _released(
    run: Run, inspection: Inspection, chosen: Sequence[Quarantine], whole: set[str], places: dict[Place, bool]
) -> ReleasedFiles:
    files = size = 0
    names: list[str] = []
    occupied: list[str] = []
    if not chosen:
        return ReleasedFiles(0, 0, (), ())
    with files_only(
        run.context(inspection.database), inspection.database, "fietsupdate quarantine release"
    ) as transaction:
        for one in chosen:
            _warn_of_absent(run, one)
            wanted = selector({} if one.name in whole else places)
            try:
                done = move_back(transaction.changes, one, wanted)
            except ValueError as error:
                raise _damaged(one, error) from error
            files, size = files + done.files, size + done.bytes
            names += [one.name] if done.files else []
            occupied += [place.shown for place in done.occupied]
        if lacking := [place.shown for place, was_found in places.items() if not was_found]:
            raise UsageError(f"Not in quarantine: {', '.join(lacking)}.", stands=UNCHANGED, hint=LIST)
    return ReleasedFiles(files, size, tuple(names), tuple(dict.fromkeys(occupied)))


def _warn_of_absent(run: Run, one: Quarantine) -> None:
    for root in one.absent:
        text = f"The part of the quarantine {one.name} in {root} is not there. Is it mounted, and named in extra_dirs?"
        run.emit(Event("warning", now(), text=text))


def purgeable(application: Application, older_than: timedelta | None, names: Sequence[str]) -> Purged:
    """Return what `purge` would delete; change nothing."""
    return Purged(tuple(map(_held, _chosen(_look(application), older_than, names))))


def purge(run: Run, older_than: timedelta | None, names: Sequence[str]) -> Purged:
    """Delete quarantines for good.

    Args:
        run: The instance.
        older_than: Delete quarantines of at least this age; ``None`` for the named ones only.
        names: Delete these; with `older_than`, only the old ones among them.

    Raises:
        FietsupdateError: The deletion failed; every quarantine that was not deleted is complete.
    """
    with run.interruptible([]):
        run.check_hands()
        with run.locked("quarantine purge"):
            store.sweep(roots_of(run.application))
            chosen = _chosen(_look(run.application), older_than, names)
            done = Purged(tuple(map(_held, chosen)))
            with run.signals.held():
                for one in chosen:
                    _delete(one)
    details = {"purged": [one.name for one in done.quarantines], "files": done.files, "bytes": done.bytes}
    run.emit(Event("finished", now(), details=details))
    return done


def age(text: str) -> timedelta:
    """Parse an age: ``30d``, ``12h``, ``90m``; weeks and seconds, too.

    Raises:
        UsageError: The text is no age.
    """
    found = _AGE.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"--older-than takes an age like 30d or 12h, not {text!r}.", hint="--older-than 30d")
    try:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError as error:
        raise UsageError(f"--older-than {text} is longer than time is counted.", hint="--older-than 30d") from error


def settled(run: Run, command: str) -> Inspection:
    """Settle an open transaction; refuse if an update is half done, or the halves do not fit each other.

    Raises:
        FietsupdateError: The obstacle.
    """
    inspection = run.settled_out_of_service(command)
    for problem in inspection.status(locked_by_us=True).problems:
        if problem.blocks or problem.code in {"interrupted", "transaction_doubt"}:
            raise RefusedError.because(problem)
    return inspection


def _look(application: Application) -> Look:
    roots = roots_of(application)
    for root in roots.values():
        check_home(root)
    return store.look(roots)


def _named(there: Look, name: str) -> Quarantine:
    for one in there.quarantines:
        if one.name == name:
            return one
    raise UsageError(f"There is no quarantine {name!r}.", stands=UNCHANGED, hint=LIST)


def _held(one: Quarantine, *, with_paths: bool = False) -> Held:
    roots: dict[str, int] = {}
    paths: list[str] = []
    size, damaged = 0, ""
    try:
        for place, file in store.held(one):
            roots[place.root] = roots.get(place.root, 0) + 1
            size += file.size if file.kind == "file" else 0
            if with_paths:
                paths.append(place.shown)
    except ValueError as error:
        damaged = str(error)
    origin = one.origin
    return Held(
        one.name,
        origin.created_at,
        origin.command,
        sum(roots.values()),
        size,
        roots,
        tuple(paths),
        one.absent,
        damaged,
    )


def _chosen(there: Look, older_than: timedelta | None, names: Sequence[str]) -> list[Quarantine]:
    chosen = [_named(there, name) for name in dict.fromkeys(names)] if names else [*there.quarantines]
    if older_than is None:
        return chosen if names else []
    try:
        before = datetime.now(UTC) - older_than
    except OverflowError:
        return []
    times = store.made_at(there)
    old = [one for one in chosen if _time(times[one.name]) <= before]
    return [one for one in old if names or not one.absent]  # a part that is not mounted would be left behind


def _time(text: str) -> datetime:
    """Parse a time of a manifest; a text that is no time counts as new."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def _delete(one: Quarantine) -> None:
    try:
        store.delete(one)
    except OSError as error:
        raise FilesError(
            f"The quarantine {one.name} could not be deleted whole: {error.strerror} ({error.filename}).",
            stands="What is left of it is deleted by the next purge; the others are whole.",
            hint="Mend the cause, then repeat the command.",
        ) from error


def _damaged(one: Quarantine, error: Exception) -> FilesError:
    folder = one.parts[""]
    return FilesError(
        f"The quarantine {one.name} cannot be read: {error}.",
        stands=UNCHANGED,
        hint=f"Its files lie under their paths in {folder / 'files'}: move back by hand what is wanted.",
    )
