"""Make env.py's work on SQLite one real transaction, together with that of the hooks.

pysqlite begins no transaction before DDL, so ``BEGIN IMMEDIATE`` goes through the raw driver connection (protocol, 4).
Before that, settings are changed that cannot be changed inside a transaction: foreign keys are off, because a batch
migration's ``DROP TABLE`` would cascade; a commit is durable even when the power fails while the rollback journal is
unlinked; there is such a journal, or a WAL; and processes that read the outcome of the commit are not locked out.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, event

from fietsupdate.database import sqlite_locks
from fietsupdate.database.lock import is_busy
from fietsupdate.database.quoting import quoted
from fietsupdate.errors import EnvPyError

SETTINGS: Mapping[str, tuple[str, frozenset[object]]] = {
    "foreign_keys": ("OFF", frozenset({0})),
    "synchronous": ("EXTRA", frozenset({3})),
    "journal_mode": ("DELETE", frozenset({"delete", "truncate", "persist", "wal"})),
    "locking_mode": ("NORMAL", frozenset({"normal"})),
}
"""The settings in our transaction, unless the current value is among the acceptable ones; restored afterwards."""
UNSAFE_JOURNALS = frozenset({"memory", "off"})
"""A crash while a commit writes tears the database, because nothing on the disk could undo that."""

Wait = Callable[[str, float], None]
"""Called with the processes in the way, and the seconds that env.py's connection waits; returns to try again, or
raises."""

Violation = tuple[str, str, tuple[Any, ...]]
"""Child table, parent table, values of the child's key columns. Row ids are not used: a batch migration renumbers them.
"""


def query(connection: Connection, sql: str) -> list[Any]:
    """Run one statement on the raw connection, so that SQLAlchemy begins nothing."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql)
        return list(cursor.fetchall())
    finally:
        cursor.close()


def in_transaction(connection: Connection) -> bool:
    """Return whether SQLite itself is inside a transaction, whatever SQLAlchemy assumes."""
    return bool(connection.connection.driver_connection.in_transaction)  # type: ignore[union-attr]


def never_commits(connection: Connection) -> bool:
    """Return whether the driver is in Python 3.12's ``autocommit=True`` mode, in which commit() does nothing."""
    return getattr(_sqlite3(connection), "autocommit", None) is True


def _sqlite3(connection: Connection) -> Any:
    driver: Any = connection.connection.driver_connection
    return getattr(driver, "_conn", None) or driver  # aiosqlite keeps the real connection one level deeper


def named_file(name: str) -> Path | None:
    """Return the file behind a SQLite database name or ``file:`` URI, or None for a database in memory."""
    if name in {"", ":memory:"} or ":memory:" in name or "mode=memory" in name:
        return None
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name).absolute()


@contextlib.contextmanager
def endings_refused(connection: Connection, is_allowed: Callable[[str], bool]) -> Iterator[None]:
    """Let SQLite call us before it compiles a statement, also for statements through the driver.

    A connection has one authorizer, which cannot be read back, so the application's own authorizer is not replaced.

    Args:
        connection: The connection to observe; a database other than SQLite is left alone.
        is_allowed: Called with COMMIT, ROLLBACK or BEGIN, or with "" for anything else.
    """
    if connection.dialect.name != "sqlite" or _has_callbacks(_sqlite3(connection)):
        yield
        return

    def authorize(action: int, operation: str | None, *_: object) -> int:
        allowed = is_allowed(str(operation) if action == sqlite3.SQLITE_TRANSACTION else "")
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    _set_authorizer(connection, authorize)
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # the hook may have closed the connection
            _set_authorizer(connection, None)


def _has_callbacks(driver: Any) -> bool:
    """Return whether an authorizer, or a progress or trace callback, is set.

    Only the garbage collector can see them.
    """
    known = (type, type(functools.lru_cache(print)))  # its own class, and the cache of compiled statements
    factories = {id(driver.row_factory), id(driver.text_factory)}
    held = (held for held in gc.get_referents(driver) if callable(held) and not isinstance(held, known))
    return any(id(callback) not in factories for callback in held)


def _set_authorizer(connection: Connection, authorize: Callable[..., int] | None) -> None:
    adapted: Any = connection.connection.dbapi_connection
    if hasattr(adapted, "run_async"):  # aiosqlite, whose connection lives in its own thread
        # Its own set_authorizer is newer than the versions that we support.
        adapted.run_async(lambda driver: driver._execute(driver._conn.set_authorizer, authorize))  # noqa: SLF001
    else:
        _sqlite3(connection).set_authorizer(authorize)


