"""Copy whole trees with all metadata: share blocks where the file system can, and hash each copy.

A file's blocks are shared with its copy (FICLONE), else copied by the kernel, else through our memory; holes stay
holes. Memory does not grow with the number of files. A file that changes while it is copied is reported, and recorded
as it was copied.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.file_copy import ContentCopier, digest_of
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.measure import Earlier, left_out_of
from fietsupdate.filesystem.posix.durable import MANY, sync_file_system, sync_many
from fietsupdate.filesystem.posix.metadata import Meta, read_xattrs
from fietsupdate.filesystem.posix.regular import opened
from fietsupdate.model.listeners import ignore

_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})
_REPLACED = frozenset({errno.ELOOP, errno.ENXIO})
"""The errors of opening a file that has just been replaced by a symlink or a pipe."""
_CANNOT_LINK = frozenset({errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOENT, errno.EXDEV})


class HardLinkName(NamedTuple):
    """One of the names of a file with several."""

    root: str
    path: str
    copy: str
    """The absolute path of its copy."""


class Links:
    """Files with several names, which may be spread over several trees.

    Args:
        several: Device and inode of all of them, where that is known; otherwise every file with more than one name is
            remembered until all its names were met.
    """

    def __init__(self, several: Collection[tuple[int, int]] | None = None) -> None:
        self._several = several
        self._known: dict[tuple[int, int], tuple[HardLinkName, int]] = {}
        """The name by which each file was copied, and how many more names are to come."""

    def first(self, status: os.stat_result, name: HardLinkName) -> HardLinkName:
        """Return the name by which a file was copied; the given name, if the file is new."""
        key = status.st_dev, status.st_ino
        if self._several is not None and key not in self._several:
            return name
        known, to_come = self._known.pop(key, (name, status.st_nlink))
        if to_come > 1:
            self._known[key] = known, to_come - 1
        return known


def copy_tree(
    source: Path,
    dest: Path,
    *,
    leave_out: Collection[Path],
    told: Callable[[FileRecord], None],
    root: str = "",
    warn: Callable[[str], None] = ignore,
    moved: Callable[[int], None] = ignore,
    links: Links | None = None,
    earlier: Earlier | None = None,
    note: Callable[[os.stat_result | None], None] = ignore,
) -> None:
    """Copy a folder with all its content, durably.

    Our own folder (``.fietsupdate``) is never copied, nor are sockets, pipes and devices, which cause warnings.

    Args:
        source: The folder.
        dest: The folder of the copy; created unless it exists. Its existing content is never replaced.
        leave_out: Absolute paths that are not copied.
        told: Called for each file, folder and link when its copy is made; for the folder itself, too, as path "".
        root: The name of the root, for the records.
        warn: Called with a sentence about each file that vanished or changed while it was copied.
        moved: Called with the number of bytes that were copied since the last call.
        links: Shared by trees in which one file may have several names.
        earlier: An earlier copy of the tree; a file that has not changed since is linked to its copy there.
        note: Called after each `told` with the attributes of a file that did not change while it was copied, else with
            ``None``.

    Raises:
        FilesError: A file cannot be read, or could not be made durable.
        OSError: The copy cannot be written: ``ENOSPC``, the disk is full.
    """
    shared = Links() if links is None else links
    copier = _Copier(source, dest, leave_out=leave_out, told=told, root=root, warn=warn, moved=moved, links=shared)
    copier.share(earlier, note)
    copier.run()


def digest(path: Path, moved: Callable[[int], None] = ignore) -> str:
    """Return the SHA-256 of a file's content, hexadecimal.

    Args:
        path: The file.
        moved: Called with the number of bytes that were read since the last call.
    """
    descriptor = opened(path, of_anybody=True)
    try:
        return digest_of(descriptor, moved)
    finally:
        os.close(descriptor)


class _Copier:
    """One copy of one tree."""

    def __init__(
        self,
        source: Path,
        dest: Path,
        *,
        leave_out: Collection[Path],
        told: Callable[[FileRecord], None],
        root: str,
        warn: Callable[[str], None],
        moved: Callable[[int], None],
        links: Links,
    ) -> None:
        self._top = os.path.realpath(source)
        self._dest = os.path.realpath(dest)
        self._left_out = left_out_of(self._top, (*leave_out, dest))
        self._root = root
        self._told = told
        self._warn = warn
        self._moved = moved
        self._earlier: Earlier | None = None
        self._note_status: Callable[[os.stat_result | None], None] = ignore
        self._content = ContentCopier(moved)
        self._links = links
        self._made: list[str] = []
        """The first paths that were created; it only matters whether there are more than `MANY`."""

    def share(self, earlier: Earlier | None, note: Callable[[os.stat_result | None], None]) -> None:
        """Link what has not changed since an earlier copy, and note what tells so next time."""
        self._earlier, self._note_status = earlier, note

    def run(self) -> None:
        if not os.path.isdir(self._top):
            raise FilesError(f"{self._top} does not exist, or is no folder.", hint="Is the volume mounted?")
        with suppress(FileExistsError):
            self._make_folder(self._dest)
        _drop_default_acl(self._dest)
        waiting = [""]
        while waiting:
            waiting += self._folder(waiting.pop())
        if len(self._made) < MANY:
            sync_many([*self._made, self._dest, os.path.dirname(self._dest)])
        else:
            sync_file_system(self._dest)

    def _folder(self, folder: str) -> list[str]:
        """Copy the files in a folder, create the folders in it, and return these.

        The copy's mode and time are set last: nothing is created in it afterwards.
        """
        source, dest = self._paths(folder)
        inside: list[str] = []
        try:
            meta = Meta.of(source)
            if self._earlier is not None:
                self._earlier.enter(self._root, folder)
            with os.scandir(source) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if path not in self._left_out and self._entry(entry, path):
                        inside.append(path)
        except OSError as error:
            if not folder or not _is_about(error, source) or error.errno not in _VANISHED:
                raise _unreadable(error, source) from error
            self._warn(f"{source} vanished while it was copied")
            meta = Meta.of(dest)
        replace(meta, mode=usable_mode(meta.mode, meta.uid, 0o700)).apply(dest)
        self._tell(folder, "folder", meta)
        return inside

    def _paths(self, path: str) -> tuple[str, str]:
        return (f"{self._top}/{path}", f"{self._dest}/{path}") if path else (self._top, self._dest)

    def _entry(self, entry: os.DirEntry[str], path: str) -> bool:
        """Copy an entry; return whether it is a folder, which was created and is still empty."""
        source, dest = self._paths(path)
        if entry.is_dir(follow_symlinks=False):
            self._make_folder(dest)
            return True
        try:
            if entry.is_symlink():
                self._link(path, source, dest)
            elif entry.is_file(follow_symlinks=False):
                if not self._linked(entry, dest):
                    self._file(path, source, dest)
            else:
                self._warn(f"{source} is a socket, a pipe or a device, and was left out")
        except OSError as error:
            if not _is_about(error, source) or error.errno not in _VANISHED | _REPLACED:
                raise _unreadable(error, source) from error
            self._warn(f"{source} vanished while it was copied")
        return False

    def _make_folder(self, dest: str) -> None:
        os.mkdir(dest, 0o700)
        _drop_default_acl(dest)
        self._note(dest)

    def _link(self, path: str, source: str, dest: str) -> None:
        target, meta = os.readlink(source), Meta.of(source)
        os.symlink(target, dest)
        meta.apply(dest)
        self._note(dest)
        self._tell(path, "link", meta, target)

    def _linked(self, entry: os.DirEntry[str], dest: str) -> bool:
        """Link to the earlier copy of a file that has not changed; one with several names is always copied."""
        if self._earlier is None:
            return False
        status = entry.stat(follow_symlinks=False)
        record = self._earlier.link(entry.name, status, dest) if status.st_nlink == 1 else None
        if record is None:
            return False
        self._moved(record.size)
        self._note(dest)
        self._report(record, status)
        return True

    def _report(self, record: FileRecord, status: os.stat_result | None = None) -> None:
        self._told(record)
        self._note_status(status)

    def _file(self, path: str, source: str, dest: str) -> None:
        reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            before = os.fstat(reader)
            if before.st_nlink > 1 and self._second_name(path, dest, before):
                return
            xattrs = read_xattrs(source) if _has_xattrs(reader) else {}
            size, sha256 = self._copied(reader, dest, before, xattrs)
            after = os.fstat(reader)
        finally:
            os.close(reader)
        changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
        if changed:
            self._warn(f"{source} changed while it was copied")
        self._note(dest)
        mode = stat.S_IMODE(before.st_mode)
        self._report(
            FileRecord(
                self._root, path, "file", size, sha256, mode, before.st_uid, before.st_gid, before.st_mtime_ns, xattrs
            ),
            None if changed or before.st_ctime_ns != after.st_ctime_ns else after,
        )

    def _second_name(self, path: str, dest: str, status: os.stat_result) -> bool:
        """Create another name of a file that was copied already; return False for its first name."""
        name = HardLinkName(self._root, path, dest)
        first = self._links.first(status, name)
        if first is name:
            return False
        try:
            os.link(first.copy, dest, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            other = os.path.join(first.root, first.path)
            self._warn(f"{self._paths(path)[0]} is another name of {other}; its copy is a file of its own")
            return False
        self._note(dest)
        target_root = None if first.root == self._root else first.root
        self._report(FileRecord(self._root, path, "hardlink", target=first.path, target_root=target_root))
        return True

    def _copied(self, reader: int, dest: str, status: os.stat_result, xattrs: Mapping[str, str]) -> tuple[int, str]:
        """Create the copy of an open file; return its size and its SHA-256."""
        writer = os.open(dest, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            size, sha256 = self._content.copy(reader, writer, status)
            _give(writer, dest, status, xattrs)
        finally:
            os.close(writer)
        return size, sha256

    def _note(self, dest: str) -> None:
        if len(self._made) < MANY:
            self._made.append(dest)

    def _tell(self, path: str, kind: str, meta: Meta, target: str = "") -> None:
        self._report(
            FileRecord(self._root, path, kind, 0, "", meta.mode, meta.uid, meta.gid, meta.mtime_ns, meta.xattrs, target)
        )


def _drop_default_acl(folder: str) -> None:
    """Remove a folder's default access control list, so that copies in it only have their own lists."""
    with suppress(OSError, AttributeError):
        os.removexattr(folder, "system.posix_acl_default")


