"""Copy a whole database and restore a copy: the common part of a backup, a restore and a rehearsal.

A `Store` is one database of any backend. Nothing is ever loaded into the live one: a dump is loaded into a new database
beside it, is checked there, and then becomes the live one in one step that either happens or does not. Programs are
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
"""The kinds of databases that we create, as their names contain them before the tag."""
LONGEST_TAG = 24

Settings = Sequence[Sequence[str]]
"""Properties of a database itself that no dump of its content contains: each a kind and its values, as a manifest
stores them."""
OnBytes = Callable[[int], None]
"""Called with the number of bytes that were copied since the last call."""


class Store(DatabaseClient):
    """One database that can be copied and replaced: the live one, one loaded beside it, an old one, or a clone.

    Attributes:
        dialect: SQLAlchemy's name of the dialect: ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``.
        file: The database file of SQLite, None for servers.
        notes: What was not loaded, or cannot be loaded from the dump, in sentences.

    Methods that take long call ``moved`` with the number of bytes copied since the last call.
    """

    dialect: str
    file: Path | None
    notes: tuple[str, ...] = ()

    @abstractmethod
    def check(self) -> None:
        """Check that the database can be reached, and that the programs exist and are not older than the server."""

    def size_of_dump(self) -> int | None:
        """Return the most bytes of a dump; ``None`` if only making one shows it, because its format differs."""
        return None

    @abstractmethod
    def dump(self, dest: Path, moved: OnBytes = ignore) -> None:
        """Write the whole database, as it is at one moment, into one file.

        Afterwards the file is complete and durable, or does not exist.
        """

    @abstractmethod
    def load_beside(self, dump: Path, tag: str, moved: OnBytes = ignore, settings: Settings | None = None) -> Store:
        """Load a dump into a new database beside this one, and check it; a database with the same tag is replaced.

        Args:
            dump: A file that `dump` has written.
            tag: Names the new database.
            moved: Called with the number of bytes that were copied since the last call.
            settings: The result of `settings` for the dumped database; None for the settings of the live one.
        """

    def settings(self) -> Settings:
        """Return the properties of the database itself, which no dump of its content contains."""
        return ()

    def barriers(self) -> tuple[tuple[str, str], ...]:
        """Return the reasons why this user could restore nothing at all here, each with its remedy."""
        return ()

    def cautions(self) -> tuple[str, ...]:
        """Return what this user could not restore of the content, and what a dump does not contain."""
        return ()

    def differences(self, dump: Path) -> tuple[str, ...]:
        """Return the differences between this database, into which a dump was loaded, and the dump."""
        del dump
        return ()

    def rows_in(self, dump: Path, schema: str, table: str) -> list[dict[str, str | None]] | None:
        """Return the rows of one small table in a dump without loading it; None where that is not possible."""
        del dump, schema, table
        return None

    @abstractmethod
    def clone(
        self, tag: str, folder: Path | None = None, moved: OnBytes = ignore, *, by_dump: bool = False, definer: str = ""
    ) -> Store:
        """Copy this database: SQLite into ``folder``, otherwise into a new database on the same server.

        Args:
            tag: Part of the new database's name.
            folder: The folder for a SQLite file.
            moved: Called with the number of bytes that were copied since the last call.
            by_dump: Whether PostgreSQL must not copy it on the server, during which no session can connect.
            definer: The account with whose rights routines, views, triggers and events of MariaDB run in the copy; ""
                for those of the original.
        """

    @abstractmethod
    def swap(self, new: Store, tag: str) -> None:
        """Put ``new`` in the live place, and the live database aside under a name made from the tag.

        Whenever it is interrupted, the live database is the old or the new one, and calling it again continues; once it
        has happened, calling it again does nothing.
        """

    @abstractmethod
    def sibling(self, kind: str, tag: str, folder: Path | None = None) -> Store:
        """Return the database of that kind (`NEW`, `OLD`, `CLONE`) and tag, existing or not."""

    @abstractmethod
    def drop(self) -> None:
        """Remove a database that we created, even if it is in use; nothing happens if it does not exist.

        A live one is refused. The result of `open_store` is live. Other stores come from `load_beside`, `clone`,
        `beside`, `old` and `cloned`.
        """

    @abstractmethod
    def schema_text(self) -> str:
        """Return the definitions of everything but rows, in an order and a form that can be compared."""

    def beside(self, tag: str) -> Store | None:
        """Return the database that `load_beside` created with this tag, or None."""
        return _if_there(self.sibling(NEW, tag))

    def old(self, tag: str) -> Store | None:
        """Return the database that was live before the `swap` with this tag, or None."""
        return _if_there(self.sibling(OLD, tag))

    def cloned(self, tag: str, folder: Path | None = None) -> Store | None:
        """Return the database that `clone` created with this tag, or None."""
        return _if_there(self.sibling(CLONE, tag, folder))


def suffix(kind: str, tag: str, *, mark: str) -> str:
    """Return the end of a name: ``_old_TAG`` or ``.old-TAG``; a long or odd tag is replaced by its hash."""
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
    raise DatabaseError(f"{new.masked_url} is not there, so {live.masked_url} cannot be replaced by it.")


def occupied(old: Store) -> DatabaseError:
    """Return the error of a swap whose name for the old database is taken by another restore."""
    return DatabaseError(
        f"{old.masked_url} is there already.",
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
    """Refuse to drop a database that we did not create.

    Raises:
        DatabaseError: It is the live database.
    """
    if not store.is_ours:
        raise DatabaseError(f"{store.masked_url} was not made by fietsupdate, and is not dropped.")


def refuse_empty(store: Store) -> None:
    """Refuse a database without a single table.

    Raises:
        DatabaseError: The database has no table, or does not exist.
    """
    if not store.exists() or not store.tables():
        raise DatabaseError(
            f"There is no table in {store.masked_url}: the dump was not loaded, or it is empty.",
            hint="Verify the backup, or take another one.",
        )


def draft_of(dest: Path) -> Path:
    """Return the name of a file while it is incomplete."""
    return dest.with_name(f"{dest.name}.partial")


@contextlib.contextmanager
def arriving(dest: Path) -> Iterator[Path]:
    """Yield a path to write to; afterwards the file is durable and called ``dest``, after an error it is deleted."""
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
