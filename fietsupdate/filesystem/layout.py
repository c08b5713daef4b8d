"""What lies where in a data directory, by name; and how our own folder comes to be.

``<root>/.fietsupdate`` is 0700 and belongs to whoever owns the root. Nothing else of ours ever stays outside it,
the VERSION file apart.
"""

from __future__ import annotations

import os
from pathlib import Path

from fietsupdate.errors import DataDirMissingError, FilesError
from fietsupdate.filesystem.owner import give_owner, set_times

HOME = ".fietsupdate"
"""Our folder in the data directory and in every further root; no script may touch it."""

LOST_FOUND = "lost+found"
"""What a file system brings along; it is nobody's file."""


def home(root: Path) -> Path:
    """Name our own folder in a root."""
    return root / HOME


def lock_file(data_dir: Path) -> Path:
    """Name the file that a running updater holds."""
    return data_dir / HOME / "lock"


def ledger_file(data_dir: Path) -> Path:
    """Name the data directory's copy of the ledger."""
    return data_dir / HOME / "ledger.jsonl"


def open_folder(root: Path) -> Path:
    """Name the folder of the open transaction, at most one."""
    return root / HOME / "txn"


def done_folder(root: Path) -> Path:
    """Name the folder of what is committed or undone, and is being emptied."""
    return root / HOME / "done"


def kept_folder(root: Path) -> Path:
    """Name the folder of finished transactions whose vault is kept (updates that were not atomic)."""
    return root / HOME / "kept"


def found_folder(root: Path, txn: str) -> Path:
    """Name the folder of what one playback did not recognise."""
    return root / HOME / "found" / txn


def restore_folder(root: Path) -> Path:
    """Name the folder of a restore: its journal, what is staged, and what was live before."""
    return root / HOME / "restore"


def make_home(root: Path) -> Path:
    """Create our own folder in a root, unless it is there; the root keeps its time.

    Raises:
        DataDirMissingError: the root does not exist.
        FilesError: the root cannot be written, or something else has our name.
    """
    path = home(root)
    try:
        before = os.stat(root)
        if not path.is_dir():
            make_folder(path)
            set_times(root, before)
    except FileNotFoundError as error:
        raise DataDirMissingError(f"The data directory {root} does not exist.") from error
    except OSError as error:
        raise FilesError(
            f"{path} cannot be created: {error.strerror}.",
            hint="Run as the user that owns the data directory, on a file system that can be written.",
        ) from error
    return path


def make_folder(path: Path) -> None:
    """Create a folder of ours, 0700, with the owner of the folder that it is in; one that is there will do."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    give_owner(path, os.stat(path.parent))


def make_folders(path: Path) -> list[Path]:
    """Create a folder of ours with those above it that are missing; give all whose content has changed by that."""
    if path.is_dir():
        return []
    made = make_folders(path.parent)
    make_folder(path)
    return [*made, path.parent, path]
