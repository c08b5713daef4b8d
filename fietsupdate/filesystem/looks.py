"""What a transaction's own files looked like whenever one was looked at: by it playback knows them (invariant 9)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fietsupdate.filesystem.journal import Journal
from fietsupdate.filesystem.record import Do, Record
from fietsupdate.filesystem.status import Seen


def key(record: Record) -> tuple[str, str | int]:
    """Tell by what the looks are filed that undoing a record may need.

    A file that is written in place may have moved between names, so it is known by its inode.
    """
    if record.do is Do.OVERWRITE and record.was is not None:
        return record.root, record.was.inode
    return record.root, record.path


def looks(journal: Journal) -> Mapping[tuple[str, str | int], Sequence[Seen]]:
    """Collect what the transaction's own files looked like whenever one was looked at after it was made."""
    found: defaultdict[tuple[str, str | int], list[Seen]] = defaultdict(list)
    in_place = {key(record) for record in journal.forwards(Do.OVERWRITE)}
    for record in journal.forwards() if in_place else journal.forwards(Do.MADE):
        if record.do is Do.MADE and record.now is not None:
            found[record.root, record.path].append(record.now)
        for look in (record.was, record.now) if in_place else ():
            if look is not None and (record.root, look.inode) in in_place:
                found[record.root, look.inode].append(look)
    return found
