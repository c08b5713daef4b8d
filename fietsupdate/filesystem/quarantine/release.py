"""Move files out of quarantine to their former paths, in one transaction of files.

No existing file is replaced: if a path is taken, the file stays in quarantine, and is reported. Removed folders are
made again with their attributes. A folder that has not been changed since gets its former time when all of its lost
entries are back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.record import Do, Record, folder_of
from fietsupdate.filesystem.layout import HOME, QUARANTINE
from fietsupdate.filesystem.paths import PathError
from fietsupdate.filesystem.place import Place
from fietsupdate.filesystem.posix.metadata import Meta, attainable
from fietsupdate.filesystem.posix.rename import opened
from fietsupdate.filesystem.quarantine.manifest import FILES, NAME, HeldFile, LeftFolder, entries
from fietsupdate.filesystem.quarantine.put_away import BATCH
from fietsupdate.filesystem.quarantine.store import Quarantine


@dataclass(frozen=True, slots=True)
class Released:
    """The result of a release."""

    files: int
    bytes: int
    occupied: tuple[Place, ...]
    """The files that stay in quarantine, since their path, or that of a folder above, is taken."""


def release(changes: Changes, quarantine: Quarantine, wanted: Callable[[Place], bool]) -> Released:
    """Move files out of a quarantine.

    Args:
        changes: The changes of the transaction, which the caller ends or plays back.
        quarantine: The quarantine.
        wanted: Returns whether a file is to be released.

    Raises:
        ValueError: The manifest is damaged.
        OSError: The system refused an operation.
    """
    parts = [_Part(changes, root, quarantine.name, folder, wanted) for root, folder in quarantine.parts.items()]
    with changes.at_work():
        for part in parts:
            part.move()
        is_empty = not quarantine.absent and not any(part.staying for part in parts)
        for part in parts if is_empty else ():
            part.drop_empty()
    occupied = tuple(Place(part.root, path) for part in parts for path in part.occupied)
    return Released(sum(part.files for part in parts), sum(part.bytes for part in parts), occupied)


@dataclass
class _Part:
    """The part of a quarantine in one root."""

    changes: Changes
    root: str
    name: str
    folder: Path
    wanted: Callable[[Place], bool]
    files: int = 0
    bytes: int = 0
    staying: int = 0
    """The number of files that are still in quarantine afterwards."""
    occupied: list[str] = field(default_factory=list)
    _known: dict[str, LeftFolder] = field(default_factory=dict)
    _untouched: set[str] = field(default_factory=set)
    """Folders that have not changed since the quarantine left them."""
    _incomplete: set[str] = field(default_factory=set)
    """Folders that do not have all of their entries back."""
    _made: set[str] = field(default_factory=set)
    _moves: list[Record] = field(default_factory=list)
    _folders: dict[str, Record] = field(default_factory=dict)

    def move(self) -> None:
        """Move the wanted files whose paths are free."""
        self._know_folders()
        for entry in entries(self.folder):
            if isinstance(entry, HeldFile):
                self._take(entry)
        self._flush()
        self._restore_looks()

    @property
    def _home(self) -> str:
        return f"{HOME}/{QUARANTINE}/{self.name}"

    def _know_folders(self) -> None:
        for entry in entries(self.folder):
            if isinstance(entry, LeftFolder):
                self._known[entry.path] = entry
                here = self.changes.look(self.root, entry.path)
                if here is not None and here.kind == "folder" and here.mtime_ns == entry.left_ns:
                    self._untouched.add(entry.path)

    def _take(self, entry: HeldFile) -> None:
        source = f"{self._home}/{FILES}/{entry.path}"
        was = self.changes.look(self.root, source)
        if was is None:
            if self.changes.look(self.root, entry.path) is None:  # otherwise the file was released before
                self._incomplete.add(folder_of(entry.path))
            return
        is_wanted = self.wanted(Place(self.root, entry.path))
        if is_wanted and self._is_free(entry.path):
            self._enter(folder_of(entry.path))
            self._moves.append(Record(Do.MOVE, self.root, source, entry.path, was=was))
            self.files += 1
            self.bytes += was.size if was.kind == "file" else 0
            if len(self._moves) >= BATCH:
                self._flush()
            return
        self.staying += 1
        self._incomplete.add(folder_of(entry.path))
        if is_wanted:
            self.occupied.append(entry.path)

    def _is_free(self, path: str) -> bool:
        """Return whether a path is free: it does not exist, and no symlink or file is in the way."""
        try:
            if self.changes.roots[self.root].resolve_change(path, follow=False) != path:
                return False
        except PathError:
            return False
        if self.changes.look(self.root, path) is not None:
            return False
        for folder in _above(path):
            here = self.changes.look(self.root, folder)
            if here is not None:
                return here.kind == "folder"
        return True

    def _enter(self, folder: str) -> None:
        """Make the missing folders above a file, with their former attributes."""
        missing: list[str] = []
        while folder and folder not in self._made and self.changes.look(self.root, folder) is None:
            missing.append(folder)
            folder = folder_of(folder)
        for path in reversed(missing):
            known = self._known.get(path)
            look = attainable(known.look) if known is not None else None
            open_to_owner = replace(look, mode=look.mode | stat.S_IRWXU) if look is not None else None
            self._folders[path] = Record(Do.MKDIR, self.root, path, after=open_to_owner)
            self._made.add(path)

    def _flush(self) -> None:
        moves, folders = self._moves, [*self._folders.values()]
        self._moves, self._folders = [], {}
        if not moves:
            return
        made = self.changes.make_many(folders, moves)
        for record in moves[made:]:
            above = (self._record_of(path) for path in reversed([*_above(record.other)]))
            missing = [one for one in above if self.changes.look(self.root, one.path) is None]
            self.changes.make(*missing, record)

    def _record_of(self, path: str) -> Record:
        known = self._known.get(path)
        return Record(Do.MKDIR, self.root, path, after=attainable(known.look) if known is not None else None)

    # -- the attributes of folders afterwards

    def _restore_looks(self) -> None:
        """Restore the attributes and the time of folders, the innermost first."""
        records: list[Record] = []
        for path in sorted(self._known, key=lambda one: one.count("/") + bool(one), reverse=True):
            record = self._look_record(path, self._known[path])
            if record is not None:
                records.append(record)
            if len(records) >= BATCH:
                self.changes.make(*records)
                records.clear()
        if records:
            self.changes.make(*records)

    def _look_record(self, path: str, known: LeftFolder) -> Record | None:
        was = self.changes.look(self.root, path)
        if was is None or was.kind != "folder":
            self._incomplete.add(folder_of(path))
            return None
        if path not in self._made and path not in self._untouched:
            return None  # the folder was changed since
        before = Meta.of(self.changes.slot(self.root, path))
        look = attainable(known.look) if path in self._made else before
        time = known.left_ns if path in self._incomplete else known.look.mtime_ns
        after = replace(look, mtime_ns=time)
        return Record(Do.META, self.root, path, was=was, meta=before, after=after) if after != before else None

    # -- the rest of the quarantine

    def drop_empty(self) -> None:
        """Remove the part if it contains nothing but its manifest."""
        if not self._holds_only_folders():
            return
        was = self.changes.look(self.root, self._home)
        vault = self.changes.vault(self.root, self._home)
        self.changes.make(Record(Do.REMOVE, self.root, self._home, vault=vault, was=was))
        above = f"{HOME}/{QUARANTINE}"
        with opened(self.changes.slot(self.root, above)) as folder:
            is_empty = not os.listdir(folder)
        if is_empty:
            self.changes.make(Record(Do.RMDIR, self.root, above, meta=Meta.of(self.changes.slot(self.root, above))))

    def _holds_only_folders(self) -> bool:
        """Return whether the part contains no file but the manifest: another program may have put one there."""
        real = self.changes.roots[self.root].absolute(self._home)
        for folder, folders, names in os.walk(real):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            if links or [name for name in names if (folder, name) != (real, NAME)]:
                return False
        return True


def _above(path: str) -> Iterator[str]:
    """Yield the folders above a path, the innermost first."""
    while path := path.rpartition("/")[0]:
        yield path


def selector(places: Mapping[Place, bool]) -> Callable[[Place], bool]:
    """Return a function that tells whether a file is one of these places, or below one; without places, all are.

    Args:
        places: The places; a value becomes true when a file was found for it.
    """
    found = places if isinstance(places, dict) else {}

    def wanted(place: Place) -> bool:
        if not places:
            return True
        hit = [one for one in (place, *(Place(place.root, above) for above in _above(place.path))) if one in places]
        found.update(dict.fromkeys(hit, True))
        return bool(hit)

    return wanted
