"""The undo records of a transaction: data that says what is about to be done, and all that undoing it takes."""

from __future__ import annotations

import enum
import json
import os
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
"""Made once: `json.dumps` would make one for every record."""


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
    """REPLACE, REMOVE: where the old one goes."""
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
            return (os.path.dirname(self.path),)
        if self.do is Do.META or (self.do is Do.APPEND and self.size >= 0):
            return (self.path,)
        if self.do is Do.MOVE:  # nothing is left at its old name
            return os.path.dirname(self.path), self.other, os.path.dirname(self.other)
        return None

    def to_json(self) -> str:
        """Give the record as one line; it begins with ``{"do":``."""
        values: dict[str, Any] = {"do": self.do, "path": self.path}
        for name in ("root", "other", "draft", "vault"):
            if value := getattr(self, name):
                values[name] = value
        for name in ("was", "now"):
            if (look := getattr(self, name)) is not None:
                values[name] = look
        for name in ("meta", "after"):
            if (meta := getattr(self, name)) is not None:
                values[name] = meta.to_json()
        if self.size >= 0:
            values["size"] = self.size
        return _ENCODER.encode(values)

    @classmethod
    def from_json(cls, line: bytes) -> Record:
        """Read a record back.

        Raises:
            ValueError: the line is not a record.
        """
        try:
            values = json.loads(line)
            values["do"] = Do(values["do"])
            for name in values.keys() & {"was", "now"}:
                values[name] = Seen(*values[name])
            for name in values.keys() & {"meta", "after"}:
                values[name] = Meta(*values[name])
            return cls(**{"root": "", **values})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("not an undo record") from error
