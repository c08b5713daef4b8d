"""Find out which file system is full, how much of it is free, and how much is needed, for the administrator."""

from __future__ import annotations

import os
from pathlib import Path

from fietsupdate.errors import UNCHANGED, FietsupdateError, FilesError, causes
from fietsupdate.filesystem.posix.durable import DISK_FULL

BLOCK = 4096
"""The bytes that a file takes in addition to its content, as an estimate."""

RESERVE = 64 << 20
"""The fewest bytes that a copy must leave free."""

INODES_LEFT = 1000
"""The files that must still be possible in addition to a copy: journals, logs, the application's own."""

SHARE = 20
"""A large copy must leave free one byte for this many of its own."""


def reserve_of(size: int) -> int:
    """Return how many bytes must stay free in addition to a copy of this size."""
    return max(RESERVE, size // SHARE)


def mib(size: int) -> int:
    """Return a number of bytes in MiB, rounded up."""
    return -(-size // (1 << 20))


def room(path: Path) -> int:
    """Return how many bytes this user may still write in a folder, or in the first existing folder above it."""
    found = os.statvfs(standing(path))
    return found.f_bavail * found.f_frsize


def inodes(path: Path) -> int | None:
    """Return how many files this user may still make in a folder, or in the first existing folder above it.

    ``None`` if the file system sets no limit: btrfs and others report no inodes at all (statvfs(3), ``f_files``).
    """
    found = os.statvfs(standing(path))
    return found.f_favail if found.f_files else None


def refuse_few_inodes(what: str, folder: Path, count: int, *, stands: str = UNCHANGED) -> None:
    """Refuse to begin where the inodes would run out half-way; bytes may be free all the same.

    Args:
        what: The subject of the message: "A backup", "Restoring NAME".
        folder: Where the files are to be made.
        count: Files, folders and links.
        stands: The state of both halves, for the message.

    Raises:
        FilesError: The file system has too few inodes, with `INODES_LEFT` to stay free.
    """
    free = inodes(folder)
    if free is not None and free < count + INODES_LEFT:
        raise FilesError(
            f"{what} makes {count:,} files in {folder}, and {INODES_LEFT:,} more are to stay possible; its file system "
            f"has room for {free:,} (inodes; 'df -i' shows them).",
            stands=stands,
            hint="Remove files that are no longer needed from that file system, or use one with more inodes.",
        )


def standing(path: Path) -> Path:
    """Return a folder, or the first existing one above it."""
    while not path.is_dir():
        path = path.parent
    return path


def is_full(error: BaseException | None) -> bool:
    """Return whether an error was caused by a full disk or a quota: an error of a file, or of a SQLite database."""
    return any(_says_full(cause) for cause in causes(error))


def name_disk(error: FietsupdateError, default: Path, *, needed: int = 0) -> None:
    """Complete an error that a full disk has caused: name the file system, its free space, and the space needed.

    Args:
        error: The error; its message and its hint are completed.
        default: A path on the full disk where the error names none.
        needed: Bytes that the update is known to need; 0 if unknown.
    """
    path = _path_of(error) or default
    mount = _mount_point(path)
    try:
        status = os.statvfs(mount)
    except OSError:
        return
    free, whole = status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize
    what = f"{free >> 20} of {whole >> 20} MiB are free"
    if status.f_files and not status.f_favail:
        what += ", and no inode"
    error.message += f" {path} lies on the file system {mount}, where {what} now."
    amount = (
        f"the last rehearsal needed {mib(needed)} MiB in all"
        if needed
        else "how much is needed is not known; `fietsupdate rehearse` with rehearsal_dir on a larger disk finds out"
    )
    error.hint = f"Free some space in {mount} ({amount}), then run the same command again."


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"


def _path_of(error: BaseException) -> Path | None:
    """Return the path that the system could not write, if the error names one."""
    full = [cause for cause in causes(error) if isinstance(cause, OSError) and cause.errno in DISK_FULL]
    names = (name for cause in full for name in (cause.filename2, cause.filename) if isinstance(name, str | bytes))
    name = next(names, None)
    return Path(os.fsdecode(name)).absolute() if name else None


def _mount_point(path: Path) -> Path:
    """Return the mount point of a path's file system; for a missing path, that of its nearest existing folder."""
    while not path.exists() and path != path.parent:
        path = path.parent
    path = path.resolve()
    while not os.path.ismount(path):
        path = path.parent
    return path
