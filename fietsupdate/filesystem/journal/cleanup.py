"""End transactions and delete their leftovers, in an order in which a crash at any point does no harm.

One rename decides: from ``txn/<uuid>`` to ``done/<uuid>``. The content of ``done`` is garbage, and deleting it can be
repeated; the header is deleted last, because it names the other roots.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.journal import header as headers
from fietsupdate.filesystem.journal.header import JOURNAL
from fietsupdate.filesystem.journal.journal import Journal
from fietsupdate.filesystem.journal.record import Do
from fietsupdate.filesystem.layout import done_folder, home, kept_folder, make_folder, open_folder
from fietsupdate.filesystem.posix.durable import sync, sync_many, sync_path, write_all
from fietsupdate.filesystem.posix.folders import Slot
from fietsupdate.filesystem.posix.identity import acting_as
from fietsupdate.filesystem.posix.ownership import give_owner, set_times
from fietsupdate.filesystem.posix.regular import opened
from fietsupdate.filesystem.posix.rename import erase

MEMBER = "of"
"""In a further root: the file in a transaction's folder that names the data directory with its header."""


def close(data_dir: Path, txn: str) -> None:
    """End a transaction whose changes are final, or are undone, and delete its folders."""
    _end(data_dir, txn, done_folder(data_dir))
    sweep(data_dir)


def keep(data_dir: Path, txn: str) -> None:
    """End a transaction, and keep its vault until `purge`."""
    _end(data_dir, txn, kept_folder(data_dir))
    _hand_over(data_dir, kept_folder(data_dir) / txn)
    sync_many([kept_folder(data_dir), home(data_dir)])
    _drop_parents(data_dir)


def purge(data_dir: Path) -> tuple[str, ...]:
    """Delete the vaults that were kept, and return the ids of their transactions."""
    kept = _entries(kept_folder(data_dir))
    for folder in kept:
        _end(data_dir, folder.name, done_folder(data_dir), source=kept_folder(data_dir))
    _drop(kept_folder(data_dir))
    sweep(data_dir)
    return tuple(folder.name for folder in kept)


def discard(data_dir: Path) -> None:
    """End all transactions, open and kept, because both halves were replaced; `sweep` deletes their folders."""
    for parent in (open_folder(data_dir), kept_folder(data_dir)):
        for folder in _entries(parent):
            if not is_member(folder):
                _end(data_dir, folder.name, done_folder(data_dir), source=parent)
        _drop(parent)


def open_again(data_dir: Path, txn: str) -> None:
    """Reopen a transaction that was finished and kept, to play it back."""
    make_folder(open_folder(data_dir))
    _end(data_dir, txn, open_folder(data_dir), source=kept_folder(data_dir))
    sync_many([open_folder(data_dir), home(data_dir)])


def living(data_dir: Path) -> frozenset[str]:
    """Return the transactions that still have a vault: the open one, and those that were kept."""
    return frozenset(folder.name for parent in (open_folder, kept_folder) for folder in _entries(parent(data_dir)))


def sweep(data_dir: Path) -> None:
    """Continue to delete ended transactions; files that this user may not delete stay, see `rubbish`."""
    with _opened(done_folder(data_dir)) as done:
        if done is not None:
            for name in sorted(os.listdir(done)):
                with suppress(PermissionError):
                    _empty(data_dir, done_folder(data_dir) / name, done)
    _drop_parents(data_dir)


def _empty(data_dir: Path, folder: Path, parent: int) -> None:
    with acting_as(os.lstat(folder)):  # the header names folders elsewhere, and its owner can have forged it
        for root in _other_roots(data_dir, folder):
            with _opened(open_folder(root)) as there:
                if there is not None:
                    erase(Slot(folder.name, there, str(open_folder(root) / folder.name)))
            _leave(root)
    with _opened(folder) as inside:
        if inside is not None:
            for name in ("drafts", "vault", JOURNAL, "progress"):
                erase(Slot(name, inside, str(folder / name)))
    erase(Slot(folder.name, parent, str(folder)))


def rubbish(data_dir: Path) -> tuple[Path, ...]:
    """Return the ended transactions that `sweep` could not delete, because this user may not delete their content."""
    return tuple(_entries(done_folder(data_dir)))


