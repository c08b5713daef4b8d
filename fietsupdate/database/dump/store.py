"""Copies a whole database and puts a copy back: what a backup, a restore and a rehearsal have in common.

A `Store` is one database, whatever serves it. Nothing is ever loaded into the live one: a dump goes into a new place
beside it, is looked at there, and then takes the live place in one step that either happens or does not. Programs are
used for servers (pg_dump, mariadb-dump, ...), so any driver in the URL will do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fietsupdate.database.dump.client import DatabaseClient
from fietsupdate.database.redirect import MARK
from fietsupdate.errors import DatabaseError
from fietsupdate.filesystem.posix.durable import sync_path
from fietsupdate.filesystem.posix.ownership import give_owner
from fietsupdate.model.listeners import ignore

NEW, OLD, CLONE = "new", "old", "clone"
"""What the name of a database that we made says of it, before the tag."""
LONGEST_TAG = 24

Settings = Sequence[Sequence[str]]
"""What belongs to a database itself and is in no dump of its content: each a kind and its values, as a manifest keeps
them."""
Moved = Callable[[int], None]
"""Told how many bytes were copied since the last time."""


class Store(DatabaseClient):
    """One database that can be copied and replaced: the live one, one loaded beside it, an old one, or a clone.

    Attributes:
        dialect: SQLAlchemy's name of the dialect: ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``.
        file: The database file of SQLite, None for servers.
        notes: What was not loaded along with a dump, or cannot be loaded of what was dumped, in sentences.

    Methods that take long call ``moved`` with the number of bytes copied since the last call.
    """

    dialect: str
    file: Path | None
    notes: tuple[str, ...] = ()

    @abstractmethod
    def check(self) -> None:
        """See that the database can be reached, and that the programs are there and not older than the server."""

    def size_of_dump(self) -> int | None:
        """Return how many bytes a dump has at the most; ``None`` where only making one tells: its format differs."""
        return None

    @abstractmethod
    def dump(self, dest: Path, moved: Moved = ignore) -> None:
        """Write the whole database, as it is at one moment, into one file; complete and durable, or not there."""

    @abstractmethod
    def load_beside(self, dump: Path, tag: str, moved: Moved = ignore, settings: Settings | None = None) -> Store:
        """Load a dump into a new database beside this one, and see that it arrived; one of the same tag is replaced.

        Args:
            dump: What `dump` has written.
            tag: Names the new database.
            moved: Told how many bytes were copied since the last time.
            settings: What `settings` described of the dumped database; None for those of the live one.
        """

    def settings(self) -> Settings:
        """Describe what belongs to the database itself, and so is in no dump of its content."""
        return ()

    def barriers(self) -> tuple[tuple[str, str], ...]:
        """Say why nothing at all could be restored here by this user as it is, each time with what to do about it."""
        return ()

    def cautions(self) -> tuple[str, ...]:
        """Say what of the content this user could not restore, and what a dump does not hold."""
        return ()

    def differences(self, dump: Path) -> tuple[str, ...]:
        """Compare this database, into which a dump was loaded, with the dump: say what is not the same."""
        del dump
        return ()

    def rows_in(self, dump: Path, schema: str, table: str) -> list[dict[str, str | None]] | None:
        """Read the rows of one small table from a dump without loading it; None where that cannot be done."""
        del dump, schema, table
        return None

    @abstractmethod
    def clone(
        self, tag: str, folder: Path | None = None, moved: Moved = ignore, *, by_dump: bool = False, definer: str = ""
    ) -> Store:
        """Copy this database: SQLite into ``folder``, else into a new database on the same server.

        Args:
            tag: Part of the new database's name.
            folder: Takes a SQLite file.
            moved: Told how many bytes were copied since the last time.
            by_dump: Whether PostgreSQL must not copy it on the server, which lets nobody connect meanwhile.
            definer: The account with whose rights routines, views, triggers and events of MariaDB run in the copy;
                "" for those of the original.
        """

    @abstractmethod
    def swap(self, new: Store, tag: str) -> None:
        """Put ``new`` in the live place, and what was live aside under a name made from the tag.

        Whenever it is interrupted, the live database is the old or the new one, and calling it again goes on; once
        it has happened, calling it again does nothing.
        """

    @abstractmethod
    def sibling(self, kind: str, tag: str, folder: Path | None = None) -> Store:
        """Return the database of that kind (`NEW`, `OLD`, `CLONE`) and tag, there or not."""

    @abstractmethod
    def drop(self) -> None:
        """Remove a database that we made, whoever uses it; if it is gone, nothing happens. A live one is refused.

        What `open_store` gives is live. Others come from `load_beside`, `clone`, `beside`, `old` and `cloned`.
        """

    @abstractmethod
    def schema_text(self) -> str:
        """Return the definitions of everything but rows, in an order and a form that can be compared."""

    def beside(self, tag: str) -> Store | None:
        """Return what `load_beside` made under this tag, or None."""
        return _if_there(self.sibling(NEW, tag))

    def old(self, tag: str) -> Store | None:
        """Return what was live before the `swap` of this tag, or None."""
        return _if_there(self.sibling(OLD, tag))

    def cloned(self, tag: str, folder: Path | None = None) -> Store | None:
        """Return what `clone` made under this tag, or None."""
        return _if_there(self.sibling(CLONE, tag, folder))


def suffix(kind: str, tag: str, *, mark: str) -> str:
    """Make the end of a name: ``_old_TAG`` or ``.old-TAG``; a long or odd tag is replaced by its hash."""
    if len(tag) > LONGEST_TAG or not re.fullmatch(r"[0-9A-Za-z_.-]+", tag):
        tag = hashlib.sha256(tag.encode("utf-8", "surrogateescape")).hexdigest()[:LONGEST_TAG]
    return f"{mark[0]}{kind}{mark[1]}{tag}"


def is_swapped(live: Store, new: Store, old: Store) -> bool:
    """Return whether a swap of two databases on a server has happened already.

    Raises:
        DatabaseError: The database to swap in is gone, and no swap explains that.
    """
    if new.exists():
        return False
    if live.exists() and old.exists():
        return True
    raise DatabaseError(f"{new.shown} is not there, so {live.shown} cannot be replaced by it.")


def occupied(old: Store) -> DatabaseError:
    """Return the error of a swap whose name for the old database is taken by another restore."""
    return DatabaseError(
        f"{old.shown} is there already.",
        hint="Another restore has put it there: drop it, if it is not needed, and try again.",
    )


@contextlib.contextmanager
def emerging(place: Store) -> Iterator[None]:
    """Drop a database that may be left of an earlier attempt, let it be created, and drop it again after an error."""
    place.drop()
    try:
        yield
    except BaseException:
        place.drop()
        raise


def refuse_live(store: Store) -> None:
    """Refuse to drop what we did not make.

    Raises:
        DatabaseError: it is the live database.
    """
    if not store.made:
        raise DatabaseError(f"{store.shown} was not made by fietsupdate, and is not dropped.")


def refuse_empty(store: Store) -> None:
    """Refuse a database without a single table.

    Raises:
        DatabaseError: there is no table in it, or it is not there.
    """
    if not store.exists() or not store.tables():
        raise DatabaseError(
            f"There is no table in {store.shown}: the dump was not loaded, or it is empty.",
            hint="Verify the backup, or take another one.",
        )


def draft_of(dest: Path) -> Path:
    """Name what a file is called while it is arriving."""
    return dest.with_name(f"{dest.name}.partial")


@contextlib.contextmanager
def arriving(dest: Path) -> Iterator[Path]:
    """Yield a path to write to; afterwards what is there is durable and called ``dest``, after an error it is gone."""
    draft = draft_of(dest)
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        give_owner(draft, os.stat(dest.parent))
        yield draft
        sync_path(draft)
        os.rename(draft, dest)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_path(dest.parent)


def _if_there(store: Store) -> Store | None:
    return store if store.exists() else None


def mark(store: Store, word: str) -> None:
    """Mark a clone, for `refuse_unmarked`."""
    if store.dialect == "postgresql":
        store.run(f"CREATE SCHEMA {MARK}; CREATE TABLE {MARK}.mark AS SELECT '{word}'::text AS word")
    else:
        store.run(f"CREATE TABLE {MARK} (word VARCHAR(40)); INSERT INTO {MARK} (word) VALUES ('{word}')")  # noqa: S608  # ours
