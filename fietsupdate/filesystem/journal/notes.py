"""Record, durably and in advance, what an open transaction knows about the database's half.

After a crash, the process that settles the transaction has the same knowledge as the process that ran it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.posix.durable import atomic_write
from fietsupdate.model import Phase, questions

FOREIGN_COMMIT = "foreign_commit"
UNKNOWN = "unknown"
ANSWERS = "answers"
DAMAGE = "damage"
TOO_MUCH = "too much"
"""What stands in the note of damage where there was more than a note takes."""
MOST_DAMAGE = 10_000
"""The most names of damage that a note takes."""
LONGEST = 2000
"""The most bytes of a note that are read or written."""


class Notes:
    """The notes of one open transaction."""

    def __init__(self, folder: Path, changes: Changes) -> None:
        self._folder = folder
        self._changes = changes
        self._reason = ""

    @property
    def foreign_commit(self) -> bool:
        """Whether a hook committed on a database connection of its own; from then on nothing is undone."""
        return (self._folder / FOREIGN_COMMIT).exists()

    def note_foreign_commit(self, finished: Sequence[Phase] = ()) -> None:
        """Record, durably, that a hook is about to commit on a connection of its own (invariant 7).

        Args:
            finished: The phases that are complete by then, and that must not run again.
        """
        self._write(FOREIGN_COMMIT, " ".join(finished))

    @property
    def finished_phases(self) -> tuple[Phase, ...]:
        """The phases that were complete when a hook committed on a connection of its own."""
        return tuple(Phase(word) for word in self._read(FOREIGN_COMMIT).split())

    @property
    def unknown(self) -> str:
        """Why rows of the update may exist without its ledger row, as a part of a sentence.

        "" where that is impossible.
        """
        return self._reason or self._read(UNKNOWN)

    def note_unknown(self, reason: str) -> None:
        """Record, durably, that rows may exist without the ledger row: from here on nothing is deleted (invariant 11).

        Args:
            reason: A part of a sentence; the first reason is kept.
        """
        if not self.unknown:
            self._reason = reason  # this process knows it even if the disk is full
            self._write(UNKNOWN, reason)

    @property
    def answers(self) -> dict[str, str]:
        """The answers to questions that no plan had shown, for the run that resumes; empty if the file is damaged."""
        with suppress(ValueError):  # the file is replaced atomically, so only another program can have damaged it
            return dict(questions.from_json(self._read(ANSWERS, questions.MOST_BYTES)))
        return {}

    def note_answers(self, answers: Mapping[str, str]) -> None:
        """Record, durably, the answers to the update's questions."""
        with self._changes.at_work():
            text = questions.to_json(answers.items()).encode()
            atomic_write(self._folder / ANSWERS, text, mode=0o600)

    @property
    def damage(self) -> tuple[int, ...] | None:
        """The names of rows and files that did not match before the update; ``None`` where they are not known."""
        text = self._read(DAMAGE, 21 * MOST_DAMAGE)
        with suppress(ValueError):  # too much, or another program has damaged it
            return tuple(map(int, text.splitlines()[1:])) if text else None
        return None

    def note_damage(self, names: Collection[int]) -> None:
        """Record, durably, which rows and files did not match before the update."""
        lines = map(str, names) if len(names) <= MOST_DAMAGE else [TOO_MUCH]
        self._write(DAMAGE, "\n".join(["known", *lines]), most=21 * MOST_DAMAGE)

    def _write(self, name: str, text: str, most: int = LONGEST) -> None:
        with self._changes.at_work():
            atomic_write(self._folder / name, text.encode()[:most], mode=0o600)

    def _read(self, name: str, most: int = LONGEST) -> str:
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return ""
        with open(descriptor, "rb") as file:
            return file.read(most).decode(errors="replace")
