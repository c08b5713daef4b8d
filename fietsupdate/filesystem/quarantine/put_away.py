"""Move files into quarantine, in one transaction of files: until it ends, playback brings all of them back.

A file is renamed within its root's file system, so that its content, owner and times are not touched. Folders that
become empty are removed, and recorded with their attributes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.record import Do, Record, folder_of
from fietsupdate.filesystem.layout import HOME, QUARANTINE
from fietsupdate.filesystem.paths import PathError
from fietsupdate.filesystem.place import Place
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.folders import path_of
from fietsupdate.filesystem.posix.metadata import Meta, Seen
from fietsupdate.filesystem.posix.movable import obstacle
from fietsupdate.filesystem.posix.rename import NEW, open_file, opened
from fietsupdate.filesystem.quarantine.manifest import (
    FILES,
    NAME,
    HeldFile,
    LeftFolder,
    ManifestWriter,
    QuarantineOrigin,
)

BATCH = 1000
"""Files that are moved with one sync of the journal."""
_NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST})


@dataclass(frozen=True, slots=True)
class PutAway:
    """The files that were put into quarantine."""

    files: int
    bytes: int
    gone: tuple[Place, ...]
    """The paths at which no file was found any more."""


def put_away(
    changes: Changes,
    strays: Sequence[Place],
    origin: QuarantineOrigin,
    *,
    may_go: Callable[[Place], bool],
) -> PutAway:
    """Move files into quarantine.

    Args:
        changes: The changes of the transaction, which the caller ends or plays back.
        strays: The files, by root.
        origin: The identity of the quarantine; `QuarantineOrigin.root` is ignored.
        may_go: Returns whether a folder may be removed if it is empty afterwards.

    Raises:
        FilesError: A file cannot be moved.
        OSError: The system refused another operation.
    """
    by_root: dict[str, list[str]] = {"": []}  # its part names the others
    for root, path in strays:
        by_root.setdefault(root, []).append(path)
    done: list[_Part] = []
    with changes.at_work():
        for root, paths in by_root.items():
            part = _Part(changes, root, origin, tuple(by_root), may_go)
            paths.sort()  # what is in a folder stands together then
            part.move(paths)
            done.append(part)
    gone = tuple(Place(part.root, path) for part in done for path in part.gone)
    return PutAway(sum(part.files for part in done), sum(part.bytes for part in done), gone)


@dataclass
class _Left:
    """A folder from which files were moved."""

    path: str
    look: Meta


@dataclass
class _Part:
    """The part of a quarantine in one root."""

    changes: Changes
    root: str
    origin: QuarantineOrigin
    roots: Sequence[str]
    may_go: Callable[[Place], bool]
    files: int = 0
    bytes: int = 0
    gone: list[str] = field(default_factory=list)
    _inside: list[_Left] = field(default_factory=list)
    """The folders of the current files, outermost first."""
    _left: list[_Left] = field(default_factory=list)
    """Folders whose files are all in the batch, or were moved before, the innermost first."""
    _made: list[str] = field(default_factory=list)
    """The folders in the quarantine that exist for the current files, outermost first."""
    _moves: list[tuple[Record, HeldFile]] = field(default_factory=list)
    _folders: list[Record] = field(default_factory=list)

    @property
    def home(self) -> str:
        """The folder of this quarantine, relative to the root."""
        return f"{HOME}/{QUARANTINE}/{self.origin.name}"

    def move(self, paths: Sequence[str]) -> None:
        """Move the files, in the order of the tree, and write the manifest."""
        for folder in (f"{HOME}/{QUARANTINE}", self.home, f"{self.home}/{FILES}"):
            if folder == self.home or self.changes.look(self.root, folder) is None:
                self.changes.make(Record(Do.MKDIR, self.root, folder))
        draft = self.changes.draft(self.root, f"{self.home}/{NAME}")
        descriptor = open_file(self.changes.slot(self.root, draft), NEW, 0o600)
        try:
            writer = ManifestWriter(descriptor, self._own_origin())
            for path in paths:
                self._take(path, writer)
            self._leave(0)
            self._flush(writer)
            writer.end()
            durable.sync(descriptor, path_of(self.changes.slot(self.root, draft)))
        finally:
            os.close(descriptor)
        now = self.changes.look(self.root, draft)
        self.changes.make(Record(Do.CREATE, self.root, f"{self.home}/{NAME}", draft=draft, now=now))

    def _own_origin(self) -> QuarantineOrigin:
        roots = tuple(self.roots) if not self.root else (self.root,)
        given = self.origin
        return QuarantineOrigin(
            given.name, given.created_at, given.serial, given.instance_id, self.root, roots, given.command
        )

    def _take(self, path: str, writer: ManifestWriter) -> None:
        """Add a file to the batch."""
        was = self._seen(path)
        if was is None or was.kind == "folder":
            self.gone.append(path)
            return
        self._enter(folder_of(path))
        slot = self.changes.slot(self.root, path)
        status = os.stat(slot.name, dir_fd=slot.folder, follow_symlinks=False)
        held = HeldFile(
            path,
            was.kind,
            status.st_size,
            status.st_mode & 0o7777,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
        )
        self._moves.append((Record(Do.MOVE, self.root, path, f"{self.home}/{FILES}/{path}", was=was), held))
        if len(self._moves) >= BATCH:
            self._flush(writer)

    def _seen(self, path: str) -> Seen | None:
        """Return the attributes of a file, unless a symlink leads to it from elsewhere."""
        try:
            if self.changes.roots[self.root].resolve_change(path, follow=False) != path:
                return None
        except PathError:
            return None
        return self.changes.look(self.root, path)

    def _enter(self, folder: str) -> None:
        """Change to a folder: leave the folders that are not above it, and record and make the new ones."""
        above = [*_folders_to(folder)]
        same = 0
        while same < min(len(above), len(self._inside)) and self._inside[same].path == above[same]:
            same += 1
        self._leave(same)
        for path in above[same:]:
            self._inside.append(_Left(path, self._look_of(path)))
        same = 0
        while same < min(len(above), len(self._made)) and self._made[same] == above[same]:
            same += 1
        for path in above[same:]:
            if path:
                self._folders.append(Record(Do.MKDIR, self.root, f"{self.home}/{FILES}/{path}"))
        self._made = above

    def _look_of(self, folder: str) -> Meta:
        return Meta.of(self.changes.slot(self.root, folder))

    def _leave(self, depth: int) -> None:
        while len(self._inside) > depth:
            self._left.append(self._inside.pop())

    def _where(self, path: str) -> str:
        return self.changes.roots[self.root].absolute(path)

    def _flush(self, writer: ManifestWriter) -> None:
        """Move the files of the batch, then remove the folders that are empty, the innermost first."""
        records = [record for record, _ in self._moves]
        if records or self._folders:
            made = self.changes.make_many(self._folders, records)
            for record in records[made:]:
                self._move_alone(record)
        for _, held in self._moves:
            self.files += 1
            self.bytes += held.size if held.kind == "file" else 0
            writer.add_file(held)
        self._moves, self._folders = [], []
        self._clear(writer)

    def _move_alone(self, record: Record) -> None:
        """Move a file that could not be moved together with others, or raise an error that says why."""
        try:
            missing = [one for one in self._parents(record.other) if self.changes.look(self.root, one.path) is None]
            self.changes.make(*missing, record)
        except OSError as error:
            raise self._refused(record.path, error) from error

    def _parents(self, path: str) -> Iterator[Record]:
        for folder in _folders_to(folder_of(path)):
            if folder.startswith(f"{self.home}/"):
                yield Record(Do.MKDIR, self.root, folder)

    def _refused(self, path: str, error: OSError) -> FilesError:
        shown, where = Place(self.root, path).shown, self._where(path)
        if error.errno == errno.EXDEV:
            return FilesError(
                f"{shown} is on another file system than its root, and is not moved there.",
                stands=UNCHANGED,
                hint="Name the folder that is mounted there in extra_dirs, and in the root of the references.",
            )
        found = obstacle(os.path.dirname(where), where) if os.path.lexists(where) else None
        reason, hint = found or (error.strerror, "Run as the owner of the files, or as root with --as-root.")
        return FilesError(f"{shown} cannot be moved: {reason}.", stands=UNCHANGED, hint=hint)

    # -- folders

    def _clear(self, writer: ManifestWriter) -> None:
        """Remove the folders that became empty, and record how all of them were left."""
        left, self._left = self._left, []
        by_depth: dict[int, list[_Left]] = {}
        for one in left:
            by_depth.setdefault(one.path.count("/") + bool(one.path), []).append(one)
        for depth in sorted(by_depth, reverse=True):
            looks = {one.path: self._look_of(one.path) for one in by_depth[depth]}
            removed = self._removed([one for one in by_depth[depth] if self._is_to_go(one.path)], looks)
            for one in by_depth[depth]:
                writer.add_folder(LeftFolder(one.path, one.look, one.path in removed, looks[one.path].mtime_ns))

    def _is_to_go(self, path: str) -> bool:
        if not path or not self.may_go(Place(self.root, path)):
            return False
        try:
            with opened(self.changes.slot(self.root, path)) as folder:
                return not os.listdir(folder)
        except OSError:
            return False  # this user may not read the folder

    def _removed(self, empty: Sequence[_Left], looks: Mapping[str, Meta]) -> set[str]:
        """Remove folders, except those that are not empty any more; return the removed ones."""
        records = [Record(Do.RMDIR, self.root, one.path, meta=looks[one.path]) for one in empty]
        try:
            if records:
                self.changes.make(*records)
        except OSError as error:
            if error.errno not in _NOT_EMPTY:
                raise
            return {record.path for record in records if self._is_removed(record)}
        return {record.path for record in records}

    def _is_removed(self, record: Record) -> bool:
        try:
            self.changes.make(record)
        except OSError as error:
            if error.errno not in _NOT_EMPTY:
                raise
            return False
        return True


def _folders_to(folder: str) -> Iterator[str]:
    """Yield the root, then each folder down to this one."""
    yield ""
    parts = folder.split("/") if folder else []
    for number in range(1, len(parts) + 1):
        yield "/".join(parts[:number])
