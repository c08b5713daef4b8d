"""The clone of both halves of an instance: its place, how it is made, and its first state."""

from __future__ import annotations

import os
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fietsupdate.backup.meter import ByteMeter
from fietsupdate.backup.places import folder_of, refuse_shared
from fietsupdate.commands.rehearsal import removal
from fietsupdate.commands.rehearsal.inventory import Inventory
from fietsupdate.commands.rehearsal.substitution import Substitution, substituted, substituted_ini, substitution_of
from fietsupdate.config.application import Application
from fietsupdate.config.config import Redirect
from fietsupdate.database.dump import live_store
from fietsupdate.database.dump.accounts import Account, NotConfinedError
from fietsupdate.database.dump.store import CLONE, Store, mark
from fietsupdate.database.environment import Environment, Visit
from fietsupdate.engine.recovery import commit_where_needed
from fietsupdate.errors import UNCHANGED, DatabaseError, FilesError
from fietsupdate.filesystem import lock
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.layout import ledger_file, make_home
from fietsupdate.filesystem.measure import measure
from fietsupdate.filesystem.paths import database_files
from fietsupdate.filesystem.posix.durable import atomic_write
from fietsupdate.filesystem.space import BLOCK, mib, refuse_few_inodes, reserve_of, room
from fietsupdate.filesystem.tree_copy import copy_tree, digest
from fietsupdate.views import DatabaseView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alembic.runtime.migration import RevisionStep

BY_DUMP = "dump"
"""The value of the key ``rehearsal`` that prevents PostgreSQL from copying the database on the server."""
ROOM = "free some space there, or name a folder on a larger disk: rehearsal_dir in the configuration."

Tell = Callable[[str, str, Mapping[str, object]], None]
"""Called with an event's name, its text and its details."""


