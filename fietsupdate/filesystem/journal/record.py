"""The undo records of a transaction: each holds a change that is about to be made, and all data needed to undo it."""

from __future__ import annotations

import enum
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from fietsupdate.filesystem.layout import HOME, LEDGER, QUARANTINE
from fietsupdate.filesystem.posix.metadata import Meta, Seen
from fietsupdate.model.readback import built, parsed


class Do(enum.StrEnum):
    """The kind of a change to a path."""

    FOLDER = "folder"
    """Something in this folder changes; recorded once, for the folder's time."""
    MOUNT = "mount"
    """Something changes on the file system that is mounted here; it must be mounted when this is undone."""
    CREATE = "create"
    """A draft is given a free name; without a draft, other code is about to create the file."""
    REPLACE = "replace"
    """A draft is given the name of a file, which moves to the vault."""
    REMOVE = "remove"
    """A file, symlink or whole folder moves to the vault."""
    MOVE = "move"
    """A file, symlink or whole folder is given another name that is free."""
    MKDIR = "mkdir"
    RMDIR = "rmdir"
    """An empty folder is removed."""
    SYMLINK = "symlink"
    LINK = "link"
    """A file gets one more name."""
    OVERWRITE = "overwrite"
    """A file with several names is about to be changed in place; its content is copied to the vault."""
    META = "meta"
    """Mode, owner, time or attributes change."""
    APPEND = "append"
    """Data is appended to a file of ours."""
    MADE = "made"
    """No change; records the current attributes of a file that the transaction made or changed."""


