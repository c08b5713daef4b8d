"""The verbs by which update scripts change single files; `BulkFiles` adds verbs for many at once.

Each change is journaled before it is made, and is durable or undone together with the database's. Content, mode, time
of change, owner, extended attributes, symlinks, hard links and empty folders are restored exactly.

Paths are relative to the root. Missing folders above a new file are created. A verb that fails has changed nothing,
except a tree verb that had to go file by file (over layers or mounted file systems).
"""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from typing import IO, Any, BinaryIO, Concatenate, Literal, ParamSpec, TextIO, TypeVar, overload

from fietsupdate.filesystem.drafts import BinaryDraft, Draft, TextDraft
from fietsupdate.filesystem.entries import Entries, check_replaceable, error_of
from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.record import Do, Record, folder_of
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.content import copy_content
from fietsupdate.filesystem.posix.folders import Slot
from fietsupdate.filesystem.posix.metadata import Meta, Seen
from fietsupdate.filesystem.posix.ownership import give_owner
from fietsupdate.filesystem.posix.rename import copy_file, open_file

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound="Files")
Name = str | os.PathLike[str]
Content = bytes | str | IO[bytes] | IO[str]
_READING = frozenset({"r", "rb"})
_MODES = frozenset({"w", "wb", "x", "xb", "a", "ab"})