@dataclass
class Clone:
    """A copy of both halves, which updates may change freely.

    Attributes:
        real: The entered configuration of the real instance.
        database: The view of the real database.
        folder: The rehearsal's own folder in the real instance.
        place: The clone's path, by a name outside of our own folder.
        since_ns: A ctime that is later than every change made by cloning.
        account: The account on the server whose rights end at the clone, if it could be made.
        not_confined: Why that account could not be made; "" if it was made, and for SQLite.
        owners: The users and groups of the copied files.
    """

    real: Application
    database: DatabaseView
    folder: Path
    place: Path
    since_ns: int = 0
    account: Account | None = None
    not_confined: str = ""
    owners: set[tuple[int, int]] = field(default_factory=set)

    @property
    def tag(self) -> str:
        """The name of this rehearsal."""
        return self.folder.name

    @property
    def roots(self) -> dict[str, Path]:
        """The roots of the clone by name: the data directory, named "", and the further roots."""
        return {"": self.place / "data"} | {name: self.place / "dirs" / name for name in self.real.config.extra_dirs}

    @cached_property
    def real_store(self) -> Store:
        """The real database."""
        return live_store(self.database.place)

    @cached_property
    def store(self) -> Store:
        """The clone of the database, whether it exists yet or not."""
        return self.real_store.sibling(CLONE, self.tag, removal.database_folder(self.place))

    @cached_property
    def redirect(self) -> Redirect:
        """The database that env.py must open."""
        ini = self.real.config.ini
        copy = self.place / ini.name if ini else None
        url = self.account.url if self.account else self.store.url
        return Redirect(url, self.database.url, self.word, copy)

    @cached_property
    def word(self) -> str:
        """The mark of the clone."""
        return str(uuid.uuid4())

    @cached_property
    def application(self) -> Application:
        """The configuration, pointed at the clone."""
        roots = self.roots
        return substituted(self.real, roots.pop(""), roots, self.redirect)

    @cached_property
    def substitution(self) -> Substitution:
        """The replacements that turn texts about the real instance into texts about the clone."""
        roots = self.roots
        return substitution_of(self.real, roots.pop(""), roots, self.redirect)

    @cached_property
    def inventory(self) -> Inventory:
        """The content of the trees when they were cloned."""
        return Inventory(self.place)

    def make(self, listener: Tell) -> None:
        """Copy both halves; the caller holds the lock of the real instance.

        Args:
            listener: Called with the progress.

        Raises:
            DatabaseError: The database cannot be cloned.
            FilesError: A file cannot be read.
            OSError: The copy cannot be written.
        """
        listener("cloning", "database", {})
        if self.database.exists:
            self.real_store.check()
        removal.note_database(self.folder)
        removal.database_folder(self.place).mkdir(mode=0o700)
        if self.database.exists:
            self._clone_database(listener)
        elif self.store.file is not None:
            self.store.file.touch()  # an empty file is an empty database
            mark(self.store, self.word)
        listener("cloning", "files", {})
        self._copy_files(listener)
        self._copy_ledger()
        self._copy_ini()
        stamp = self.place / "complete"
        stamp.touch()
        self.since_ns = stamp.stat().st_ctime_ns

    def _clone_database(self, listener: Tell) -> None:
        """Copy the database, and give the copy an account of its own, if that is possible."""
        self.real_store.refuse_another()
        account = None if self.store.file else Account(self.real_store, self.store, self.tag)
        with self._confining(listener):
            if account is not None:
                account.make()
                self.account = account
        pace = ByteMeter(lambda details: listener("progress", "cloned", details), self.real_store.size_of_dump())
        self.real_store.clone(
            self.tag,
            removal.database_folder(self.place),
            pace,
            by_dump=self.real.config.rehearsal == BY_DUMP,
            definer=self.account.definer if self.account else "",
        )
        pace.finish()
        mark(self.store, self.word)
        with self._confining(listener):
            if self.account is not None:
                self.account.take_over()

    @contextmanager
    def _confining(self, listener: Tell) -> Iterator[None]:
        """Go on without an account if none can be made, and warn about it."""
        try:
            yield
        except NotConfinedError as error:
            self.account, self.not_confined = None, error.message.rstrip(".")
            listener(
                "warning", f"The clone is reached as the real user, whose rights go further: {self.not_confined}.", {}
            )

    def _copy_files(self, listener: Tell) -> None:
        """Copy the trees; files with several names are hashed by all of them, as any may be the one that changes.

        Absolute symlinks into the real trees are changed to point into the clone.
        """
        linked: list[FileRecord] = []
        pace = ByteMeter(lambda details: listener("progress", "copied", details), measured(self.real, self.database)[1])

        def on_record(record: FileRecord) -> None:
            self.owners.add((record.uid, record.gid))
            elsewhere = record.kind == "link" and os.path.isabs(record.target)
            (linked.append if record.kind == "hardlink" or elsewhere else self.inventory.add)(record)

        for name, root in self.roots.items():
            root.parent.mkdir(exist_ok=True)
            copy_tree(
                self.real.config.extra_dirs[name] if name else self.real.data_dir,
                root,
                leave_out=left_out(self.real, self.database),
                told=on_record,
                root=name,
                warn=lambda text: listener("warning", f"{text}.", {}),
                moved=pace,
            )
        for record in linked:
            path = self.roots[record.root] / record.path
            self.inventory.add(_looked_into(record, path) if record.kind == "hardlink" else self._led(record, path))
        pace.finish()

    def _led(self, record: FileRecord, path: Path) -> FileRecord:
        target = self.substitution.text(record.target)
        if target != record.target:
            path.unlink()
            path.symlink_to(target)
            os.utime(path, ns=(record.mtime_ns, record.mtime_ns), follow_symlinks=False)
        return record._replace(target=target)

    def _copy_ledger(self) -> None:
        real, clone = ledger_file(self.real.data_dir), ledger_file(self.roots[""])
        if real.exists():
            make_home(self.roots[""])
            atomic_write(clone, real.read_bytes(), mode=0o600)

    def _copy_ini(self) -> None:
        real, copy = self.real.config.ini, self.redirect.ini
        if real is not None and copy is not None:
            text = real.read_text(encoding="locale", errors="surrogateescape")
            copy.write_text(
                substituted_ini(text, real.parent, self.substitution), encoding="locale", errors="surrogateescape"
            )

    def rename_instance(self) -> None:
        """Assign the clone an instance id of its own, so that it is never taken for the real instance.

        Raises:
            EnvPyError: env.py opens another database; nothing was changed there.
        """

        def work(visit: Visit) -> Iterable[RevisionStep]:
            visit.lock()
            if visit.ledger.exists(visit.connection):
                visit.ledger.rename_instance(visit.connection, self.redirect.mark)
                commit_where_needed(visit)
            return ()

        Environment(self.application.config).visit(work, writes=True, command="upgrade")


