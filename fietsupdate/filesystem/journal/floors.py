"""Where in the journal the phases of an update end: changes before the end of a committed phase are not undone."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.journal.header import way_out
from fietsupdate.filesystem.posix.durable import atomic_write
from fietsupdate.filesystem.posix.regular import read_bytes
from fietsupdate.model import Phase

_NAME = "floor"


class Floors:
    """The ends of the phases of one open transaction.

    Args:
        folder: The transaction's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME

    def set(self, phase: Phase, end: int) -> None:
        """Record, durably, where a phase ends that is about to be committed."""
        ends = self._read() | {phase: end}
        atomic_write(self._path, "\n".join(f"{at} {name}" for name, at in ends.items()).encode(), mode=0o600)

    def below(self, finished: Collection[Phase]) -> int | None:
        """Return the end of the last committed phase; ``None`` where no end of a committed phase was recorded."""
        return max((end for phase, end in self._read().items() if phase in finished), default=None)

    def _read(self) -> dict[Phase, int]:
        """Read the ends; an end without a phase, as the first releases wrote it, is that of the first phase."""
        try:
            words = [line.split() for line in read_bytes(self._path).decode().splitlines()]
            return {Phase(phase[0]) if phase else Phase.PRE: int(end) for end, *phase in words}
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise FilesError(
                f"{self._path} is damaged: it says where the phases end.", hint=way_out(self._path.parent)
            ) from error
