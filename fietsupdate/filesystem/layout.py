"""The names of our files in a data directory, and the creation of our own folder.

``<root>/.fietsupdate`` is 0700 and belongs to the owner of the root. No other file of ours stays outside of it, except
for the VERSION file.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from fietsupdate.errors import UNCHANGED, DataDirMissingError, FilesError
from fietsupdate.filesystem.posix.identity import user
from fietsupdate.filesystem.posix.ownership import as_user, give_owner, set_times, user_name

HOME = ".fietsupdate"
"""Our folder in the data directory and in every further root; no script may touch it."""

QUARANTINE = "quarantine"
"""The folder in ours that files without a row are put into."""

LEDGER = "ledger.jsonl"
"""The data directory's copy of the ledger, in our folder."""

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

LOST_FOUND = "lost+found"
"""A folder that file systems create themselves; it does not belong to the application."""


def home(root: Path) -> Path:
    """Return our own folder in a root."""
    return root / HOME


def is_name(part: str) -> bool:
    """Return whether a text is the name of an entry in a folder, and leads nowhere else."""
    return part not in {"", ".", ".."} and "/" not in part and "\0" not in part


def lock_file(data_dir: Path) -> Path:
    """Return the file that a running updater locks."""
    return data_dir / HOME / "lock"


def ledger_file(data_dir: Path) -> Path:
    """Return the data directory's copy of the ledger."""
    return data_dir / HOME / LEDGER


def open_folder(root: Path) -> Path:
    """Return the folder of the open transaction, of which there is at most one."""
    return root / HOME / "txn"


def done_folder(root: Path) -> Path:
    """Return the folder of transactions that are committed or undone, and are being deleted."""
    return root / HOME / "done"


def kept_folder(root: Path) -> Path:
    """Return the folder of finished transactions whose vault is kept (updates that were not atomic)."""
    return root / HOME / "kept"


def found_folder(root: Path, txn: str) -> Path:
    """Return the folder of files that one playback did not recognise."""
    return root / HOME / "found" / txn


def quarantine_folder(root: Path) -> Path:
    """Return the folder of what was put into quarantine, one folder in it for each time."""
    return root / HOME / QUARANTINE


def is_quarantined(path: str) -> bool:
    """Return whether a path in a root is in the quarantine."""
    return path.startswith(f"{HOME}/{QUARANTINE}/")


def restore_folder(root: Path) -> Path:
    """Return the folder of a restore: its journal, the staged files, and what was live before."""
    return root / HOME / "restore"


def open_home(root: Path) -> int:
    """Open our own folder in a root and return its descriptor; calls relative to it stay in that very folder.

    Raises:
        FilesError: The folder is not ours alone, see `check_home`.
        OSError: The folder does not exist, or cannot be opened.
    """
    try:
        descriptor = os.open(home(root), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        check_home(root)  # it has a better message for a symlink
        raise
    try:
        _check_status(root, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_home(root: Path) -> None:
    """Refuse a folder of ours that another user may have created, or may write to (invariant 12).

    It must be a real folder, and belong to this user or to root; if this user is root, it may belong to the owner of
    the root directory, too.

    Raises:
        FilesError: The folder is anything else; with the command to type.
    """
    try:
        status = os.lstat(home(root))
    except OSError:
        return  # it does not exist, or this user may not read it, which is reported elsewhere
    _check_status(root, status)


def _check_status(root: Path, status: os.stat_result) -> None:
    path = home(root)
    if stat.S_ISLNK(status.st_mode):
        raise _foreign(
            f"{path} is a symbolic link. None is followed there: it may lead to files of other users.",
            f"See where it leads with `ls -l {path}`, and who put it there. Remove it (`rm {path}`), and move the "
            "real folder back to that name.",
        )
    if not stat.S_ISDIR(status.st_mode):
        raise _foreign(f"{path} is not a folder.", f"Move it away: `mv {path} {path}.away`.")
    if status.st_uid not in {0, user()} and not (user() == 0 and status.st_uid == os.stat(root).st_uid):
        raise _foreign(
            f"{path} belongs to {user_name(status.st_uid)}, who can have written anything into it.",
            f"If {user_name(status.st_uid)} runs the updates here, run this as that user"
            + (f". {as_user(status.st_uid, status.st_gid)}" if user() == 0 else "")
            + f". Else find the real folder, and move this one away: `mv {path} {path}.away`.",
        )
    if status.st_mode & _OTHERS_WRITE:
        raise _foreign(
            f"{path} can be written by others (mode {stat.S_IMODE(status.st_mode):o}), who can have changed the "
            "journal and the backups in it.",
            f"If you trust them with all of these files, close it: `chmod -R go-rwx {path}`.",
        )


def _foreign(message: str, hint: str) -> FilesError:
    error = FilesError(message, stands=UNCHANGED, hint=hint)
    error.code = "foreign_folder"
    return error


def make_home(root: Path) -> Path:
    """Create our own folder in a root, unless it exists, without changing the root's time; close it to other users.

    Raises:
        DataDirMissingError: The root does not exist.
        FilesError: The root cannot be written, a file has the folder's name, or the folder is not ours alone.
    """
    path = home(root)
    try:
        before = os.stat(root)
        if not os.path.lexists(path):
            make_folder(path)
            set_times(root, before)
        _close_to_others(root)
    except FileNotFoundError as error:
        raise DataDirMissingError(f"The data directory {root} does not exist.") from error
    except OSError as error:
        raise FilesError(
            f"{path} cannot be created: {error.strerror}.",
            hint="Run as the user that owns the data directory, on a file system that can be written.",
        ) from error
    return path


def _close_to_others(root: Path) -> None:
    descriptor = open_home(root)
    try:
        status = os.fstat(descriptor)
        if status.st_mode & _OTHERS and status.st_uid in {user(), os.stat(root).st_uid}:
            with suppress(PermissionError):  # another user's folder, or a file system without modes
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~_OTHERS)
    finally:
        os.close(descriptor)


def make_folder(path: Path, *, shared: bool = True) -> None:
    """Create a folder of ours, 0700; an existing folder is no error, a symlink to a folder is.

    Args:
        path: The folder.
        shared: Whether it gets the owner of the folder that contains it; otherwise it stays this user's.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise
        return
    if shared:
        give_owner(path, os.stat(path.parent))


def make_folders(path: Path) -> list[Path]:
    """Create a folder of ours with its missing parents; return all folders whose content has changed."""
    if path.is_dir():
        return []
    made = make_folders(path.parent)
    make_folder(path)
    return [*made, path.parent, path]
