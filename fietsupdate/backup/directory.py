"""The folder of the backups: how a backup is created, found, and deleted as a whole.

A backup is made under a name that is not a backup's, and gets its own by one rename, after its manifest is durable. It
is deleted by the same rename backwards. So a half backup never counts, whatever is killed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fietsupdate.backup.manifest import FILES, LISTING, MANIFEST, PARTIAL, Backup, Manifest, Scope, Shelf
from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.layout import HOME, LOST_FOUND, home, make_folder, make_home
from fietsupdate.filesystem.posix.durable import atomic_write, sync_path
from fietsupdate.filesystem.posix.identity import user
from fietsupdate.filesystem.posix.ownership import give_owner, user_name
from fietsupdate.filesystem.posix.regular import read_bytes
from fietsupdate.filesystem.posix.rename import erase

LARGEST = 16 << 20
"""The most bytes of a manifest."""


class DamagedError(ValueError):
    """A part of a backup is missing, or has another length; its manifest can be read."""

    def __init__(self, backup: Backup, reason: str) -> None:
        super().__init__(reason)
        self.backup = backup


def default_folder(data_dir: Path) -> Path:
    """Return the folder for backups where the configuration names none."""
    return home(data_dir) / "backups"


def make_shelf(folder: Path, data_dir: Path) -> None:
    """Create the folder for backups, unless it exists; its parent must exist.

    Raises:
        FilesError: The folder cannot be created or written.
    """
    try:
        if folder == default_folder(data_dir):
            make_home(data_dir)
            _refuse_led_elsewhere(folder)
        if not folder.is_dir():
            make_folder(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(0, "Permission denied")
    except OSError as error:
        raise FilesError(
            f"Backups cannot go to {folder}: {error.strerror}.",
            stands=UNCHANGED,
            hint="Is the volume mounted? Make the folder, or name another one with backup_dir or as DEST.",
        ) from error


def _refuse_led_elsewhere(folder: Path) -> None:
    """Refuse a symlink in another user's folder, for whom root works: it could lead to any files."""
    if user() == 0 and folder.is_symlink() and os.lstat(folder.parent).st_uid != 0:
        raise FilesError(
            f"Backups cannot go to {folder}: it is a symbolic link in a folder that belongs to "
            f"{user_name(os.lstat(folder.parent).st_uid)}, and root does not follow it.",
            stands=UNCHANGED,
            hint=f"Name the folder itself: backup_dir = {os.path.realpath(folder)}",
        )


def begin(folder: Path, owner: str, name: str) -> Path:
    """Create the folder in which a backup is made.

    Args:
        folder: The folder of the backups.
        owner: Distinguishes this instance's unfinished backups from others', which may be at work in the same folder.
        name: The final name of the backup.

    Raises:
        OSError: The folder cannot be created.
    """
    partial = folder / f"{PARTIAL}{owner}-{name}"
    os.mkdir(partial, 0o700)
    give_owner(partial, os.stat(folder))
    return partial


def free_name(folder: Path, name: str) -> str:
    """Return a name that no backup has: this one, or with a number behind it."""
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next(each for each in names if not (folder / each).exists())


def complete(partial: Path, manifest: Manifest) -> Backup:
    """Write the manifest and give the backup its name, durably. All else in it is durable already.

    Another instance in the same folder may have taken the name meanwhile: then the backup gets the next free one.

    Raises:
        OSError: It cannot be written; then there is no new backup.
    """
    atomic_write(partial / MANIFEST, manifest.to_json().encode(), mode=0o600)
    path = partial.with_name(manifest.name)
    while not _renamed(partial, path):
        path = partial.with_name(free_name(partial.parent, manifest.name))
    sync_path(path.parent)
    return Backup(path, replace(manifest, name=path.name))


def read(path: Path) -> Backup:
    """Read the manifest of a backup, and check that its parts exist. Its content is not read.

    Raises:
        ValueError: The folder is no backup, or a part of it is missing (`DamagedError`); the text says which, without
            the name.
    """
    try:
        manifest = Manifest.from_json(read_bytes(path / MANIFEST, LARGEST).decode())
    except FileNotFoundError as error:
        raise ValueError("there is no manifest") from error
    except OSError as error:
        raise ValueError(f"its manifest cannot be read: {error.strerror}") from error
    backup = Backup(path, replace(manifest, name=path.name))
    for part in (manifest.dump, manifest.listing):
        if part is None:
            continue
        with suppress(OSError):
            status = os.lstat(path / part.name)
            if stat.S_ISREG(status.st_mode) and status.st_size == part.size:
                continue
        raise DamagedError(backup, f"{part.name} is missing, or not as long as it was")
    if manifest.scope is Scope.FULL and not (path / FILES).is_dir():
        raise DamagedError(backup, f"{FILES} is missing")
    return backup


def inspect_directory(folder: Path) -> Shelf:
    """Return the backups in a folder, newest first by their own time, and damaged or unfinished ones by name.

    Raises:
        FilesError: This user may not read the folder.
    """
    backups: list[Backup] = []
    damaged: list[Backup] = []
    broken: dict[str, str] = {}
    for path in _entries(folder):
        if path.name.startswith(PARTIAL):
            broken[path.name] = "it was never finished"
        elif _is_one(path):
            try:
                backups.append(read(path))
            except ValueError as error:
                broken[path.name] = str(error)
                damaged += [error.backup] if isinstance(error, DamagedError) else []
    backups.sort(key=lambda backup: (*backup.manifest.order[:2], backup.name), reverse=True)
    return Shelf(folder, tuple(backups), broken, tuple(damaged))


def foreign_entries(folder: Path) -> tuple[str, ...]:
    """Return the names in a folder of backups that neither we nor a file system put there."""
    names = {path.name for path in _entries(folder) if not (path.name.startswith(PARTIAL) or _is_one(path))}
    return tuple(sorted(names - {LOST_FOUND, HOME}))


def remove(backups: Iterable[Backup], owner: str) -> tuple[str, ...]:
    """Delete backups, each by one rename before it is erased; return their names."""
    gone = []
    for backup in backups:
        path = backup.path
        with suppress(FileNotFoundError):
            os.rename(path, path.with_name(f"{PARTIAL}{owner}-{path.name}"))
            sync_path(path.parent)
            gone.append(path.name)
            erase(str(path.with_name(f"{PARTIAL}{owner}-{path.name}")))
    return tuple(gone)


def clean_up(folder: Path, owner: str) -> tuple[str, ...]:
    """Erase the leftovers of this instance's killed backups. The caller holds the updater's lock."""
    left = [path for path in _entries(folder) if path.name.startswith(f"{PARTIAL}{owner}-")]
    for path in left:
        erase(str(path))
    return tuple(path.name for path in left)


def parts(backup: Backup) -> Iterator[tuple[str, Path]]:
    """Yield the trees of a backup by the names of their roots; "" is the data directory."""
    if backup.manifest.scope is Scope.FULL:
        yield "", backup.tree("")
        yield from ((name, backup.tree(name)) for name in backup.manifest.extra_dirs)


def _renamed(partial: Path, path: Path) -> bool:
    """Rename a finished backup.

    Return False where the name is taken, since rename(2) does not replace a full folder.
    """
    try:
        os.rename(partial, path)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        return False
    return True


def _is_one(path: Path) -> bool:
    return path.is_dir() and any((path / part).exists() for part in (MANIFEST, LISTING, FILES))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise FilesError(
            f"{folder} cannot be read: {error.strerror}.",
            stands=UNCHANGED,
            hint="Run as a user who may read the backups.",
        ) from error
