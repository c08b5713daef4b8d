"""Compare rows with files: the paths that rows name, sorted on disk, with the owned files, in the order of their paths.

Both sides are streams, and the comparison is a merge: a million files take no more memory than ten.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fietsupdate.config.application import Application
from fietsupdate.config.config import Settings
from fietsupdate.engine import hooks
from fietsupdate.engine.expected import CallHook, Expectation, ReferenceSource
from fietsupdate.engine.spool import Content, Expected, Spool, row_of
from fietsupdate.errors import DataDirMissingError, ExtraDirMissingError
from fietsupdate.filesystem import hashing
from fietsupdate.filesystem.guard.read_only import read_only
from fietsupdate.filesystem.lookup import Lookup
from fietsupdate.filesystem.owned import Entry, OwnedFiles
from fietsupdate.filesystem.paths import kept_out
from fietsupdate.model import Update
from fietsupdate.model.references import Finding, FindingKind, ReferenceCount
from fietsupdate.model.templates import decoded
from fietsupdate.planning.references import HOOK, Declarations
from fietsupdate.script import Surroundings

if TYPE_CHECKING:
    from sqlalchemy import Connection

AT_ONCE = 1000
"""Files that are stored at a time, to be read later."""


@dataclass(frozen=True, slots=True)
class Roots:
    """The folders in which rows name files."""

    folders: Mapping[str, Path]
    """The folders by name; "" is the data directory."""
    kept_out: Collection[Path] = ()
    """Files and folders in them that no update owns: VERSION, the database, backups, a root inside of another."""

    def bytes_of(self, root: str) -> bytes:
        """Return the path of a root.

        Raises:
            FilesError: The root does not exist.
        """
        folder = self.folders[root]
        if not folder.is_dir():
            kind = ExtraDirMissingError if root else DataDirMissingError
            raise kind(
                f"{f'The root {root}' if root else 'The data directory'}, {folder}, does not exist, and rows name "
                "files in it.",
                hint="Is the volume mounted?",
            )
        return os.fsencode(folder)

    def kept_out_of(self, root: str) -> frozenset[bytes]:
        """Return the absolute paths in a root that are left out."""
        folder = os.fsencode(self.folders[root])
        real = os.path.realpath(folder) + b"/"
        others = [path for name, path in self.folders.items() if name != root]
        inside = (os.path.realpath(os.fsencode(path)) for path in (*self.kept_out, *others))
        return frozenset(folder + b"/" + path[len(real) :] for path in inside if path.startswith(real))


@dataclass
class Comparison:
    """One comparison of rows and files.

    Args:
        declarations: The valid declarations.
        roots: The roots of the files.
        content: Whether to read the content of every file whose row contains its digest.
        sample: The number of those files to read instead, chosen at random; ``None`` to follow `content`.
        digests: Whether findings contain the digests in the rows, also if no content is read.
        since: Seconds since the epoch: a later file that no row names counts as arrived and not as a stray, because its
            row may be later, too; ``None`` if no other process is at work.
    """

    declarations: Declarations
    roots: Roots
    content: bool = False
    sample: int | None = None
    digests: bool = False
    since: float | None = None
    files: Counter[str] = field(default_factory=Counter)
    """The number of owned files by root."""
    read: int = 0
    arrived: int = 0
    found: Counter[FindingKind] = field(default_factory=Counter)
    sources: list[ReferenceSource] = field(default_factory=list)
    _spool: Spool = field(default_factory=Spool)
    _sampled: list[Content] = field(default_factory=list)
    _candidates: int = 0
    _noted: list[Content] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    @property
    def reads(self) -> bool:
        """Whether the content of any file is read."""
        return self.content or bool(self.sample)

    def expect(self, expectation: Expectation) -> None:
        """Collect what the rows name; to be called inside of a visit to the database."""
        self.sources = expectation.sources
        expectation.fill(self._spool, self.declarations, digests=self.reads or self.digests)

    def findings(self) -> Iterator[Finding]:
        """Yield every difference between rows and files, root by root, in the order of the paths."""
        for path, root, number, key, reason in self._spool.refused():
            yield self._finding(FindingKind.MISSING, root, (path, number, key, None, None), reason=reason)
        patterns: dict[str, list[str]] = {root: [] for root in self._spool.roots}
        for one in self.declarations.owned:
            patterns.setdefault(one.root, []).append(one.pattern)
        for root in sorted(patterns):
            folder = self.roots.bytes_of(root)
            owned = OwnedFiles(folder, patterns[root], self.roots.kept_out_of(root))
            yield from self._merged(root, owned, Lookup(folder))
        yield from self._contents()

    @property
    def counts(self) -> tuple[ReferenceCount, ...]:
        """The counts of each reference."""
        return tuple(source.count for source in self.sources)

    # -- names and sizes

    def _merged(self, root: str, owned: Iterable[tuple[bytes, Entry]], lookup: Lookup) -> Iterator[Finding]:
        expected = self._spool.paths(root)
        files, reads = 0, self.reads
        one = next(expected, None)
        for path, entry in owned:
            while one is not None and one[0] < path:
                yield from self._looked_up(root, one, lookup)
                one = next(expected, None)
            files += 1
            if one is None or one[0] != path:
                yield from self._strays(root, path, entry)
            while one is not None and one[0] == path:
                if reads or not _is_as_long(entry, one[3]):
                    yield from self._looked_up(root, one, lookup)
                one = next(expected, None)
        while one is not None:
            yield from self._looked_up(root, one, lookup)
            one = next(expected, None)
        self.files[root] += files

    def _strays(self, root: str, path: bytes, entry: Entry) -> Iterator[Finding]:
        try:
            if not (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                return  # pipes, sockets and devices are never files of rows
            if self.since is not None and entry.stat(follow_symlinks=False).st_ctime >= self.since:
                self.arrived += 1
                return
        except FileNotFoundError:
            return  # the file was removed meanwhile
        self.found[FindingKind.STRAY] += 1
        yield Finding(FindingKind.STRAY, decoded(path), root)

    def _looked_up(self, root: str, one: Expected, lookup: Lookup) -> Iterator[Finding]:
        """Compare a row with the file at its path if that is not among the owned files."""
        found = lookup.find(one[0])
        if found.status is not None:
            yield from self._compared(root, one, found.status.st_size)
        elif found.reason or not self.sources[one[1]].optional:
            yield self._finding(FindingKind.MISSING, root, one, reason=found.reason)

    def _compared(self, root: str, one: Expected, size: int) -> Iterator[Finding]:
        if one[3] is not None and size != one[3]:
            yield self._finding(FindingKind.SIZE, root, one, found=size)
        elif one[4] is not None and self.reads:
            self._note((root, *one))

    # -- content

    def _note(self, one: Content) -> None:
        """Store a file to be read; in a sample, each file is included with the same probability."""
        if self.sample is None:
            self._noted.append(one)
            if len(self._noted) >= AT_ONCE:
                self._spool.read_later(self._noted)
                self._noted.clear()
            return
        self._candidates += 1
        if len(self._sampled) < self.sample:
            self._sampled.append(one)
        elif (place := random.randrange(self._candidates)) < self.sample:  # noqa: S311  # no secret depends on it
            self._sampled[place] = one

    def _contents(self) -> Iterator[Finding]:
        self._spool.read_later(self._noted or sorted(self._sampled, key=lambda one: one[:2]))
        self._noted.clear()
        folders = {root: os.fsencode(folder) + b"/" for root, folder in self.roots.folders.items()}
        paths = (folders[root] + path for root, path in _each_once(self._spool.to_read()))
        workers = hashing.cores() if self.reads else 1
        digests, last, digest = hashing.digests(paths, workers), None, b""
        for root, *rest in self._spool.to_read():
            one: Expected = (*rest,)  # the same without its root
            if (root, one[0]) != last:
                last, digest = (root, one[0]), next(digests)
                self.read += 1
            if digest != one[4]:
                why = "" if digest else "it cannot be read"
                yield self._finding(FindingKind.DIGEST, root, one, found=digest.hex() or None, reason=why)

    def _finding(self, kind: FindingKind, root: str, one: Expected, **more: Any) -> Finding:
        path, number, key, size, digest = one
        source = self.sources[number]
        source.wrong[kind] += 1
        self.found[kind] += 1
        row = row_of(source.keys, key)
        says = digest.hex() if digest else None
        return Finding(kind, decoded(path), root, source.table, row, size=size, sha256=says, **more)


def _is_as_long(entry: Entry, size: int | None) -> bool:
    """Return whether an entry is an ordinary file of a size; with ``None``, of any."""
    try:
        if not entry.is_file(follow_symlinks=False):
            return False
        return size is None or entry.stat(follow_symlinks=False).st_size == size
    except FileNotFoundError:
        return False  # it went meanwhile


def _each_once(files: Iterable[Content]) -> Iterator[tuple[str, bytes]]:
    last = None
    for root, path, *_ in files:
        if (root, path) != last:
            last = root, path
            yield last


def hook_caller(
    roots: Roots, settings: Settings, connection: Connection, emit: Callable[[str, str, Mapping[str, Any]], None]
) -> CallHook:
    """Return a function that calls the hook ``references(config)`` of a script, which may read, but not write files."""
    around = Surroundings(data_dir=roots.folders[""], connection=connection, emit=emit)

    def call(update: Update) -> Iterator[Any]:
        with read_only(list(roots.folders.values()), one_call=True):
            yield from hooks.stream(update, HOOK, around, settings)

    return call


def roots_of(application: Application, databases: Collection[Path]) -> Roots:
    """Return the roots of an instance.

    Args:
        application: The application.
        databases: Its SQLite files.
    """
    config, data_dir = application.config, application.data_dir
    ours = [data_dir / name for name in (config.version_file, config.data_version_file) if name]
    places = [place for place in (config.backup_dir, config.rehearsal_dir, config.maintenance) if place is not None]
    files = map(Path, kept_out(databases))
    return Roots({"": data_dir, **config.extra_dirs}, (*ours, *places, *files))
