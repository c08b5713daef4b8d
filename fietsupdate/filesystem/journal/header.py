"""The header of an open transaction: its instance, the position of the ledger, and the folders that it may change.

It is durable before anything else of the transaction exists. Roots are identified by inode, not by device number, which
a reboot may change: a copy of a root differs in its inode and in that of the transaction's folder.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.layout import open_folder
from fietsupdate.filesystem.posix.durable import atomic_write
from fietsupdate.filesystem.posix.ownership import user_name
from fietsupdate.filesystem.posix.regular import read_bytes
from fietsupdate.model import Direction
from fietsupdate.model.readback import built, parsed
from fietsupdate.views import OpenTransaction

FORMAT = 2
"""The format that is written. The second one may have columns in its journal, which the first releases cannot read."""
_KNOWN = frozenset({1, 2})
NAME = "header"
JOURNAL = "journal"


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that a transaction may change, as it was when the transaction began."""

    path: str
    inode: int
    folder_inode: int
    """Inode of the transaction's folder in this root."""


@dataclass(frozen=True, slots=True)
class Header:
    """The content of the file ``header``."""

    transaction: OpenTransaction
    roots: Mapping[str, Root]
    """By name; "" is the data directory."""


def identify(root: Path, folder: Path) -> Root:
    """Return the inodes by which a root will be identified later."""
    return Root(str(root), os.stat(root).st_ino, os.stat(folder).st_ino)


def write(folder: Path, header: Header) -> None:
    """Write the header of a transaction, durably."""
    transaction = asdict(header.transaction)
    if not header.transaction.files_only:
        del transaction["files_only"]  # earlier versions know no such transactions, and read all others
    values = {
        "format": FORMAT,
        "transaction": transaction,
        "roots": {name: asdict(root) for name, root in header.roots.items()},
    }
    body = json.dumps(values, sort_keys=True)
    atomic_write(folder / NAME, f"{body}\n{zlib.crc32(body.encode()):08x}\n".encode(), mode=0o600)


def read(folder: Path) -> Header:
    """Read the header of a transaction.

    Raises:
        FilesError: The header, or the journal, which was made before it, is missing; or the header is damaged, or of a
            format that this version does not know.
    """
    path = folder / NAME
    if os.path.lexists(path) and not os.path.lexists(folder / JOURNAL):
        raise FilesError(
            f"The journal of the open transaction {folder.name} is missing.",
            stands=UNCHANGED,
            hint=way_out(folder),
        )
    try:
        return _parse(_values(path), folder)
    except PermissionError as error:
        raise FilesError(
            f"The open transaction {folder.name} was begun by {user_name(os.lstat(folder).st_uid)}, who alone may look "
            "into it.",
            stands=UNCHANGED,
            hint="Run as that user. Root types `fietsupdate recover --as-root`.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FilesError(
            f"The open transaction {folder.name} has no readable header ({error}).",
            stands=UNCHANGED,
            hint=way_out(folder),
        ) from error


def _values(path: Path) -> Any:
    """Read the JSON document of a header, after checking its checksum and its format."""
    body, check = read_bytes(path).decode().splitlines()
    if int(check, 16) != zlib.crc32(body.encode()):
        raise ValueError("the checksum differs")
    values = parsed(body)
    if values["format"] not in _KNOWN:
        raise FilesError(
            f"{path} has format {values['format']}, which this version of fietsupdate does not know.",
            stands=UNCHANGED,
            hint="Use the version of fietsupdate that began this transaction.",
        )
    return values


def _parse(values: Any, folder: Path) -> Header:
    """Build the header from a file's content.

    Its own id must match its folder, and it must name roots by absolute paths.
    """
    given = values["transaction"]
    transaction = built(OpenTransaction, {**given, "direction": Direction(given["direction"])})
    roots = {name: built(Root, root) for name, root in values["roots"].items()}
    if transaction.txn != folder.name:
        raise ValueError(f"it is the header of {transaction.txn}")
    if "" not in roots or not all(os.path.isabs(root.path) and "\0" not in root.path for root in roots.values()):
        raise ValueError("it names no data directory, or a folder by half a path")
    return Header(transaction, roots)


def way_out(folder: Path) -> str:
    """Return the hint for a transaction whose own files are lost or damaged."""
    return (
        "Restore a backup of both halves (`fietsupdate backup list` shows them). Without one: if `fietsupdate history` "
        f"does not end with this run, put back by hand what the vault in {folder} holds; then move that folder away."
    )


def open_folders(data_dir: Path) -> tuple[Path, ...]:
    """Return the folders of open transactions.

    A folder without a header and without a journal was left by a crash at the very beginning; nothing was changed then,
    and it does not count.
    """
    try:
        names = [] if open_folder(data_dir).is_symlink() else sorted(os.listdir(open_folder(data_dir)))
    except OSError:
        return ()
    folders = (open_folder(data_dir) / name for name in names)
    return tuple(folder for folder in folders if has_header(folder) or _has_records(folder))


def has_header(folder: Path) -> bool:
    """Return whether a transaction's folder has a header, or may have one that this user cannot see."""
    try:
        os.lstat(folder / NAME)
    except PermissionError:
        return True  # root has begun it, and only root can see whether there is a header
    except OSError:
        return False
    return True


def _has_records(folder: Path) -> bool:
    try:
        return os.stat(folder / JOURNAL).st_size > 0
    except OSError:
        return False


def open_transaction(data_dir: Path) -> tuple[OpenTransaction | None, str]:
    """Return the open transaction, for a view: its header, or the name of a transaction whose header is unreadable."""
    folders = open_folders(data_dir)
    if len(folders) != 1:
        return None, ", ".join(folder.name for folder in folders)
    try:
        return read(folders[0]).transaction, ""
    except FilesError:
        return None, folders[0].name
