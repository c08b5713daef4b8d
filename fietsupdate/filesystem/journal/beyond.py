"""Record, durably, what hooks did that undoing their transaction does not revert.

So the message of a failure does not claim too much, even after a crash (invariant 13). One kind of note has a
consequence: that an existing file outside of the roots is removed. Its bytes may be in a file that the transaction has
made, as when ``shutil.move`` copies from another file system; so nothing is deleted from then on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.ownership import give_owner

NAME = "beyond"
TOLD, REMOVED = "told", "removed"
MOST = 20
"""The most notes of a kind that are kept."""
LONGEST = 4000
"""The most characters of one note."""


class Beyond:
    """The notes of one open transaction.

    Args:
        folder: The transaction's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._notes: dict[str, list[str]] = {TOLD: [], REMOVED: []}
        for kind, text in _read(self._path):
            self._notes.setdefault(kind, []).append(text)

    @property
    def texts(self) -> tuple[str, ...]:
        """Sentences, each about something that is not undone."""
        removed = self._notes[REMOVED]
        names = ", ".join(removed[:3]) + (f" and {len(removed) - 3} more" if len(removed) > 3 else "")  # noqa: PLR2004  # a list that is read
        said = f"{names}, outside of the data directory, was removed; that is not undone."
        return (*self._notes[TOLD], *([said] if removed else []))

    @property
    def has_removed(self) -> bool:
        """Whether an existing file outside of the roots was removed."""
        return bool(self._notes[REMOVED])

    def note(self, text: str) -> None:
        """Record a sentence; if it cannot be made durable, it is still known to this process."""
        try:
            self._add(TOLD, text)
        except (OSError, FilesError):
            return

    def note_removed(self, path: str) -> None:
        """Record a file that is about to be removed.

        Raises:
            OSError: The note could not be written; then the file must not be removed.
            FilesError: The note could not be made durable; then the file must not be removed either.
        """
        self._add(REMOVED, path)

    def _add(self, kind: str, text: str) -> None:
        text = text[:LONGEST]
        known = self._notes[kind]
        if text in known or len(known) >= MOST:
            return
        known.append(text)
        line = json.dumps([kind, text]) + "\n"
        is_new = not self._path.exists()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            durable.write_all(descriptor, line.encode())
            durable.sync_data(descriptor, self._path)
        finally:
            os.close(descriptor)
        if is_new:
            give_owner(self._path, os.stat(self._path.parent))
            durable.sync_path(self._path.parent)


def _read(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the notes of a file; a line that was cut off by a power cut is skipped."""
    lines: list[bytes] = []
    with (
        suppress(OSError),
        open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file,
    ):
        lines = file.read(2 * MOST * (6 * LONGEST + 100)).splitlines()
    for line in lines:
        try:
            kind, text = json.loads(line)
        except (ValueError, TypeError):
            continue
        if kind in {TOLD, REMOVED} and isinstance(text, str):
            yield kind, text
