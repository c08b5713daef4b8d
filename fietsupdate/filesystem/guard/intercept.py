"""Save what a plain Python call is about to change in a transaction's roots, before it does.

The call itself follows right after, and must neither fail because of us nor behave differently. So a file that it will
remove stays in its place and gets a second name in the vault; a file that it will write to is replaced by a copy first,
and the original goes to the vault, with its inode.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.guard.outside import Outside
from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.kept import keep
from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.paths import PathError, Paths, is_tidy
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.content import reserve
from fietsupdate.filesystem.posix.folders import Slot, folder_above
from fietsupdate.filesystem.posix.metadata import Meta, Seen, seen
from fietsupdate.filesystem.posix.mounts import mounted_below
from fietsupdate.filesystem.posix.rename import NEW, NO_LINK, copy_file, link, open_file
from fietsupdate.filesystem.posix.rename import place as put


class RootedPath(NamedTuple):
    """A path in one of the transaction's roots."""

    root: str
    path: str
    absolute: str


class Interceptor:
    """Journals single calls. Every path is absolute; paths outside of all roots are not saved.

    Args:
        changes: The changes of the transaction.
        outside: Handles paths outside of the roots.
    """

    def __init__(self, changes: Changes, outside: Outside) -> None:
        self._changes = changes
        self._outside = outside
        self.missed: list[tuple[str, str]] = []
        """Paths that were looked up and lie in no root: as the caller wrote them, and without symlinks."""
        nested: Mapping[str, Paths] = changes.roots
        self._roots = sorted(nested.items(), key=lambda item: -len(item[1].root))

    def find(self, path: str, *, follow: bool, or_root: bool = False, destroys: bool = False) -> RootedPath | None:
        """Return the place of a path in its root; ``None`` for a path outside of all roots.

        Args:
            path: The absolute path as the caller wrote it.
            follow: Whether the call follows a symlink at the end.
            or_root: Whether the root itself counts, too; its path is "".
            destroys: Whether the call removes the current file or replaces its content.

        Raises:
            PathError: The path is in our own folder, or the call would destroy the application's database.
            FilesError: This is a forked child, and the path is in a root.
        """
        real = self._real(path, follow=follow)
        if self._changes.staging.holds(real):
            return None
        if destroys:
            self._roots[0][1].check_database(real)
        for root, paths in self._roots:
            relative = "" if or_root and real == paths.root else paths.find(real)
            if relative is not None:
                self._changes.check_process()
                return RootedPath(root, relative, real)
        self.missed.append((path, real))
        return None

    def locate(self, path: str) -> RootedPath | None:
        """Return the place of a path that another thread's call names, without refusing anything."""
        with suppress(FilesError, OSError, ValueError):
            real = self._real(path, follow=True)
            for root, paths in self._roots:
                if (relative := paths.find(real)) is not None:
                    return RootedPath(root, relative, real)
        return None

    def is_inside(self, path: str) -> bool:
        """Return whether a call with this path changes something in a root, including our own folder."""
        real = {self._real(path, follow=follow) for follow in (True, False)}
        return any(f"{one}/".startswith(f"{paths.root}/") for one in real for _, paths in self._roots)

    def _real(self, path: str, *, follow: bool) -> str:
        for _, paths in self._roots:
            if path.startswith(f"{paths.root}/") and is_tidy(below := paths.relative(path)):
                return paths.real(below, follow=follow)
        folder, name = os.path.split(path.rstrip("/"))
        return os.path.realpath(path) if follow else os.path.join(os.path.realpath(folder), name)

    def write(self, place: RootedPath, flags: int, *, certain: bool = True) -> None:
        """Journal that a file is about to be opened for writing.

        Args:
            place: The file, its symlinks followed.
            flags: The flags of open(2).
            certain: Whether the call certainly names this file; otherwise its content must stay.
        """
        look = self._look(place)
        if look is None:
            self._create(place, flags)
        elif look.kind == "file" and not self._is_own(place) and flags & _NEW != _NEW:
            if self._has_more_names(place):
                self._overwrite(place, look)
                return
            empty = certain and bool(flags & os.O_TRUNC)
            try:
                self._replace(place, look, empty=empty)
            except OSError as error:
                if error.errno != errno.EXDEV or not self._changes.know_mount(place.root, place.path):
                    raise
                self._replace(place, look, empty=empty)

    def rename(self, source: str, target: str) -> None:
        """Journal that a file or folder is about to be renamed, inside a root, out of it, or into it."""
        here, there = (self.find(path, follow=False, destroys=True) for path in (source, target))
        if here is None:
            self._refuse_root(source)
        was, old = seen(source), seen(target)
        if (here is None and there is None) or was is None or (old is not None and old.inode == was.inode):
            return
        if old is not None and ((old.kind == "folder") != (was.kind == "folder") or _is_filled(target, old)):
            return  # the call will fail
        if here is None and there is not None:
            move = Record(Do.MOVE, there.root, self._real(source, follow=False), there.path, was=was)
        elif here is not None:
            inside = there is not None and there.root == here.root
            other = there.path if there is not None and inside else self._real(target, follow=False)
            move = Record(Do.MOVE, here.root, here.path, other, was=was)
        if there is not None and old is not None and not self._drop_own(there):
            self._save(there, old, move)
        elif here is not None and there is None:
            self._leave(here, was, move)
        else:
            self._changes.announce(move)

    def _leave(self, place: RootedPath, was: Seen, move: Record) -> None:
        """Announce that a file or folder leaves the root, and keep a second name: changes outside are not journaled."""
        above = (os.path.dirname(path) for path in (place.absolute, move.other))
        would_be_copied = len({os.stat(path).st_dev for path in above if os.path.isdir(path)}) > 1
        if would_be_copied or (was.kind == "file" and self._is_own(place)) or mounted_below(place.absolute):
            self._changes.announce(move)
            return
        vault = self._changes.vault(place.root, place.path)
        gone = Record(Do.REMOVE, place.root, place.path, vault=vault, was=was)

        def prepare() -> None:
            self._outside.keep(keep(self._slot(place), self._slot(place, vault)), place.root, place.path)

        try:
            self._changes.announce(gone, replace(move, vault=vault), prepare=prepare)
        except PermissionError:
            self._changes.announce(move)
            self._outside.tell_unkept(place.absolute)

    def remove(self, place: RootedPath) -> None:
        """Journal that a file, a symlink or an empty folder is about to be removed."""
        look = self._look(place)
        if look is None or _is_filled(place.absolute, look) or self._drop_own(place):
            return
        self._save(place, look)

    def remove_tree(self, place: RootedPath) -> None:
        """Journal that a whole folder is about to be removed, entry by entry: it moves to the vault.

        An empty folder remains for the call to remove.
        """
        look = self._look(place)
        if look is None or look.kind != "folder" or not _is_filled(place.absolute, look):
            return
        if mounted_below(place.absolute):
            return
        empty = Record(Do.MKDIR, place.root, place.path, after=Meta.of(self._slot(place)))
        try:
            self._take_away(place, look)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            if not self._changes.know_mount(place.root, place.path):
                return
            self._take_away(place, look)
        self._changes.make(empty)
        self._changes.own.add(place.root, place.path)

    def mkdir(self, place: RootedPath) -> None:
        """Journal that a folder is about to be created."""
        if self._announce_new(place, Record(Do.MKDIR, place.root, place.path)):
            self._changes.own.add(place.root, place.path)

    def symlink(self, place: RootedPath, text: str) -> None:
        """Journal that a symlink is about to be created."""
        self._announce_new(place, Record(Do.SYMLINK, place.root, place.path, text))

    def link(self, source: str, place: RootedPath) -> None:
        """Journal that a file is about to get one more name."""
        self._announce_new(place, Record(Do.LINK, place.root, place.path, source, was=seen(source)))

    def change_meta(self, place: RootedPath, mtime_ns: int | None) -> None:
        """Journal that mode, owner, time or attributes are about to change.

        Args:
            place: The file or folder.
            mtime_ns: The new time; ``None`` when the time stays.
        """
        look = self._look(place)
        if look is None or self._is_own(place):
            return
        now = look if mtime_ns is None else look._replace(mtime_ns=mtime_ns)
        meta = Meta.of(self._slot(place))
        self._changes.announce(Record(Do.META, place.root, place.path, was=look, now=now, meta=meta))

    def _create(self, place: RootedPath, flags: int) -> None:
        if flags & os.O_CREAT:
            self._announce_new(place, Record(Do.CREATE, place.root, place.path))
            self._changes.own.add(place.root, place.path)

    def _announce_new(self, place: RootedPath, record: Record) -> bool:
        """Journal a new file or folder.

        Return False where the call will fail, as the name is taken or the folder missing.
        """
        if self._look(place) is not None or not os.path.isdir(os.path.dirname(place.absolute)):
            return False
        self._changes.announce(record)
        return True

    def _replace(self, place: RootedPath, was: Seen, *, empty: bool) -> None:
        draft, vault = self._names(place)
        if empty:
            create_empty(self._slot(place, draft))
            Meta.of(self._slot(place)).apply(self._slot(place, draft))
        else:
            copy_file(self._slot(place), self._slot(place, draft))
        now = self._changes.look(place.root, draft)
        replaced = Record(Do.REPLACE, place.root, place.path, "", draft, vault, was, now)
        self._changes.make(replaced, Record(Do.MADE, place.root, place.path, now=now))  # the caller will write into it
        self._changes.own.add(place.root, place.path)

    def _overwrite(self, place: RootedPath, was: Seen) -> None:
        """Save a file with several names by a copy, since all its names must show the new content."""
        space, vault = self._names(place)
        copy_file(self._slot(place), self._slot(place, vault))
        durable.sync_path(folder_above(self._slot(place, vault).path))
        descriptor = open_file(self._slot(place, space), NEW, 0o600)
        try:
            reserve(descriptor, min(was.size, self._status(place).st_blocks * 512))  # holes need none
        finally:
            os.close(descriptor)
        record = Record(Do.OVERWRITE, place.root, place.path, draft=space, vault=vault, was=was)
        self._changes.announce(record)

    def _save(self, place: RootedPath, look: Seen, *more: Record) -> None:
        """Announce that a file is removed, with further changes, and save its bytes (invariant 2)."""
        if look.kind == "folder":
            gone = Record(Do.RMDIR, place.root, place.path, meta=Meta.of(self._slot(place)))
            self._changes.announce(gone, *more)
            return
        try:
            self._link(place, look, more)
        except OSError as error:
            if error.errno == errno.EXDEV:
                save = self._link if self._changes.know_mount(place.root, place.path) else self._copy
            elif error.errno in NO_LINK and look.kind != "other":
                save = self._exchange
            else:
                raise
            save(place, look, more)

    def _link(self, place: RootedPath, look: Seen, more: Sequence[Record]) -> None:
        vault = self._changes.vault(place.root, place.path)
        self._announce(place, look, vault, more, lambda: link(self._slot(place), self._slot(place, vault)))

    def _copy(self, place: RootedPath, look: Seen, more: Sequence[Record]) -> None:
        vault = self._changes.vault(place.root, place.path)
        self._announce(place, look, vault, more, lambda: copy_file(self._slot(place), self._slot(place, vault)))

    def _exchange(self, place: RootedPath, look: Seen, more: Sequence[Record]) -> None:
        """Replace a file by a copy for the call to remove, so that the file itself can be restored with its inode.

        If the call fails after that, and the hook goes on, the copy has the old content.
        """
        draft, vault = self._names(place)
        try:
            copy_file(self._slot(place), self._slot(place, draft))
        except PermissionError:
            if more:
                raise
            create_empty(
                self._slot(place, draft)
            )  # a user may remove a file without being able to read it; the call will not fail any more

        def exchange() -> None:
            put(self._slot(place), self._slot(place, vault))
            put(self._slot(place, draft), self._slot(place))

        now = self._changes.look(place.root, draft)
        self._announce(place, look, vault, more, exchange, draft=draft, now=now)

    def _announce(
        self,
        place: RootedPath,
        look: Seen,
        vault: str,
        more: Sequence[Record],
        keep: Callable[[], None],
        *,
        draft: str = "",
        now: Seen | None = None,
    ) -> None:
        def prepare() -> None:
            keep()
            durable.sync_path(folder_above(self._slot(place, vault).path))

        gone = Record(Do.REMOVE, place.root, place.path, draft=draft, vault=vault, was=look, now=now)
        self._changes.announce(gone, *more, prepare=prepare)

    def _take_away(self, place: RootedPath, look: Seen) -> None:
        """Move a whole folder to the vault."""
        vault = self._changes.vault(place.root, place.path)
        self._changes.make(Record(Do.REMOVE, place.root, place.path, vault=vault, was=look))

    def _refuse_root(self, path: str) -> None:
        """Refuse to rename a root, or a folder above one: the transaction could not be found again.

        Raises:
            PathError: The path is a root, or a folder above one.
        """
        real = self._real(path, follow=False)
        for _, paths in self._roots:
            if f"{paths.root}/".startswith(f"{real}/"):
                raise PathError(
                    f"{path!r} holds {paths.given}, which an update cannot move: it is where its files are.",
                    hint="Move it while nothing runs, and correct the configuration.",
                )

    def _slot(self, place: RootedPath, name: str | None = None) -> Slot:
        """Open the folder of a place, or of another path of its root, without following symlinks."""
        return self._changes.slot(place.root, place.path if name is None else name)

    def _look(self, place: RootedPath) -> Seen | None:
        return self._changes.look(place.root, place.path)

    def _has_more_names(self, place: RootedPath) -> bool:
        return self._status(place).st_nlink > 1

    def _status(self, place: RootedPath) -> os.stat_result:
        slot = self._slot(place)
        return os.stat(slot.name, dir_fd=slot.folder, follow_symlinks=False)

    def _names(self, place: RootedPath) -> tuple[str, str]:
        return self._changes.draft(place.root, place.path), self._changes.vault(place.root, place.path)

    def _is_own(self, place: RootedPath) -> bool:
        return (place.root, place.path) in self._changes.own

    def _drop_own(self, place: RootedPath) -> bool:
        """Forget a file of the transaction's own that is removed, which needs no saving; return whether it was one."""
        own = self._is_own(place)
        self._changes.own.discard(place.root, place.path)
        return own


_NEW = os.O_CREAT | os.O_EXCL


def create_empty(slot: Slot) -> None:
    """Create an empty file."""
    os.close(open_file(slot, NEW, 0o600))


def _is_filled(path: str, look: Seen) -> bool:
    return look.kind == "folder" and bool(os.listdir(path))
