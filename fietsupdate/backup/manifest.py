"""The values of a backup: its manifest, and the record of each file in it.

A manifest is written last. A folder without one, or with an unreadable one, is no backup.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fietsupdate.model.readback import built, parsed

FORMAT = 1
"""The format of the manifests that this version writes; it cannot read a newer one."""

PARTIAL = ".partial-"
"""The prefix of folders that are not yet, or no longer, backups."""
MANIFEST = "manifest.json"
LISTING = "files.jsonl"
LEDGER = "ledger.jsonl"
FILES = "files"
DIRS = "dirs"
DUMP = "database.dump"
"""The names in a backup's folder: the tree of the data directory, and below ``dirs`` those of the further roots."""


class Scope(enum.StrEnum):
    """The content of a backup."""

    FULL = "full"
    """Both halves."""
    DATABASE = "database"
    """The database's dump only; the other half is the vault of the transaction before which it was made."""


class Reason(enum.StrEnum):
    """Why a backup was made."""

    MANUAL = "manual"
    UPDATE = "update"
    AS_IS = "as_is"
    """To keep halves that do not fit together; restored only if it is named explicitly."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of the backup itself."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal."""


@dataclass(frozen=True, slots=True)
class FileAttributes:
    """The metadata of a file."""

    mode: int
    """Permission bits."""
    uid: int
    gid: int
    xattrs: Mapping[str, str]
    """Extended attributes, in base64."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a backup."""

    name: str
    scope: Scope
    reason: Reason
    created_at: str
    """UTC, ISO 8601 with milliseconds and ``Z``: the moment of the dump."""
    instance_id: str
    """"" for an instance that had no ledger yet."""
    tip_seq: int
    """Sequence number of the ledger's last entry; 0 for none."""
    tip_hash: str
    """`fietsupdate.model.fingerprint` of the ledger."""
    current: tuple[str, ...]
    """The current updates."""
    alembic: tuple[str, ...]
    """The heads in Alembic's version table."""
    app_version: str
    """The version of the application that the data belongs to; "" where none was recorded."""
    tool_version: str
    dialect: str
    data_dir: str
    dump: Stored
    txn: str = ""
    """The transaction before which it was made; "" for none."""
    listing: Stored | None = None
    """The list of the files, one `FileRecord` a line; None where only the database was copied."""
    files: int = 0
    """How many files, folders and links were copied."""
    bytes: int = 0
    """The bytes of content that were copied."""
    extra_dirs: tuple[str, ...] = ()
    """Names of the further roots that were copied, too."""
    version_file: str = ""
    """The VERSION file, relative to the data directory; "" for none."""
    database_file: FileAttributes | None = None
    """The attributes of the database's file; None on a server."""
    serial: int = 0
    """Higher than those of all earlier backups in the same folders; 0 in backups of versions without serials."""
    version_table: str = ""
    """Alembic's version table, from whose name that of the ledger's table is derived; "" where it was not recorded."""
    schema: str = ""
    """The schema of the ledger; "" for the default one, or where it was not recorded."""
    settings: tuple[tuple[str, ...], ...] | None = None
    """The properties of the database itself, which are not in its dump; None where they were not recorded."""
    cautions: tuple[str, ...] = ()
    """What the backup does not contain, and what the user who made it could not restore."""
    to_version: str = ""
    """The version of the application that was installed, for a backup before a change to this version; "" otherwise."""
    half_way_to: str = ""
    """The version that had changed the data already, and had not completed the change; "" for none."""
    format: int = FORMAT

    @property
    def order(self) -> tuple[int, str, str]:
        """The sort key of backups, older ones first: a clock can be set back, and names are no order."""
        return self.serial, self.created_at, self.name

    @property
    def versions(self) -> str:
        """The application's version that the data belongs to, and the one that it was about to change to.

        "" if unknown.
        """
        half_way = f", half way to {self.half_way_to}" if self.half_way_to else ""
        to = f" to {self.to_version}" if self.to_version not in {"", self.half_way_to} else ""
        return f"{self.app_version}{half_way}{to}" if self.app_version else ""

    @property
    def is_pair(self) -> bool:
        """Whether it holds both halves of one moment, so that it can be restored alone."""
        return self.scope is Scope.FULL and self.reason is not Reason.AS_IS

    def to_json(self) -> str:
        """Return the text of ``manifest.json``."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest back.

        Raises:
            ValueError: The text is no manifest, has a newer format, or names parts that are not in the backup.
        """
        try:
            values: dict[str, Any] = parsed(text)
            if values["format"] != FORMAT:
                raise ValueError(f"a manifest of format {values['format']}, which this version does not know")
            listing, file = values["listing"], values.get("database_file")
            manifest = built(
                cls,
                {
                    **values,
                    "scope": Scope(values["scope"]),
                    "reason": Reason(values["reason"]),
                    "dump": built(Stored, values["dump"]),
                    "listing": built(Stored, listing) if listing else None,
                    "database_file": built(FileAttributes, file) if file else None,
                    **{name: _texts(values[name]) for name in ("current", "alembic", "extra_dirs")},
                    "cautions": _texts(values.get("cautions", [])),
                    "settings": None if (known := values.get("settings")) is None else tuple(map(_texts, known)),
                },
            )
            manifest.refuse_elsewhere()
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("not a backup's manifest") from error
        return manifest

    def refuse_elsewhere(self) -> None:
        """Check that all names are those of parts of the backup, so that no file outside its folder is read.

        Raises:
            ValueError: Names the first other part.
        """
        own = {self.dump.name: DUMP, **({self.listing.name: LISTING} if self.listing else {})}
        strange = [name for name, known in own.items() if name != known]
        strange += [name for name in self.extra_dirs if "/" in name or name in {"", ".", ".."}]
        if strange:
            raise ValueError(f"its manifest names {strange[0]!r}, which is no part of a backup")


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r} is no list of texts")
    return tuple(values)


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete backup on disk."""

    path: Path
    manifest: Manifest

    @property
    def size(self) -> int:
        """Bytes of content that it holds, including the dump's."""
        listing = self.manifest.listing
        return self.manifest.bytes + self.manifest.dump.size + (listing.size if listing else 0)

    @property
    def name(self) -> str:
        """The name of the backup for ``fietsupdate restore``."""
        return self.path.name

    @property
    def dump(self) -> Path:
        """The database's dump."""
        return self.path / self.manifest.dump.name

    @property
    def files(self) -> Path:
        """The copy of the data directory."""
        return self.path / FILES

    @property
    def listing(self) -> Path:
        """The list of its files."""
        return self.path / LISTING

    @property
    def ledger(self) -> Path:
        """The copy of the data directory's ledger; missing where the data directory had none."""
        return self.path / LEDGER

    def tree(self, root: str) -> Path:
        """Return the copy of a further root; "" is the data directory."""
        return self.path / DIRS / root if root else self.files


@dataclass(frozen=True, slots=True)
class Shelf:
    """The content of a folder of backups at one moment."""

    folder: Path
    backups: tuple[Backup, ...]
    """The complete backups, newest first; see `Manifest.order`."""
    broken: Mapping[str, str]
    """Names of folders that do not count as backups, each with the reason."""
    damaged: tuple[Backup, ...] = ()
    """Those among them whose manifests can be read."""
    spent: frozenset[str] = frozenset()
    """Names of dumps whose other half, the vault of one update, is known to be deleted: they cannot be restored."""

    def passed_over(self, backup: Backup | None) -> dict[str, str]:
        """Return the damaged backups of both halves that may be newer than this one, each with the reason.

        A backup whose manifest cannot be read is dated by its name, which begins with a time.
        """
        dated = {one.name: one for one in self.damaged}
        return {
            name: reason
            for name, reason in sorted(self.broken.items(), reverse=True)
            if not name.startswith(PARTIAL) and (backup is None or _is_newer(name, dated.get(name), backup))
        }


def _is_newer(name: str, damaged: Backup | None, than: Backup) -> bool:
    if damaged is None:
        return name > than.name
    return damaged.manifest.scope is Scope.FULL and damaged.manifest.order > than.manifest.order
