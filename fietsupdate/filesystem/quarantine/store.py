"""Find, list, and delete the quarantines of an instance.

The part in the data directory names the roots in which a quarantine has parts. A further root may also belong to
another instance: parts that the data directory does not name are left alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fietsupdate.filesystem.layout import quarantine_folder
from fietsupdate.filesystem.place import Place
from fietsupdate.filesystem.posix.durable import sync_path
from fietsupdate.filesystem.posix.folders import Folders
from fietsupdate.filesystem.posix.metadata import seen_below
from fietsupdate.filesystem.posix.rename import erase
from fietsupdate.filesystem.quarantine.manifest import FILES, HeldFile, QuarantineOrigin, entries, read_origin

GONE = ".deleted-"
"""The prefix of the name of a quarantine that is being deleted."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Files that were put away together."""

    origin: QuarantineOrigin
    """The identity in the part in the data directory."""
    parts: Mapping[str, Path]
    """Its folders, by root."""
    absent: tuple[str, ...] = ()
    """The roots whose part is missing: not mounted, or not configured any more."""

    @property
    def name(self) -> str:
        """The name of the quarantine."""
        return self.origin.name


@dataclass(frozen=True, slots=True)
class Look:
    """The quarantines that were found."""

    quarantines: tuple[Quarantine, ...]
    """Newest first, by their serials."""
    damaged: Mapping[str, str] = field(default_factory=dict)
    """Folders that cannot be read as a quarantine, each with the reason."""


def look(roots: Mapping[str, Path]) -> Look:
    """Return the quarantines of an instance.

    Args:
        roots: The roots by name; "" is the data directory.
    """
    found: list[Quarantine] = []
    damaged: dict[str, str] = {}
    for name in _names(roots[""]):
        folder = quarantine_folder(roots[""]) / name
        try:
            found.append(_quarantine(read_origin(folder), roots))
        except ValueError as error:
            damaged[str(folder)] = str(error)
    found.sort(key=lambda one: (one.origin.serial, one.name), reverse=True)
    return Look(tuple(found), damaged)


def held(quarantine: Quarantine) -> Iterator[tuple[Place, HeldFile]]:
    """Yield the files that are still in a quarantine.

    Raises:
        ValueError: A manifest of the quarantine is damaged.
    """
    for root, folder in quarantine.parts.items():
        folders = Folders()
        try:
            real = os.path.realpath(folder)
            for entry in entries(folder):
                if isinstance(entry, HeldFile) and seen_below(folders, f"{real}/{FILES}/{entry.path}") is not None:
                    yield Place(root, entry.path), entry
        finally:
            folders.close()


def free_name(stem: str, roots: Mapping[str, Path]) -> str:
    """Return a name for a new quarantine: this one, with a number appended if it is taken in any root."""

    def is_free(name: str) -> bool:
        places = (quarantine_folder(root) / taken for root in roots.values() for taken in (name, f"{GONE}{name}"))
        return not any(map(os.path.lexists, places))

    return next(filter(is_free, (stem, *(f"{stem}-{number}" for number in range(2, 10_000)))))


def next_serial(found: Look) -> int:
    """Return the serial of a new quarantine."""
    return max((one.origin.serial for one in found.quarantines), default=0) + 1


def made_at(found: Look) -> dict[str, str]:
    """Return the time of each quarantine, and not less than that of an older one: clocks can be set back."""
    times: dict[str, str] = {}
    latest = ""
    for one in reversed(found.quarantines):
        latest = max(latest, one.origin.created_at)
        times[one.name] = latest
    return times


def delete(quarantine: Quarantine) -> None:
    """Delete a quarantine for good. It is gone when its folder in the data directory has lost its name.

    Raises:
        OSError: A part cannot be deleted; `sweep` deletes the rest.
    """
    folder = quarantine.parts[""]
    gone = folder.with_name(f"{GONE}{folder.name}")
    os.rename(folder, gone)
    sync_path(folder.parent)
    _erase(gone, [part for root, part in quarantine.parts.items() if root])


def sweep(roots: Mapping[str, Path]) -> None:
    """Continue a deletion that was cut off. The caller holds the lock.

    Raises:
        OSError: A part cannot be deleted.
    """
    folder = quarantine_folder(roots[""])
    for name in _listed(folder):
        if name.startswith(GONE):
            try:
                origin = read_origin(folder / name, name.removeprefix(GONE))
            except ValueError:
                others = []  # the manifest goes last, so the other parts are gone
            else:
                others = [part for root, part in _quarantine(origin, roots).parts.items() if root]
            _erase(folder / name, others)


def _erase(gone: Path, others: Iterable[Path]) -> None:
    """Erase the parts in further roots, then the one in the data directory, whose manifest names them."""
    for folder in (*others, gone):
        erase(str(folder))
        _drop(folder.parent)


def _quarantine(origin: QuarantineOrigin, roots: Mapping[str, Path]) -> Quarantine:
    parts: dict[str, Path] = {}
    for root in origin.roots:
        folder = quarantine_folder(roots[root]) / origin.name if root in roots else None
        if folder is not None and (not root or _is_part(folder, root, origin)):
            parts[root] = folder
    return Quarantine(origin, parts, tuple(root for root in origin.roots if root not in parts))


def _is_part(folder: Path, root: str, origin: QuarantineOrigin) -> bool:
    """Return whether a folder in a further root is a part of this instance's quarantine."""
    try:
        there = read_origin(folder)
    except ValueError:
        return False
    same = (there.instance_id, there.created_at) == (origin.instance_id, origin.created_at)
    return same and there.root == root


def _names(root: Path) -> list[str]:
    return [name for name in _listed(quarantine_folder(root)) if not name.startswith(GONE)]


def _listed(folder: Path) -> list[str]:
    """Return the entries of a folder, not through a symlink; a missing folder has none."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        return sorted(os.listdir(descriptor))
    finally:
        os.close(descriptor)


def _drop(folder: Path) -> None:
    try:
        os.rmdir(folder)
    except OSError:
        return
    sync_path(folder.parent)
