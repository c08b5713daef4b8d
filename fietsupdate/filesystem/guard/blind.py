"""Find changes that the guard did not see: entries that changed in folders of the journal, but are not recorded.

It compares times of status change (ctime), which no program can set. Changes by an application that goes on working in
these folders are found, too; so the result is a report, and not an error.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice

from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.record import Do
from fietsupdate.filesystem.layout import HOME
from fietsupdate.filesystem.transaction import FileTransaction

MOST_ENTRIES = 10_000
"""The most entries of one folder that are looked at; more would cost each update more than its changes do."""
LIMIT = 1000
"""The most suspects that are collected."""


def changed_unseen(transaction: FileTransaction, since_ns: int) -> list[str]:
    """Return the paths in the journal's folders that have changed since a moment and are not in the journal."""
    changes = transaction.changes
    suspects: dict[str, None] = {}
    for folder in {changes.absolute(record) for record in changes.journal.forwards(Do.FOLDER)}:
        with suppress(OSError):
            _suspect(folder, since_ns, suspects)
        if len(suspects) > LIMIT:
            break
    for path in [path for path in suspects if _is_for_others(changes, path)]:
        del suspects[path]
    for record in changes.journal.forwards() if suspects else ():
        for name in (record.path, *record.names()):
            suspects.pop(changes.absolute(record, name), None)
    return sorted(suspects)


def _is_for_others(changes: Changes, path: str) -> bool:
    """Return whether a path is the application's database, belongs to us, or was changed by another thread."""
    return any(
        paths.is_kept_out(path)
        or (path.startswith(f"{paths.root}/") and changes.own.explains(root, paths.relative(path)))
        for root, paths in changes.roots.items()
    )


def _suspect(folder: str, since_ns: int, suspects: dict[str, None]) -> None:
    with os.scandir(folder) as entries:
        for entry in islice(entries, MOST_ENTRIES):
            status = entry.stat(follow_symlinks=False)
            changed = status.st_ctime_ns if status.st_nlink == 1 else status.st_mtime_ns  # a new name is no change
            if entry.name != HOME and changed > since_ns:
                suspects[entry.path] = None
            if len(suspects) > LIMIT:
                return
