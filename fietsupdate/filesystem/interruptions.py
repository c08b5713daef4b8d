"""The count of how often one update was interrupted: by a kill, a probe of an orchestrator, a power cut.

An atomic update that is killed is undone, and begins again at the next start. Where the cause is a time limit, it is
killed again, and never ends; only the count tells so. The note is kept until a run succeeds. It is for information
only: an error in writing or reading it is ignored.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from fietsupdate.filesystem import note
from fietsupdate.filesystem.note import shown
from fietsupdate.views import Interruptions

NAME = "interruptions"
MOST_BYTES = 4096
"""The most bytes of a note; a larger file is not ours."""
MOST = 1_000_000
"""The highest count that is read back."""


def count(data_dir: Path, update_id: str) -> Interruptions:
    """Count one more interruption of an update, and return the count. The caller must hold the lock."""
    before = noted(data_dir)
    times = before.times + 1 if before is not None and before.update_id == update_id else 1
    counted = Interruptions(update_id, times)
    note.write(data_dir, NAME, asdict(counted))
    return counted


def forget(data_dir: Path) -> None:
    """Delete the note, because a run has succeeded."""
    note.delete(data_dir, NAME)


def noted(data_dir: Path) -> Interruptions | None:
    """Return the note; ``None`` where there is none, or none that makes sense. Changes nothing, and never fails."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        values = note.read(data_dir, NAME, MOST_BYTES)
        update_id, times = (values[field.name] for field in fields(Interruptions))
        if type(times) is int and 0 < times <= MOST:
            return Interruptions(shown(update_id), times)
    return None
