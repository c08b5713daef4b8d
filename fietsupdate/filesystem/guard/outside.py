"""Handle changes that hooks make outside of the roots: they are not undone, but no data is lost silently.

- A file that was moved out of a root shares its bytes with a second name in the vault: it gets bytes of its own before
  it is written to.
- A file that existed before the hook is removed: its only copy may be in a file that the hook has made, so files
  that were made are not deleted when the hook fails (`fietsupdate.filesystem.journal.beyond`).
- A symlink in a root leads outside: the author of the script may take the file for one of the data directory, and gets
  a warning.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress

from fietsupdate.filesystem.journal.beyond import Beyond
from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.posix.rename import copy_file, replace

_WRITING = frozenset({"open", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.setxattr", "os.removexattr"})
MOST = 1000
"""The most entries of a root that are searched for symlinks that lead out."""

Kept = dict[tuple[int, int], tuple[str, str]]
"""Files that have a second name in the vault, by device and inode, with the root that they left and their path in it.
"""


class Outside:
    """The calls of one transaction outside of its roots.

    Args:
        changes: The changes of the transaction.
        beyond: The notes about what is not undone.
        tell: Called with a kind and a sentence.
        kept: The files that have left the roots; extended by this object.
    """

    def __init__(self, changes: Changes, beyond: Beyond, tell: Callable[[str, str], None], kept: Kept) -> None:
        self._changes = changes
        self._beyond = beyond
        self._tell = tell
        self._exits: dict[str, str] | None = None
        self._old: set[tuple[int, int]] = set()
        self._kept = kept
        self.since_ns = 0
        """When the hook began, by the clock of the file system."""

    def keep(self, files: Iterable[tuple[int, int]], root: str, path: str) -> None:
        """Remember files that share their bytes with a second name in the vault.

        Args:
            files: Device and inode of each file.
            root: The root that they leave.
            path: Where they were.
        """
        self._kept.update(dict.fromkeys(files, (root, path)))

    def tell_unkept(self, path: str) -> None:
        """Report that a file or folder leaves a root and that no second name of it could be kept."""
        text = "is moved out, and this user may not read all of it; what is deleted there is not undone."
        self._tell(f"unkept {path}", f"{path} {text}")

    def notice(self, event: str, path: str, real: str) -> None:
        """Handle a call that is about to change something outside of the roots.

        Args:
            event: The audit event of the call.
            path: The path as the caller wrote it.
            real: The same path without symlinks.

        Raises:
            OSError: A required note cannot be written, or bytes cannot be saved; then the call must not be made.
            FilesError: As for OSError.
        """
        if any(f"{real}/".startswith(f"{paths.root}/") for paths in self._changes.roots.values()):
            return  # a root itself, or the application's database
        if link := self._exit_of(path, real):
            self._tell(
                f"symlink {link}",
                f"The hook changes {real}, which {link} leads to, out of the data directory; that is not undone. It "
                "will be when extra_dirs names that folder.",
            )
        try:
            status = os.lstat(real)
        except OSError:
            return
        file = status.st_dev, status.st_ino
        if status.st_ctime_ns < self.since_ns:
            self._old.add(file)
        if event == "os.remove":
            self._remove(real, status)
        elif event in _WRITING and status.st_nlink > 1 and file in self._kept:
            root, path = self._kept[file]
            copy = self._changes.slot(root, self._changes.draft(root, path))
            copy_file(real, copy)
            replace(copy, real)

    def _remove(self, real: str, status: os.stat_result) -> None:
        is_last = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_size > 0
        if is_last and (status.st_dev, status.st_ino) in self._old:
            self._beyond.note_removed(real)
            self._changes.forget_own()

    def _exit_of(self, path: str, real: str) -> str:
        """Return the symlink in a root through which a call leaves the root; "" for none."""
        for paths in self._changes.roots.values():
            for root in (paths.root, paths.given):
                if path.startswith(f"{root}/"):
                    return _link_of(path, root)
        if self._exits is None:
            self._exits = self._find_exits()
        return next((link for there, link in self._exits.items() if f"{real}/".startswith(f"{there}/")), "")

    def _find_exits(self) -> dict[str, str]:
        """Return the symlinks at the top of the roots that lead to folders elsewhere: often to a whole disk."""
        exits: dict[str, str] = {}
        for paths in self._changes.roots.values():
            with suppress(OSError), os.scandir(paths.root) as entries:
                for _, entry in zip(range(MOST), entries, strict=False):
                    if entry.is_symlink() and os.path.isdir(entry.path):
                        exits[os.path.realpath(entry.path)] = entry.path
        return exits


def _link_of(path: str, root: str) -> str:
    """Return the first symlink on a path below a root."""
    here = root
    for part in path[len(root) + 1 :].split("/"):
        here = os.path.join(here, part)
        if os.path.islink(here):
            return here
    return root
