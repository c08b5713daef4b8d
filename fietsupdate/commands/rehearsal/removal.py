"""Remove clones: at the end of a rehearsal, or when a later command finds the clone of a killed one.

Each rehearsal has a folder of its own in the real instance's ``.fietsupdate``, with a note that contains the path of
the clone. The folder is made first and removed last, so that every part of a clone always has one. A lock in it is held
as long as the rehearsal lives.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fietsupdate.database.dump import open_store
from fietsupdate.database.dump.accounts import Account
from fietsupdate.database.dump.store import CLONE, Store
from fietsupdate.errors import DatabaseError
from fietsupdate.filesystem import lock
from fietsupdate.filesystem.layout import home, make_folder, make_home
from fietsupdate.filesystem.posix.durable import atomic_write
from fietsupdate.filesystem.posix.regular import read_bytes
from fietsupdate.filesystem.posix.rename import erase
from fietsupdate.model.readback import parsed

FOLDER = "rehearsals"
NOTE = "note.json"
DATABASE = "database"
"""A file that exists from the time when the database is cloned: without it, its server is not asked."""
PREFIX = "fietsupdate-rehearsal-"
"""The prefix of the names of clones outside of the data directory."""


def folder_of(data_dir: Path) -> Path:
    """Return the folder of all rehearsals of an instance."""
    return home(data_dir) / FOLDER


def begin(data_dir: Path, tag: str) -> Path:
    """Make the folder of a new rehearsal."""
    make_home(data_dir)
    make_folder(folder_of(data_dir))
    folder = folder_of(data_dir) / tag
    make_folder(folder)
    return folder


def note(folder: Path, place: Path) -> None:
    """Record the path of the clone, durably, before the clone exists."""
    names = {"place": os.fspath(place), "name": os.fspath(elsewhere(folder))}
    atomic_write(folder / NOTE, json.dumps(names).encode(), mode=0o600)


def note_database(folder: Path) -> None:
    """Record, durably, that the database is about to be cloned."""
    atomic_write(folder / DATABASE, b"", mode=0o600)


def elsewhere(folder: Path) -> Path:
    """Return the path among the temporary files that belongs to a rehearsal: its clone, or an alias of it."""
    return Path(tempfile.gettempdir()) / f"{PREFIX}{folder.name}"


def name_outside(folder: Path, place: Path) -> Path:
    """Make a second name for a clone below ``.fietsupdate``, a symlink whose path does not contain that folder.

    Scripts that walk through the data directory skip paths with this folder among their parts, and would find no files
    there.

    Returns:
        The name, a symlink; if it cannot be made, the place itself.
    """
    if not place.is_relative_to(folder):
        return place
    try:
        elsewhere(folder).symlink_to(place)
    except OSError:
        return place
    return elsewhere(folder)


def remove(folder: Path, url: str, file: Path | None) -> None:
    """Remove a clone and all that belongs to it; missing parts are no error.

    Args:
        folder: The rehearsal's own folder.
        url: The real database.
        file: Its file, on SQLite.

    Raises:
        DatabaseError: The clone of the database cannot be removed; its folder stays, for the next rehearsal.
        OSError: A file cannot be removed.
    """
    if (noted := _noted(folder)) is not None:
        place, name = noted
        if name.is_symlink():
            name.unlink(missing_ok=True)
        if (folder / DATABASE).exists():
            with suppress(FileNotFoundError):
                _drop(open_store(url, file=file), folder.name, place)
        _erase(place)
    _erase(folder)


def _drop(real: Store, tag: str, place: Path) -> None:
    clone = real.sibling(CLONE, tag, database_folder(place))
    clone.drop()
    if clone.file is None:
        Account(real, clone, tag).remove()


def _is_outside(path: Path, folder: Path) -> bool:
    """Return whether a path from a note has the one name that a rehearsal uses outside of its folder."""
    return path.is_absolute() and ".." not in path.parts and path.name == f"{PREFIX}{folder.name}"


def database_folder(place: Path) -> Path:
    """Return the folder of a SQLite database in a clone."""
    return place / "database"


def sweep(data_dir: Path, url: str, file: Path | None) -> tuple[str, ...]:
    """Remove what killed rehearsals have left; return a sentence about each folder that could not be removed."""
    failures = []
    for folder in dead(data_dir):
        try:
            remove(folder, url, file)
        except (DatabaseError, OSError) as error:
            failures.append(f"The clone of an earlier rehearsal ({folder}) could not be removed: {error}")
    return tuple(failures)


def dead(data_dir: Path) -> Iterator[Path]:
    """Yield the folders of rehearsals that no process is at work on."""
    try:
        if folder_of(data_dir).is_symlink():
            return
        folders = sorted(path for path in folder_of(data_dir).iterdir() if path.is_dir() and not path.is_symlink())
    except FileNotFoundError:
        return
    yield from (folder for folder in folders if lock.holder(folder) is None)


def _noted(folder: Path) -> tuple[Path, Path] | None:
    try:
        names = parsed(read_bytes(folder / NOTE))
        place, name = Path(names["place"]), Path(names["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the rehearsal was killed before anything was made
    inside = place.is_relative_to(folder) and ".." not in place.parts
    return (place, name) if (inside or _is_outside(place, folder)) and _is_outside(name, folder) else None


def _erase(path: Path) -> None:
    """Erase a tree, also while another process erases the same one."""
    while os.path.lexists(path):
        with suppress(FileNotFoundError):
            erase(str(path))
