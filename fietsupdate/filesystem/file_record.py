"""One file as it was copied: a line of JSON in the list of a backup's files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from fietsupdate.model.readback import parsed

_TYPES = [str, str, str, int, str, int, int, int, int, dict, str]
"""The JSON types of the fields of a `FileRecord` that are always present."""


_quoted = json.encoder.encode_basestring_ascii
"""How `json.dumps` quotes a text; a whole call of `json.dumps` takes longer than copying a small file."""


class FileRecord(NamedTuple):
    """One file, folder or link as it was copied."""

    root: str
    """Name of the further root; "" for the data directory."""
    path: str
    """Relative to the root, "" for the root itself; bytes that are not UTF-8 are surrogates (``os.fsdecode``)."""
    kind: str
    """``file``, ``folder``, ``link`` or ``hardlink``."""
    size: int = 0
    """Bytes of a file's content; 0 for everything else."""
    sha256: str = ""
    """SHA-256 of a file's content, hexadecimal."""
    mode: int = 0
    """Permission bits."""
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    xattrs: Mapping[str, str] = {}
    """Extended attributes, in base64."""
    target: str = ""
    """Text of a symlink; for a hard link, the path of the copied file that it is another name of."""
    target_root: str | None = None
    """The root of that path, where it is another root than the link's."""

    @property
    def linked_root(self) -> str:
        """The root of the file that a hard link is another name of."""
        return self.root if self.target_root is None else self.target_root

    def to_json(self) -> str:
        """Return one line of the list: ASCII, whatever the name is."""
        text, xattrs = _quoted, json.dumps(dict(self.xattrs)) if self.xattrs else "{}"
        more = "" if self.target_root is None else f", {text(self.target_root)}"
        return (
            f"[{text(self.root)}, {text(self.path)}, {text(self.kind)}, {self.size}, {text(self.sha256)}, {self.mode}, "
            f"{self.uid}, {self.gid}, {self.mtime_ns}, {xattrs}, {text(self.target)}{more}]"
        )

    @classmethod
    def from_json(cls, text: str) -> FileRecord:
        """Read a line of the list.

        Raises:
            ValueError: The line is no file record.
        """
        try:
            record = cls(*parsed(text))
            if [type(value) for value in record[: len(_TYPES)]] != _TYPES or not isinstance(record.linked_root, str):
                raise TypeError("a field of another type")
        except TypeError as error:
            raise ValueError(f"not a file of a backup: {text!r}") from error
        return record

    def is_inside(self) -> bool:
        """Return whether all its paths stay in the root: none is absolute, contains ``..`` or is cut off by a NUL."""
        paths = (self.path, self.target) if self.kind == "hardlink" else (self.path,)
        return not any(path.startswith("/") or "\0" in path or ".." in path.split("/") for path in paths)
