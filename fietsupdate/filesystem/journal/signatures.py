"""The recorded attributes of a transaction's own files, by which playback recognises them (invariant 9).

Stores 8 bytes per look at a file: 8 MB for a million.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable

from fietsupdate.filesystem.journal.journal import Journal
from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.posix.metadata import Seen

_RUN = 1 << 14
"""The number of digests that are sorted at a time."""


class Signatures:
    """A set of file attributes, each under a root and a key."""

    def __init__(self) -> None:
        self._runs: list[array[int]] = []
        self._last: set[int] = set()

    @classmethod
    def of(cls, journal: Journal) -> Signatures:
        """Collect from a journal all recorded attributes of the transaction's own files."""
        made = cls()
        in_place = next(journal.forwards(Do.OVERWRITE), None) is not None
        for record in journal.forwards() if in_place else journal.forwards(Do.MADE):
            if record.do is Do.MADE and record.now is not None:
                made._add(record.root, record.path, record.now)
            for look in (record.was, record.now) if in_place else ():
                if look is not None:
                    made._add(record.root, look.inode, look)
        return made

    def add(self, record: Record) -> None:
        """Add the attributes in a record of `Do.MADE`."""
        if record.now is not None:
            self._add(record.root, record.path, record.now)
            self._add(record.root, record.now.inode, record.now)

    def know(self, record: Record, here: Seen) -> bool:
        """Return whether a file at a record's path has attributes that the transaction's own file had there.

        A file that is written in place may have moved between names, so it is identified by its inode.
        """
        keys = (here.inode, record.path) if record.do is Do.OVERWRITE else (record.path,)
        return here.kind == "file" and any(self._has(_digest(record.root, key, here)) for key in keys)

    def _add(self, root: str, key: str | int, look: Seen) -> None:
        self._last.add(_digest(root, key, look))
        if len(self._last) >= _RUN:
            self._runs.append(array("Q", sorted(self._last)))
            self._last.clear()

    def _has(self, digest: int) -> bool:
        if digest in self._last:
            return True
        for run in self._runs:
            at = bisect_left(run, digest)
            if at < len(run) and run[at] == digest:
                return True
        return False


def _digest(root: str, key: str | int, look: Seen) -> int:
    text = repr((root, key, look.size, look.mtime_ns, look.inode))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


# -- The files that plain Python code has created in this transaction: undoing that needs none of their bytes.


LIMIT = 4096
"""The most files that are remembered. A forgotten file is saved like any other when it changes, which does no harm."""


class CreatedFiles:
    """A bounded memory of (root, path).

    Args:
        look: Returns the attributes of a path, by the names of root and path.
    """

    def __init__(self, look: Callable[[str, str], Seen | None]) -> None:
        self._look = look
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._due: list[tuple[str, str]] = []
        self._shared: set[tuple[str, str]] = set()
        self._entered: set[tuple[str, str]] = set()

    def share(self, root: str, path: str) -> None:
        """Record that another thread of the process changes a path: the file there is no longer certainly ours."""
        self._shared.add((root, path))
        self._entered.add((root, path.rpartition("/")[0]))
        self._known.pop((root, path), None)

    def is_shared(self, root: str, path: str) -> bool:
        """Return whether another thread has changed a path, or renamed a folder above it."""
        while self._shared and path:
            if (root, path) in self._shared:
                return True
            path = path.rpartition("/")[0]
        return False

    def is_not_ours(self, record: Record) -> bool:
        """Return whether the file at a record's path may belong to another thread."""
        return self.is_shared(record.root, record.path)

    def explains(self, root: str, path: str) -> bool:
        """Return whether another thread has changed a path, or an entry of it."""
        return (root, path) in self._entered or self.is_shared(root, path)

    def add(self, root: str, path: str) -> None:
        """Remember a file or folder that is about to be created."""
        if self.is_shared(root, path):
            return
        self._known[root, path] = None
        if len(self._known) > LIMIT:
            self._due.append(self._known.popitem(last=False)[0])

    def discard(self, root: str, path: str) -> None:
        """Forget a file that is about to be deleted."""
        self._known.pop((root, path), None)

    def release(self) -> list[Record]:
        """Return a note for each file, and forget all: from here on each is saved, like any other, when it changes."""
        due = [*self._due, *self._known]
        self.clear()
        return [note for root, path in due if (note := self._note(root, path)) is not None]

    def clear(self) -> None:
        """Forget all files, after notes for all of them were made."""
        self._known.clear()
        self._due.clear()

    def __contains__(self, key: tuple[str, str]) -> bool:
        return key in self._known

    def notes(self, records: Iterable[Record]) -> list[Record]:
        """Return notes for the files whose names these records free, and forget these files."""
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
