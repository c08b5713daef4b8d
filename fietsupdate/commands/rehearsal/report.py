"""What a rehearsal found out, as one value that can be stored, shown, and compared with a plan."""

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
"""The format of the stored reports that this version writes; it reads no other."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """An update that was rehearsed."""

    update_id: str
    direction: str
    checksum: str
    """Of its script; with another script the figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one update took."""

    update_id: str
    direction: str
    duration_ms: int
    phases: Mapping[str, int]
    """Milliseconds by phase: ``pre``, ``alembic``, ``post``."""
    bytes_written: Mapping[str, int] = field(default_factory=dict)
    """By phase: bytes of content in the files that it made, changed or moved, as they were at its end."""
    inodes_written: Mapping[str, int] = field(default_factory=dict)
    """By phase: how many files and links that were; folders do not count."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file, folder or link that is not what it was."""

    how: str
    """``added``, ``changed`` or ``removed``."""
    path: str
    """Relative to its root; bytes that are not UTF-8 are surrogates."""
    kind: str = "file"
    """``file``, ``folder`` or ``link``."""
    size: int = 0
    """Bytes of a file's content: the new ones or, where it was removed, the old ones."""
    root: str = ""
    """Name of the further root; "" for the data directory."""


@dataclass(frozen=True, slots=True)
class FileCounts:
    """What became of the files."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    bytes_written: int = 0
    """Bytes of content in what was added or changed."""
    inodes_written: int = 0
    """Files, folders and links that were added or changed."""
    changes: tuple[FileChange, ...] = ()


@dataclass(frozen=True, slots=True)
class Database:
    """What became of the database; our own tables are left out."""

    rows_before: Mapping[str, int] = field(default_factory=dict)
    """By table."""
    rows_after: Mapping[str, int] = field(default_factory=dict)
    schema: str = ""
    """A unified diff of the definitions; "" where nothing is different."""
    bytes_before: int = 0
    """As the database counts them."""
    bytes_after: int = 0


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What reverting the updates left that was not so before them."""

    files: tuple[FileChange, ...] = ()
    """Times do not count."""
    times: int = 0
    """Files whose content came back, and whose time of change did not."""
    tables: tuple[str, ...] = ()
    """Tables with other rows."""
    schema: str = ""
    """A unified diff of the definitions."""
    down: tuple[Timing, ...] = ()
    left: tuple[str, ...] = ()
    """What stayed because the scripts say so, as they say it; it does not count as a difference."""
    not_left: tuple[str, ...] = ()
    """What the scripts say stays, and did not."""

    @property
    def restored(self) -> bool:
        """Whether everything was as before, but for what stays on purpose."""
        return not (self.files or self.tables or self.schema)


@dataclass(frozen=True, slots=True)
class RehearsalFailure:
    """Why a rehearsal did not come to its end, or was not right."""

    code: str
    message: str
    hint: str = ""
    update_id: str = ""
    phase: str = ""
    direction: str = ""
    trace: str = field(default="", compare=False, repr=False)
    """Where the error comes from, for ``--traceback``; never stored, as it may show rows."""


@dataclass(frozen=True, slots=True)
class Seclusion:
    """How the updates were kept from the real instance, and whether it is what it was."""

    read_only: bool = False
    """Whether the system itself kept the real files from being changed, by whatever means."""
    account: str = ""
    """The account of the server whose rights end at the clone; "" where the real user was used, and for SQLite."""
    gaps: tuple[str, ...] = ()
    """What could not be isolated here, in sentences."""
    compared: tuple[str, ...] = ()
    """What of the real instance was looked at before the updates and after them."""
    changed: tuple[str, ...] = ()
    """What of that is not what it was, whoever has changed it."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One rehearsal."""

    made_at: str
    """UTC, ISO 8601 with milliseconds and ``Z``."""
    tool_version: str
    current: tuple[str, ...]
    """The current updates of the instance."""
    result: tuple[str, ...]
    """Where the plan leads."""
    updates: tuple[Rehearsed, ...]
    duration_ms: int = 0
    """How long the plan ran on the clone."""
    clone_ms: int = 0
    """How long making the clone took; the real run needs none."""
    timings: tuple[Timing, ...] = ()
    files: FileCounts | None = None
    """``None`` where the rehearsal failed before its end."""
    database: Database | None = None
    peak_bytes: int = 0
    """The most space that was taken beside what the instance takes, saved bytes included."""
    verified: tuple[str, ...] = ()
    """Updates whose ``verify`` ran and found nothing wrong."""
    warnings: tuple[str, ...] = ()
    round_trip: RoundTrip | None = None
    """``None`` where nobody asked for it, or the rehearsal failed before."""
    failure: RehearsalFailure | None = None
    seclusion: Seclusion | None = None
    """``None`` in reports of earlier versions."""
    clone_left: str = ""
    """Where the clone is, and why; "" where it was removed."""
    format: int = FORMAT

    def is_for(self, plan: Plan) -> bool:
        """Return whether exactly these updates, with these scripts, were rehearsed from there."""
        return self.updates == rehearsed(plan) and self.current == plan.current

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON values."""
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
        """Read it back.

        Raises:
            ValueError: the text is no report, or one of another format.
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
    """What is known of a plan."""

    rehearsal: Rehearsal | None = None
    """The last one, if it was of exactly these updates."""
    estimates: Estimates | None = None
    """What the scripts expect; ``None`` where nobody asked them."""


def rehearsed(plan: Plan) -> tuple[Rehearsed, ...]:
    """Name the updates of a plan."""
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
"""Bytes that a report has at the most: it may name many files."""


LAST = "last.json"
"""The report of the last rehearsal, in the folder of all rehearsals."""


def last(data_dir: Path) -> Rehearsal | None:
    """Read the report of the last rehearsal; ``None`` where there is none that can be read."""
    from fietsupdate.commands.rehearsal import removal
    from fietsupdate.filesystem.posix.regular import read_bytes

    try:
        return Rehearsal.from_json(read_bytes(removal.folder_of(data_dir) / LAST, LARGEST).decode("ascii"))
    except (OSError, ValueError):
        return None


def store(folder: Path, report: Rehearsal) -> None:
    """Keep a report, in place of the one before.

    Args:
        folder: The rehearsal's own, which is swept whatever happens: a draft goes with it.
        report: What is kept.
    """
    from fietsupdate.filesystem.posix.durable import atomic_write, sync_path

    draft, place = folder / LAST, folder.parent / LAST
    atomic_write(draft, report.to_json().encode("ascii"), mode=0o600)
    os.replace(draft, place)
    sync_path(place.parent)


def rehearsed_bytes(data_dir: Path, step: Step) -> int:
    """Return how many bytes the last rehearsal of a step needed at most, with what ran beside it; 0 for none."""
    rehearsal = last(data_dir)
    names = {one.update_id for one in rehearsal.updates} if rehearsal is not None else set()
    return rehearsal.peak_bytes if rehearsal is not None and step.update.update_id in names else 0
