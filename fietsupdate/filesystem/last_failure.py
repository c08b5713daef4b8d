"""The note of the last run that failed: when, at which update, in which phase, and why.

After an atomic update that failed, both halves are in their old state, so nothing else records the failure: neither the
ledger, nor the terminal of a command that a timer has started. The note is kept until a run succeeds. It is for
information only: an error in writing or reading it is ignored.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from fietsupdate.filesystem import note as notes
from fietsupdate.filesystem.note import LONGEST, shown
from fietsupdate.model import Failure

NAME = "failure"
MOST_BYTES = 64 * 1024
"""The most bytes of a note; a larger file is not ours."""


def note(data_dir: Path, failure: Failure) -> None:
    """Write the note, replacing an older one. The caller must hold the lock."""
    notes.write(data_dir, NAME, {name: value[:LONGEST] for name, value in asdict(failure).items()})


def forget(data_dir: Path) -> None:
    """Delete the note, because a run has succeeded."""
    notes.delete(data_dir, NAME)


def noted(data_dir: Path) -> Failure | None:
    """Return the note; ``None`` where there is none, or none that makes sense. Changes nothing, and never fails."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        values = notes.read(data_dir, NAME, MOST_BYTES)
        return Failure(**{field.name: shown(values[field.name]) for field in fields(Failure)})
    return None
