"""Open and create the files of one transaction, in its data directory and in its further roots."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.filesystem.journal import header as headers
from fietsupdate.filesystem.journal.vaults import prepare_folder
from fietsupdate.filesystem.layout import make_home, open_folder
from fietsupdate.filesystem.posix.ownership import give_owner_of
from fietsupdate.filesystem.posix.regular import opened

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OTHERS = 5
"""How often another instance may interfere between the creation of two folders."""


def prepared(root: Path, txn: str, data_dir: Path) -> headers.Root:
    """Create a transaction's folder in a root, and return the inodes by which both will be identified."""
    make_home(root)
    folder = _prepare_beside_others(root, txn)
    if root != data_dir:
        cleanup.mark_member(folder, data_dir)
    return headers.identify(root, folder)


def _prepare_beside_others(root: Path, txn: str) -> Path:
    """Create the folder; try again if another instance in the same root has just removed an empty folder above it."""
    for _ in range(_OTHERS):
        with suppress(FileNotFoundError):
            make_home(root)
            return prepare_folder(root, txn)
    return prepare_folder(root, txn)


@contextmanager
def ledger_to_append(path: Path) -> Iterator[int]:
    """Open the ledger's copy for appending; a new file gets the owner of its folder.

    Raises:
        OSError: It is no file of ours, or has a second name, which could belong to any user.
    """
    descriptor = opened(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        if os.fstat(descriptor).st_nlink > 1:
            raise OSError(errno.EINVAL, "it has another name, too", str(path))
        give_owner_of(descriptor, os.stat(path.parent))
        yield descriptor
    finally:
        os.close(descriptor)


def check_folder(folder: Path) -> None:
    """Refuse a transaction's folder that is not ours: only its owner, whose rights are used, may have written to it.

    Raises:
        FilesError: It is a symlink, is not named by a UUID, or other users may write to it.
    """
    status = os.lstat(folder)
    is_named = _UUID.fullmatch(folder.name) is not None
    if not is_named or not stat.S_ISDIR(status.st_mode) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise doubt(f"{folder} is not the folder of a transaction", folder)


def check_identity(root: Path, txn: str, expected: headers.Root) -> None:
    """Refuse a root that is not the one in which the transaction began.

    Raises:
        FilesError: It is a copy, or another folder.
    """
    try:
        found = headers.identify(root, open_folder(root) / txn)
    except FileNotFoundError:
        raise doubt(f"{root} does not hold its part of the open transaction {txn}", root) from None
    if (found.inode, found.folder_inode) != (expected.inode, expected.folder_inode):
        raise doubt(f"{root} is not the folder in which the open transaction {txn} began, but a copy", root)


def doubt(message: str, folder: Path) -> FilesError:
    """Return the error for a folder that cannot be trusted; nothing was changed (invariant 8)."""
    return FilesError(
        f"{message}.",
        stands=UNCHANGED,
        hint=f"Look into {folder}; is every volume mounted, and no copy in its place? Then repeat the command, or "
        "restore a backup of both halves: `fietsupdate backup list` shows them.",
    )