@contextmanager
def cloned(real: Application, database: DatabaseView, listener: Tell, left: Callable[[str], None]) -> Iterator[Clone]:
    """Yield a clone that is not made yet; remove it when the context is left, for whatever reason.

    The caller holds the lock of the real instance.

    Args:
        real: The real instance.
        database: The view of its database.
        listener: Called with the progress.
        left: Called with the clone's path and the reason if the clone could not be removed; that is no error.

    Raises:
        FilesError: There is no space for the clone, or a folder of backups contains files of the application.
        DatabaseError: The database cannot be cloned.
    """
    refuse_shared(real, folder_of(real))
    for failure in removal.sweep(real.data_dir, database.url, database.file):
        listener("warning", failure, {})
    folder = removal.begin(real.data_dir, secrets.token_hex(6))
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.hold(folder, timeout=0, on_wait=lambda _holder: None, command="rehearse"))
            place = find_place(real, database, folder)
            removal.note(folder, place)
            os.makedirs(place, mode=0o700, exist_ok=True)
            clone = Clone(real, database, folder, removal.name_outside(folder, place))
            stack.callback(clone.inventory.close)
            yield clone
        finally:
            try:
                removal.remove(folder, database.url, database.file)
            except (DatabaseError, OSError) as error:
                left(f"The clone in {folder} could not be removed: {error}. `fietsupdate recover` does it.")


def find_place(real: Application, database: DatabaseView, folder: Path) -> Path:
    """Return a path with enough space: the configured one, else in the data directory, else among temporary files.

    Raises:
        FilesError: No folder has enough space.
    """
    configured = real.config.rehearsal_dir
    elsewhere = removal.elsewhere(folder)
    places = [configured / elsewhere.name] if configured else [folder / "clone", elsewhere]
    count, size = measured(real, database)
    need = size + count * BLOCK + (database.file.stat().st_size if database.file and database.exists else 0)
    reserve = reserve_of(need)
    for place in places:
        if room(place.parent) >= need + reserve:
            refuse_few_inodes("A clone", place.parent, count)
            return place
    rooms = " and ".join(f"{mib(room(place.parent))} MiB in {place.parent}" for place in places)
    raise FilesError(
        f"A clone needs {mib(need)} MiB, and {mib(reserve)} MiB more are to stay free; there are {rooms}.",
        stands=UNCHANGED,
        hint="Free some space, or name a folder on a larger disk: rehearsal_dir in the configuration.",
    )


def measured(real: Application, database: DatabaseView) -> tuple[int, int]:
    """Return the number of files of an instance, and their bytes."""
    roots = [real.data_dir, *real.config.extra_dirs.values()]
    measures = [measure(root, left_out(real, database)) for root in roots]
    return sum(count for count, _ in measures), sum(size for _, size in measures)


def left_out(real: Application, database: DatabaseView | None) -> tuple[Path, ...]:
    """Return the paths that are no part of the trees: the application's own SQLite files, backups and clones."""
    own = [Path(path) for path in database_files([database.file] if database and database.file else [])]
    named = [path for path in (real.config.backup_dir, real.config.rehearsal_dir) if path]
    return (*own, *named, *(Path(os.path.realpath(path)) for path in named))


def _looked_into(record: FileRecord, path: Path) -> FileRecord:
    status = path.lstat()
    return record._replace(
        kind="file",
        target="",
        size=status.st_size,
        sha256=digest(path),
        mode=status.st_mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
    )
