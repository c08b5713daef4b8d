"""Keep changes from depending on each other before they are durable.

A power cut may keep any of the changes that were not synced and lose any other. Between two barriers no name is filled,
freed or changed twice. So each change has either happened or not, whichever of them survive, and its undo record tells
which. Playback obeys the same rule, for the same reason (invariant 3).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.posix import durable

LIMIT = 2048
"""The most names that are remembered; more make a barrier due."""


class Barrier:
    """The names that were touched since the last sync."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._unsynced: set[str] = set()
        self._alone = False
        self._failed = False

    def is_due(self, names: Collection[str], *, alone: bool, carries: bool) -> bool:
        """Return whether a sync is needed before these (absolute) names may be touched.

        Args:
            names: The names that will be filled, freed or changed.
            alone: Whether a whole folder is touched, which moves names that are not counted.
            carries: Whether content that cannot be recreated is moved there; then the folders above must be durable.
        """
        if not self._names:
            return False
        if self._alone or alone or len(self._names) > LIMIT or not self._names.isdisjoint(names):
            return True
        return carries and self._is_touched_above(names)

    def _is_touched_above(self, names: Collection[str]) -> bool:
        """Return whether a folder above one of these names was touched."""
        for folder in _folders(names):
            above = folder
            while above:
                if above in self._names:
                    return True
                above = above.rpartition("/")[0]
        return False

    def add(self, names: Collection[str], *, alone: bool, unsynced: Collection[str] | None = None) -> None:
        """Record that these names are being touched.

        Args:
            names: The names that are filled, freed or changed.
            alone: As for `is_due`.
            unsynced: The paths to sync for these changes; if not given, each name and the folder that lists it.
        """
        self._names.update(names)
        if unsynced is None:
            self._unsynced.update(names, _folders(names))
        else:
            self._unsynced.update(unsynced)
        self._alone = self._alone or alone

    def sync(self) -> None:
        """Make everything durable that was touched.

        Raises:
            FilesError: The system could not write something, now or earlier: a second attempt would prove nothing.
        """
        if self._failed:
            raise FilesError(
                "What was changed could not be made durable; nothing more can be done in this transaction."
            )
        unsynced, self._unsynced, self._names, self._alone = self._unsynced, set(), set(), False
        self._failed = True
        durable.sync_many(unsynced)
        self._failed = False


def _folders(names: Iterable[str]) -> set[str]:
    """Return the folders that contain these canonical names."""
    return {name.rpartition("/")[0] for name in names}
