"""The folders for the backups of an instance: configured, forbidden, and shared ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from fietsupdate.backup import directory
from fietsupdate.backup.manifest import Backup, Shelf
from fietsupdate.backup.policy import orphaned
from fietsupdate.config.application import Application
from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.filesystem.layout import HOME


def folder_of(application: Application) -> Path:
    """Return the folder for backups."""
    return application.config.backup_dir or directory.default_folder(application.data_dir)


def set_apart(application: Application) -> tuple[Path, ...]:
    """Return the folder for backups; if it is a symlink, its target, too."""
    folder = folder_of(application)
    return folder, Path(os.path.realpath(folder))


def refuse_dest(application: Application, folder: Path) -> None:
    """Refuse a folder in the data directory or in a further root: a restore would remove it with all its backups.

    The configured folder is allowed: every restore knows it and leaves it in place.

    Raises:
        FilesError: The folder is in a root.
    """
    real = Path(os.path.realpath(folder))
    if real == Path(os.path.realpath(folder_of(application))):
        return
    for root in (application.data_dir, *application.config.extra_dirs.values()):
        if real.is_relative_to(os.path.realpath(root)):
            raise FilesError(
                f"Backups cannot go to {folder}: it is in {root}, whose files a restore replaces, these backups among "
                "them.",
                stands=UNCHANGED,
                hint=f"Name a folder elsewhere. Or keep all backups there: backup_dir = {folder}",
            )


def refuse_shared(application: Application, folder: Path) -> None:
    """Refuse a folder that contains the application's files: its content is neither copied nor restored.

    Outside of the data directory and the further roots the folder may hold any other files.

    Raises:
        FilesError: The folder is a root, or is in one and holds files that are no backups.
    """
    real = Path(os.path.realpath(folder))
    for root in map(os.path.realpath, (application.data_dir, *application.config.extra_dirs.values())):
        if not real.is_relative_to(root) or HOME in real.relative_to(root).parts:
            continue
        names = directory.foreign_entries(real)
        if os.fspath(real) == root or names:
            more = f", {names[0]!r} among them" if names else ""
            raise FilesError(
                f"{folder} cannot be the folder of backups: the application's own files are in it{more}. No backup "
                "would hold them.",
                stands=UNCHANGED,
                hint="Name a folder that is for backups alone with backup_dir or as DEST, or move away what is no "
                "backup.",
            )


def instance_tag(application: Application, instance_id: str) -> str:
    """Return the word that distinguishes this instance's unfinished backups from others in the same folder."""
    return instance_id or hashlib.sha256(os.fsencode(os.path.realpath(application.data_dir))).hexdigest()[:16]


def found(application: Application) -> Shelf:
    """Return the backups in the configured folder."""
    return directory.inspect_directory(folder_of(application))


def orphaned_dumps(
    backups: Collection[Backup], data_dir: Path, instance_id: str, begun: Collection[str] = ()
) -> tuple[Backup, ...]:
    """Return the dumps whose other half is deleted.

    Args:
        backups: Complete backups.
        data_dir: The data directory, which holds the vaults.
        instance_id: The instance; backups of other instances are never returned.
        begun: Transactions that are interrupted according to the database.
    """
    return orphaned(backups, instance_id, {*cleanup.living(data_dir), *begun})
