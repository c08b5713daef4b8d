"""The result of a rehearsal, as one value that can be stored, shown, and compared with a plan."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fietsupdate.model import Plan, Step
from fietsupdate.model.readback import parsed

if TYPE_CHECKING:
    from fietsupdate.engine.estimates import Estimates

FORMAT = 1
"""The format of the stored reports that this version writes; other formats are not read."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """An update that was rehearsed."""

    update_id: str
    direction: str
    checksum: str
    """The checksum of its script; with another script the figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The duration of one update."""

    update_id: str
    direction: str
    duration_ms: int
    phases: Mapping[str, int]
    """Milliseconds by phase: ``pre``, ``alembic``, ``post``."""
    bytes_written: Mapping[str, int] = field(default_factory=dict)
    """By phase: bytes of content of the files that the phase made, changed or moved, as they were at its end."""
    inodes_written: Mapping[str, int] = field(default_factory=dict)
    """By phase: the number of those files and links; folders are not counted."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file, folder or link that has changed."""

    how: str
    """``added``, ``changed`` or ``removed``."""
    path: str
    """Relative to its root; bytes that are not UTF-8 are surrogates."""
    kind: str = "file"
    """``file``, ``folder`` or ``link``."""
    size: int = 0
    """The bytes of a file's content: the new ones or, if the file was removed, the old ones."""
    root: str = ""
    """Name of the further root; "" for the data directory."""


