"""Check whether a backup still has the content in its manifest and its listing, byte by byte."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from fietsupdate.backup.directory import parts, read
from fietsupdate.backup.manifest import Backup, Stored
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.layout import HOME
from fietsupdate.filesystem.measure import measure
from fietsupdate.filesystem.posix.metadata import Meta
from fietsupdate.filesystem.posix.regular import opened
from fietsupdate.filesystem.tree_copy import digest
from fietsupdate.model.listeners import ignore

LONGEST = 1 << 26
"""The most characters of a line of the listing."""
MOST = 100
"""The number of differences after which the check stops."""

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}


def verify(backup: Backup, moved: Callable[[int], None] = ignore) -> tuple[str, ...]:
    """Read a backup from end to end.

    Args:
        backup: The backup.
        moved: Called with the number of bytes that were read since the last call.

    Returns:
        What is wrong with it, at most `MOST`; empty for a sound backup.
    """
    wrong: list[str] = []
    for text in _differences(backup, moved):
        wrong.append(text)
        if len(wrong) >= MOST:
            wrong.append("... and perhaps more: nothing after this was looked at")
            break
    return tuple(wrong)


def records(backup: Backup) -> Iterator[FileRecord]:
    """Yield the listing of a backup, in the order in which it was copied.

    Raises:
        ValueError: A line is no record, or leads out of the backup.
    """
    if backup.manifest.listing is None:
        return
    roots = {"", *backup.manifest.extra_dirs}
    with os.fdopen(opened(backup.listing), encoding="ascii") as file:
        for record in map(FileRecord.from_json, iter(lambda: file.readline(LONGEST), "")):
            if not {record.root, record.linked_root} <= roots or not record.is_inside():
                raise ValueError(f"it names {os.path.join(record.root, record.path)!r}, which is not in the backup")
            yield record


def several_names(backup: Backup) -> frozenset[tuple[int, int]]:
    """Return device and inode of the files that have several names in a backup; other backups may share the rest.

    A damaged listing is read up to the damage: the code that copies the files reports it.
    """
    found = set()
    with suppress(OSError, ValueError):
        for record in records(backup):
            if record.kind == "hardlink":
                status = os.lstat(os.path.join(backup.tree(record.linked_root), record.target))
                found.add((status.st_dev, status.st_ino))
    return frozenset(found)


def arrived(backup: Backup, roots: Mapping[str, Path]) -> Iterator[str]:
    """Compare restored files with the listing: kinds, content, modes, owners, times, attributes, hard links."""
    for record in records(backup):
        path = os.path.join(roots[record.root], record.path).rstrip("/")
        if reason := _difference(record, path, roots.__getitem__, ignore) or _attribute_difference(record, path):
            yield f"{os.path.join(record.root, record.path)!r} {reason}"
    there = sum(measure(root, [root / HOME], several=())[0] for root in roots.values())
    if there != backup.manifest.files:
        yield f"{there} files, folders and links arrived, and {backup.manifest.files} were copied"


def _attribute_difference(record: FileRecord, path: str) -> str:
    """Return how the attributes of one entry differ; "" for no difference."""
    if record.kind == "hardlink":
        return ""
    meta = Meta.of(path)
    if (meta.uid, meta.gid) != (record.uid, record.gid):
        return f"belongs to {meta.uid}:{meta.gid}, not to {record.uid}:{record.gid}"
    if record.kind != "link" and meta.mode != record.mode:
        return f"has the mode {meta.mode:o}, not {record.mode:o}"
    if meta.mtime_ns != record.mtime_ns:
        return "has another time"
    return "" if dict(meta.xattrs) == dict(record.xattrs) else "has other attributes"


def _differences(backup: Backup, moved: Callable[[int], None]) -> Iterator[str]:
    manifest = backup.manifest
    try:
        read(backup.path)
    except ValueError as error:
        yield f"{error}"
        return
    stored = (manifest.dump, manifest.listing)
    changed = [part.name for part in stored if part is not None and not _is(backup.path / part.name, part, moved)]
    yield from (f"{name} is not what it was" for name in changed)
    if manifest.listing is None or manifest.listing.name in changed:
        return
    try:
        for record in records(backup):
            path = os.path.join(backup.tree(record.root), record.path)
            if reason := _difference(record, path, backup.tree, moved):
                yield f"{os.path.relpath(path, backup.path)!r} {reason}"
    except (OSError, ValueError) as error:
        yield f"{manifest.listing.name} cannot be followed: {error}"
        return
    there = sum(measure(tree, (), several=())[0] for _, tree in parts(backup))
    if there > manifest.files:
        yield f"{there - manifest.files} more files, folders or links are there than were copied"


def _is(path: Path, part: Stored, moved: Callable[[int], None]) -> bool:
    try:
        return digest(path, moved) == part.sha256
    except OSError:
        return False


def _difference(record: FileRecord, path: str, tree_of: Callable[[str], Path], moved: Callable[[int], None]) -> str:
    """Return what is wrong with one entry, or ""."""
    try:
        status = os.lstat(path)
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "")
        if kind != ("file" if record.kind == "hardlink" else record.kind):
            return f"is no {record.kind} any more"
        if kind == "link" and os.readlink(path) != record.target:
            return "points to another place"
        if record.kind == "hardlink":
            first = os.path.join(tree_of(record.linked_root), record.target)
            return (
                "" if os.path.samestat(status, os.lstat(first)) else f"is no other name of {record.target!r} any more"
            )
        if kind == "file" and (status.st_size != record.size or digest(Path(path), moved) != record.sha256):
            return "is not what it was"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
