"""The note of the last run that failed: when, at which update, in which phase, and why.

After an atomic update that failed, both halves are in their old state, so nothing else records the failure: neither the
ledger, nor the terminal of a command that a timer has started. The note is kept until a run succeeds. It is for
information only: an error in writing or reading it is ignored.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.layout import home
from fietsupdate.filesystem.posix import durable, regular
from fietsupdate.model import Failure

NAME = "failure"
LONGEST = 4000
"""The most characters of a message that are kept."""

MOST_BYTES = 64 * 1024
"""The most bytes of a note; a larger file is not ours."""


def note(data_dir: Path, failure: Failure) -> None:
    """Write the note, replacing an older one. The caller must hold the lock."""
    text = json.dumps({name: value[:LONGEST] for name, value in asdict(failure).items()})
    with suppress(OSError, FilesError):  # mainly a full disk; the failure itself must still be reported
        _clear_drafts(data_dir)
        durable.atomic_write(home(data_dir) / NAME, text.encode(), mode=0o600)


def forget(data_dir: Path) -> None:
    """Delete the note, because a run has succeeded."""
    with suppress(OSError, FilesError):
        (home(data_dir) / NAME).unlink()
        _clear_drafts(data_dir)
        durable.sync_path(home(data_dir))


def noted(data_dir: Path) -> Failure | None:
    """Return the note; ``None`` where there is none, or none that makes sense. Changes nothing, and never fails."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        values = json.loads(regular.read_bytes(home(data_dir) / NAME, MOST_BYTES))
        return Failure(**{field.name: shown(values[field.name]) for field in fields(Failure)})
    return None


def shown(value: object) -> str:
    """Return a text that was read back, with control characters escaped that could affect a terminal."""
    if not isinstance(value, str):
        raise TypeError("it is no text")
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in value
    )[:LONGEST]


def _clear_drafts(data_dir: Path) -> None:
    for draft in home(data_dir).glob(f".{NAME}.*"):  # left by a run that was killed
        draft.unlink(missing_ok=True)