@dataclass(frozen=True, slots=True)
class FileCounts:
    """The changes of the files."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    bytes_written: int = 0
    """The bytes of content in added and changed files."""
    inodes_written: int = 0
    """The number of added and changed files, folders and links."""
    changes: tuple[FileChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Database:
    """The changes of the database; our own tables are left out."""

    rows_before: Mapping[str, int] = field(default_factory=dict)
    """By table."""
    rows_after: Mapping[str, int] = field(default_factory=dict)
    schema: str = ""
    """A unified diff of the definitions; "" if they are equal."""
    bytes_before: int = 0
    """As the database counts them."""
    bytes_after: int = 0


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """The differences that reverting the updates left."""

    files: tuple[FileChange, ...] = ()
    """The changed files; times do not count."""
    times: int = 0
    """The number of files whose content was restored, but not their time of change."""
    tables: tuple[str, ...] = ()
    """Tables with other rows."""
    schema: str = ""
    """A unified diff of the definitions."""
    down: tuple[Timing, ...] = ()
    left: tuple[str, ...] = ()
    """What stayed because the scripts declare it, in the words of the declaration; it is no difference."""
    not_left: tuple[str, ...] = ()
    """What the scripts declare to stay, but did not."""

    @property
    def restored(self) -> bool:
        """Whether everything was as before, except for what stays on purpose."""
        return not (self.files or self.tables or self.schema)


@dataclass(frozen=True, slots=True)
class RehearsalFailure:
    """Why a rehearsal ended early, or found a fault."""

    code: str
    message: str
    hint: str = ""
    update_id: str = ""
    phase: str = ""
    direction: str = ""
    trace: str = field(default="", compare=False, repr=False)
    """The traceback, for ``--traceback``; never stored, as it may contain rows."""


@dataclass(frozen=True, slots=True)
class Seclusion:
    """How the updates were kept from the real instance, and whether the real instance is unchanged."""

    read_only: bool = False
    """Whether the system itself kept the real files from being changed by any means."""
    account: str = ""
    """The account of the server whose rights end at the clone; "" if the real user was used, and for SQLite."""
    gaps: tuple[str, ...] = ()
    """What could not be isolated here, in sentences."""
    compared: tuple[str, ...] = ()
    """The parts of the real instance that were compared before and after the updates."""
    changed: tuple[str, ...] = ()
    """The parts that have changed, whichever program has changed them."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One rehearsal."""

    made_at: str
    """UTC, ISO 8601 with milliseconds and ``Z``."""
    tool_version: str
    current: tuple[str, ...]
    """The current updates of the instance."""
    result: tuple[str, ...]
    """The updates that will be current after the plan."""
    updates: tuple[Rehearsed, ...]
    duration_ms: int = 0
    """The duration of the plan on the clone."""
    clone_ms: int = 0
    """The time for making the clone; the real run needs none."""
    timings: tuple[Timing, ...] = ()
    files: FileCounts | None = None
    """``None`` if the rehearsal failed before its end."""
    database: Database | None = None
    peak_bytes: int = 0
    """The most space that was taken in addition to the instance, including saved bytes."""
    verified: tuple[str, ...] = ()
    """The updates whose ``verify`` ran and found no fault."""
    warnings: tuple[str, ...] = ()
    round_trip: RoundTrip | None = None
    """``None`` if no round trip was requested, or the rehearsal failed before it."""
    failure: RehearsalFailure | None = None
    seclusion: Seclusion | None = None
    """``None`` in reports of earlier versions."""
    clone_left: str = ""
    """The path of the clone and the reason why it was not removed; "" if it was."""
    format: int = FORMAT

    def is_for(self, plan: Plan) -> bool:
        """Return whether exactly these updates, with these scripts, were rehearsed from the same position."""
        return self.updates == rehearsed(plan) and self.current == plan.current

    def to_document(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        document = asdict(self)
        if self.round_trip is not None:
            document["round_trip"]["restored"] = self.round_trip.restored
        if self.failure is not None:
            del document["failure"]["trace"]
        return document

    def to_json(self) -> str:
        """Return the text that is stored: ASCII, whatever the names are."""
        return json.dumps(self.to_document(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Rehearsal:
        """Parse a stored report.

        Raises:
            ValueError: The text is no report, or has another format.
        """
        try:
            values: dict[str, Any] = parsed(text)
            if values["format"] != FORMAT:
                raise ValueError(f"a report of format {values['format']}")
            return cls(**{**values, **_read(values)})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("not the report of a rehearsal") from error


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known about a plan."""

    rehearsal: Rehearsal | None = None
    """The last rehearsal, if it was of exactly these updates."""
    estimates: Estimates | None = None
    """The estimates of the scripts; ``None`` if they were not asked."""


def rehearsed(plan: Plan) -> tuple[Rehearsed, ...]:
    """Return the updates of a plan."""
    return tuple(Rehearsed(step.update.update_id, str(step.direction), step.update.checksum) for step in plan.steps)


def _read(values: Mapping[str, Any]) -> dict[str, Any]:
    trip, files = values["round_trip"], values["files"]
    return {
        **{name: tuple(values[name]) for name in ("current", "result", "verified", "warnings")},
        "updates": tuple(Rehearsed(**one) for one in values["updates"]),
        "timings": _timings(values["timings"]),
        "files": FileCounts(**{**files, "changes": _changes(files["changes"])}) if files else None,
        "database": Database(**values["database"]) if values["database"] else None,
        "failure": RehearsalFailure(**values["failure"]) if values["failure"] else None,
        "round_trip": _round_trip(trip) if trip else None,
        "seclusion": _seclusion(values.get("seclusion")),
    }


def _seclusion(values: Mapping[str, Any] | None) -> Seclusion | None:
    if values is None:
        return None
    lists = {name: tuple(values[name]) for name in ("gaps", "compared", "changed")}
    return Seclusion(**{**values, **lists})


def _round_trip(values: Mapping[str, Any]) -> RoundTrip:
    return RoundTrip(
        files=_changes(values["files"]),
        times=values["times"],
        tables=tuple(values["tables"]),
        schema=values["schema"],
        down=_timings(values["down"]),
        left=tuple(values.get("left", ())),
        not_left=tuple(values.get("not_left", ())),
    )


def _changes(values: Any) -> tuple[FileChange, ...]:
    return tuple(FileChange(**one) for one in values)


def _timings(values: Any) -> tuple[Timing, ...]:
    return tuple(Timing(**one) for one in values)


LARGEST = 64 << 20
"""The most bytes of a report: it may name many files."""


LAST = "last.json"
"""The report of the last rehearsal, in the folder of all rehearsals."""


def last(data_dir: Path) -> Rehearsal | None:
    """Return the report of the last rehearsal; ``None`` if no report can be read."""
    from fietsupdate.commands.rehearsal import removal
    from fietsupdate.filesystem.posix.regular import read_bytes

    try:
        return Rehearsal.from_json(read_bytes(removal.folder_of(data_dir) / LAST, LARGEST).decode("ascii"))
    except (OSError, ValueError):
        return None


def store(folder: Path, report: Rehearsal) -> None:
    """Store a report in place of the last one.

    Args:
        folder: The rehearsal's own, which is removed in any case: an unfinished draft is removed with it.
        report: The report.
    """
    from fietsupdate.filesystem.posix.durable import atomic_write, sync_path

    draft, place = folder / LAST, folder.parent / LAST
    atomic_write(draft, report.to_json().encode("ascii"), mode=0o600)
    os.replace(draft, place)
    sync_path(place.parent)


def rehearsed_bytes(data_dir: Path, step: Step) -> int:
    """Return the most bytes that the last rehearsal of a step needed, including the steps that ran with it.

    0 for none.
    """
    rehearsal = last(data_dir)
    names = {one.update_id for one in rehearsal.updates} if rehearsal is not None else set()
    return rehearsal.peak_bytes if rehearsal is not None and step.update.update_id in names else 0
