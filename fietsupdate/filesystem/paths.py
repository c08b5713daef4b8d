"""The rules for paths in scripts: relative to their root, and never out of it.

``..``, absolute paths elsewhere, symlinks that lead out, our own folder and the application's own database files are
refused before anything is done.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.layout import HOME
from fietsupdate.filesystem.posix.folders import Folders

_NO_NAMES = frozenset({"", ".", "..", HOME})
_DATABASE_SUFFIXES = ("", "-wal", "-shm", "-journal")
"""The files that belong to one SQLite database (https://sqlite.org/tempfiles.html)."""


class PathError(FilesError, ValueError):
    """A script names a path that it may not change."""

    code = "path"


def database_files(paths: Iterable[Path]) -> frozenset[str]:
    """Return all files of the SQLite databases at ``paths``, as canonical paths."""
    return frozenset(os.path.realpath(path) + suffix for path in paths for suffix in _DATABASE_SUFFIXES)


def kept_out(databases: Iterable[Path]) -> frozenset[str]:
    """Return the paths that no script may change: the files of the SQLite databases, and symlinks to them."""
    databases = list(databases)
    return database_files(databases).union(*map(_links_on_the_way, databases))


def _links_on_the_way(path: Path) -> set[str]:
    """Return the symlinks on the way of a path, each by its canonical folder and its own name."""
    names: set[str] = set()
    here, parts = "/", os.path.abspath(path).split("/")
    while parts:
        part = parts.pop(0)
        if part in {"", "."}:
            continue
        name = os.path.dirname(here) if part == ".." else os.path.join(here, part)
        try:
            text = os.readlink(name)
        except OSError:
            here = name
            continue
        if name in names:
            break  # a symlink loop leads nowhere
        names.add(name)
        here = "/" if text.startswith("/") else here
        parts = text.split("/") + parts
    return names


class Paths:
    """The paths below one root."""

    def __init__(self, root: Path, keep_out: Collection[str]) -> None:
        self.given = os.path.abspath(root)
        self.root = os.path.realpath(root)
        self._keep_out = frozenset(keep_out)

    def absolute(self, path: str) -> str:
        """Return the absolute path for a canonical one; an absolute path lies outside, and is returned unchanged."""
        if path.startswith("/"):
            return path
        return f"{self.root}/{path}" if path else self.root

    def relative(self, real: str) -> str:
        """Return the path below the root for a canonical absolute one."""
        return real[len(self.root) + 1 :]

    def resolve(self, path: str | os.PathLike[str], *, follow: bool = True, opened: Folders | None = None) -> str:
        """Return the canonical path below the root for a path from a script; "" is the root itself.

        Args:
            path: The path from the script.
            follow: Whether a symlink at the end is followed.
            opened: Opens the path if it is a folder; success proves at once that no symlink is on the way.

        Raises:
            PathError: The path leads out of the root, or to files that scripts may not change.
        """
        text = self._below_root(os.fspath(path))
        real = self.absolute(text)
        if opened is None or not opened.opens(real):
            real = self.real(text, follow=follow)
        if real != self.root and not real.startswith(f"{self.root}/"):
            raise self._outside(path, "a symlink leads out of it")
        relative = self.relative(real)
        if HOME in relative.split("/"):
            raise PathError(f"{os.fspath(path)!r} is in {HOME}, which belongs to fietsupdate.")
        if real in self._keep_out:
            raise _is_database(os.fspath(path), real)
        return relative

    def real(self, relative: str, *, follow: bool) -> str:
        """Return the canonical absolute path for a tidy one below the root, with all symlinks resolved.

        The root is canonical, so only the parts below it are checked; ``os.path.realpath`` would begin at ``/``.
        """
        path = self.root
        parts = relative.split("/") if relative else []
        for number, part in enumerate(parts, start=1):
            path = f"{path}/{part}"
            if number == len(parts) and not follow:
                break
            try:
                if stat.S_ISLNK(os.lstat(path).st_mode):
                    return _realpath(f"{self.root}/{relative}", follow=follow)
            except OSError:
                return f"{self.root}/{relative}"  # nothing exists there, or below it
        return path

    def resolve_change(self, path: str | os.PathLike[str], *, follow: bool = True) -> str:
        """Return what `resolve` returns, for a path that will be changed; it cannot be the root itself."""
        relative = self.resolve(path, follow=follow)
        if not relative:
            raise PathError(f"{os.fspath(path)!r} is the root itself, which must stay.")
        return relative

    def resolve_entry(self, path: str | os.PathLike[str], folders: dict[str, str], opened: Folders) -> str:
        """Return what `resolve_change` returns, for a path that will be changed itself, with a cache of folders.

        Args:
            path: The path from the script; a symlink at its end is not followed.
            folders: The resolved folders, by the paths from scripts; valid while none of them changes.
            opened: Opens these folders.
        """
        text = os.fspath(path)
        folder, slash, name = text.rpartition("/")
        if name in _NO_NAMES or "\0" in name or (slash and not folder):
            return self.resolve_change(path, follow=False)
        if slash and folder not in folders:
            try:
                folders[folder] = self.resolve(folder, opened=opened)
            except PathError:
                return self.resolve_change(path, follow=False)  # its error names the whole path
        relative = f"{folders[folder]}/{name}" if slash and folders[folder] else name
        if f"{self.root}/{relative}" in self._keep_out:
            return self.resolve_change(path, follow=False)
        return relative

    def check_tree(self, relative: str) -> None:
        """Refuse a folder that contains files which scripts may not change.

        Raises:
            PathError: The application's database is in the folder.
        """
        inside = self.absolute(relative) + "/"
        for file in self._keep_out:
            if file.startswith(inside):
                raise _holds_database(relative)

    def check_link(self, folder: str, text: str) -> None:
        """Refuse the text of a symlink in a folder when it leads out.

        Raises:
            PathError: The text leads out of the root.
        """
        real = os.path.realpath(os.path.join(self.absolute(folder), text))
        if real != self.root and not real.startswith(f"{self.root}/"):
            raise self._outside(text, "a symlink would lead out of it")

    def check_database(self, real: str) -> None:
        """Refuse a canonical absolute path, also outside of the root, that a plain call is about to destroy or move.

        Raises:
            PathError: The path is the application's database, or leads to it, or contains it.
        """
        if real in self._keep_out:
            raise _is_database(real, real)
        inside = f"{real.rstrip('/')}/"
        if any(file.startswith(inside) for file in self._keep_out):
            raise _holds_database(real)

    def find(self, real: str) -> str | None:
        """Return the path below the root for a canonical absolute one that a plain call is about to change.

        Returns:
            ``None`` for a path outside, for the root itself, and for the application's own database.

        Raises:
            PathError: The path is in our own folder.
        """
        if not real.startswith(f"{self.root}/") or real in self._keep_out:
            return None
        relative = self.relative(real)
        if HOME in relative.split("/"):
            raise PathError(f"{real!r} is in {HOME}, which belongs to fietsupdate.")
        return relative

    def is_kept_out(self, real: str) -> bool:
        """Return whether a canonical absolute path belongs to the application's own database, or to us."""
        if real in self._keep_out:
            return True
        return real.startswith(f"{self.root}/") and HOME in self.relative(real).split("/")

    def kept_out_in(self, folder: str) -> frozenset[str]:
        """Return the names in a folder, a canonical path, that are the application's own database."""
        above = f"{self.absolute(folder)}/"
        inside = (path[len(above) :] for path in self._keep_out if path.startswith(above))
        return frozenset(name for name in inside if "/" not in name)

    def _below_root(self, text: str) -> str:
        parts = text.split("/")
        if "\0" in text or not text:
            raise PathError(f"{text!r} is not a path.")
        if ".." in parts:
            raise self._outside(text, "it contains '..'")
        if text.startswith("/"):
            for root in (self.root, self.given):
                if text == root or text.startswith(f"{root}/"):
                    return _tidy(text[len(root) :].split("/"))
            raise self._outside(text, "it is absolute")
        return _tidy(parts)

    def _outside(self, path: str | os.PathLike[str], why: str) -> PathError:
        return PathError(
            f"{os.fspath(path)!r} leads out of {self.given}: {why}.",
            hint="Declare further folders as extra_dirs (media=/srv/media) and use self.dirs['media'].",
        )


def _is_database(path: str, real: str) -> PathError:
    what = "leads to" if os.path.islink(real) else "is"
    return PathError(f"{path!r} {what} the application's own database, which changes by SQL only.")


def _holds_database(path: str) -> PathError:
    return PathError(f"{path!r} holds the application's own database, which must stay.")


def is_tidy(path: str) -> bool:
    """Return whether a path has neither empty parts nor ``.`` nor ``..``."""
    return not {"", ".", ".."} & set(path.split("/"))


def _realpath(path: str, *, follow: bool) -> str:
    if follow:
        return os.path.realpath(path)
    folder, name = os.path.split(path)
    return f"{os.path.realpath(folder)}/{name}"


def _tidy(parts: Iterable[str]) -> str:
    return "/".join(part for part in parts if part not in {"", "."})
