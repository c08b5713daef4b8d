"""The content of one quarantine in one root: its manifest, JSON lines.

The first line identifies the quarantine. Then comes a line for each file, and one for each folder that lost an entry,
with its former attributes. The last line counts both: a manifest without it is not complete.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from fietsupdate.filesystem.layout import HOME, is_name
from fietsupdate.filesystem.posix.metadata import Meta
from fietsupdate.filesystem.posix.regular import opened
from fietsupdate.model.readback import built, parsed

FORMAT = 1
NAME = "manifest.jsonl"
FILES = "files"
"""The folder that contains the files under their paths."""
LONGEST = 1 << 22
"""The most bytes of a line; a folder with all its attributes takes less."""
BUFFER = 1 << 16


@dataclass(frozen=True, slots=True)
class QuarantineOrigin:
    """The identity of the quarantine that a manifest belongs to."""

    name: str
    created_at: str
    """UTC, ISO 8601 with milliseconds and ``Z``."""
    serial: int
    """A number higher than those of all earlier quarantines: a clock can be set back."""
    instance_id: str
    root: str
    """The name of the further root; "" for the data directory."""
    roots: tuple[str, ...]
    """All roots with a part of the quarantine; the data directory is always one of them."""
    command: str
    """The command that put the files there."""


class HeldFile(NamedTuple):
    """A file, symlink or other entry that was put into quarantine."""

    path: str
    """Relative to its root; bytes that are not UTF-8 are surrogates (``os.fsdecode``)."""
    kind: str
    """``file``, ``link`` or ``other``."""
    size: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    sha256: str = ""
    """The digest of its content, hexadecimal; "" if the content was not read."""


class LeftFolder(NamedTuple):
    """A folder that lost an entry to the quarantine."""

    path: str
    look: Meta
    """The former attributes of the folder."""
    removed: bool
    """Whether the folder became empty and was removed."""
    left_ns: int
    """The time of the folder afterwards; if it has another time now, it was changed since."""


class ManifestWriter:
    """A manifest while it is written.

    Args:
        descriptor: An empty file, which stays open.
        origin: The quarantine that the manifest belongs to.
    """

    def __init__(self, descriptor: int, origin: QuarantineOrigin) -> None:
        self._descriptor = descriptor
        self._lines: list[str] = []
        self._length = 0
        self._files = self._folders = 0
        self._add({"format": FORMAT, **asdict(origin)})

    def add_file(self, file: HeldFile) -> None:
        """Add a file."""
        self._files += 1
        self._add(["file", *file])

    def add_folder(self, folder: LeftFolder) -> None:
        """Add a folder."""
        self._folders += 1
        self._add(["folder", folder.path, folder.look.to_json(), folder.removed, folder.left_ns])

    def end(self) -> None:
        """Write the last line; the file is not synced."""
        self._add(["end", self._files, self._folders])
        self._flush()

    def _add(self, values: Any) -> None:
        line = json.dumps(values, separators=(",", ":"))
        self._lines.append(line)
        self._length += len(line)
        if self._length >= BUFFER:
            self._flush()

    def _flush(self) -> None:
        view = memoryview("".join(f"{line}\n" for line in self._lines).encode("ascii"))
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._lines.clear()
        self._length = 0


def read_origin(folder: Path, name: str = "") -> QuarantineOrigin:
    """Return the identity of the quarantine in a folder.

    Args:
        folder: The folder.
        name: The name of the quarantine; "" for that of the folder.

    Raises:
        ValueError: The manifest is missing, or not valid.
    """
    with _reader(folder) as file:
        return _origin(file, name or folder.name)


def entries(folder: Path) -> Iterator[HeldFile | LeftFolder]:
    """Yield the files and folders of a manifest, each folder after its content.

    Raises:
        ValueError: A line is not valid, leads out of the root, or the last one is missing.
    """
    files = folders = 0
    with _reader(folder) as file:
        _origin(file, folder.name)
        for line in iter(lambda: file.readline(LONGEST), b""):
            values = _line(line)
            match values:
                case ["file", *rest]:
                    files += 1
                    yield _file(rest)
                case ["folder", *rest]:
                    folders += 1
                    yield _folder(rest)
                case ["end", *counts] if counts == [files, folders]:
                    return
                case _:
                    raise ValueError(f"its manifest has the line {line[:80]!r}")
    raise ValueError("its manifest is incomplete")


def _reader(folder: Path) -> BinaryIO:
    try:
        return os.fdopen(opened(folder / NAME), "rb")
    except FileNotFoundError as error:
        raise ValueError("it has no manifest") from error
    except OSError as error:
        raise ValueError(f"its manifest cannot be read: {error.strerror}") from error


def _origin(file: BinaryIO, name: str) -> QuarantineOrigin:
    values = _line(file.readline(LONGEST))
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError("its manifest is none, or of another version of fietsupdate")
    roots = values.get("roots")
    if not isinstance(roots, list) or not all(isinstance(root, str) for root in roots):
        raise ValueError("its manifest names no roots")
    origin = built(QuarantineOrigin, {**values, "roots": tuple(roots)})
    if origin.name != name or not is_name(origin.name):
        raise ValueError(f"its manifest is that of {origin.name!r}")
    return origin


def _line(line: bytes) -> Any:
    try:
        return parsed(line.decode("ascii"))
    except UnicodeDecodeError as error:
        raise ValueError(f"its manifest has the line {line[:80]!r}") from error


def _file(values: list[Any]) -> HeldFile:
    try:
        file = HeldFile(*values)
    except TypeError as error:
        raise ValueError(f"{values!r} is no file of a manifest") from error
    if [type(value) for value in file] != [str, str, int, int, int, int, int, str]:
        raise ValueError(f"{values!r} is no file of a manifest")
    _refuse_elsewhere(file.path)
    return file


def _folder(values: list[Any]) -> LeftFolder:
    match values:
        case [str(path), [int(mode), int(uid), int(gid), int(mtime_ns), dict(xattrs)], bool(removed), int(left_ns)]:
            texts = all(isinstance(name, str) and isinstance(value, str) for name, value in xattrs.items())
            if texts:
                if path:
                    _refuse_elsewhere(path)
                return LeftFolder(path, Meta(mode, uid, gid, mtime_ns, xattrs), removed, left_ns)
    raise ValueError(f"{values!r} is no folder of a manifest")


def _refuse_elsewhere(path: str) -> None:
    parts = path.split("/")
    if HOME in parts or not all(map(is_name, parts)):
        raise ValueError(f"it names {path!r}, which is not in its root")
