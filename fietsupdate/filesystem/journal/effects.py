"""Carry out undo records. `fietsupdate.filesystem.journal.undo` is its counterpart.

Each effect goes through the open folder that contains the file (invariant 12).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress

from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.folders import Slot, folder_above
from fietsupdate.filesystem.posix.ownership import give_owner
from fietsupdate.filesystem.posix.rename import NO_LINK, link, place, replace

At = Callable[[str], Slot]
"""Opens the folder of a record's path."""


def carry_out(record: Record, at: At) -> None:
    """Carry out one record.

    Raises:
        OSError: The change failed: nothing was changed, or the change is half done, for `undo`.
    """
    try:
        _carry_out(record, at)
    except OSError as error:
        raise _with_path(error, record, at) from None


def carry_out_saved(record: Record, at: At) -> None:
    """Carry out a record as `carry_out` does, for a file whose second name in the vault was made by `save`."""
    if record.do is not Do.REPLACE:
        carry_out(record, at)
        return
    try:
        replace(at(record.draft), at(record.path))
    except OSError as error:
        raise _with_path(error, record, at) from None


def save(records: Iterable[Record], at: Callable[[str, str], Slot]) -> None:
    """Link files that will be replaced into the vault, all durable before the first file is replaced.

    Args:
        records: Any records; only replacements matter.
        at: Opens the folder of a path, in the root with that name.
    """
    vaults = set()
    for record in records:
        if record.do is Do.REPLACE:
            vault = at(record.root, record.vault)
            link(at(record.root, record.path), vault)
            vaults.add(folder_above(vault.path))
    durable.sync_many(vaults)


def _with_path(error: OSError, record: Record, at: At) -> OSError:
    """Put the whole path into an error, in place of the name in its folder."""
    if error.filename == record.path.rpartition("/")[2]:
        with suppress(OSError):
            error.filename = at(record.path).path
    return error


def _carry_out(record: Record, at: At) -> None:
    match record.do:
        case Do.CREATE:
            place(at(record.draft), at(record.path))
        case Do.REPLACE:
            _replace(at(record.path), at(record.draft), at(record.vault))
        case Do.REMOVE:
            place(at(record.path), at(record.vault))  # invariant 2: the same file under another name
        case Do.MOVE:
            place(at(record.path), at(record.other))
        case Do.MKDIR:
            slot = at(record.path)
            os.mkdir(slot.name, 0o777 if record.after is None else record.after.mode, dir_fd=slot.folder)
            _adopt(slot, record)
        case Do.RMDIR:
            slot = at(record.path)
            os.rmdir(slot.name, dir_fd=slot.folder)
        case Do.SYMLINK:
            slot = at(record.path)
            os.symlink(record.other, slot.name, dir_fd=slot.folder)
            _adopt(slot, record)
        case Do.LINK:
            link(at(record.other), at(record.path))
        case Do.META if record.after is not None:
            record.after.apply(at(record.path))
        case _:
            pass


def _adopt(slot: Slot, record: Record) -> None:
    """Set the owner of a new folder or symlink: that of its folder, or the one in the record."""
    if record.after is not None:
        record.after.apply(slot, time=False)
    else:
        give_owner(slot, os.fstat(slot.folder))


def _replace(slot: Slot, draft: Slot, vault: Slot) -> None:
    """Replace a file by a draft: at every moment a file has the name, and the old file keeps its inode."""
    try:
        link(slot, vault)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        place(slot, vault)
        durable.sync_path(folder_above(vault.path))
        place(draft, slot)
        return
    # invariant 2: the name in the vault is durable before the old file is replaced
    durable.sync_path(folder_above(vault.path))
    replace(draft, slot)
