"""Which file system is full, how much is free there, and how much is needed: what an administrator has to know."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from fietsupdate.errors import FietsupdateError, behind

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system answers when a disk is full, or a quota used up."""
_MIB = 1 << 20


def is_full(error: BaseException | None) -> bool:
    """Return whether a full disk, or a quota, is what is behind an error: of a file, or of a SQLite database."""
    return any(_says_full(cause) for cause in behind(error))


def name_disk(error: FietsupdateError, default: Path, *, needed: int = 0) -> None:
    """Complete an error that a full disk has caused: name the file system, what is free there, and what is needed.

    Args:
        error: The error; its message and its hint are completed.
        default: What lies on the full disk where the error names no path.
        needed: Bytes that the update is known to need; 0 where nothing is known.
    """
    path = _path_of(error) or default
    mount = _mount_point(path)
    try:
        status = os.statvfs(mount)
    except OSError:
        return
    free, whole = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    what = f"{free // _MIB} of {whole // _MIB} MiB are free"
    if status.f_files and not status.f_favail:
        what += ", and no inode"
    error.message += f" {path} lies on the file system {mount}, where {what} now."
    amount = (
        f"the last rehearsal needed {-(-needed // _MIB)} MiB in all"
        if needed
        else "how much is needed is not known; 'fietsupdate rehearse' with rehearsal_dir on a larger disk finds out"
    )
    error.hint = f"Free some space in {mount} ({amount}), then run the same command again."


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"


def _path_of(error: BaseException) -> Path | None:
    """Return the path that the system could not write, where it names one."""
    causes = [cause for cause in behind(error) if isinstance(cause, OSError) and cause.errno in FULL]
    names = (name for cause in causes for name in (cause.filename2, cause.filename) if isinstance(name, str | bytes))
    name = next(names, None)
    return Path(os.fsdecode(name)).absolute() if name else None


def _mount_point(path: Path) -> Path:
    """Return the folder at which the file system of a path is mounted; of a path that is gone, its nearest folder's."""
    while not path.exists() and path != path.parent:
        path = path.parent
    path = path.resolve()
    while not os.path.ismount(path):
        path = path.parent
    return path
