"""Copy both halves of an instance at one moment: the database's dump first, then the files, the manifest last.

The dump comes first, because applications write a file before the row that names it and delete the row before the file.
The caller holds the OS lock. If a backup fails, nothing of it is left, and nothing else was touched.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fietsupdate import __version__
from fietsupdate.backup import directory
from fietsupdate.backup.cautions import foretold, refuse_another_ledger, said
from fietsupdate.backup.file_list import Listing
from fietsupdate.backup.manifest import (
    DIRS,
    DUMP,
    FILES,
    LEDGER,
    LISTING,
    Backup,
    FileAttributes,
    Manifest,
    Reason,
    Scope,
    Stored,
)
from fietsupdate.backup.meter import ByteMeter
from fietsupdate.backup.places import folder_of, found, instance_tag, refuse_shared, set_apart
from fietsupdate.backup.unchanged import Unchanged
from fietsupdate.engine.context import Context
from fietsupdate.engine.data_version import recorded_in
from fietsupdate.engine.tip import Tip
from fietsupdate.errors import UNCHANGED, FietsupdateError, FilesError
from fietsupdate.filesystem.file_copy import can_share
from fietsupdate.filesystem.layout import ledger_file, make_folder
from fietsupdate.filesystem.ledger import LARGEST
from fietsupdate.filesystem.measure import measure
from fietsupdate.filesystem.paths import database_files
from fietsupdate.filesystem.posix.durable import atomic_write
from fietsupdate.filesystem.posix.metadata import Meta
from fietsupdate.filesystem.posix.ownership import give_owner
from fietsupdate.filesystem.posix.regular import read_bytes
from fietsupdate.filesystem.posix.rename import erase
from fietsupdate.filesystem.space import BLOCK, is_full, mib, refuse_few_inodes, reserve_of, room, standing
from fietsupdate.filesystem.tree_copy import Links, copy_tree, digest
from fietsupdate.model import fingerprint
from fietsupdate.model.clock import now, shown_time
from fietsupdate.planning.version_hooks import Recorded
from fietsupdate.views import DatabaseView

if TYPE_CHECKING:
    from fietsupdate.database.dump.store import Store

UNTOUCHED = "The instance and its older backups were not touched; nothing of this backup is left."
LONGEST = 40
"""The most characters of a backup's name that give the position of the instance."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """The purpose of a backup."""

    scope: Scope
    reason: Reason
    txn: str = ""
    """The transaction before which it is made."""
    to_version: str = ""
    """The version of the application that the data is about to change to."""


