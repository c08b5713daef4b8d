"""The note of the last run that failed: when, at which update, in which phase, and why.

Both halves are as they were before an atomic update that failed, so nothing else tells of it: not the ledger, and not
the terminal of a command that a timer has started. The note says it until a run succeeds. It decides nothing: a note
that cannot be written or read is no note.
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
"""Characters of a message that are kept."""

MOST_BYTES = 64 * 1024
"""A file that is larger is not ours."""


def note(data_dir: Path, failure: Failure) -> None:
    """Write the note, in the place of an older one. Whoever calls holds the lock."""
    text = json.dumps({name: value[:LONGEST] for name, value in asdict(failure).items()})
    with suppress(OSError, FilesError):  # a full disk, above all: the failure itself is what must be told
        _clear_drafts(data_dir)
        durable.atomic_write(home(data_dir) / NAME, text.encode(), mode=0o600)


def forget(data_dir: Path) -> None:
    """Take the note away: a run has succeeded."""
    with suppress(OSError, FilesError):
        (home(data_dir) / NAME).unlink()
        _clear_drafts(data_dir)
        durable.sync_path(home(data_dir))


def noted(data_dir: Path) -> Failure | None:
    """Read the note; ``None`` where there is none that makes sense. It changes nothing, and never fails."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        values = json.loads(regular.read_bytes(home(data_dir) / NAME, MOST_BYTES))
        return Failure(**{field.name: shown(values[field.name]) for field in fields(Failure)})
    return None


def shown(value: object) -> str:
    """Return a text that was read back; what could move a terminal's cursor or change its colours becomes an escape."""
    if not isinstance(value, str):
        raise TypeError("it is no text")
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode() for char in value
    )[:LONGEST]


def _clear_drafts(data_dir: Path) -> None:
    for draft in home(data_dir).glob(f".{NAME}.*"):  # a run that was killed
        draft.unlink(missing_ok=True)
