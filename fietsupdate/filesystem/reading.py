"""The verbs by which update scripts read files; they see changes of the same transaction at once."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fietsupdate.filesystem.paths import Paths
from fietsupdate.filesystem.posix.folders import Folders
from fietsupdate.filesystem.posix.rename import open_file

Name = str | os.PathLike[str]


class Reading:
    """The files of one root, for reading."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    @property
    def root(self) -> Path:
        """The folder that the paths are relative to."""
        return Path(self._paths.given)

    def exists(self, path: Name) -> bool:
        """Return whether a path exists; for a symlink, whether its target exists."""
        return os.path.exists(self._absolute(path))

    def is_file(self, path: Name) -> bool:
        """Return whether a path is a file."""
        return os.path.isfile(self._absolute(path))

    def is_dir(self, path: Name) -> bool:
        """Return whether a path is a folder."""
        return os.path.isdir(self._absolute(path))

    def read_bytes(self, path: Name) -> bytes:
        """Read a file."""
        with self._open(path) as file:
            return file.read()

    def read_text(self, path: Name, encoding: str = "utf-8") -> str:
        """Read a file of text."""
        with io.TextIOWrapper(self._open(path), encoding=encoding) as file:
            return file.read()

    def iterdir(self, path: Name = ".") -> Iterator[PurePosixPath]:
        """Yield the entries of a folder, sorted, as paths that the other verbs take."""
        folder = self._paths.resolve(path)
        for name in sorted(os.listdir(self._paths.absolute(folder))):
            relative = f"{folder}/{name}" if folder else name
            if not self._paths.is_kept_out(self._paths.absolute(relative)):
                yield PurePosixPath(relative)

    def glob(self, pattern: str) -> Iterator[PurePosixPath]:
        """Yield the paths that match a pattern of `pathlib.Path.glob`, sorted, as they are when the verb is called.

        ``**`` does not follow symlinks to folders. Our own folder and the application's database are left out.
        """
        self._paths.resolve(pattern, follow=False)
        root = self._paths.root
        found = sorted(str(path) for path in Path(root).glob(pattern) if not self._paths.is_kept_out(str(path)))
        return (PurePosixPath(self._paths.relative(path)) for path in found)

    def _open(self, path: Name) -> io.BufferedReader:
        """Open a file to read, through its open folder: a symlink that replaces the path meanwhile is not followed."""
        folders, absolute = Folders(), self._absolute(path)
        try:
            descriptor = open_file(folders.slot(absolute))
        except OSError as error:
            error.filename = absolute
            raise
        finally:
            folders.close()
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), absolute)
        return open(descriptor, "rb")

    def _absolute(self, path: Name) -> str:
        return self._paths.absolute(self._paths.resolve(path))
