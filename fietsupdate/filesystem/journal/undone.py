"""The result of undoing, and its messages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fietsupdate.errors import FilesError


class Undone(NamedTuple):
    """The result of undoing one record."""

    strange: tuple[Path, ...]
    """Files that were not recognised: their place in ``found``, or where they still are."""
    lost: tuple[Path, ...]
    """Files that could not be restored, because the vault does not hold them any more."""
    homeless: tuple[tuple[str, Path], ...]
    """Files that are not back in their place, because it is taken: that place, and where the file is kept in ``found``.
    """


def tell_lost(undone: Iterable[Undone]) -> None:
    """Raise an error for lost files after all else was undone: the vault was emptied, or the disk has lost them.

    Raises:
        FilesError: A file is lost.
    """
    lost = dict.fromkeys(str(path) for one in undone for path in one.lost)
    if lost:
        raise FilesError(
            f"Not put back, as the vault does not hold them any more: {', '.join(lost)}.",
            stands="All other changes to files in its journal are undone.",
            hint="Put these back by hand, or restore a backup of both halves: `fietsupdate backup list` shows them.",
        )


def displaced(undone: Iterable[Undone]) -> tuple[str, ...]:
    """Return sentences, each about a file that is not back in its place."""
    places = dict.fromkeys(place for one in undone for place in one.homeless)
    return tuple(f"{path} is not back, as something else has its place: it is kept as {kept}." for path, kept in places)
