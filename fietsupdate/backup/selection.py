"""Compare the requested files of a backup with the present ones; change nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fietsupdate.backup.manifest import Backup
from fietsupdate.backup.verify import records
from fietsupdate.errors import UNCHANGED, FilesError, RefusedError, UsageError
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.paths import Paths, kept_out
from fietsupdate.filesystem.place import Place
from fietsupdate.filesystem.posix.folders import Folders
from fietsupdate.filesystem.posix.metadata import seen_below
from fietsupdate.filesystem.posix.regular import opened
from fietsupdate.filesystem.tree_copy import digest

MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Selection:
    """The requested files of a backup, compared with the present ones."""

    backup: Backup
    missing: tuple[FileRecord, ...]
    """The missing files, which will be brought back, in the order of the listing: folders before their content."""
    present: tuple[FileRecord, ...]
    """The files and links that exist with the same content."""
    different: tuple[FileRecord, ...]
    """The paths with another kind of file or other content, and those that are in the way of missing files."""
    folders: Mapping[tuple[str, str], FileRecord]
    """All requested folders and the folders above requested files, by root and path."""
    contents: Mapping[tuple[str, str], FileRecord]
    """For each hard link that will be brought back, the file that has its content."""

    @property
    def bytes(self) -> int:
        """The bytes of content that will be brought back."""
        return sum(self.content_of(record).size for record in self.missing)

    @property
    def files(self) -> tuple[str, ...]:
        """The names of what will be brought back; a folder only if nothing in it is brought back."""
        above = {(one.root, one.path.rpartition("/")[0]) for one in self.missing}
        return tuple(
            Place(one.root, one.path).shown
            for one in self.missing
            if one.kind != "folder" or (one.root, one.path) not in above
        )

    @property
    def present_files(self) -> tuple[str, ...]:
        """The names of the files that exist already."""
        return tuple(Place(one.root, one.path).shown for one in self.present)

    def content_of(self, record: FileRecord) -> FileRecord:
        """Return the record that has a file's size and digest."""
        return self.contents.get((record.root, record.path), record)


def holds(backup: Backup, places: Iterable[Place]) -> bool:
    """Return whether a backup contains all of these files and folders.

    Raises:
        ValueError: Its listing cannot be read.
    """
    wanted = set(places)
    for record in records(backup):
        wanted.discard(Place(record.root, record.path))
        if not wanted:
            return True
    return not wanted


def select(backup: Backup, places: Sequence[Place], roots: Mapping[str, Path], keep_out: Iterable[Path]) -> Selection:
    """Compare the requested files of a backup with the present ones; change nothing.

    Args:
        backup: A backup with files.
        places: Files, links, and folders with everything in them.
        roots: The roots by name.
        keep_out: The application's own SQLite databases.

    Raises:
        UsageError: The backup does not contain a path, or it is the application's own database.
        FilesError: The backup's listing has changed since it was made.
    """
    _refuse_changed_listing(backup)
    try:
        asked, folders = _asked(backup, places)
        contents = _contents(backup, asked)
    except (OSError, ValueError) as error:
        raise damaged(backup, f"its listing cannot be followed: {error}") from error
    paths = {name: Paths(root, kept_out(keep_out)) for name, root in roots.items()}
    missing, present, different = [], [], []
    comparison = _Comparison(paths)
    for record in asked:
        match comparison.of(record, contents.get((record.root, record.path), record)):
            case "missing":
                missing.append(record)
            case "same":
                present += [record] if record.kind != "folder" else []
            case _:
                different.append(record)
    return Selection(backup, tuple(missing), tuple(present), tuple(different), folders, contents)


def refuse_different(selection: Selection) -> None:
    """Refuse to bring back files that have other content now: no existing file is replaced.

    Raises:
        RefusedError: The message names the files, and what to do.
    """
    if not (different := selection.different):
        return
    names = [Place(one.root, one.path).shown for one in different]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    raise RefusedError(
        f"There, but not as in the backup {selection.backup.name}: {', '.join(names[:MOST_NAMED])}{more}.",
        stands=UNCHANGED,
        hint="Nothing that is there is replaced. Give each another name with `mv`, or leave it out of --only, and "
        "repeat the command.",
    )


