"""Undo a record, whether its change was made, half made, undone already, or never made (invariant 3).

A file is overwritten or deleted only if it looks exactly as the transaction left it. Every other file was put there by
another program, such as the application that ran on after a crash, and is set aside in ``found`` (invariant 9).

Missing folders are created again for anything that is put back into them. No symlink is followed (invariant 12): a file
that cannot be put back, because a symlink or a file has replaced its folder, goes to ``found``, too.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from fietsupdate.filesystem.journal.found import SetAside, bring
from fietsupdate.filesystem.journal.kept import complete
from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.journal.undone import Undone
from fietsupdate.filesystem.layout import is_quarantined
from fietsupdate.filesystem.paths import Paths
from fietsupdate.filesystem.posix.content import write_back
from fietsupdate.filesystem.posix.folders import IN_THE_WAY, Folders, Slot, folder_above
from fietsupdate.filesystem.posix.identity import user
from fietsupdate.filesystem.posix.metadata import Meta, Seen, seen_below, set_mtime
from fietsupdate.filesystem.posix.ownership import give_owner
from fietsupdate.filesystem.posix.rename import erase, open_file, opened, place, replace, unlink

_OF_FOLDERS = frozenset({Do.MKDIR, Do.RMDIR})
ANY_TIME = -1
"""The time of a file whose time after the change is not known in advance."""


def undo(
    record: Record,
    roots: Mapping[str, Paths],
    folders: Folders,
    txn: str,
    *,
    made: Callable[[Record, Seen], bool] = lambda *_: False,
    set_aside: bool = False,
) -> Undone:
    """Undo one record; all later ones are undone already.

    Args:
        record: The undo record.
        roots: The paths of each root, by name.
        folders: Opens folders.
        txn: The transaction's UUID, for the folder ``found``.
        made: Returns whether a file has attributes that the transaction recorded for its own file there.
        set_aside: Whether files that the transaction created go to ``found``, too, instead of being deleted.
    """
    return _Undo(record, roots[record.root], folders, txn, made=made, set_aside=set_aside).run()


class _Undo:
    def __init__(
        self,
        record: Record,
        paths: Paths,
        folders: Folders,
        txn: str,
        *,
        made: Callable[[Record, Seen], bool],
        set_aside: bool,
    ) -> None:
        self.record = record
        self.paths = paths
        self.folders = folders
        self.path = paths.absolute(record.path)
        self.is_outside = record.path.startswith("/")
        self.txn = txn
        self.made = made
        self.set_aside = set_aside
        self.strange: list[Path] = []
        self.lost: list[Path] = []
        self.homeless: list[tuple[str, Path]] = []

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
            try:
                step()
            finally:
                if self.record.is_alone or self.record.do in _OF_FOLDERS or self.strange:
                    self.folders.forget()
        return Undone(tuple(self.strange), tuple(self.lost), tuple(self.homeless))

    def _folder(self) -> None:
        here, was = self._seen(self.path), self.record.was
        # a folder that was created again has another inode
        if here is not None and was is not None and here.kind == "folder":
            set_mtime(self._slot(self.path), was.mtime_ns)

    def _create(self) -> None:
        here = self._seen(self.path)
        draft = self._seen(self._at(self.record.draft)) if self.record.draft else None
        if here is None:
            return
        if draft is not None and draft.is_same(self.record.now):
            if here.inode == draft.inode:  # the link was made, and the first name not yet removed
                unlink(self._slot(self.path))
            return  # the draft was never placed, so a file here is not ours
        self._clear(here)

    def _replace(self) -> None:
        vault = self._at(self.record.vault)
        here, old = self._seen(self.path), self._seen(vault)
        if old is None:
            self._check_back(here)
            return
        if self.record.vault == self.record.draft and old.is_same(self.record.now):
            return  # the two did not exchange their names
        if here is not None and here.inode == old.inode:  # only the second name was made
            unlink(self._slot(vault))
            return
        if here is not None and (self.set_aside or not self._is_ours(here)):
            self._to_found(self.path)
        self._put_back(vault, replace)

    def _remove(self) -> None:
        vault = self._at(self.record.vault)
        here, old = self._seen(self.path), self._seen(vault)
        if old is None:
            self._check_back(here)
            return
        if here is not None:
            if here.inode == old.inode or here.is_same(self.record.was):  # its second name or a copy is in the vault
                if old.kind == "folder" and here.inode != old.inode:  # it was moved out, and came back
                    self._complete(vault)
                    return
                erase(self._slot(vault))
                return
            if here.is_same(self.record.now):  # a copy, for the call to remove
                unlink(self._slot(self.path))
            else:
                self._to_found(self.path)
        self._put_back(vault, bring)

    def _complete(self, vault: str) -> None:
        """Restore in a folder what it lost outside, from the second names.

        These are erased at once, because an incomplete set would be misleading.
        """
        complete(self._slot(vault), self._slot(self.path), self._to_found)
        Meta.of(self._slot(vault)).apply(self._slot(self.path))
        rest = f"{vault}.back"
        replace(self._slot(vault), self._slot(rest))
        erase(self._slot(rest))

    def _move(self) -> None:
        target = self._at(self.record.other)
        here, there, was = self._seen(self.path), self._seen(target), self.record.was
        if there is None or was is None:
            return
        if not was.may_be(there) or (self.record.vault and there.inode != was.inode):
            self._move_back_other(target, here, there)
            return
        if here is not None:
            if here.inode == there.inode and here.kind != "folder":
                unlink(self._slot(target))
                return
            if there.inode != was.inode and was.may_be(here):  # the file was never moved
                return
            if self.is_outside or is_quarantined(self.record.other):  # the name is taken, and what has it stays
                self._keep(target)
                return
            self._to_found(self.path)
        self._put_back(target, place)
        if not there.looks_like(was):  # the same file, but changed by another program
            self.strange.append(Path(self.path))

    def _move_back_other(self, target: str, here: Seen | None, there: Seen) -> None:
        """Undo a move where another file has the new name."""
        was = self.record.was
        if here is not None or self.record.vault:  # a second name of it is in the vault, from which it is restored
            return
        if was is not None and was.kind == there.kind == "folder" and self._is_empty(target):
            self._put_back(target, place)  # the folder was removed, and playback has just created it again
        elif is_quarantined(self.record.path):  # released, and replaced by another program, whose file stays
            self.strange.append(Path(target))
        else:  # another program has replaced our file
            self._to_found(target)

    def _mkdir(self) -> None:
        here = self._seen(self.path)
        if here is None:
            return
        slot = self._slot(self.path)
        try:
            if here.kind == "folder":
                os.rmdir(slot.name, dir_fd=slot.folder)
                return
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        self.strange.append(Path(self.path))  # another program has put something into it, or in its place, which stays

    def _rmdir(self) -> None:
        here = self._seen(self.path)
        if here is not None and here.kind != "folder":
            self._to_found(self.path)
        try:
            self._make_folders(self.path)
        except OSError as error:
            if error.errno not in IN_THE_WAY:
                raise
            self.strange.append(Path(self.path))  # the file or symlink in its place stays
            return
        if self.record.meta is not None:
            self.record.meta.apply(self._slot(self.path))

    def _symlink(self) -> None:
        here = self._seen(self.path)
        if here is None:
            return
        slot = self._slot(self.path)
        is_ours = here.kind == "link" and os.readlink(slot.name, dir_fd=slot.folder) == self.record.other
        if is_ours and not self.set_aside:
            unlink(slot)
        else:
            self._to_found(self.path)

    def _link(self) -> None:
        here, was = self._seen(self.path), self.record.was
        if here is None:
            return
        first = self._seen(self._at(self.record.other))  # its inode may be new: see `Seen.may_be`
        if here.inode in {look.inode for look in (was, first) if look is not None}:
            unlink(self._slot(self.path))
        else:
            self._to_found(self.path)

    def _overwrite(self) -> None:
        """Write the old content back in place, because the file has other names, too."""
        vault = self._at(self.record.vault)
        here, was = self._seen(self.path), self.record.was
        if self._seen(vault) is None or was is None or was.is_same(here):
            self._check_back(here)
            return
        if here is None or (here.inode != was.inode and not self._is_ours(here)):
            if here is not None:
                self._to_found(self.path)
            self._put_back(vault, bring)
            return
        if self.set_aside or not self._is_ours(here):
            self._copy_to_found()
        erase(self._slot(self._at(self.record.draft)))
        with open(open_file(self._slot(vault)), "rb") as old, open(self._open_to_write(), "r+b") as file:
            write_back(old, file)
        Meta.of(self._slot(vault)).apply(self._slot(self.path))

    def _meta(self) -> None:
        here, was = self._seen(self.path), self.record.was
        if here is None or was is None or self.record.meta is None:
            return
        if here.kind == was.kind == "folder" or self._is_changed(here):  # a removed folder was created again just now
            self.record.meta.apply(self._slot(self.path), time=self._has_own_time(here))

    def _check_back(self, here: Seen | None) -> None:
        """Record a file that is neither in the vault nor in its place; a copy that was put back is another file."""
        was = self.record.was
        if was is None or (here is not None and here.looks_like(was)):
            return
        kept = self._found().kept(self.record.path, was)
        if kept is not None:
            self.homeless.append((self.path, kept))
        else:
            self.lost.append(Path(self.path))

    def _is_changed(self, here: Seen) -> bool:
        """Return whether a file is the one whose mode or time was changed."""
        was, now = self.record.was, self.record.now
        if now is not None and now.mtime_ns == ANY_TIME:
            now = now._replace(mtime_ns=here.mtime_ns)
        return any(look is not None and look.may_be(here) for look in (was, now))

    def _has_own_time(self, here: Seen) -> bool:
        """Return whether the file's time is one that the transaction recorded.

        A later change was made by another program.
        """
        known = {look.mtime_ns for look in (self.record.was, self.record.now) if look is not None}
        return here.mtime_ns in known or ANY_TIME in known

    def _append(self) -> None:
        here = self._seen(self.path)
        if here is None:
            return
        if self.record.size < 0:
            unlink(self._slot(self.path))
        elif here.size > self.record.size:
            descriptor = self._open_to_write()
            try:
                os.truncate(descriptor, self.record.size)
            finally:
                os.close(descriptor)

    def _clear(self, here: Seen) -> None:
        if not self._is_ours(here) or self.set_aside:
            self._to_found(self.path)
        else:
            unlink(self._slot(self.path))

    def _is_ours(self, here: Seen) -> bool:
        return here.is_same(self.record.now) or self.made(self.record, here)

    def _seen(self, path: str) -> Seen | None:
        return seen_below(self.folders, path)

    def _slot(self, path: str) -> Slot:
        return self.folders.slot(path)

    def _at(self, path: str) -> str:
        return self.paths.absolute(path)

    def _is_empty(self, path: str) -> bool:
        with opened(self._slot(path)) as folder:
            return not os.listdir(folder)

    def _open_to_write(self) -> int:
        return open_file(self._slot(self.path), os.O_RDWR)

    def _put_back(self, source: str, fill: Callable[[Slot, Slot], None]) -> None:
        """Move a file back to its name, creating missing folders; set it aside if that is not possible."""
        folder = folder_above(self.path)
        try:
            if self.is_outside:
                self._check_owner(folder, self._slot(source))
            self._make_folders(folder)
            fill(self._slot(source), self._slot(self.path))
        except OSError as error:
            if not (self.is_outside or error.errno in IN_THE_WAY):
                raise
            self._keep(source)

    def _check_owner(self, folder: str, slot: Slot) -> None:
        """Refuse a folder outside, or its nearest existing parent, whose owner could take the file.

        Raises:
            PermissionError: The folder belongs to such a user.
        """
        try:
            owner = os.fstat(self.folders.descriptor(folder)).st_uid
        except FileNotFoundError:
            self._check_owner(folder_above(folder), slot)
            return
        its_own = os.stat(slot.name, dir_fd=slot.folder, follow_symlinks=False).st_uid
        if owner not in {0, user(), its_own}:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), folder)

    def _make_folders(self, folder: str) -> None:
        """Create a folder with its missing parents; outside of the root only this user may read them.

        Raises:
            OSError: One of `IN_THE_WAY`: a file or symlink has the name.
        """
        try:
            self.folders.descriptor(folder)
        except FileNotFoundError:
            self._make_folders(folder_above(folder))
            slot = self._slot(folder)
            with suppress(FileExistsError):
                os.mkdir(slot.name, 0o700 if self.is_outside else 0o777, dir_fd=slot.folder)
                if not self.is_outside:
                    give_owner(slot, os.fstat(slot.folder))
            self.folders.descriptor(folder)

    def _found(self) -> SetAside:
        return SetAside(Path(self.paths.root), self.txn, self.folders)

    def _keep(self, path: str) -> None:
        """Set aside a file whose place is taken."""
        like = self._at(self.record.other) if self.is_outside else self.path
        self.homeless.append((self.path, self._found().bring(self._slot(path), self.paths.relative(like))))

    def _to_found(self, path: str) -> None:
        """Set aside a file that is not recognised, under its own name."""
        self.strange.append(self._found().bring(self._slot(path), self.paths.relative(path)))

    def _copy_to_found(self) -> None:
        """Set aside a copy, unless an interrupted playback has done so: the file may be half overwritten by then."""
        self.strange.append(self._found().copy(self._slot(self.path), self.record.path))
