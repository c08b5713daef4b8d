"""Names in a transaction's vaults and among its drafts, each on the same file system as its file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import count, islice
from pathlib import Path

from fietsupdate.filesystem.journal.journal import Journal
from fietsupdate.filesystem.journal.record import Do
from fietsupdate.filesystem.layout import HOME, make_folder, open_folder
from fietsupdate.filesystem.paths import Paths
from fietsupdate.filesystem.posix import durable

_KINDS = ("drafts", "vault")


class Vaults:
    """Returns names that no file has, and that are never returned again.

    Args:
        txn: The transaction's UUID.
        roots: The paths of each root, by name.
        journal: The records of the transaction so far.
    """

    def __init__(self, txn: str, roots: Mapping[str, Paths], journal: Journal) -> None:
        self._roots = roots
        self._below_home = f"{HOME}/txn/{txn}"
        self._mounts: set[str] = set()
        last = 0
        for record in journal.forwards():
            last = max([last, *(int(os.path.basename(name), 16) for name in (record.draft, record.vault) if name)])
            if record.do is Do.MOUNT:
                self.add_mount(roots[record.root].absolute(record.path))
        self._numbers = count(max([last, *map(_last, self.folders())]) + 1)

    def folders(self) -> list[str]:
        """Return the folders of drafts and old files, as absolute paths."""
        homes = [*(paths.root for paths in self._roots.values()), *self._mounts]
        return [f"{home}/{self._below_home}/{kind}" for home in homes for kind in _KINDS]

    def has_mount(self, point: str) -> bool:
        """Return whether a mount point, an absolute path, is known."""
        return point in self._mounts

    def add_mount(self, point: str) -> None:
        """Return names on this file system from now on, for files that lie on it."""
        self._mounts.add(point)

    def draft(self, root: str, path: str) -> str:
        """Return a name for a new file that will be put at ``path``."""
        return self._name(root, path, "drafts")

    def vault(self, root: str, path: str) -> str:
        """Return a name for the file that is now at ``path``."""
        return self._name(root, path, "vault")

    def many(self, root: str, folder: str, kind: str, count: int) -> tuple[str, list[str]]:
        """Return a folder, ``drafts`` or ``vault``, and names in it, for files in one folder of a root."""
        paths = self._roots[root]
        home = self._home_for(f"{paths.absolute(folder)}/", paths.root)
        return f"{home}{self._below_home}/{kind}", [f"{number:x}" for number in islice(self._numbers, count)]

    @property
    def has_mounts(self) -> bool:
        """Whether files on other file systems than their root's are known."""
        return bool(self._mounts)

    def _name(self, root: str, path: str, kind: str) -> str:
        paths = self._roots[root]
        return f"{self._home_for(paths.absolute(path), paths.root)}{self._below_home}/{kind}/{next(self._numbers):x}"

    def _home_for(self, absolute: str, root: str) -> str:
        """Return the path below the root, with a slash, of the mount point that contains a file; "" for the root."""
        if not self._mounts:
            return ""
        holding = [point for point in self._mounts if absolute.startswith(f"{point}/")]
        return f"{max(holding, key=len)[len(root) + 1 :]}/" if holding else ""


def _last(folder: str) -> int:
    """Return the highest number that is in use: a crash may have left files without a durable record."""
    last = 0
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(ValueError):
                last = max(last, int(entry.name, 16))
    return last


def prepare_folder(root: Path, txn: str) -> Path:
    """Create the folder of a transaction in a root, with its drafts and vault; existing folders are used.

    It belongs to the user who runs the update, also where root works for another user: no other user can change its
    content, so what root has written there may be followed as root (invariant 12).

    All is durable then except the names in the folder, which the caller has to sync.
    """
    folder = open_folder(root) / txn
    make_folder(folder.parent)
    for path in (folder, *(folder / kind for kind in _KINDS)):
        make_folder(path, shared=False)
    durable.sync_many([folder.parent, folder.parent.parent, root])
    return folder
