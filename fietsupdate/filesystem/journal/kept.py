"""Second names in the vault for a file, or each file of a folder, that leaves a root; kept until the transaction ends.

Outside of the root this hook or any other program may delete it, and it can still be restored.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.folders import Slot, Where, folder_above, path_of, split
from fietsupdate.filesystem.posix.metadata import Meta, seen
from fietsupdate.filesystem.posix.rename import NO_LINK, copy_file, erase, link, opened, replace, slots_in

_COPIED = NO_LINK | {errno.EXDEV}


def keep(source: Slot, target: Slot) -> list[tuple[int, int]]:
    """Link a file, symlink or whole folder under a second name; copy files that cannot be linked.

    Everything is durable at the end.

    Returns:
        Device and inode of each file that has two names now.

    Raises:
        OSError: Part of it cannot be read; the new name is not created.
    """
    linked: list[tuple[int, int]] = []
    # the final name exists only when it is complete
    part = Slot(f"{target.name}.part", target.folder, f"{target.path}.part")
    erase(part)
    try:
        durable.sync_many(_keep(source, part, linked))
    except OSError:
        erase(part)
        raise
    replace(part, target)
    durable.sync_path(folder_above(target.path))
    return linked


def _keep(source: Where, target: Where, linked: list[tuple[int, int]]) -> Iterator[str]:
    """Create the second names; yield the paths of the new folders."""
    look = seen(source)
    if look is not None and look.kind == "folder":
        _make_folder(target)
        with opened(source) as old, opened(target) as new:
            for inside in slots_in(old, path_of(source)):
                yield from _keep(inside, Slot(inside.name, new, f"{path_of(target)}/{inside.name}"), linked)
        Meta.of(source).apply(target)
        yield path_of(target)
        return
    try:
        link(source, target)
    except OSError as error:
        if error.errno not in _COPIED:
            raise
        copy_file(source, target)
        return
    name, folder = split(target)
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    linked.append((status.st_dev, status.st_ino))


def _make_folder(where: Where) -> None:
    name, folder = split(where)
    os.mkdir(name, 0o700, dir_fd=folder)


def complete(kept: Slot, folder: Slot, set_aside: Callable[[str], None]) -> None:
    """Restore in a folder that was moved back the entries that it lost outside. May be interrupted and repeated.

    Args:
        kept: The second names of its entries.
        folder: The folder after it was moved back; its own metadata are restored by the caller.
        set_aside: Called with the path of each entry that was added, or has replaced another.
    """
    with opened(kept) as old, opened(folder) as new:
        names = frozenset(os.listdir(old))
        for inside in slots_in(new, folder.path):
            if inside.name not in names:
                set_aside(inside.path)
        for source in slots_in(old, kept.path):
            _fill(source, Slot(source.name, new, f"{folder.path}/{source.name}"), set_aside)


def _fill(source: Slot, target: Slot, set_aside: Callable[[str], None]) -> None:
    was, here = seen(source), seen(target)
    if was is not None and here is not None:
        if was.kind == here.kind == "folder":
            complete(source, target, set_aside)
            Meta.of(source).apply(target)
            return
        if here.inode == was.inode or here.looks_like(was):  # the same file, or a copy where there are no links
            return
        set_aside(target.path)
    durable.sync_many(_keep(source, target, []))