@dataclass(frozen=True)
class BackupWriter:
    """Makes the backups of one instance, in one folder."""

    instance: Context
    database: DatabaseView
    folder: Path

    @cached_property
    def store(self) -> Store:
        """The database, to dump."""
        from fietsupdate.database.dump import live_store

        return live_store(self.database.place)

    def check(self, scope: Scope) -> int:
        """Check that the programs exist, and that there is enough space; return the bytes of content to copy.

        Raises:
            DatabaseError: A program is missing, or older than the server.
            FilesError: There is not enough space.
        """
        for folder in {self.folder, folder_of(self.instance.application)}:
            refuse_shared(self.instance.application, folder)
        self.store.check()
        count, size = self._measured() if scope is Scope.FULL else (0, 0)
        try:
            self._refuse_narrow(count, size)
        except FilesError:
            with self._earlier() as earlier:
                if not size or earlier is None:
                    raise
                self._refuse_narrow(*self._measured(earlier))
        return size

    def _refuse_narrow(self, count: int, size: int) -> None:
        """Refuse if this many files, with this many bytes of content, and the dump would fill the disk."""
        refuse_few_inodes("A backup", self.folder, count)
        dump = self.store.size() + count * BLOCK
        need, free = size + dump, room(self.folder)
        if free < need + reserve_of(need) and size and self._shares():
            need = dump
        reserve = reserve_of(need)
        if free < need + reserve:
            raise FilesError(
                f"A backup needs {mib(need)} MiB in {self.folder}, and {mib(reserve)} MiB more are to stay free; "
                f"there are {mib(free)} MiB.",
                stands=UNCHANGED,
                hint="Free some space, take away backups with `fietsupdate backup prune`, or name a folder on a larger "
                "disk: backup_dir in the configuration.",
            )

    def make(self, tip: Tip, purpose: Purpose) -> Backup:
        """Make a backup.

        Args:
            tip: The position of the instance.
            purpose: What is copied, and for what purpose.

        Raises:
            FietsupdateError: There is no new backup; nothing else was touched.
        """
        application = self.instance.application
        directory.make_shelf(self.folder, application.data_dir)
        directory.clean_up(self.folder, instance_tag(application, tip.instance_id))
        size = self.check(purpose.scope)
        cautions = foretold(self.store, self.database.place, self._warn)
        name = directory.free_name(self.folder, _name(recorded_in(application, tip.entries), tip.current, purpose))
        self.instance.tell("backup_begun", name, {"scope": purpose.scope.value, "bytes": size})
        partial = None
        try:
            partial = directory.begin(self.folder, instance_tag(application, tip.instance_id), name)
            manifest = self._filled(partial, tip, purpose, size)
            cautions += said(self.store.notes, self._warn)
            backup = directory.complete(partial, replace(manifest, name=name, cautions=cautions))
        except BaseException as error:
            if partial is not None:
                with contextlib.suppress(OSError):
                    erase(str(partial))
            raise _failure(error, partial) from error
        self.instance.tell("backup_finished", backup.name, {"path": str(backup.path), "bytes": backup.size})
        return backup

    # -- parts

    def _warn(self, text: str) -> None:
        self.instance.tell("warning", text)

    @property
    def _roots(self) -> dict[str, Path]:
        return {"": self.instance.data_dir, **self.instance.application.config.extra_dirs}

    @property
    def _leave_out(self) -> Collection[Path]:
        """Paths that no tree copy includes: the application's own SQLite files, which the dump has, and the backups."""
        own = [Path(path) for path in database_files(self.instance.keep_out)]
        return [*own, self.folder, Path(os.path.realpath(self.folder)), *set_apart(self.instance.application)]

    def _shares(self) -> bool:
        """Return whether the copies of all roots share their blocks, and so need no space."""
        return all(can_share(root, standing(self.folder)) for root in self._roots.values())

    def _earlier(self) -> AbstractContextManager[Unchanged | None]:
        """Open the newest backup in the same folder to which unchanged files can be linked."""
        shelf = directory.inspect_directory(self.folder)
        return Unchanged.of(shelf, self.database.instance_id, self.instance.data_dir)

    def _measured(self, earlier: Unchanged | None = None) -> tuple[int, int]:
        roots, left_out = self._roots, self._leave_out
        measured = [measure(path, left_out, root=name, earlier=earlier) for name, path in roots.items()]
        return sum(count for count, _ in measured), sum(size for _, size in measured)

    def _filled(self, partial: Path, tip: Tip, purpose: Purpose, expected: int) -> Manifest:
        """Copy everything into the folder, durably, and return the manifest."""
        created_at, settings = now(), self.store.settings()
        dump, listing = self._dumped(partial), None
        if purpose.scope is Scope.FULL:
            listing = self._files(partial, self._pace("copied", expected))
        self._ledger(partial)
        manifest = replace(
            self._position(tip, purpose, created_at, dump),
            serial=self._serial(created_at),
            settings=tuple(tuple(one) for one in settings),
        )
        refuse_another_ledger(self.store, partial / DUMP, manifest)
        if listing is None:
            return manifest
        return replace(
            manifest,
            listing=listing.stored,
            files=listing.count,
            bytes=listing.bytes,
            extra_dirs=tuple(self.instance.application.config.extra_dirs),
        )

    def _position(self, tip: Tip, purpose: Purpose, created_at: str, dump: Stored) -> Manifest:
        entries, application = tuple(tip.entries), self.instance.application
        version = recorded_in(application, entries)
        unmoved = entries == self.database.entries
        return Manifest(
            name="",
            scope=purpose.scope,
            reason=purpose.reason,
            created_at=created_at,
            instance_id=tip.instance_id,
            tip_seq=len(entries),
            tip_hash=fingerprint(entries),
            current=tip.current,
            alembic=self.database.alembic_current if unmoved else tip.heads,
            app_version=version.version,
            to_version=purpose.to_version,
            half_way_to=version.half_way_to,
            tool_version=__version__,
            dialect=self.database.dialect,
            data_dir=str(application.data_dir),
            dump=dump,
            txn=purpose.txn,
            version_file=application.config.version_file,
            database_file=_looked_at(self.database.file),
            version_table=self.database.place.version_table,
            schema=self.database.place.schema,
        )

    def _serial(self, created_at: str) -> int:
        """Return a number higher than that of every backup here; warn if one of them is dated later than now."""
        there = [*directory.inspect_directory(self.folder).backups, *found(self.instance.application).backups]
        newest = max(there, key=lambda one: one.manifest.created_at, default=None)
        if newest is not None and newest.manifest.created_at > created_at:
            when = shown_time(newest.manifest.created_at)
            self.instance.tell("warning", f"The clock went back: {newest.name} was made at {when}, later than now.")
        return max((one.manifest.serial for one in there), default=0) + 1

    def _dumped(self, partial: Path) -> Stored:
        path = partial / DUMP
        self.instance.tell("backup_part", "database")
        pace = self._pace("dumped", self.store.size_of_dump())
        self.store.dump(path, pace)
        pace.finish()
        os.chmod(path, 0o600)
        give_owner(path, os.stat(partial))
        return Stored(DUMP, path.stat().st_size, digest(path))

    def _pace(self, verb: str, expected: int | None) -> ByteMeter:
        return ByteMeter(lambda details: self.instance.tell("progress", verb, details), expected)

    def _files(self, partial: Path, pace: ByteMeter) -> Listing:
        self.instance.tell("backup_part", "files")
        if self.instance.application.config.extra_dirs:
            make_folder(partial / DIRS)
        links = Links()
        with Listing.written(partial / LISTING) as listing, self._earlier() as earlier:
            for root, source in self._roots.items():
                copy_tree(
                    source,
                    partial / DIRS / root if root else partial / FILES,
                    leave_out=self._leave_out,
                    told=listing.add,
                    root=root,
                    warn=lambda text: self.instance.tell("warning", f"{text}."),
                    moved=pace,
                    links=links,
                    earlier=earlier,
                    note=listing.note,
                )
        pace.finish()
        return listing

    def _ledger(self, partial: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            ledger = read_bytes(ledger_file(self.instance.data_dir), LARGEST)
            atomic_write(partial / LEDGER, ledger, mode=0o600)


def _name(version: Recorded, current: Collection[str], purpose: Purpose) -> str:
    """Return the name of a backup: the time and the position of the instance.

    Before a change of version, both versions.
    """
    when = now()[:19].replace("-", "").replace(":", "").replace("T", "-")
    if purpose.to_version and not version.half_way_to:
        both = (re.sub(r"[^A-Za-z0-9.+_-]", "_", text)[:LONGEST] for text in (version.version, purpose.to_version))
        return f"{when}-{'-to-'.join(both)}"
    return f"{when}-{'+'.join(current)[:LONGEST] or 'base'}"


def _looked_at(file: Path | None) -> FileAttributes | None:
    """Return the attributes that a restore gives to a database file that was lost meanwhile."""
    if file is None:
        return None
    attributes = Meta.of(os.path.realpath(file))
    return FileAttributes(attributes.mode, attributes.uid, attributes.gid, attributes.xattrs)


def _failure(error: BaseException, partial: Path | None) -> BaseException:
    """Return the error with the state of both halves; a signal is returned unchanged."""
    gone = partial is None or not partial.exists()
    stands = UNTOUCHED if gone else UNTOUCHED.replace("nothing of this backup is left", f"{partial} can be deleted")
    if isinstance(error, OSError):
        if is_full(error):
            return FilesError(
                f"The disk is full: the backup could not be finished ({error}).",
                stands=stands,
                hint="Free some space, or name a folder on a larger disk: backup_dir in the configuration.",
            )
        text = f"The backup could not be finished: {error}."
        return FilesError(text, stands=stands, hint="Mend the cause, and try again.")
    if isinstance(error, FietsupdateError):
        error.stands = error.stands or stands
    return error
