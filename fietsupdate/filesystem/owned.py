"""List the files that only rows may name, in the order of the bytes of their paths, with constant memory.

Symbolic links are not followed, and are reported like files. Our own folder is left out, and so are the paths that the
caller excludes. Names are bytes: neither the locale nor a normal form of Unicode changes them.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.layout import HOME, LOST_FOUND
from fietsupdate.filesystem.sorting import MOST, sorted_names
from fietsupdate.model.patterns import compiled, folder_of, is_whole_folder
from fietsupdate.model.templates import decoded, encoded

_HOME = f"/{HOME}/".encode()
SLASH = ord("/")
_LOST_FOUND = f"{LOST_FOUND}/".encode()


class Named:
    """An entry of a folder that is too large for memory: its status is read on demand."""

    __slots__ = ("path",)

    def __init__(self, path: bytes) -> None:
        self.path = path

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return the status of the entry."""
        return os.stat(self.path, follow_symlinks=follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Return whether the entry is an ordinary file."""
        return stat.S_ISREG(self.stat(follow_symlinks=follow_symlinks).st_mode)

    def is_symlink(self) -> bool:
        """Return whether the entry is a symbolic link."""
        return stat.S_ISLNK(self.stat(follow_symlinks=False).st_mode)


Entry = os.DirEntry[bytes] | Named


class OwnedFiles:
    """The owned files of one root.

    Args:
        root: The root.
        patterns: The patterns of owned files; see `fietsupdate.model.patterns`.
        kept_out: Absolute paths of files and folders in the root that are left out.
        most: The most entries of one folder that are kept in memory.
    """

    def __init__(
        self, root: bytes, patterns: Sequence[str], kept_out: Collection[bytes] = (), *, most: int = MOST
    ) -> None:
        self._root = root
        self._most = most
        whole = {encoded(folder_of(one)) for one in patterns if is_whole_folder(one)}
        self._whole = tuple(sorted(whole))
        self._some = [compiled(one) for one in patterns if not is_whole_folder(one)]
        depths = (math.inf if "**" in one else one.count("/") + 1 for one in patterns)
        self._depth = max(depths, default=0)
        self._bases = _outermost({encoded(folder_of(one)) for one in patterns})
        below = tuple(root + b"/" + base for base in self._bases)
        self._kept_out = frozenset(path for path in kept_out if path.startswith(below))

    def __iter__(self) -> Iterator[tuple[bytes, Entry]]:
        """Yield the path of each file relative to the root, sorted, and its entry.

        Raises:
            FilesError: A folder cannot be read.
        """
        for base in self._bases:
            if self._is_inside(base):
                owned = base.startswith(self._whole) if self._whole else False
                yield from self._below(base, owned=owned)

    def _is_inside(self, base: bytes) -> bool:
        """Return whether a folder exists, and no symbolic link leads to it."""
        path = self._root
        for part in base.split(b"/")[:-1]:
            path = path + b"/" + part
            try:
                if not stat.S_ISDIR(os.lstat(path).st_mode):
                    return False
            except OSError:
                return False
        return True

    def _below(self, base: bytes, *, owned: bool) -> Iterator[tuple[bytes, Entry]]:
        """Yield what a folder holds; the stack has the entries of the folders above that are still to come."""
        stack = [self._entries(base)]
        kept_out, whole, root = self._kept_out, self._whole, self._root + b"/"
        while stack:
            for path, entry in stack[-1]:
                if kept_out and root + path.rstrip(b"/") in kept_out:
                    continue
                if path[-1] == SLASH:
                    if path.count(b"/") < self._depth and _HOME not in b"/" + path:
                        stack.append(self._entries(path))
                        break
                elif owned or (whole and path.startswith(whole)) or self._matches(path):
                    yield path, entry
            else:
                stack.pop()

    def _matches(self, path: bytes) -> bool:
        text = decoded(path)
        return any(one.fullmatch(text) for one in self._some)

    def _entries(self, folder: bytes) -> Iterator[tuple[bytes, Entry]]:
        """Yield the entries of a folder, sorted like their complete paths: folders end with a slash."""
        path = self._root + b"/" + folder
        try:
            with os.scandir(path) as entries:
                first = [
                    (folder + (entry.name + b"/" if entry.is_dir(follow_symlinks=False) else entry.name), entry)
                    for entry in islice(entries, self._most)
                ]
                following = next(entries, None)
                if following is None:
                    first.sort(key=_path)
                    return iter(first)
                keys = chain(map(_path, first), (folder + _key(entry) for entry in chain([following], entries)))
                return self._named(sorted_names(keys, self._most))
        except FileNotFoundError:
            return iter(())  # the folder was removed meanwhile
        except OSError as error:
            if folder == _LOST_FOUND:
                return iter(())
            raise FilesError(
                f"{os.fsdecode(path)} cannot be read: {error.strerror}.",
                hint="Run as the user that owns the files, or root.",
            ) from error

    def _named(self, keys: Iterator[bytes]) -> Iterator[tuple[bytes, Entry]]:
        root = self._root + b"/"
        for key in keys:
            yield key, Named(root + key.rstrip(b"/"))


def _key(entry: os.DirEntry[bytes]) -> bytes:
    return entry.name + b"/" if entry.is_dir(follow_symlinks=False) else entry.name


def _path(found: tuple[bytes, os.DirEntry[bytes]]) -> bytes:
    return found[0]


def _outermost(folders: Collection[bytes]) -> list[bytes]:
    """Return the folders that are not inside of another one, in the order of their bytes."""
    kept: list[bytes] = []
    for folder in sorted(folders):
        if not kept or not folder.startswith(kept[-1]):
            kept.append(folder)
    return kept