def reserve_end(data_dir: Path) -> None:
    """Create the folder for ended transactions in advance, so that ending one needs no space on a full disk."""
    make_folder(done_folder(data_dir))


def mark_member(folder: Path, data_dir: Path) -> None:
    """Record the data directory in a transaction's folder in a further root, which other instances may share."""
    descriptor = opened(folder / MEMBER, os.O_WRONLY | os.O_CREAT)
    try:
        write_all(descriptor, os.fsencode(data_dir))
        sync(descriptor, folder)
    finally:
        os.close(descriptor)


def is_member(folder: Path) -> bool:
    """Return whether a transaction's folder in this root belongs to an instance with another data directory."""
    return os.path.lexists(folder / MEMBER)


def drop_empty(data_dir: Path, others: Iterable[Path] = ()) -> None:
    """Delete folders of transactions that a crash left before their header was written: they are empty.

    In further roots, which other instances may use as well, only those are deleted that the data directory has, too.
    """
    begun = [folder for folder in _entries(open_folder(data_dir)) if not _is_needed(folder)]
    for root in (*others, data_dir):
        for folder in begun:
            _drop_begun(open_folder(root) / folder.name)
        _drop_parents(root)


def _is_needed(folder: Path) -> bool:
    return headers.has_header(folder) or is_member(folder)


def _drop_begun(folder: Path) -> None:
    for name in ("drafts", "vault"):
        _drop(folder / name)
    if not any(entry.is_dir() for entry in _entries(folder)):
        erase(str(folder))


def _end(data_dir: Path, txn: str, to: Path, source: Path | None = None) -> None:
    """Make the deciding rename durable in `source`; the new name need not be, since the folder will be deleted."""
    source = open_folder(data_dir) if source is None else source
    make_folder(to)
    with _opened(source) as here, _opened(to) as there:
        if here is None or there is None:
            raise FilesError(f"{source} or {to} is no folder, or is gone.", hint=f"Look into {home(data_dir)}.")
        os.rename(txn, txn, src_dir_fd=here, dst_dir_fd=there)
    sync_path(source)


def _hand_over(data_dir: Path, folder: Path) -> None:
    """Change the owner of a transaction that root has ended to that of the folder above, who will delete it later."""
    for place in (folder, *(open_folder(root) / folder.name for root in _other_roots(data_dir, folder))):
        if place.is_dir() and not place.is_symlink():
            like = os.stat(place.parent)
            for path in (*_entries(place), place):
                give_owner(path, like)


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """Open a folder to work on its entries, without following a symlink; yield None where there is none."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _other_roots(data_dir: Path, folder: Path) -> Iterator[Path]:
    """Yield the further roots and mounted folders in which an ended transaction has folders, too."""
    try:
        roots = {name: Path(root.path) for name, root in headers.read(folder).roots.items()} | {"": data_dir}
        records = Journal(folder, roots) if (folder / JOURNAL).exists() else None
    except (FilesError, OSError):
        return
    yield from (root for name, root in roots.items() if name)
    if records is not None:
        with suppress(FilesError):  # an invalid record names no folder to be deleted
            yield from (roots[record.root] / record.path for record in records.forwards(Do.MOUNT))
        records.close()


def _leave(root: Path) -> None:
    """Remove our own folder from a further root when it is empty; the root keeps its time."""
    with suppress(FileNotFoundError):
        before = os.stat(root)
        _drop(open_folder(root))
        if home(root).is_dir() and not os.listdir(home(root)):
            _drop(home(root))
            set_times(root, before)


def _drop_parents(root: Path) -> None:
    """Remove the folders of transactions when they are empty.

    An open transaction needs the one in which it will end.
    """
    _drop(open_folder(root))
    if not open_folder(root).exists():
        _drop(done_folder(root))


def _drop(folder: Path) -> None:
    with suppress(OSError):
        os.rmdir(folder)


def _entries(folder: Path) -> list[Path]:
    """Return the entries of a folder, without following a symlink; empty for a folder that does not exist."""
    try:
        return [] if folder.is_symlink() else sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