class _Comparison:
    """Compares the files of a backup with the present files at their paths."""

    def __init__(self, paths: Mapping[str, Paths]) -> None:
        self._paths = paths
        self._folders = Folders()

    def of(self, record: FileRecord, content: FileRecord) -> str:
        """Return ``missing``, ``same`` or ``different``."""
        paths = self._paths[record.root]
        if paths.is_kept_out(paths.absolute(record.path)):
            raise UsageError(
                f"{Place(record.root, record.path).shown} is the application's own database, which stays as it is.",
                stands=UNCHANGED,
            )
        try:
            here = seen_below(self._folders, paths.absolute(record.path))
            if here is None:
                return "missing" if self._has_room(paths, record.path) else "different"
            kind = "file" if record.kind == "hardlink" else record.kind
            if here.kind != kind:
                return "different"
            path = paths.absolute(record.path)
            if kind == "link":
                return "same" if os.readlink(path) == record.target else "different"
            same = kind == "folder" or (here.size == content.size and digest(Path(path)) == content.sha256)
            return "same" if same else "different"
        finally:
            self._folders.close()

    def _has_room(self, paths: Paths, path: str) -> bool:
        """Return whether no file or symlink takes the name of a folder above a path."""
        above = path.rpartition("/")[0]
        while above:
            here = seen_below(self._folders, paths.absolute(above))
            if here is not None:
                return here.kind == "folder"
            above = above.rpartition("/")[0]
        return True


def _asked(backup: Backup, places: Sequence[Place]) -> tuple[list[FileRecord], dict[tuple[str, str], FileRecord]]:
    """Read the listing once; return the requested records, and the folders among or above them."""
    wanted, matched = {*places}, set[Place]()
    above = {Place(place.root, folder) for place in places for folder in _above(place.path)}
    asked, folders = list[FileRecord](), dict[tuple[str, str], FileRecord]()
    for record in records(backup):
        here = Place(record.root, record.path)
        inside = wanted.intersection([here, *(Place(record.root, folder) for folder in _above(record.path))])
        if record.kind == "folder" and (inside or here in above):
            folders[here] = record
        if inside:
            matched |= wanted & {here}
            asked.append(record)
    if lacking := [place.shown for place in places if place not in matched]:
        raise UsageError(
            f"The backup {backup.name} does not have {', '.join(lacking[:MOST_NAMED])}.",
            stands=UNCHANGED,
            hint="Paths are relative to the data directory; NAME:PATH is in the further root of that name. "
            "`fietsupdate backup list` shows the other backups.",
        )
    return asked, folders


def _contents(backup: Backup, asked: Sequence[FileRecord]) -> dict[tuple[str, str], FileRecord]:
    """Return the records of the files that the requested hard links belong to."""
    links = [record for record in asked if record.kind == "hardlink"]
    firsts = {(record.linked_root, record.target) for record in links}
    if not firsts:
        return {}
    contents = {(one.root, one.path): one for one in records(backup) if (one.root, one.path) in firsts}
    if lacking := firsts - contents.keys():
        raise ValueError(f"it names another name of {next(iter(lacking))[1]!r}, which it does not list")
    return {(record.root, record.path): contents[record.linked_root, record.target] for record in links}


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _refuse_changed_listing(backup: Backup) -> None:
    listing = backup.manifest.listing
    if listing is None:
        raise UsageError(
            f"The backup {backup.name} holds the database alone.",
            stands=UNCHANGED,
            hint="Type `fietsupdate backup list`.",
        )
    try:
        os.close(opened(backup.listing))
        changed = digest(backup.listing) != listing.sha256
    except OSError as error:
        raise damaged(backup, f"{listing.name} cannot be read: {error.strerror}") from error
    if changed:
        raise damaged(backup, f"{listing.name} is not what it was")


def damaged(backup: Backup, reason: str) -> FilesError:
    """Return the error about a backup that has changed since it was made."""
    error = FilesError(
        f"In the backup {backup.name}, {reason}.",
        stands=UNCHANGED,
        hint="Take another backup: `fietsupdate backup list` shows them.",
    )
    error.code = "backup_damaged"
    return error
