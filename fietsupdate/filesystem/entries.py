"""Find the files that scripts name: the canonical path, the current file, and the open folder that contains it."""

from __future__ import annotations

import errno
import os

from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.record import Do, Record, folder_of
from fietsupdate.filesystem.posix.folders import Slot
from fietsupdate.filesystem.posix.inheritance import create
from fietsupdate.filesystem.posix.metadata import Seen
from fietsupdate.filesystem.posix.mounts import mounted_below
from fietsupdate.filesystem.posix.rename import NEW, open_file, opened
from fietsupdate.filesystem.reading import Name, Reading


class Entries(Reading):
    """The files of one root, as the verbs see them.

    Args:
        changes: Makes the changes of the transaction.
        root: Name of the root; "" is the data directory.
    """

    def __init__(self, changes: Changes, root: str) -> None:
        super().__init__(changes.roots[root])
        self._changes = changes
        self._root = root

    def _check_tree(self, here: str) -> None:
        self._paths.check_tree(here)
        if mounted := mounted_below(self._paths.absolute(here)):
            raise OSError(errno.EBUSY, "A file system is mounted in it", mounted[0])

    def _look(self, here: str) -> Seen:
        look = self._changes.look(self._root, here)
        if look is None:
            raise error_of(errno.ENOENT, here)
        return look

    def _entry(self, path: Name, folders: dict[str, str] | None = None) -> str:
        """Return the canonical path for a path from a script; a symlink at its end is not followed."""
        return self._paths.resolve_entry(path, {} if folders is None else folders, self._changes.folders)

    def _target(self, path: Name) -> tuple[str, Seen | None]:
        """Return the canonical path for a path from a script, following a symlink at its end, and its attributes."""
        here = self._entry(path)
        look = self._changes.look(self._root, here)
        if look is None or look.kind != "link":
            return here, look
        here = self._paths.resolve_change(path)
        return here, self._changes.look(self._root, here)

    def _free(self, path: Name) -> str:
        here = self._entry(path)
        self._check_free(here)
        return here

    def _check_free(self, here: str) -> None:
        if self._changes.look(self._root, here) is not None:
            raise error_of(errno.EEXIST, here)

    def _slot(self, path: str) -> Slot:
        return self._changes.slot(self._root, path)

    def _names(self, here: str) -> list[str]:
        """Return the names in a folder, sorted."""
        with opened(self._slot(here)) as folder:
            return sorted(os.listdir(folder))

    def _text(self, here: str) -> str:
        """Return the text of a symlink."""
        slot = self._slot(here)
        return os.readlink(slot.name, dir_fd=slot.folder)

    def _create(self, draft: str, target: str, look: Seen | None) -> int:
        """Create a draft, and open it.

        A draft for a new file gets the attributes that a plain call in its folder would set.
        """
        if look is not None:
            return open_file(self._slot(draft), NEW)
        return create(self._slot(draft), self._nearest(target))

    def _nearest(self, here: str) -> int:
        """Open the folder of a path, or the nearest existing folder above it."""
        while True:
            try:
                return self._slot(here).folder
            except FileNotFoundError:
                here = folder_of(here)

    def _parents(self, here: str) -> list[Record]:
        """Return the records that create the missing folders above a path, outermost first."""
        missing: list[Record] = []
        folder = folder_of(here)
        while folder and self._changes.look_into(self._root, folder) is None:
            if self._changes.look(self._root, folder) is not None:
                break  # a file, so that the change that needs the folder will fail
            missing.append(Record(Do.MKDIR, self._root, folder))
            folder = folder_of(folder)
        return missing[::-1]


def check_replaceable(look: Seen | None, target: str) -> None:
    """Refuse to replace anything but a regular file.

    Raises:
        OSError: EISDIR or EINVAL.
    """
    if look is None or look.kind == "file":
        return
    if look.kind == "folder":
        raise error_of(errno.EISDIR, target)
    raise OSError(errno.EINVAL, "Not an ordinary file", target)


def error_of(number: int, path: str) -> OSError:
    """Return the error of a system call for a path."""
    return OSError(number, os.strerror(number), path)
