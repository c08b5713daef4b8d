"""Copy the files of a backup to the file systems of the live ones, from where they can be moved into place.

Everything gets the attributes in the listing, even if the backup lies on a file system without owners or attributes, or
was copied there by a program that lost them.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fietsupdate.backup import swap
from fietsupdate.backup.directory import parts
from fietsupdate.backup.manifest import Backup, FileAttributes
from fietsupdate.backup.swap import SwapUnit
from fietsupdate.backup.verify import records, several_names
from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.layout import restore_folder
from fietsupdate.filesystem.measure import measure
from fietsupdate.filesystem.posix.content import FICLONE
from fietsupdate.filesystem.posix.identity import user
from fietsupdate.filesystem.posix.metadata import Meta, attainable, read_xattrs
from fietsupdate.filesystem.posix.rename import erase
from fietsupdate.filesystem.tree_copy import Links, copy_tree
from fietsupdate.model.listeners import ignore

MOST_NAMED = 5
_PRIVILEGED = ("security.", "trusted.")
"""Attributes that only root may set; capabilities are among them."""


def stage(
    backup: Backup,
    roots: Mapping[str, Path],
    units: Sequence[SwapUnit],
    *,
    warn: Callable[[str], None] = ignore,
    moved: Callable[[int], None] = ignore,
) -> tuple[SwapUnit, ...]:
    """Copy the trees of a backup, durably; nothing live is touched.

    Args:
        backup: A verified backup.
        roots: The live roots, by name.
        units: The folders whose entries will be exchanged.
        warn: Called with a sentence about each file that could not be copied.
        moved: Called with the number of bytes that were copied since the last call.

    Returns:
        The units, with the final attributes of each folder.

    Raises:
        FilesError: A file in the backup conflicts with one that must stay here.
        OSError: The disk is full, or a file cannot be written.
    """
    links = Links(several_names(backup))
    for name, tree in parts(backup):
        own = [unit for unit in units if unit.root == name]
        swap.prepare(roots[name], own)
        left_out = [Path(tree, unit.path, stays) for unit, stays in _fixed(own)]
        for top in dict.fromkeys(unit.top for unit in own):
            if (tree / top).is_dir():
                dest = restore_folder(Path(os.path.realpath(roots[name]), top)) / swap.NEW
                copy_tree(
                    tree / top, dest, leave_out=left_out, told=ignore, root=name, warn=warn, moved=moved, links=links
                )
    listed = _Listed(backup, roots, units, warn)
    listed.follow()
    for name, _ in parts(backup):
        swap.complete(roots[name], [unit for unit in units if unit.root == name])
    return tuple(listed.finished(unit) for unit in units)


def needs(backup: Backup, roots: Mapping[str, Path]) -> Iterator[tuple[Path, int, int]]:
    """Yield each root, how many files, folders and links will be staged for it, and how many bytes of content."""
    several = several_names(backup)
    for name, tree in parts(backup):
        yield roots[name], *measure(tree, (), several=several)


def shares_blocks(source: Path, folder: Path) -> bool:
    """Return whether copies in a folder can share their blocks with a file, so that they need no space."""
    probe = folder / "probe"
    try:
        with source.open("rb") as reader, probe.open("wb") as writer:
            fcntl.ioctl(writer, FICLONE, reader.fileno())
    except OSError:
        return False
    else:
        return True
    finally:
        with suppress(OSError):
            erase(str(probe))


def apply_attributes(path: str, attributes: FileAttributes, backup: Backup) -> None:
    """Set the recorded mode, owner and attributes of another file on a file that will be moved into place."""
    meta = harmless(Meta(attributes.mode, attributes.uid, attributes.gid, 0, attributes.xattrs), os.lstat(backup.path))
    attainable(meta).apply(path, time=False)


def _fixed(units: Sequence[SwapUnit]) -> Iterator[tuple[SwapUnit, str]]:
    """Yield the entries that stay as they are, with all their content on the same file system."""
    entered = {unit.path for unit in units if unit.path != unit.top}
    for unit in units:
        for name in unit.stays:
            if (f"{unit.path}/{name}" if unit.path else name) not in entered:
                yield unit, name


class _Listed:
    """Sets the attributes of the staged files from the listing, and collects those of the folders that stay."""

    def __init__(
        self, backup: Backup, roots: Mapping[str, Path], units: Sequence[SwapUnit], warn: Callable[[str], None]
    ) -> None:
        self._backup, self._roots, self._warn = backup, roots, warn
        self._writer = os.lstat(backup.path)
        by_root = {name: [unit for unit in units if unit.root == name] for name in roots}
        self._places = {name: _Places(roots[name], own) for name, own in by_root.items() if own}
        self._metas: dict[tuple[str, str], Meta] = {}
        self._closed: dict[tuple[str, str], list[tuple[str, int]]] = {}
        self._others: list[str] = []
        """Files that are restored, but cannot have their previous owner."""

    def follow(self) -> None:
        """Go through the listing.

        Raises:
            FilesError: The listing is damaged, or conflicts with a file that must stay here.
        """
        try:
            for record in records(self._backup):
                if record.root in self._places and record.kind != "hardlink":
                    self._place(record, self._places[record.root])
            if self._others:
                self._warn(
                    f"{len(self._others)} files and folders belonged to another user or group, and come back as this "
                    f"user's own, open to no more than before: {', '.join(self._others[:MOST_NAMED])}"
                )
        except ValueError as error:
            raise FilesError(
                f"The listing of the backup {self._backup.name} cannot be followed: {error}.",
                hint="Restore another backup: `fietsupdate backup list` shows them.",
            ) from error

    def finished(self, unit: SwapUnit) -> SwapUnit:
        """Return a unit with the final attributes of its folder, and of those that are moved into it."""
        key, live = (unit.root, unit.path), os.stat(unit.live(self._roots[unit.root]))
        is_ours = user() in {0, live.st_uid}  # no other user can change its attributes, so they stay
        meta = self._metas.get(key) if is_ours else None
        return replace(unit, meta=meta, closed=tuple(self._closed.get(key, ())))

    def _place(self, record: FileRecord, places: _Places) -> None:
        meta = Meta(record.mode, record.uid, record.gid, record.mtime_ns, record.xattrs)
        meta = harmless(meta, self._writer)
        if places.is_unit(record.path):
            _refuse_another_kind(self._backup, record)
            self._metas[record.root, record.path] = attainable(meta)
            return
        above, _, name = record.path.rpartition("/")
        if record.kind == "folder" and ~record.mode & 0o300 and places.is_unit(above):
            self._closed.setdefault((record.root, above), []).append((name, attainable(meta).mode))
        path, where = places.staged(record.path), os.path.join(record.root, record.path)
        _give(path, meta)
        if record.xattrs and (lost := _refused(path, record.xattrs)):
            self._warn(f"{where} comes back without {', '.join(lost)}: this user, or the file system, cannot set that")
        if attainable(meta) != meta:
            self._others.append(where)


def _refused(path: str, xattrs: Mapping[str, str]) -> list[str]:
    """Return the attributes that a staged entry did not get, including access control lists."""
    there = read_xattrs(path) if os.path.lexists(path) else xattrs
    return [name for name in sorted(xattrs) if there.get(name) != xattrs[name]]


class _Places:
    """The places where the entries of one root are staged."""

    def __init__(self, root: Path, units: Sequence[SwapUnit]) -> None:
        self._units = {unit.path for unit in units}
        self._tops = sorted({unit.top for unit in units if unit.top}, key=len, reverse=True)
        self._new = {
            top: f"{restore_folder(Path(os.path.realpath(root), top))}/{swap.NEW}" for top in [*self._tops, ""]
        }
        self._folder = ""
        """The last folder that is known not to be reached through a symlink."""

    def is_unit(self, path: str) -> bool:
        return path in self._units

    def staged(self, path: str) -> str:
        """Return the place of an entry.

        Raises:
            ValueError: A symlink in the backup leads from there to elsewhere.
        """
        top = next((top for top in self._tops if path.startswith(f"{top}/")), "")
        place = f"{self._new[top]}/{path[len(top) + 1 :] if top else path}"
        folder = os.path.dirname(place)
        if folder != self._folder:
            if os.path.realpath(folder) != folder:
                raise ValueError(f"it names {path!r}, to which a symlink leads")
            self._folder = folder
        return place


def _give(path: str, meta: Meta) -> None:
    """Set the attributes of an entry; one call suffices where they are right already."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return  # it must not be restored here, or is damaged, which the administrator has accepted
    same = (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime_ns)
    if same != (meta.mode, meta.uid, meta.gid, meta.mtime_ns) or meta.xattrs:
        attainable(meta).apply(path)


def harmless(meta: Meta, writer: os.stat_result) -> Meta:
    """Remove attributes that would let a program run as another user, since the backup's owner may have forged them.

    Args:
        meta: The attributes in the backup.
        writer: The status of the backup's folder, with its owner.
    """
    if user() != 0 or writer.st_uid == 0:
        return meta
    mode = meta.mode
    mode &= ~0 if meta.uid == writer.st_uid else ~stat.S_ISUID
    mode &= ~0 if meta.gid == writer.st_gid or not mode & stat.S_IXGRP else ~stat.S_ISGID
    xattrs = {name: value for name, value in meta.xattrs.items() if not name.startswith(_PRIVILEGED)}
    return replace(meta, mode=mode, xattrs=xattrs)


def _refuse_another_kind(backup: Backup, record: FileRecord) -> None:
    if record.kind != "folder":
        raise FilesError(
            f"In the backup {backup.name}, {record.path!r} is a {record.kind}; here it is a folder that cannot be "
            "moved, as it is a mount point or holds one, the database, or the backups.",
            stands=UNCHANGED,
            hint="Unmount it, or configure another place.",
        )
