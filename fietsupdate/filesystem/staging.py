"""Brings the files of a backup to the file systems of the live ones, from where they can be moved into place.

Everything is as the listing says, also where the backup lies on a file system that knows no owners or no attributes,
or was carried there by a program that lost them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fietsupdate.copies import Appearance, Backup, FileRecord
from fietsupdate.errors import FilesError
from fietsupdate.filesystem import swap
from fietsupdate.filesystem.content import FICLONE
from fietsupdate.filesystem.copying import copy_tree, measure, nothing
from fietsupdate.filesystem.layout import restore_folder
from fietsupdate.filesystem.place import erase
from fietsupdate.filesystem.shelf import parts
from fietsupdate.filesystem.status import Meta
from fietsupdate.filesystem.swap import Unit
from fietsupdate.filesystem.verifying import records


def stage(
    backup: Backup,
    roots: Mapping[str, Path],
    units: Sequence[Unit],
    *,
    warn: Callable[[str], None] = nothing,
    moved: Callable[[int], None] = nothing,
) -> tuple[Unit, ...]:
    """Copy the trees of a backup, durably; nothing live is touched.

    Args:
        backup: A verified one.
        roots: The live roots, by name.
        units: What will be exchanged.
        warn: Told, in words, of what could not be copied.
        moved: Told how many bytes were copied since the last time.

    Returns:
        The units, with what each folder shall look like afterwards.

    Raises:
        FilesError: something in the backup does not fit to what must stay here.
        OSError: the disk is full, or something else cannot be written.
    """
    for name, tree in parts(backup):
        own = [unit for unit in units if unit.root == name]
        swap.prepare(roots[name], own)
        left_out = [Path(tree, unit.path, stays) for unit, stays in _fixed(own)]
        for top in dict.fromkeys(unit.top for unit in own):
            if (tree / top).is_dir():
                dest = restore_folder(Path(os.path.realpath(roots[name]), top)) / swap.NEW
                copy_tree(tree / top, dest, leave_out=left_out, told=nothing, root=name, warn=warn, moved=moved)
    metas = _as_listed(backup, roots, units)
    for name, _ in parts(backup):
        swap.complete(roots[name], [unit for unit in units if unit.root == name])
    return tuple(replace(unit, meta=metas.get((unit.root, unit.path))) for unit in units)


def needs(backup: Backup, roots: Mapping[str, Path]) -> Iterator[tuple[Path, int, int]]:
    """Give each root, how many files, folders and links will be staged for it, and how many bytes of content."""
    for name, tree in parts(backup):
        yield roots[name], *measure(tree, ())


def shares_blocks(source: Path, folder: Path) -> bool:
    """Tell whether copies in a folder can share their blocks with a file, so that they need no space."""
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


def give_look(path: str, look: Appearance) -> None:
    """Give a file that is to be moved into place the mode, owner and attributes that were recorded of another."""
    _attainable(Meta(look.mode, look.uid, look.gid, 0, look.xattrs)).apply(path, time=False)


def _fixed(units: Sequence[Unit]) -> Iterator[tuple[Unit, str]]:
    """Give what stays as it is, itself and all that is in it on its file system."""
    entered = {unit.path for unit in units if unit.path != unit.top}
    for unit in units:
        for name in unit.stays:
            if (f"{unit.path}/{name}" if unit.path else name) not in entered:
                yield unit, name


def _as_listed(backup: Backup, roots: Mapping[str, Path], units: Sequence[Unit]) -> dict[tuple[str, str], Meta]:
    """Make what is staged look as the listing says; give what it says of the folders that stay."""
    by_root = {name: [unit for unit in units if unit.root == name] for name in roots}
    places = {name: _Places(roots[name], own) for name, own in by_root.items() if own}
    metas: dict[tuple[str, str], Meta] = {}
    try:
        for record in records(backup):
            if record.root not in places or record.kind == "hardlink":
                continue
            meta = Meta(record.mode, record.uid, record.gid, record.mtime_ns, record.xattrs)
            if places[record.root].is_unit(record.path):
                _refuse_another_kind(backup, record)
                metas[record.root, record.path] = _attainable(meta)
            else:
                _give(places[record.root].staged(record.path), meta)
    except ValueError as error:
        raise FilesError(
            f"The listing of the backup {backup.name} cannot be followed: {error}.",
            hint="Restore another backup: 'fietsupdate backup list' shows them.",
        ) from error
    return metas


class _Places:
    """Where the entries of one root are staged."""

    def __init__(self, root: Path, units: Sequence[Unit]) -> None:
        self._units = {unit.path for unit in units}
        self._tops = sorted({unit.top for unit in units if unit.top}, key=len, reverse=True)
        self._new = {
            top: f"{restore_folder(Path(os.path.realpath(root), top))}/{swap.NEW}" for top in [*self._tops, ""]
        }
        self._folder = ""
        """The last folder of which it is known that no symlink leads to it."""

    def is_unit(self, path: str) -> bool:
        return path in self._units

    def staged(self, path: str) -> str:
        """Name the place of an entry.

        Raises:
            ValueError: a symlink in the backup leads from there to elsewhere.
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
    """Give an entry its look, in one call where it has it already."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return  # it must not be restored here, or is damaged, which somebody has agreed to
    same = (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime_ns)
    if same != (meta.mode, meta.uid, meta.gid, meta.mtime_ns) or meta.xattrs:
        _attainable(meta).apply(path)


def _attainable(meta: Meta) -> Meta:
    """Give what this user can give: what stays his own stays open to him."""
    user = os.geteuid()
    if user in {0, meta.uid}:
        return meta
    return replace(meta, mode=meta.mode | 0o600)


def _refuse_another_kind(backup: Backup, record: FileRecord) -> None:
    if record.kind != "folder":
        raise FilesError(
            f"In the backup {backup.name}, {record.path!r} is a {record.kind}; here it is a folder that cannot be "
            "moved, as it is a mount point or holds one, the database, or the backups.",
            stands="Nothing was changed.",
            hint="Unmount it, or configure another place.",
        )