class Procedure:
    """Turns the transaction of env.py's connection into a real one."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.busy = False
        """Whether another process held the write lock when the transaction was to begin."""
        self.writer = ""
        """The process that held it, if the system shows it."""
        self.is_immediate = False
        """Whether the transaction is our own BEGIN IMMEDIATE, and so holds the write lock from its start."""
        self.raw: Any = connection.connection.dbapi_connection
        self.enforces_foreign_keys = bool(query(connection, "PRAGMA foreign_keys")[0][0])
        self._changed: dict[str, object] = {}
        self._was_autocommit = self._in_autocommit()
        self._violations: Counter[Violation] = Counter()

    def _in_autocommit(self) -> bool:
        return self.connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"

    def prepare(self) -> None:
        """Change the settings and begin, or arrange to begin as soon as SQLAlchemy begins its own transaction."""
        begun = self.connection.in_transaction()
        if not begun and in_transaction(self.connection):
            query(self.connection, "ROLLBACK")  # Python 3.12's autocommit=False is always inside an empty one
        if not in_transaction(self.connection):
            self._violations = self.violations()
            self._change_settings()
        self._refuse_unsafe_journal()
        if begun:
            self._begin(self.connection)
        event.listen(self.connection.engine, "begin", self._begin)

    def _change_settings(self) -> None:
        event.listen(self.connection.engine.pool, "checkin", self._put_back)
        for name, (value, fine) in SETTINGS.items():
            old = query(self.connection, f"PRAGMA {name}")[0][0]
            if old not in fine:
                self._changed[name] = old
                query(self.connection, f"PRAGMA {name} = {value}")

    def _refuse_unsafe_journal(self) -> None:
        if (mode := query(self.connection, "PRAGMA journal_mode")[0][0]) in UNSAFE_JOURNALS:
            raise EnvPyError(
                f"The database has journal_mode={mode}, and env.py has begun a transaction in which that cannot be "
                "changed: a crash in COMMIT would destroy the database.",
                hint="Set no such journal_mode for migrations, or let env.py run no statement before configure().",
            )

    def _begin(self, connection: Connection) -> None:
        in_autocommit_block = self._in_autocommit() and not self._was_autocommit
        if connection.connection.dbapi_connection is self.raw and not in_autocommit_block and not self._is_begun():
            timeout = query(connection, "PRAGMA busy_timeout")[0][0]
            query(connection, "PRAGMA busy_timeout = 0")  # locks are polled, never waited for inside a statement
            try:
                query(connection, "BEGIN IMMEDIATE")
                self.is_immediate = True
            except Exception as error:
                self.busy = is_busy(error)
                self.writer = sqlite_locks.writer(self.file) if self.busy else ""
                raise
            finally:
                query(connection, f"PRAGMA busy_timeout = {timeout}")

    @property
    def file(self) -> str:
        """The database file, as SQLite itself names it."""
        return str(query(self.connection, "PRAGMA database_list")[0][2])

    def commit(self, connection: Connection, wait: Wait) -> None:
        """Commit at the driver; while other processes read the file, wait and try again.

        In the default journal mode a COMMIT needs exclusive use of the file. A COMMIT that finds the file busy has
        committed nothing, leaves the transaction open, and can be tried again. It is polled like every lock of ours, so
        that a signal ends it.

        Args:
            connection: The connection to commit.
            wait: Called each time that the file was busy. If it raises, the transaction is rolled back.
        """
        timeout = query(connection, "PRAGMA busy_timeout")[0][0]
        query(connection, "PRAGMA busy_timeout = 0")
        try:
            while True:
                try:
                    connection.connection.commit()
                except Exception as error:
                    if not is_busy(error):
                        raise
                else:
                    return
                wait(sqlite_locks.readers(self.file), timeout / 1000)
        except BaseException:
            if in_transaction(connection):
                connection.connection.rollback()
            raise
        finally:
            query(connection, f"PRAGMA busy_timeout = {timeout}")

    def _is_begun(self) -> bool:
        return in_transaction(self.connection)

    def violations(self) -> Counter[Violation]:
        """Count the rows that break a foreign key, where the application enforces foreign keys at all."""
        if not self.enforces_foreign_keys:
            return Counter()
        return Counter(self._describe(row) for row in query(self.connection, "PRAGMA foreign_key_check"))

    def _describe(self, violation: tuple[str, int | None, str, int]) -> Violation:
        table, row, parent, key = violation
        if row is None:  # WITHOUT ROWID: SQLite reports the table and its parent only
            return table, parent, ()
        columns = [
            column[3]
            for column in query(self.connection, f"PRAGMA foreign_key_list({quoted(table)})")
            if column[0] == key
        ]
        select = f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table)} WHERE rowid = {int(row)}"  # noqa: S608
        return table, parent, tuple(query(self.connection, select)[0])

    def new_violations(self) -> list[Violation]:
        """Return the foreign keys that this transaction has broken; they must not be committed."""
        return sorted((self.violations() - self._violations).elements(), key=repr)

    def leave(self) -> None:
        """Remove our listeners and restore the settings, if the connection is still open."""
        with contextlib.suppress(Exception):  # the listener disappears with the engine
            event.remove(self.connection.engine, "begin", self._begin)
        if not self.connection.dialect.is_async:
            self._put_back(self.raw)
        # otherwise env.py keeps an async connection, which is restored when the pool gets it back
        if not self._changed:
            with contextlib.suppress(Exception):
                event.remove(self.connection.engine.pool, "checkin", self._put_back)

    def _put_back(self, raw: Any, _record: object = None) -> None:
        """Restore the settings through SQLAlchemy's adaptation of the driver, when the pool gets the connection back.

        Later an async connection is out of reach.
        """
        with contextlib.suppress(Exception):  # a closed connection has no settings to restore
            if raw is self.raw and not getattr(raw, "driver_connection", raw).in_transaction:
                cursor = raw.cursor()
                while self._changed:
                    name, value = self._changed.popitem()
                    cursor.execute(f"PRAGMA {name} = {value}")
                cursor.close()


def summarise(violations: Iterable[Violation]) -> str:
    """Return broken foreign keys in words: ``2 rows of "points" without their "tracks"``."""
    counted = Counter((table, parent) for table, parent, _ in violations)
    return ", ".join(
        f'{count} row{"s" if count > 1 else ""} of "{table}" without their "{parent}"'
        for (table, parent), count in counted.items()
    )