def at_work(verb: Callable[Concatenate[F, P], R]) -> Callable[Concatenate[F, P], R]:
    """Mark a verb's file calls as our own work, which the guard must not journal again."""

    @functools.wraps(verb)
    def marked(self: F, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._changes.at_work():
            return verb(self, *args, **kwargs)

    return marked


class Files(Entries):
    """The files of one root.

    Args:
        changes: Makes the changes of the transaction.
        root: Name of the root; "" is the data directory.
    """

    def __init__(self, changes: Changes, root: str) -> None:
        super().__init__(changes, root)
        self._drafts: set[Draft] = set()

    @at_work
    def write(self, path: Name, content: Content) -> None:
        """Write a file, new or in the place of another, which then keeps its mode, owner and attributes.

        Text is written as UTF-8, without changing its line ends. A stream is copied from its current position.

        Raises:
            PathError: The path leads out of the root, or to a file that scripts may not change.
            IsADirectoryError: The path is a folder.
        """
        with self._open_draft(path, exclusive=False) as file:
            fill(file, content)

    @overload
    def open(self, path: Name, mode: Literal["wb", "xb", "ab"]) -> BinaryDraft: ...
    @overload
    def open(self, path: Name, mode: Literal["w", "x", "a"] = ..., encoding: str = ...) -> TextDraft: ...
    @overload
    def open(self, path: Name, mode: Literal["rb"]) -> BinaryIO: ...
    @overload
    def open(self, path: Name, mode: Literal["r"], encoding: str = ...) -> TextIO: ...

    def open(self, path: Name, mode: str = "w", encoding: str = "utf-8") -> IO[Any]:
        """Open a file. A file that is written replaces the existing one when it is closed, not earlier.

        Args:
            path: The file.
            mode: As for the built-in function: ``w``, ``x``, ``a``, ``r``, with ``b`` for bytes.
            encoding: Encoding of the text.

        Raises:
            FileExistsError: The mode is ``x``, and the file exists.
            FileNotFoundError: The mode is ``r``, and the file does not exist.
            ValueError: There is no such mode.
        """
        if mode in _READING:
            return open(self._absolute(path), mode, encoding=None if "b" in mode else encoding)
        if mode not in _MODES:
            raise ValueError(
                f"The mode {mode!r} is none of {', '.join(sorted(_MODES | _READING))}: a file is read, or replaced."
            )
        draft = self._open_draft(path, exclusive="x" in mode)
        if "a" in mode:
            with self._changes.at_work():
                _copy_content(self._slot(self._target(path)[0]), draft)
        return BinaryDraft(draft) if "b" in mode else TextDraft(draft, encoding)

    @at_work
    def move(self, source: Name, destination: Name) -> None:
        """Move a file, symlink or whole folder to another name, which must be free.

        Raises:
            FileNotFoundError: The source does not exist.
            FileExistsError: The destination is taken.
        """
        folders: dict[str, str] = {}
        here, there = self._entry(source, folders), self._entry(destination, folders)
        self._check_free(there)
        was = self._look(here)
        if was.kind == "folder":
            self._check_tree(here)
        parents = [] if folder_of(here) == folder_of(there) else self._parents(there)
        records = [*parents, Record(Do.MOVE, self._root, here, there, was=was)]
        try:
            self._changes.make(*records)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            for path in (here, there):
                self._changes.know_mount(self._root, path)
            self._move_apart(here, there, was)

    @at_work
    def copy(self, source: Name, destination: Name) -> None:
        """Copy a file, symlink or whole folder to a name that is free, with modes, times and attributes.

        Raises:
            FileNotFoundError: The source does not exist.
            FileExistsError: The destination is taken.
        """
        here = self._entry(source)
        there = self._free(destination)
        was = self._look(here)
        if was.kind == "folder":
            self._paths.check_tree(here)
            if there.startswith(f"{here}/"):
                raise OSError(errno.EINVAL, "A folder cannot be copied into itself", there)
        self._changes.make(*self._parents(there))
        self._copy(here, there, was)

    @at_work
    def remove(self, path: Name) -> None:
        """Remove a file, a symlink, or a folder with everything in it.

        Raises:
            FileNotFoundError: The path does not exist.
        """
        here = self._entry(path)
        was = self._look(here)
        if was.kind == "folder":
            self._check_tree(here)
        self._remove(here, was)

    @at_work
    def mkdir(self, path: Name) -> None:
        """Create a folder and those above it; an existing folder is no error.

        Raises:
            FileExistsError: A file has the name.
        """
        here = self._paths.resolve(path)
        look = self._changes.look(self._root, here)
        if look is None:
            self._changes.make(*self._parents(here), Record(Do.MKDIR, self._root, here))
        elif look.kind != "folder":
            raise error_of(errno.EEXIST, here)

    @at_work
    def symlink(self, path: Name, target: Name) -> None:
        """Create a symlink whose text is ``target``, relative to the folder of the link.

        Raises:
            PathError: The target is outside of the root.
            FileExistsError: The name is taken.
        """
        here = self._free(path)
        text = os.fspath(target)
        self._paths.check_link(os.path.dirname(here), text)
        self._changes.make(*self._parents(here), Record(Do.SYMLINK, self._root, here, text))

    @at_work
    def chmod(self, path: Name, mode: int) -> None:
        """Change the mode of a file or folder."""
        here, was = self._target(path)
        if was is None:
            raise error_of(errno.ENOENT, here)
        before = Meta.of(self._slot(here))
        after = replace(before, mode=stat.S_IMODE(mode))
        self._changes.make(Record(Do.META, self._root, here, was=was, meta=before, after=after))

    def check_closed(self) -> None:
        """Refuse to go on while a file that was opened for writing is not closed.

        Raises:
            OSError: EBUSY, with its name.
        """
        for draft in self._drafts:
            raise OSError(errno.EBUSY, "The update has opened a file for writing and not closed it", draft.path)

    @at_work
    def _open_draft(self, path: Name, *, exclusive: bool) -> Draft:
        target, look = self._target(path)
        if look is not None and exclusive:
            raise error_of(errno.EEXIST, target)
        check_replaceable(look, target)
        self._changes.check_process()
        name = self._changes.draft(self._root, target)

        def finish(draft: Draft) -> None:
            self._drafts.discard(draft)
            self._finish(draft, name, target)

        draft = Draft(self._create(name, target, look), self._paths.absolute(name), finish)
        self._drafts.add(draft)
        return draft

    @at_work
    def _finish(self, draft: Draft, name: str, target: str) -> None:
        """Put a complete draft in its place."""
        look, parents = self._dress(name, target)
        durable.sync(draft.fileno(), self._paths.absolute(target))
        self._settle(name, target, look, parents)

    def _dress(self, name: str, target: str) -> tuple[Seen | None, list[Record]]:
        """Set owner, mode and attributes of a draft for its place.

        Return the existing file, and records for missing folders.
        """
        look = self._changes.look(self._root, target)
        check_replaceable(look, target)
        if look is not None:
            Meta.of(self._slot(target)).apply(self._slot(name), time=False)
            return look, []
        parents = self._parents(target)
        give_owner(self._slot(name), os.fstat(self._slot(parents[0].path if parents else target).folder))
        return look, parents

    def _settle(self, name: str, target: str, look: Seen | None, parents: list[Record]) -> None:
        """Put a draft in its place whose attributes are set and which is durable."""
        try:
            self._put(name, self._look(name), target, look, parents)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._changes.know_mount(self._root, target)
            near = self._changes.draft(self._root, target)
            if folder_of(near) == folder_of(name):
                raise
            copy_file(self._slot(name), self._slot(near))
            self._put(near, self._look(near), target, look, self._parents(target))

    def _put(self, draft: str, now: Seen, target: str, was: Seen | None, parents: list[Record]) -> None:
        if was is None:
            self._changes.make(*parents, Record(Do.CREATE, self._root, target, draft=draft, now=now))
        else:
            vault = self._changes.vault(self._root, target)
            self._changes.make(Record(Do.REPLACE, self._root, target, "", draft, vault, was, now))

    def _remove(self, here: str, was: Seen) -> None:
        try:
            self._to_vault(here, was)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            if self._changes.know_mount(self._root, here):
                self._remove(here, was)
            elif was.kind == "folder":
                self._remove_apart(here)
            else:
                raise

    def _to_vault(self, here: str, was: Seen) -> None:
        vault = self._changes.vault(self._root, here)
        self._changes.make(Record(Do.REMOVE, self._root, here, vault=vault, was=was))

    def _remove_apart(self, here: str) -> None:
        """Remove a folder file by file: overlayfs renames no folder of a lower layer."""
        meta = Meta.of(self._slot(here))
        for name in self._names(here):
            self._remove(f"{here}/{name}", self._look(f"{here}/{name}"))
        self._changes.make(Record(Do.RMDIR, self._root, here, meta=meta))

    def _move_apart(self, here: str, there: str, was: Seen) -> None:
        """Move across layers or file systems: files that cannot be renamed are copied, and the originals removed."""
        if was.kind != "folder":
            self._changes.make(*self._parents(there))
            self._copy(here, there, was)
            self._remove(here, was)
            return
        meta = Meta.of(self._slot(here))
        self._changes.make(*self._parents(there), Record(Do.MKDIR, self._root, there, after=meta))
        for name in self._names(here):
            self.move(f"{here}/{name}", f"{there}/{name}")
        self._changes.make(Record(Do.RMDIR, self._root, here, meta=meta))
        meta.apply(self._slot(there))

    def _copy(self, here: str, there: str, was: Seen) -> None:
        if was.kind == "file":
            draft = self._changes.draft(self._root, there)
            copy_file(self._slot(here), self._slot(draft))
            try:
                self._put(draft, self._look(draft), there, None, [])
            except OSError as error:
                if error.errno != errno.EXDEV or not self._changes.know_mount(self._root, there):
                    raise
                self._copy(here, there, was)
        elif was.kind == "link":
            self._changes.make(Record(Do.SYMLINK, self._root, there, self._text(here)))
        elif was.kind == "folder":
            meta = Meta.of(self._slot(here))
            self._changes.make(Record(Do.MKDIR, self._root, there, after=meta))
            for name in self._names(here):
                self._copy(f"{here}/{name}", f"{there}/{name}", self._look(f"{here}/{name}"))
            meta.apply(self._slot(there))
        else:
            raise OSError(errno.EINVAL, "Neither a file, nor a symlink, nor a folder", here)


def fill(file: IO[bytes], content: Content) -> None:
    """Write the content that a script passes: bytes, text, or a stream from its current position."""
    if isinstance(content, str):
        file.write(content.encode())
    elif isinstance(content, bytes | bytearray | memoryview):
        file.write(content)
    else:
        while piece := content.read(1 << 20):
            file.write(piece.encode() if isinstance(piece, str) else piece)


def pour(content: Content, descriptor: int) -> None:
    """Do as `fill` with an open file, in fewer calls for bytes and for text."""
    if isinstance(content, bytes | str):
        durable.write_all(descriptor, content if isinstance(content, bytes) else content.encode())
        return
    with open(descriptor, "wb", closefd=False) as file:
        fill(file, content)


def _copy_content(source: Slot, draft: Draft) -> None:
    try:
        with open(open_file(source), "rb") as reader:
            copy_content(reader.fileno(), draft.fileno())
    except FileNotFoundError:
        return
    except BaseException:
        draft.give_up()
        draft.close()
        raise
