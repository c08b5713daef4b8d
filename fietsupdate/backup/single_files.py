"""Bring single files of a backup back into the roots; no existing file is replaced.

A file is brought back only with the content that the backup's listing records: it is checked while it is copied. Mode,
owner, time and attributes come from the listing, too, as far as this user may set them. Files are created only under
free names; so wherever the process is killed, no existing file has been touched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from fietsupdate.backup.selection import MOST_NAMED, Selection, damaged
from fietsupdate.backup.staging import harmless
from fietsupdate.errors import FilesError
from fietsupdate.filesystem.file_copy import ContentCopier
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.files import Files, at_work
from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.place import Place
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.folders import Folders, path_of
from fietsupdate.filesystem.posix.metadata import Meta, attainable
from fietsupdate.filesystem.posix.rename import NEW, open_file
from fietsupdate.filesystem.transaction import FileTransaction


def bring_back(
    selection: Selection,
    files: FileTransaction,
    *,
    warn: Callable[[str], None],
    moved: Callable[[int], None],
) -> None:
    """Copy the missing files to their places, each after its content was read and checked.

    Args:
        selection: The selection, made under the lock.
        files: The transaction that this belongs to.
        warn: Called with a sentence about files that do not come back exactly as they were.
        moved: Called with the number of bytes that were copied since the last call.

    Raises:
        FilesError: A file in the backup has changed.
        OSError: A file is in the way, or the disk is full.
    """
    bringer = _Bringer(selection, files, moved)
    for record in selection.missing:
        bringer.bring(record)
    bringer.finish(warn)


class _Bringer:
    def __init__(self, selection: Selection, files: FileTransaction, moved: Callable[[int], None]) -> None:
        self._selection = selection
        self._backup = selection.backup
        self._writer = os.lstat(selection.backup.path)
        self._changes = files.changes
        self._copier = ContentCopier(moved)
        self._sources = Folders()
        self._verbs: dict[str, _Verbs] = {}
        self._made: list[tuple[str, str, Meta]] = []
        """The new links and folders, outermost first, whose attributes are set at the end."""
        self._placed: set[tuple[str, str]] = set()
        """The files that were brought back; further names of them become hard links again."""
        self._others: list[str] = []

    def bring(self, record: FileRecord) -> None:
        """Bring back one file, link or folder."""
        verbs = self._verbs.setdefault(record.root, _Verbs(self._changes, record.root))
        for folder in verbs.missing_above(record.path):
            self._make_folder(verbs, record.root, folder)
        match record.kind:
            case "folder":
                self._make_folder(verbs, record.root, record.path)
            case "link":
                meta = self._meta(record)
                verbs.link(record.path, record.target, meta)
                self._made.append((record.root, record.path, meta))
            case "hardlink" if (record.linked_root, record.target) in self._placed and record.target_root is None:
                verbs.give_name(record.path, record.target)
            case _:
                content = self._selection.content_of(record)
                with self._source(record) as reader:
                    verbs.place(record.path, lambda writer: self._copy(reader, writer, content), self._meta(content))
                self._placed.add((record.root, record.path))

    def finish(self, warn: Callable[[str], None]) -> None:
        """Set the recorded attributes of folders and links, the innermost first.

        Warn about owners that were not restored.
        """
        for root, path, meta in reversed(self._made):
            self._verbs[root].dress(path, meta)
        if self._others:
            warn(
                f"{len(self._others)} files and folders belonged to another user or group, and come back as this "
                f"user's own, open to no more than before: {', '.join(self._others[:MOST_NAMED])}."
            )

    def _make_folder(self, verbs: _Verbs, root: str, path: str) -> None:
        record = self._selection.folders.get((root, path))
        meta = self._meta(record) if record is not None else None
        verbs.make_folder(path, meta)
        if meta is not None:
            self._made.append((root, path, meta))

    def _meta(self, record: FileRecord) -> Meta:
        meta = Meta(record.mode, record.uid, record.gid, record.mtime_ns, record.xattrs)
        meta = harmless(meta, self._writer)
        if attainable(meta) != meta:
            self._others.append(Place(record.root, record.path).shown)
        return attainable(meta)

    @contextmanager
    def _source(self, record: FileRecord) -> Iterator[int]:
        path = f"{os.path.realpath(self._backup.tree(record.root))}/{record.path}"
        try:
            try:
                descriptor = open_file(self._sources.slot(path))
            except OSError as error:
                raise damaged(self._backup, f"{self._shown(record)} cannot be read: {error.strerror}") from error
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise damaged(self._backup, f"{self._shown(record)} is no file any more")
                yield descriptor
            finally:
                os.close(descriptor)
        finally:
            self._sources.close()

    def _copy(self, reader: int, writer: int, record: FileRecord) -> None:
        status = os.fstat(reader)
        if status.st_size != record.size or self._copier.copy(reader, writer, status) != (record.size, record.sha256):
            raise damaged(self._backup, f"{self._shown(record)} is not what it was")

    @staticmethod
    def _shown(record: FileRecord) -> str:
        return Place(record.root, record.path).shown


class _Verbs(Files):
    """The verbs that create files under free names in one root."""

    def missing_above(self, path: str) -> list[str]:
        """Return the missing folders above a path, outermost first."""
        with self._changes.at_work():
            return [record.path for record in self._parents(path)]

    @at_work
    def make_folder(self, path: str, meta: Meta | None) -> None:
        """Make a folder, open to its owner until its attributes are set."""
        if self._changes.look_into(self._root, path) is not None:
            return
        self._own(path)
        open_to_owner = replace(meta, mode=meta.mode | 0o700) if meta is not None else None
        self._changes.make(Record(Do.MKDIR, self._root, path, after=open_to_owner))

    @at_work
    def link(self, path: str, text: str, meta: Meta) -> None:
        """Make a symlink with its former target, wherever that leads."""
        self._own(path)
        self._check_free(path)
        self._changes.make(Record(Do.SYMLINK, self._root, path, text, after=meta))

    @at_work
    def place(self, path: str, copy: Callable[[int], None], meta: Meta) -> None:
        """Put a file in its place, complete and durable."""
        self._own(path)
        self._check_free(path)
        draft = self._changes.draft(self._root, path)
        descriptor = open_file(self._slot(draft), NEW, 0o600)
        try:
            copy(descriptor)
            meta.apply(self._slot(draft))
            durable.sync(descriptor, path_of(self._slot(draft)))
        finally:
            os.close(descriptor)
        self._settle(draft, path, None, [])

    @at_work
    def give_name(self, path: str, first: str) -> None:
        """Make a hard link to a file that was brought back."""
        self._own(path)
        self._check_free(path)
        self._changes.make(Record(Do.LINK, self._root, path, first, was=self._look(first)))

    @at_work
    def dress(self, path: str, meta: Meta) -> None:
        """Set the attributes of a new folder or link."""
        was, before = self._look(path), Meta.of(self._slot(path))
        if before != meta:
            self._changes.make(Record(Do.META, self._root, path, was=was, meta=before, after=meta))

    def _own(self, path: str) -> None:
        """Refuse a path above which a symlink has appeared since it was inspected."""
        if self._paths.resolve_change(path, follow=False) != path:
            raise FilesError(f"{self._paths.absolute(path)} is not where it was: a symbolic link is above it now.")