_NAMELESS = frozenset({Do.FOLDER, Do.MOUNT, Do.MADE})
_CARRYING = frozenset({Do.MOVE, Do.REMOVE})
_DRAFTED = frozenset({Do.CREATE, Do.REPLACE})
_OF_ROOTS = frozenset({Do.FOLDER, Do.META})
"""Changes that may apply to a root itself, too."""
_NO_PARTS = frozenset({"", ".", ".."})
_NUMBER = re.compile("[0-9a-f]{1,16}")
_META = tuple(field.name for field in fields(Meta))
_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""Created once: `json.dumps` would create one for every call."""


@dataclass(frozen=True, slots=True)
class Record:
    """One undo record. Paths are relative to the root that ``root`` names, canonical, without symlinks.

    A path outside of the root is absolute.
    """

    do: Do
    root: str
    path: str
    other: str = ""
    """MOVE: the new name. SYMLINK: the text of the link. LINK: the name that the file has already."""
    draft: str = ""
    """CREATE, REPLACE: where the new file was written. OVERWRITE: a file that reserves the space to write back."""
    vault: str = ""
    """REPLACE, REMOVE: where the old file goes. MOVE out of the root: where a second name of the file is kept."""
    was: Seen | None = None
    """The attributes before the change."""
    now: Seen | None = None
    """The attributes after the change."""
    meta: Meta | None = None
    """META, RMDIR: the metadata to restore."""
    after: Meta | None = None
    """META, MKDIR: the metadata after the change."""
    size: int = -1
    """APPEND: the length before; -1 for a file that does not exist."""

    @property
    def is_alone(self) -> bool:
        """Whether a whole tree changes its name, so that no other change may happen between the same two syncs."""
        return self.was is not None and self.was.kind == "folder" and self.do in _CARRYING

    def names(self) -> tuple[str, ...]:
        """Return the names that the change fills, frees or changes."""
        if self.do in _NAMELESS:
            return ()
        if self.do is Do.MOVE:
            return self.path, self.other
        return tuple(name for name in (self.path, self.vault, self.draft) if name)

    def unsynced(self) -> tuple[str, ...] | None:
        """Return the files and folders to sync to make the change durable; ``None`` for all its names.

        A draft was synced before it is put in its place, and its old name, which is never used again, may reappear. The
        vault is synced before the change.
        """
        if self.draft and self.do in _DRAFTED:
            return (folder_of(self.path),)
        if self.do is Do.META or (self.do is Do.APPEND and self.size >= 0):
            return (self.path,)
        if self.do is Do.MOVE:  # nothing is left at the old name
            return folder_of(self.path), self.other, folder_of(self.other)
        return None

    def to_values(self) -> dict[str, Any]:
        """Return the record as JSON values, without unset fields; ``do`` comes first."""
        values: dict[str, Any] = {"do": self.do, "path": self.path}
        if self.root:
            values["root"] = self.root
        if self.other:
            values["other"] = self.other
        if self.draft:
            values["draft"] = self.draft
        if self.vault:
            values["vault"] = self.vault
        if self.was is not None:
            values["was"] = self.was
        if self.now is not None:
            values["now"] = self.now
        if self.meta is not None:
            values["meta"] = self.meta.to_json()
        if self.after is not None:
            values["after"] = self.after.to_json()
        if self.size >= 0:
            values["size"] = self.size
        return values

    @classmethod
    def from_json(cls, line: bytes) -> Record:
        """Read a record back.

        Raises:
            ValueError: The line is not a record.
        """
        try:
            values = parsed(line.decode())  # from bytes, the parser would first guess the encoding
            values["do"] = Do(values["do"])
            for name in values.keys() & {"was", "now"}:
                values[name] = _seen(values[name])
            for name in values.keys() & {"meta", "after"}:
                values[name] = built(Meta, dict(zip(_META, values[name], strict=True)))
            return built(cls, {"root": "", **values})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("not an undo record") from error

    def check_paths(self, txn: str) -> None:
        """Check that all paths are where a transaction may have paths; the record may be forged (invariant 12).

        Only a move may have one end outside of its root: the file was brought in, or carried out. It is followed with
        the rights of the journal's owner, see `fietsupdate.filesystem.posix.identity`.

        Args:
            txn: The transaction's UUID; its drafts and its vault are named by it.

        Raises:
            ValueError: A path lies elsewhere; names the path.
        """
        ends = [self.path, self.other] if self.do is Do.MOVE else [self.path]
        outside = [path for path in ends if path.startswith("/")]
        if self.do is not Do.MOVE or len(outside) > 1:
            _refuse(outside)
        _refuse(path for path in outside if os.path.normpath(path) != path or "\0" in path)
        inside = [path for path in ends if path not in outside]
        if self.do is Do.APPEND:
            _refuse(path for path in inside if path != f"{HOME}/{LEDGER}")
        elif self.path or self.do not in _OF_ROOTS:
            _refuse(path for path in inside if not (_is_below(path) or (self.do is Do.FOLDER and path == HOME)))
        for path, kind in ((self.draft, "drafts"), (self.vault, "vault")):
            if path:
                check_own(path, f"{HOME}/txn/{txn}/{kind}/")


def joined(folder: str, name: str) -> str:
    """Return the path of a name in a folder; "" is the root."""
    return f"{folder}/{name}" if folder else name


def check_below(path: str) -> None:
    """Refuse a path that is not below its root, or is in our own folder.

    Raises:
        ValueError: The path lies elsewhere; names the path.
    """
    if not _is_below(path):
        _refuse([path])


def _refuse(paths: Iterable[str]) -> None:
    for path in paths:
        raise ValueError(f"it names {path!r}, where no update changes anything")


def _is_below(path: str) -> bool:
    parts = path.split("/")
    if parts[0] == HOME and parts[1:2] == [QUARANTINE]:
        parts = parts[2:]
    return HOME not in parts and "\0" not in path and not _NO_PARTS & set(parts)


def check_own(path: str, folder: str) -> None:
    """Refuse a draft or vault name that is not in the transaction's own folder, in its root or in a mount.

    Raises:
        ValueError: The path lies elsewhere; names the path.
    """
    before, own, name = path.rpartition(folder)
    if not own or _NUMBER.fullmatch(name) is None or (before and not (before[-1] == "/" and _is_below(before[:-1]))):
        _refuse([path])


def _seen(values: Sequence[Any]) -> Seen:
    kind, *numbers = values
    if not isinstance(kind, str) or len(numbers) != len(Seen._fields) - 1 or {type(one) for one in numbers} != {int}:
        raise ValueError(f"{values!r} is no look at a file")
    return Seen(kind, *numbers)


def folder_of(path: str) -> str:
    """Return the folder of a canonical path, as os.path.dirname does, in a third of its time."""
    return path.rpartition("/")[0] or path[: path.startswith("/")]


class JournalLine(Protocol):
    """What a line of the journal holds: a record, or the columns of many."""

    def to_values(self) -> dict[str, Any]:
        """Return it as JSON values; ``do`` comes first."""


def to_lines(records: Iterable[JournalLine]) -> bytes:
    """Return records as lines, each of which begins with ``{"do":``.

    They are encoded as one list, which costs a third of encoding each. The text between two records cannot occur inside
    of one: quotation marks in a text are escaped, and no record holds two objects side by side.
    """
    text = _ENCODER.encode([record.to_values() for record in records])[1:-1]
    return text.replace('},{"do":', '}\n{"do":').encode() + b"\n" if text else b""
