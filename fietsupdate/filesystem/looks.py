"""What a transaction's own files looked like whenever one was looked at: by it playback knows them (invariant 9).

Eight bytes are kept of each look, so that a million files cost no more memory than a picture.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left

from fietsupdate.filesystem.journal import Journal
from fietsupdate.filesystem.posix.metadata import Seen
from fietsupdate.filesystem.record import Do, Record

_RUN = 1 << 14
"""So many looks are sorted at a time."""


class Looks:
    """A set of looks at files, each under a root and a key."""

    def __init__(self) -> None:
        self._runs: list[array[int]] = []
        self._last: set[int] = set()

    @classmethod
    def of(cls, journal: Journal) -> Looks:
        """Collect what the transaction's own files looked like whenever one was looked at after it was made."""
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
        """Remember what a record of `Do.MADE` has seen."""
        if record.now is not None:
            self._add(record.root, record.path, record.now)
            self._add(record.root, record.now.inode, record.now)

    def know(self, record: Record, here: Seen) -> bool:
        """Tell whether a file, where a record was carried out, looks as the transaction's own did there.

        A file that is written in place may have moved between names, so it is known by its inode.
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
