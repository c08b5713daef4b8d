"""Record the times of the folders in which a transaction works, so that they can be restored with the entries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.posix.metadata import Seen

LIMIT = 4096
"""The most folders that are remembered. Recording one again does no harm: the first note is undone last."""
_IN_PLACE = frozenset({Do.META, Do.APPEND, Do.MADE, Do.OVERWRITE})
"""Changes that leave the entries of the folder as they are."""


class FolderTimes:
    """A bounded memory of the folders whose times are recorded.

    Args:
        look: Returns the attributes of a folder, by its root and its path; ``None`` where there is no folder.
    """

    def __init__(self, look: Callable[[str, str], Seen | None]) -> None:
        self._look = look
        self._noted: OrderedDict[tuple[str, str], None] = OrderedDict()

    def notes(self, records: Sequence[Record]) -> list[Record]:
        """Return a note for each folder that these records change and that has no note yet."""
        notes: list[Record] = []
        made: set[str] = set()
        for record in records:
            if record.do is Do.MKDIR:
                made.add(record.path)
            for path in (record.path, record.other) if record.do is Do.MOVE else (record.path,):
                folder = path.rpartition("/")[0]
                key = (record.root, folder)
                if key in self._noted or path.startswith("/") or folder in made or record.do in _IN_PLACE:
                    continue
                look = self._look(*key)
                if look is not None:
                    notes.append(Record(Do.FOLDER, record.root, folder, was=look))
                    self._add(key)
        return notes

    def drop(self, notes: Iterable[Record]) -> None:
        """Forget notes that could not be made durable."""
        for note in notes:
            self._noted.pop((note.root, note.path), None)

    def forget_below(self, record: Record) -> None:
        """Forget folders that a record removes: a new folder with another time may take the name."""
        prefix = f"{record.path}/"
        for root, folder in [*self._noted]:
            if root == record.root and (folder == record.path or folder.startswith(prefix)):
                del self._noted[root, folder]

    def clear(self) -> None:
        """Forget all folders: from here on their times must be recorded again."""
        self._noted.clear()

    def _add(self, key: tuple[str, str]) -> None:
        self._noted[key] = None
        if len(self._noted) > LIMIT:
            self._noted.popitem(last=False)
