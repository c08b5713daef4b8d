"""Move files that playback does not recognise, or cannot put back, to ``found``, so that no file is overwritten."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from fietsupdate.filesystem.layout import found_folder, make_folder
from fietsupdate.filesystem.posix.folders import Folders, Slot
from fietsupdate.filesystem.posix.metadata import Seen, seen_below
from fietsupdate.filesystem.posix.rename import copy_file, copy_tree, erase, place


class SetAside:
    """The files that one transaction has set aside in a root.

    Args:
        root: The root.
        txn: The transaction's UUID.
        folders: Opens folders.
    """

    def __init__(self, root: Path, txn: str, folders: Folders) -> None:
        self._folder = found_folder(root, txn)
        self._folders = folders

    def bring(self, slot: Slot, path: str) -> Path:
        """Move a file or folder to ``found``, under the name of a path below the root, and return its new path."""
        target = self._prepared(path)
        free = next(name for number in itertools.count() if not os.path.lexists(name := _numbered(target, number)))
        bring(slot, self._folders.slot(free))
        return Path(free)

    def copy(self, slot: Slot, path: str) -> Path:
        """Copy a file to ``found``, unless that was done already, and return the path of the copy."""
        target = self._prepared(path)
        if not os.path.lexists(target):
            copy_file(slot, self._folders.slot(target))
        return Path(target)

    def kept(self, path: str, was: Seen) -> Path | None:
        """Return the file that was set aside for a path and looks like the file that was there."""
        return next((Path(name) for name in self._names(path) if was.looks_like(seen_below(self._folders, name))), None)

    def _names(self, path: str) -> Iterator[str]:
        names = (_numbered(str(self._place(path)), number) for number in itertools.count())
        return itertools.takewhile(os.path.lexists, names)

    def _prepared(self, path: str) -> str:
        """Return the place for a path, after creating its folder."""
        target = self._place(path)
        for folder in (self._folder.parent, self._folder, *reversed(target.relative_to(self._folder).parents[:-1])):
            make_folder(self._folder / folder)
        return str(target)

    def _place(self, path: str) -> Path:
        folder = self._folder
        *folders, name = Path(path).parts
        for part in folders:
            folder = _beside_files(folder / part)
        return folder / name


def found_in(root: Path, txn: str) -> Iterator[Path]:
    """Yield the files in ``found`` for a transaction, also those of an interrupted playback."""
    for folder, folders, names in os.walk(found_folder(root, txn)):
        for name in [*names, *(name for name in folders if not os.listdir(os.path.join(folder, name)))]:
            yield Path(folder, name)


def _numbered(name: str, number: int) -> str:
    return f"{name}.{number}" if number else name


def _beside_files(folder: Path) -> Path:
    """Return a folder's place in ``found``: the first free one beside it, if a file with its name was set aside."""
    places = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
    while os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        folder = next(places)
    return folder


def bring(source: Slot, target: Slot) -> None:
    """Move a file or folder to a name that is free; copy it if it cannot be renamed."""
    try:
        place(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_tree(source, target)
        erase(source)
