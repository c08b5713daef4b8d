"""The undo records of a transaction: data that says what is about to be done, and all that undoing it takes."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fietsupdate.filesystem.status import Meta, Seen


class Do(enum.StrEnum):
    """What is about to be done to a path."""

    FOLDER = "folder"
    """Something in this folder; noted once, for its time."""
    MOUNT = "mount"
    """Something on the file system that is mounted here; it must be mounted when this is undone."""
    CREATE = "create"
    """A draft takes a name that is free; without a draft, somebody else is about to create the file."""
    REPLACE = "replace"
    """A draft takes the name of a file, which goes to the vault."""
    REMOVE = "remove"
    """A file, symlink or whole folder goes to the vault."""
    MOVE = "move"
    """A file, symlink or whole folder takes another name that is free."""
    MKDIR = "mkdir"
    RMDIR = "rmdir"
    """An empty folder goes."""
    SYMLINK = "symlink"
    LINK = "link"
    """A file gets one more name."""
    OVERWRITE = "overwrite"
    """A file with several names is about to be changed in place; its content is copied to the vault."""
    META = "meta"
    """Mode, owner, time or attributes change."""
    APPEND = "append"
    """Something is added at the end of a file of ours."""
    MADE = "made"
    """Nothing is done; this is what a file looks like now that the transaction made or changed."""


_NAMELESS = frozenset({Do.FOLDER, Do.MOUNT, Do.MADE})
_CARRYING = frozenset({Do.MOVE, Do.REMOVE})
_DRAFTED = frozenset({Do.CREATE, Do.REPLACE})
_ENCODER = json.JSONEncoder(separators=(",", ":"))
"""Made once: `json.dumps` would make one every time."""


@dataclass(frozen=True, slots=True)
class Record:
    """One undo record. Paths are relative to the root that ``root`` names, canonical, without symlinks.

    A path outside of it is absolute.
    """

    do: Do
    root: str
    path: str
    other: str = ""
    """MOVE: the new name. SYMLINK: the text of the link. LINK: the name that it has already."""
    draft: str = ""
    """CREATE, REPLACE: where the new file was written. OVERWRITE: a file that reserves the space to write back."""
    vault: str = ""
    """REPLACE, REMOVE: where the old one goes. MOVE out of the root: where a second name of it is kept."""
    was: Seen | None = None
    """What is there before."""
    now: Seen | None = None
    """What will be there afterwards."""
    meta: Meta | None = None
    """META, RMDIR: what is to come back."""
    after: Meta | None = None
    """META, MKDIR: what it will be."""
    size: int = -1
    """APPEND: the length before; -1 for a file that is not there."""

    @property
    def is_alone(self) -> bool:
        """Whether whole trees change their names, so that nothing else may share its stretch between two syncs."""
        return self.was is not None and self.was.kind == "folder" and self.do in _CARRYING

    def names(self) -> tuple[str, ...]:
        """Give the names that it fills, frees or changes."""
        if self.do in _NAMELESS:
            return ()
        if self.do is Do.MOVE:
            return self.path, self.other
        return tuple(name for name in (self.path, self.vault, self.draft) if name)

    def unsynced(self) -> tuple[str, ...] | None:
        """Give the files and folders that are to be synced to make the change durable; ``None`` for all its names.

        A draft was synced before it is put in its place, and its old name, which is never used again, may come back.
        The vault is synced before the change.
        """
        if self.draft and self.do in _DRAFTED:
            return (folder_of(self.path),)
        if self.do is Do.META or (self.do is Do.APPEND and self.size >= 0):
            return (self.path,)
        if self.do is Do.MOVE:  # nothing is left at its old name
            return folder_of(self.path), self.other, folder_of(self.other)
        return None

    def to_values(self) -> dict[str, Any]:
        """Give the record as JSON values, without what is not set; ``do`` comes first."""
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
            ValueError: the line is not a record.
        """
        try:
            values = json.loads(line.decode())  # of bytes it would first guess the encoding
            values["do"] = Do(values["do"])
            for name in values.keys() & {"was", "now"}:
                values[name] = Seen(*values[name])
            for name in values.keys() & {"meta", "after"}:
                values[name] = Meta(*values[name])
            return cls(**{"root": "", **values})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("not an undo record") from error


def folder_of(path: str) -> str:
    """Give the folder of a canonical path, as os.path.dirname does, in a third of its time."""
    return path.rpartition("/")[0] or path[: path.startswith("/")]


def to_lines(records: Iterable[Record]) -> bytes:
    """Give records as lines, each of which begins with ``{"do":``.

    They are encoded as one list, which costs a third of encoding each. Nothing in a record looks like the border of
    two: quotation marks in a text are escaped, and no record holds two objects side by side.
    """
    text = _ENCODER.encode([record.to_values() for record in records])[1:-1]
    return text.replace('},{"do":', '}\n{"do":').encode() + b"\n" if text else b""
