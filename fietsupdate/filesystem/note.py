"""Small notes in our folder in the data directory, each a JSON object in a file of its own.

They are for information only: an error in writing, reading or deleting one is ignored, and what is read back may come
from anyone (invariant 12).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.layout import home
from fietsupdate.filesystem.posix import durable, regular

LONGEST = 4000
"""The most characters of a text that are kept."""


def write(data_dir: Path, name: str, values: Mapping[str, Any]) -> None:
    """Write a note, replacing an older one. The caller must hold the lock."""
    with suppress(OSError, FilesError):  # mainly a full disk; the run itself must go on
        _clear_drafts(data_dir, name)
        durable.atomic_write(home(data_dir) / name, json.dumps(values).encode(), mode=0o600)


def delete(data_dir: Path, name: str) -> None:
    """Delete a note. The caller must hold the lock."""
    with suppress(OSError, FilesError):
        (home(data_dir) / name).unlink()
        _clear_drafts(data_dir, name)
        durable.sync_path(home(data_dir))


def read(data_dir: Path, name: str, most_bytes: int) -> Any:
    """Return what a note holds, of any JSON type; a file with more bytes is not ours. Changes nothing.

    Raises:
        OSError: There is no note, or it cannot be read.
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    return json.loads(regular.read_bytes(home(data_dir) / name, most_bytes))


def shown(value: object) -> str:
    """Return a text that was read back, with control characters escaped that could affect a terminal.

    Raises:
        TypeError: The value is no text.
    """
    if not isinstance(value, str):
        raise TypeError("it is no text")
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in value
    )[:LONGEST]


def _clear_drafts(data_dir: Path, name: str) -> None:
    for draft in home(data_dir).glob(f".{name}.*"):  # left by a run that was killed
        draft.unlink(missing_ok=True)