def _has_xattrs(descriptor: int) -> bool:
    """Return whether a file has extended attributes: most have none, and one call shows that."""
    try:
        return bool(os.listxattr(descriptor))
    except (OSError, AttributeError):
        return False


def usable_mode(mode: int, uid: int, least: int) -> int:
    """Return the mode of a copy.

    A copy that cannot be given to its owner stays accessible to this user, who owns it.
    """
    return mode if os.geteuid() in {0, uid} else mode | least


def _give(descriptor: int, dest: str, like: os.stat_result, xattrs: Mapping[str, str]) -> None:
    """Set owner, mode, extended attributes and times of an open file that was just created."""
    if os.geteuid() == 0:
        os.fchown(descriptor, like.st_uid, like.st_gid)
    else:
        with suppress(PermissionError):  # a group that this user is not in
            os.fchown(descriptor, -1, like.st_gid)
    mode = usable_mode(stat.S_IMODE(like.st_mode), like.st_uid, 0o600)
    os.fchmod(descriptor, mode)
    if xattrs:
        Meta(mode, like.st_uid, like.st_gid, like.st_mtime_ns, xattrs).apply(dest, time=False)
    os.utime(descriptor, ns=(like.st_atime_ns, like.st_mtime_ns))


def _is_about(error: OSError, source: str) -> bool:
    """Return whether an error is about the source; an error in writing the copy is another matter."""
    return error.filename is not None and os.fspath(error.filename) == source


def _unreadable(error: OSError, source: str) -> Exception:
    """Return the error for a source that cannot be read: a copy without it would be incomplete."""
    if _is_about(error, source) and error.errno in {errno.EACCES, errno.EPERM}:
        return FilesError(
            f"{source} cannot be read: {error.strerror}.", hint="Run as a user who may read the whole data directory."
        )
    if error.filename is None:  # reading this file failed, or writing its copy
        return OSError(error.errno, error.strerror, source)
    return error
