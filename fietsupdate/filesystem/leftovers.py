"""Ends transactions and empties what they leave, in an order in which a crash at any point does no harm.

One rename decides: from ``txn/<uuid>`` to ``done/<uuid>``. What is in ``done`` is rubbish whose emptying can be
repeated; its header goes last, as it names the other roots.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import header as headers
from fietsupdate.filesystem.durable import sync_many, sync_path
from fietsupdate.filesystem.header import JOURNAL
from fietsupdate.filesystem.journal import Journal
from fietsupdate.filesystem.layout import done_folder, home, kept_folder, make_folder, open_folder
from fietsupdate.filesystem.owner import set_times
from fietsupdate.filesystem.place import erase
from fietsupdate.filesystem.record import Do


def close(data_dir: Path, txn: str) -> None:
    """End a transaction whose changes stand, or are undone, and empty its folders."""
    _end(data_dir, txn, done_folder(data_dir))
    sweep(data_dir)


def keep(data_dir: Path, txn: str) -> None:
    """End a transaction, and keep its vault until `purge`."""
    _end(data_dir, txn, kept_folder(data_dir))
    sync_many([kept_folder(data_dir), home(data_dir)])
    _drop_parents(data_dir)


def purge(data_dir: Path) -> tuple[str, ...]:
    """Empty the vaults that were kept, and name their transactions."""
    kept = _entries(kept_folder(data_dir))
    for folder in kept:
        _end(data_dir, folder.name, done_folder(data_dir), source=kept_folder(data_dir))
    _drop(kept_folder(data_dir))
    sweep(data_dir)
    return tuple(folder.name for folder in kept)


def discard(data_dir: Path) -> None:
    """End all transactions, open and kept, as both halves were replaced; `sweep` empties them."""
    for parent in (open_folder(data_dir), kept_folder(data_dir)):
        for folder in _entries(parent):
            _end(data_dir, folder.name, done_folder(data_dir), source=parent)
        _drop(parent)


def open_again(data_dir: Path, txn: str) -> None:
    """Open a transaction again that was finished and kept, to play it back."""
    make_folder(open_folder(data_dir))
    _end(data_dir, txn, open_folder(data_dir), source=kept_folder(data_dir))
    sync_many([open_folder(data_dir), home(data_dir)])


def living(data_dir: Path) -> frozenset[str]:
    """Name the transactions whose vault is there: the open one, and those that were kept."""
    return frozenset(folder.name for parent in (open_folder, kept_folder) for folder in _entries(parent(data_dir)))


def sweep(data_dir: Path) -> None:
    """Go on emptying what is ended; what this user may not delete stays, see `rubbish`."""
    for folder in _entries(done_folder(data_dir)):
        with suppress(PermissionError):
            _empty(data_dir, folder)
    _drop_parents(data_dir)


def _empty(data_dir: Path, folder: Path) -> None:
    for root in _other_roots(data_dir, folder):
        erase(str(open_folder(root) / folder.name))
        _leave(root)
    for name in ("drafts", "vault", JOURNAL, "progress"):
        erase(str(folder / name))
    erase(str(folder))


def rubbish(data_dir: Path) -> tuple[Path, ...]:
    """Name what `sweep` has left, as it holds what this user may not delete."""
    return tuple(_entries(done_folder(data_dir)))


def reserve_end(data_dir: Path) -> None:
    """Make the folder that an open transaction will end in: then ending it needs no space on a full disk."""
    make_folder(done_folder(data_dir))


def drop_empty(roots: Iterable[Path]) -> None:
    """Drop folders of transactions that a crash left before their header was written: nothing is in them."""
    for root in roots:
        for folder in _entries(open_folder(root)):
            if not (folder / headers.NAME).exists():
                for name in ("drafts", "vault"):
                    _drop(folder / name)
                if not any(entry.is_dir() for entry in _entries(folder)):
                    erase(str(folder))
        _drop_parents(root)


def _end(data_dir: Path, txn: str, to: Path, source: Path | None = None) -> None:
    """Make the rename that decides, durably: whether the new name lasts is all one where it is emptied."""
    source = open_folder(data_dir) if source is None else source
    make_folder(to)
    os.rename(source / txn, to / txn)
    sync_path(source)


def _other_roots(data_dir: Path, folder: Path) -> Iterator[Path]:
    """Name the further roots and mounted folders in which an ended transaction has folders, too."""
    try:
        roots = {name: Path(root.path) for name, root in headers.read(folder).roots.items()} | {"": data_dir}
        records = Journal(folder) if (folder / JOURNAL).exists() else None
    except FilesError:
        return
    yield from (root for name, root in roots.items() if name)
    if records is not None:
        for record in records.forwards(Do.MOUNT):
            if record.root in roots:
                yield roots[record.root] / record.path
        records.close()


def _leave(root: Path) -> None:
    """Remove our own folder from a further root when nothing is left in it; the root keeps its time."""
    with suppress(FileNotFoundError):
        before = os.stat(root)
        _drop(open_folder(root))
        if home(root).is_dir() and not os.listdir(home(root)):
            _drop(home(root))
            set_times(root, before)


def _drop_parents(root: Path) -> None:
    """Drop the folders of transactions where there are none; while one lies open it needs that in which it will end."""
    _drop(open_folder(root))
    if not open_folder(root).exists():
        _drop(done_folder(root))


def _drop(folder: Path) -> None:
    with suppress(OSError):
        os.rmdir(folder)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
