"""What came of undoing, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fietsupdate.errors import FilesError


class Undone(NamedTuple):
    """What came of undoing one record."""

    strange: tuple[Path, ...]
    """What was not recognised: its place in ``found``, or where it still is."""
    lost: tuple[Path, ...]
    """What is not as before, because the vault does not hold it any more."""
    homeless: tuple[tuple[str, Path], ...]
    """What is not back in its place, which something else has taken: that place, and where it is kept in ``found``."""


def tell_lost(undone: Iterable[Undone]) -> None:
    """Tell, after all else was undone, of what could not be: somebody has emptied the vault, or the disk has lost it.

    Raises:
        FilesError: something is lost.
    """
    lost = dict.fromkeys(str(path) for one in undone for path in one.lost)
    if lost:
        raise FilesError(
            f"Not put back, as the vault does not hold them any more: {', '.join(lost)}.",
            stands="All other changes to files in its journal are undone.",
            hint="Put these back by hand, or restore a backup of both halves: 'fietsupdate backup list' shows them.",
        )


def displaced(undone: Iterable[Undone]) -> tuple[str, ...]:
    """Return sentences, each about a file that is not back in its place."""
    places = dict.fromkeys(place for one in undone for place in one.homeless)
    return tuple(f"{path} is not back, as something else has its place: it is kept as {kept}." for path, kept in places)
