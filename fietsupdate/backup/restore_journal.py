"""The journal of a restore: what is exchanged for what, and how far the restore has come.

It is written whole, atomically and durably, before each stage begins; so after a crash its stage is the one that may
have begun, and every stage can be repeated. From `Stage.DATABASE` on the restore can only go forward. Before that, and
at `Stage.DONE`, its leftovers are garbage.
"""

from __future__ import annotations

import enum
import json
import re
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fietsupdate.backup.swap import SwapUnit
from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.layout import HOME, is_name, restore_folder
from fietsupdate.filesystem.posix.durable import atomic_write, sync_path
from fietsupdate.filesystem.posix.metadata import Meta
from fietsupdate.filesystem.posix.regular import read_bytes
from fietsupdate.filesystem.posix.rename import erase
from fietsupdate.model.readback import built, parsed
from fietsupdate.views import OpenRestore

FORMAT = 1
LARGEST = 64 << 20
"""The most bytes of the journal: a few hundred for each mount point, and for each path that must stay."""
_TAG = re.compile("[0-9a-f]{8}")
NAME = "journal"
LEDGER = "ledger.jsonl"
"""The future ledger of the data directory."""


class Stage(enum.StrEnum):
    """How far a restore has come: the stage that has begun, or is about to."""

    STAGING = "staging"
    """Everything is copied beside the live places; nothing live was touched."""
    DATABASE = "database"
    """The databases are exchanged."""
    OUT = "out"
    """The live files are moved away."""
    IN = "in"
    """The restored files are moved to their places."""
    PLAYBACK = "playback"
    """In place of the last two: the file changes of a transaction are undone."""
    LEDGER = "ledger"
    """Leftovers of transactions are removed, and the data directory gets its ledger."""
    DONE = "done"
    """Both halves are restored; what was live before is deleted."""


@dataclass(frozen=True, slots=True)
class RestoreJournal:
    """The content of a restore's journal."""

    backup: str
    """Name of the backup."""
    tag: str
    """Names everything that belongs to this restore."""
    stage: Stage
    began_at: str
    database: str
    """The URL of the database, with the password masked."""
    txn: str = ""
    """The transaction that is played back, where the backup contains the database's dump only."""
    units: tuple[SwapUnit, ...] = ()
    has_ledger: bool = False
    """Whether the data directory will have a ledger."""

    @property
    def is_past_return(self) -> bool:
        """Whether live data may have been touched, and not everything is in its place."""
        return self.stage not in {Stage.STAGING, Stage.DONE}

    def at(self, stage: Stage) -> RestoreJournal:
        """Return the journal with another stage."""
        return replace(self, stage=stage)

    def of_root(self, name: str) -> tuple[SwapUnit, ...]:
        """Return the units of one root."""
        return tuple(unit for unit in self.units if unit.root == name)


def write(data_dir: Path, restoration: RestoreJournal) -> None:
    """Write the journal, durably.

    Raises:
        FilesError: It could not be made durable.
        OSError: It could not be written; the previous stage remains.
    """
    body = json.dumps({"format": FORMAT, **asdict(restoration)}, sort_keys=True)
    text = f"{body}\n{zlib.crc32(body.encode()):08x}\n"
    atomic_write(restore_folder(data_dir) / NAME, text.encode(), mode=0o600)


def read(data_dir: Path) -> RestoreJournal | None:
    """Read the journal; return None where there is none.

    Raises:
        FilesError: It is damaged, or of a format that this version does not know.
    """
    path = restore_folder(data_dir) / NAME
    try:
        body, check = read_bytes(path, LARGEST).decode().splitlines()
        if int(check, 16) != zlib.crc32(body.encode()):
            raise ValueError("the checksum differs")
        values = parsed(body)
        if values.pop("format") != FORMAT:
            raise ValueError("it is of another version of fietsupdate")
        return _parse(values)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FilesError(
            f"A restore was interrupted, and its journal {path} cannot be read ({error}).",
            stands=UNCHANGED,
            hint=f"Look into {path.parent}: what was live before the restore is in its folder 'old'.",
        ) from error


def open_restore(data_dir: Path) -> OpenRestore | None:
    """Return the interrupted restore, for a view."""
    try:
        journal = read(data_dir)
    except FilesError as error:
        return OpenRestore("", "", "", damaged=error.message)
    if journal is None:
        return None
    return OpenRestore(journal.backup, journal.began_at, journal.database, journal.is_past_return)


def remove(data_dir: Path) -> None:
    """Remove the journal and its folder, because the restore is over."""
    folder = restore_folder(data_dir)
    (folder / NAME).unlink(missing_ok=True)
    sync_path(folder)
    erase(str(folder))


def _parse(values: dict[str, Any]) -> RestoreJournal:
    units = tuple(_unit(unit) for unit in values["units"])
    journal = built(RestoreJournal, {**values, "stage": Stage(values["stage"]), "units": units})
    if not _TAG.fullmatch(journal.tag):
        raise ValueError(f"it has the tag {journal.tag!r}")
    return journal


def _unit(values: dict[str, Any]) -> SwapUnit:
    meta = values["meta"]
    closed = tuple((str(name), int(mode)) for name, mode in values.get("closed", ()))
    given = {"stays": tuple(values["stays"]), "meta": built(Meta, meta) if meta else None, "closed": closed}
    unit = built(SwapUnit, {**values, **given})
    names = [*unit.stays, *(name for name, _ in closed)]
    names += [part for path in (unit.path, unit.top) if path for part in path.split("/")]
    if not all(isinstance(name, str) and is_name(name) for name in names):
        raise ValueError(f"it names {unit.path!r} and {unit.stays!r}, which are not in a root")
    if HOME in {*unit.path.split("/"), *unit.top.split("/")}:
        raise ValueError(f"it names {unit.path!r}, which is in {HOME}")
    if unit.top and not f"{unit.path}/".startswith(f"{unit.top}/"):
        raise ValueError(f"it names {unit.top!r} as a file system that holds {unit.path!r}")
    return unit
