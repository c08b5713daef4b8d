"""Undoes what a record announced, whether it was done, half done, undone already, or never done (invariant 3).

What is to be overwritten or deleted must look exactly as the transaction left it. Everything else was put there by
somebody else, the application that ran on after a crash perhaps, and is set aside in ``found`` (invariant 9).
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.layout import found_folder, make_folder
from fietsupdate.filesystem.paths import Paths
from fietsupdate.filesystem.place import copy_file, erase, place
from fietsupdate.filesystem.record import Do, Record
from fietsupdate.filesystem.status import Meta, Seen, seen, set_mtime

ANY_TIME = -1
"""As a time that a file will have: nobody knows it beforehand."""


class Undone(NamedTuple):
    """What came of undoing one record."""

    strange: tuple[Path, ...]
    """What was not recognised: its place in ``found``, or where it still is."""
    lost: tuple[Path, ...]
    """What is not as before, because the vault does not hold it any more."""


def undo(
    record: Record,
    roots: Mapping[str, Paths],
    txn: str,
    *,
    made: Callable[[Seen], bool] = lambda _: False,
    set_aside: bool = False,
) -> Undone:
    """Undo one record; all later ones are undone already.

    Args:
        record: What was announced.
        roots: The paths of each root, by name.
        txn: The transaction's UUID, for the folder ``found``.
        made: Tells whether a file there looks as the transaction's own did when that was looked at.
        set_aside: Whether files that the transaction created go to ``found``, too, instead of being deleted.
    """
    return _Undo(record, roots[record.root], txn, made, set_aside).run()


def tell_lost(lost: Sequence[Path]) -> None:
    """Tell, after all else was undone, of what could not be: somebody has emptied the vault, or the disk has lost it.

    Raises:
        FilesError: something is lost.
    """
    if lost:
        raise FilesError(
            f"Not put back, as the vault does not hold them any more: {', '.join(map(str, lost))}.",
            stands="All other files are as before the update, and so is the database.",
            hint="Put these back by hand, or take both halves back with 'fietsupdate restore'.",
        )


class _Undo:
    def __init__(self, record: Record, paths: Paths, txn: str, made: Callable[[Seen], bool], set_aside: bool) -> None:
        self.record = record
        self.paths = paths
        self.path = paths.absolute(record.path)
        self.txn = txn
        self.made = made
        self.set_aside = set_aside
        self.strange: list[Path] = []
        self.lost: list[Path] = []

    def run(self) -> Undone:
        steps: Mapping[Do, Callable[[], None]] = {
            Do.FOLDER: self._folder,
            Do.CREATE: self._create,
            Do.REPLACE: self._replace,
            Do.REMOVE: self._remove,
            Do.MOVE: self._move,
            Do.MKDIR: self._mkdir,
            Do.RMDIR: self._rmdir,
            Do.SYMLINK: self._symlink,
            Do.LINK: self._link,
            Do.OVERWRITE: self._overwrite,
            Do.META: self._meta,
            Do.APPEND: self._append,
        }
        step = steps.get(self.record.do)
        if step is not None:
            step()
        return Undone(tuple(self.strange), tuple(self.lost))

    def _folder(self) -> None:
        here, was = seen(self.path), self.record.was
        if here is not None and was is not None and here.kind == "folder":  # another inode when it was made again
            set_mtime(self.path, was.mtime_ns)

    def _create(self) -> None:
        here = seen(self.path)
        draft = seen(self._at(self.record.draft)) if self.record.draft else None
        if here is None:
            return
        if draft is not None and draft.is_same(self.record.now):
            if here.inode == draft.inode:  # a link was made, and its first name not yet removed
                os.unlink(self.path)
            return  # never placed: whatever is here, is not ours
        self._clear(here)

    def _replace(self) -> None:
        vault = self._at(self.record.vault)
        here, old = seen(self.path), seen(vault)
        if old is None:
            self._check_back(here)
            return
        if here is not None and here.inode == old.inode:  # the second name was made, and nothing else
            os.unlink(vault)
            return
        if here is not None and (self.set_aside or not self._is_ours(here)):
            self._to_found(self.path)
        os.rename(vault, self.path)

    def _remove(self) -> None:
        vault = self._at(self.record.vault)
        here, old = seen(self.path), seen(vault)
        if old is None:
            self._check_back(here)
            return
        if here is not None:
            if here.is_same(self.record.was):  # the file in the vault is its second name, or a copy
                erase(vault)
                return
            if here.is_same(self.record.now):  # a copy, for the call to remove
                os.unlink(self.path)
            else:
                self._to_found(self.path)
        _below_folders(_bring, vault, self.path)

    def _move(self) -> None:
        target = self._at(self.record.other)
        here, there, was = seen(self.path), seen(target), self.record.was
        if there is None or was is None:
            return
        if (there.kind, there.inode) != (was.kind, was.inode):
            if here is not None:
                return
            if was.kind == there.kind == "folder" and not os.listdir(target):  # it was removed, and made anew just now
                _below_folders(place, target, self.path)
            else:  # somebody put another file in the place of ours
                self._to_found(target)
            return
        if here is not None:
            if here.inode == there.inode and here.kind != "folder":
                os.unlink(target)
                return
            if self.record.path.startswith("/"):  # it came from outside, where its name is taken now
                self._to_found(target)
                return
            self._to_found(self.path)
        _below_folders(place, target, self.path)
        if not was.is_same(there):  # the same file, which somebody has changed in its place
            self.strange.append(Path(self.path))

    def _mkdir(self) -> None:
        here = seen(self.path)
        if here is None:
            return
        try:
            if here.kind == "folder":
                os.rmdir(self.path)
                return
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        self.strange.append(Path(self.path))  # somebody has put something in it, or in its place: it stays

    def _rmdir(self) -> None:
        here = seen(self.path)
        if here is not None and here.kind != "folder":
            self._to_found(self.path)
        os.makedirs(self.path, exist_ok=True)
        if self.record.meta is not None:
            self.record.meta.apply(self.path)

    def _symlink(self) -> None:
        here = seen(self.path)
        if here is None:
            return
        if here.kind == "link" and os.readlink(self.path) == self.record.other and not self.set_aside:
            os.unlink(self.path)
        else:
            self._to_found(self.path)

    def _link(self) -> None:
        here, was = seen(self.path), self.record.was
        if here is None:
            return
        if was is not None and here.inode == was.inode:
            os.unlink(self.path)
        else:
            self._to_found(self.path)

    def _overwrite(self) -> None:
        """Write the old content back in place: the file has more names than this one."""
        vault = self._at(self.record.vault)
        here, was = seen(self.path), self.record.was
        if seen(vault) is None or was is None or was.is_same(here):
            self._check_back(here)
            return
        if here is None or here.inode != was.inode:
            if here is not None:
                self._to_found(self.path)
            _bring(vault, self.path)
            return
        if self.set_aside or not self._is_ours(here):
            self._copy_to_found(self.path)
        erase(self._at(self.record.draft))
        with open(vault, "rb") as old, open(self.path, "r+b") as file:
            shutil.copyfileobj(old, file, 1 << 20)
            file.truncate()
        Meta.of(vault).apply(self.path)

    def _meta(self) -> None:
        here, was = seen(self.path), self.record.was
        if here is None or was is None or self.record.meta is None:
            return
        if here.inode == was.inode or here.kind == was.kind == "folder":  # one that was removed was made anew just now
            self.record.meta.apply(self.path, time=self._has_own_time(here))

    def _check_back(self, here: Seen | None) -> None:
        """Note what is neither in the vault nor in its place; a copy that was put back is another file."""
        was = self.record.was
        if was is not None and (here is None or not here._replace(inode=was.inode).is_same(was)):
            self.lost.append(Path(self.path))

    def _has_own_time(self, here: Seen) -> bool:
        """Tell whether the file's time is one that the transaction knows: a later change is somebody else's."""
        known = {look.mtime_ns for look in (self.record.was, self.record.now) if look is not None}
        return here.mtime_ns in known or ANY_TIME in known

    def _append(self) -> None:
        if self.record.size < 0:
            with suppress(FileNotFoundError):
                os.unlink(self.path)
        elif (here := seen(self.path)) is not None and here.size > self.record.size:
            os.truncate(self.path, self.record.size)

    def _clear(self, here: Seen) -> None:
        if not self._is_ours(here) or self.set_aside:
            self._to_found(self.path)
        else:
            os.unlink(self.path)

    def _is_ours(self, here: Seen) -> bool:
        return here.is_same(self.record.now) or self.made(here)

    def _at(self, path: str) -> str:
        return self.paths.absolute(path)

    def _to_found(self, path: str) -> None:
        """Set aside what is not recognised, under its own name."""
        target = self._found_name(path)
        number = 0
        while os.path.lexists(free := f"{target}.{number}" if number else target):
            number += 1
        _bring(path, free)
        self.strange.append(Path(free))

    def _copy_to_found(self, path: str) -> None:
        """Set aside a copy, unless an interrupted playback has done so: what is here may be half written back."""
        target = self._found_name(path)
        if not os.path.lexists(target):
            copy_file(path, target)
        self.strange.append(Path(target))

    def _found_name(self, path: str) -> str:
        folder = found_folder(Path(self.paths.root), self.txn)
        make_folder(folder.parent)
        make_folder(folder)
        *folders, name = Path(self.paths.relative(path)).parts
        for part in folders:
            folder = _beside_files(folder / part)
            make_folder(folder)
        return str(folder / name)


def _beside_files(folder: Path) -> Path:
    """Give a folder's place in ``found``: where a file of that name was set aside before, the first one beside it."""
    places = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
    while os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
        folder = next(places)
    return folder


def _below_folders(fill: Callable[[str, str], None], source: str, target: str) -> None:
    """Fill a name, in folders that are made where they are missing."""
    try:
        fill(source, target)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        fill(source, target)


def _bring(source: str, target: str) -> None:
    """Rename a file or folder to a name that is free; what cannot be renamed there is copied."""
    try:
        place(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_tree(source, target)
        erase(source)


def _copy_tree(source: str, target: str) -> None:
    look = seen(source)
    if look is None or look.kind != "folder":
        copy_file(source, target)
        return
    os.mkdir(target, 0o700)
    for name in os.listdir(source):
        _copy_tree(f"{source}/{name}", f"{target}/{name}")
