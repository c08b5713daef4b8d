"""The files that plain Python code has created in this transaction: undoing that needs none of their bytes.

What such a file looks like in the end nobody tells us. It is looked at when another change takes its name away, and
when the hook ends, so that playback knows it for the transaction's own (invariant 9).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from fietsupdate.filesystem.posix.metadata import Seen
from fietsupdate.filesystem.record import Do, Record

LIMIT = 4096
"""So many are remembered; one that is forgotten is saved like any other when it changes, which does no harm."""


class OwnFiles:
    """A bounded memory of (root, path).

    Args:
        look: Looks at a path of a root, by their names.
    """

    def __init__(self, look: Callable[[str, str], Seen | None]) -> None:
        self._look = look
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._due: list[tuple[str, str]] = []
        self._shared: set[tuple[str, str]] = set()
        self._entered: set[tuple[str, str]] = set()

    def share(self, root: str, path: str) -> None:
        """Note that another thread of the process changes a path: what is there is not surely ours any more."""
        self._shared.add((root, path))
        self._entered.add((root, path.rpartition("/")[0]))
        self._known.pop((root, path), None)

    def is_shared(self, root: str, path: str) -> bool:
        """Tell whether another thread has changed a path, or renamed a folder above it."""
        while self._shared and path:
            if (root, path) in self._shared:
                return True
            path = path.rpartition("/")[0]
        return False

    def is_not_ours(self, record: Record) -> bool:
        """Tell whether what is at a record's path now may be another thread's."""
        return self.is_shared(record.root, record.path)

    def explains(self, root: str, path: str) -> bool:
        """Tell whether another thread has changed a path, or an entry of it."""
        return (root, path) in self._entered or self.is_shared(root, path)

    def add(self, root: str, path: str) -> None:
        """Remember a file or folder that is about to be created."""
        if self.is_shared(root, path):
            return
        self._known[root, path] = None
        if len(self._known) > LIMIT:
            self._due.append(self._known.popitem(last=False)[0])

    def discard(self, root: str, path: str) -> None:
        """Forget one that is about to be deleted."""
        self._known.pop((root, path), None)

    def release(self) -> list[Record]:
        """Look at all of them and forget them: from here on each is saved, like any other, when it changes."""
        due = [*self._due, *self._known]
        self.clear()
        return [note for root, path in due if (note := self._note(root, path)) is not None]

    def clear(self) -> None:
        """Forget all of them, when all have been looked at."""
        self._known.clear()
        self._due.clear()

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._known

    def notes(self, records: Iterable[Record]) -> list[Record]:
        """Look at those whose names these records take away, and forget them."""
        if not (self._known or self._due):
            return []
        due, self._due = self._due, []
        for record in records:
            if record.do in {Do.CREATE, Do.MKDIR, Do.META, Do.MADE, Do.MOUNT}:
                continue
            keys = [(record.root, record.path), (record.root, record.other)]
            if record.is_alone:
                keys += [key for key in self._known if key[0] == record.root and key[1].startswith(f"{record.path}/")]
            for key in keys:
                if key in self._known:
                    del self._known[key]
                    due.append(key)
        return [note for root, path in due if (note := self._note(root, path)) is not None]

    def _note(self, root: str, path: str) -> Record | None:
        look = None if self.is_shared(root, path) else self._look(root, path)
        return Record(Do.MADE, root, path, now=look) if look is not None and look.kind == "file" else None
