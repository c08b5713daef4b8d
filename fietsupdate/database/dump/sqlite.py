"""SQLite: a database is a file, copied by the online backup API while other processes use it.

A copy is one file, which includes the content of the write-ahead log. Its header is the original's, so page size,
``user_version`` and the journal mode stay the same.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fietsupdate.database.dump.sqlite_file import SIDES, FileSwap, adopt, connect, copy_file, in_use, inspect, patiently
from fietsupdate.database.dump.store import (
    CLONE,
    NEW,
    OLD,
    OnBytes,
    Settings,
    Store,
    arriving,
    draft_of,
    refuse_empty,
    refuse_live,
    suffix,
)
from fietsupdate.database.identity import identity_of_file
from fietsupdate.database.quoting import quoted
from fietsupdate.database.sqlite import named_file
from fietsupdate.errors import DatabaseError
from fietsupdate.filesystem.posix.durable import sync_path
from fietsupdate.filesystem.posix.movable import obstacle
from fietsupdate.model.listeners import ignore

_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name"


class SQLiteStore(Store):
    """One SQLite file, reached by its real path: SQLite keeps the journal beside that, not beside a symlink."""

    dialect = "sqlite"

    def __init__(self, url: str, file: Path | None, *, is_ours: bool = False) -> None:
        named = file or named_file(sa.make_url(url).database or "")
        if named is None:
            raise DatabaseError("A database in memory cannot be copied.", hint="Name a file in 'sqlalchemy.url'.")
        self.url = url
        self.file: Path = named
        self.place = Path(os.path.realpath(named))
        self.is_ours = is_ours

    def check(self) -> None:
        """Check that the file exists and is a readable database."""
        self.refuse_another()
        with self._told("read"), closing(connect(self.place)) as connection:
            patiently(lambda: connection.execute("SELECT count(*) FROM sqlite_master").fetchall())

    def identity(self) -> tuple[str, ...]:
        """Return the identity of the file that is opened here."""
        return identity_of_file(self.place)

    def exists(self) -> bool:
        """Return whether the file exists; an empty file in the place of an old database means that there was none."""
        try:
            return os.stat(self.place).st_size > 0 or not self.is_ours
        except OSError:
            return False

    def size(self) -> int:
        """Return the bytes of the file and its write-ahead log."""
        total = 0
        for path in (self.place, _side(self.place, "-wal")):
            with contextlib.suppress(OSError):
                total += os.stat(path).st_size
        return total

    def size_of_dump(self) -> int | None:
        """Return the size of the file and its log: a copy has the same pages, each once."""
        return self.size()

    def dump(self, dest: Path, moved: OnBytes = ignore) -> None:
        """Copy the file as it is at one moment; writers wait meanwhile, unless it has a write-ahead log."""
        self.refuse_another()
        with self._told("copied"), arriving(dest) as draft:
            copy_file(self.place, draft, moved)
            inspect(draft)

    def load_beside(self, dump: Path, tag: str, moved: OnBytes = ignore, settings: Settings | None = None) -> Store:
        """Copy a dump to a file beside the live one, with the live one's owner and mode."""
        del settings  # a file contains its settings
        new = self.sibling(NEW, tag)
        new.drop()
        with self._told(f"replaced by {dump}"), arriving(new.place) as draft:
            copy_file(dump, draft, moved, at_rest=True)
            inspect(draft)
            adopt(draft, self.place)
        refuse_empty(new)
        return new

    def clone(
        self, tag: str, folder: Path | None = None, moved: OnBytes = ignore, *, by_dump: bool = False, definer: str = ""
    ) -> Store:
        """Copy the file into a folder, by default its own."""
        del by_dump, definer  # these concern servers only
        clone = self.sibling(CLONE, tag, folder)
        clone.drop()
        with self._told("cloned"), arriving(clone.place) as draft:
            copy_file(self.place, draft, moved)
        return clone

    def barriers(self) -> tuple[tuple[str, str], ...]:
        """Check that this user may create files beside the live one, and replace it."""
        folder, file = self.place.parent, self.place
        if not os.access(folder, os.W_OK | os.X_OK):
            text = f"This user may not make files in {folder}, beside the database."
            return ((text, f"Give it the right to write {folder}."),)
        if not file.exists():
            return ()
        for path in (str(folder), str(file)):
            if reason_and_hint := obstacle(str(folder), path):
                return ((f"{path} cannot be replaced: {reason_and_hint[0]}.", reason_and_hint[1]),)
        if not os.access(file, os.R_OK | os.W_OK):
            return ((f"This user may not write the database {file}.", "Give it the right to read and write it."),)
        return ()

    def rows_in(self, dump: Path, schema: str, table: str) -> list[dict[str, str | None]] | None:
        """Read the table; a dump is a database itself."""
        del schema
        with self._told("copied"), closing(connect(dump, "mode=ro&immutable=1")) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
                return []
            rows = connection.execute(f"SELECT * FROM {quoted(table)}")  # noqa: S608  # quoted
            return [dict(zip([column[0] for column in rows.description], map(_text, row), strict=True)) for row in rows]

    def swap(self, new: Store, tag: str) -> None:
        """Rename ``new`` over the live file, after linking that to the old name; copy where that is not possible."""
        if new.file is None:
            raise DatabaseError(f"{new.masked_url} is not a SQLite file.")
        exchange = FileSwap(self.place, Path(os.path.realpath(new.file)), self.sibling(OLD, tag).place)
        with self._told("replaced"):
            if exchange.has_happened():
                return
            refuse_empty(new)
            self.refuse_another()
            exchange.make()

    def sibling(self, kind: str, tag: str, folder: Path | None = None) -> SQLiteStore:
        """Return the file of that kind and tag: ``app.sqlite.old-TAG``."""
        place = (folder or self.place.parent).absolute() / (self.place.name + suffix(kind, tag, mark=".-"))
        return SQLiteStore(self._url_of(place), place, is_ours=True)

    def drop(self) -> None:
        """Unlink the file, SQLite's files beside it, and an incomplete file that a killed run left; durably."""
        refuse_live(self)
        paths = (self.place, *(_side(self.place, ending) for ending in SIDES), draft_of(self.place))
        if there := [path for path in paths if os.path.lexists(path)]:
            for path in there:
                path.unlink(missing_ok=True)
            with self._told("removed"), contextlib.suppress(FileNotFoundError):
                sync_path(self.place.parent)  # the name is dropped with the folder

    def run(self, sql: str) -> None:
        """Execute statements, all of them in one transaction."""
        with self._told("changed"), closing(connect(self.place)) as connection:
            patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
            for statement in _statements(sql):
                connection.execute(statement)
            patiently(lambda: connection.execute("COMMIT"))

    def query(self, sql: str) -> list[tuple[str | None, ...]]:
        """Return rows as text; bytes are decoded as UTF-8."""
        with self._told("read"), closing(connect(self.place)) as connection:
            rows = patiently(lambda: connection.execute(sql).fetchall())
        return [tuple(_text(value) for value in row) for row in rows]

    def tables(self) -> list[str]:
        """Return the tables, without SQLite's own."""
        return [str(name) for (name,) in self.query(_TABLES)]

    def row_counts(self) -> dict[str, int]:
        """Count the rows of every table; virtual tables whose module is missing are skipped."""
        with self._told("read"), closing(connect(self.place)) as connection:
            names = patiently(lambda: connection.execute(_TABLES).fetchall())
            counts = {name: _count(connection, name) for (name,) in names}
        return {name: count for name, count in counts.items() if count is not None}

    def schema_text(self) -> str:
        """Return the definitions in sqlite_master, independent of quoting and layout."""
        with self._told("read"), closing(connect(self.place)) as connection:
            return patiently(lambda: definitions(connection))

    def _url_of(self, place: Path) -> str:
        url = sa.make_url(self.url)
        is_uri = (url.database or "").startswith("file:")
        name = f"file:{place.as_uri().removeprefix('file://')}" if is_uri else str(place)
        return url.set(database=name).render_as_string(hide_password=False)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise (in_use(self.place) if _is_busy(error) else _failed(self.place, what, str(error))) from error
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise _failed(self.place, what, f"{error.strerror}{where}") from error


def _is_busy(error: sqlite3.Error) -> bool:
    from fietsupdate.database.lock import is_busy

    return is_busy(error)


def _failed(place: Path, what: str, why: str) -> DatabaseError:
    return DatabaseError(
        f"The database {place} could not be {what}: {why}.",
        hint="See that the file is there, that this user may read and write it and its folder, and that there is room.",
    )


def _side(place: Path, ending: str) -> Path:
    return place.with_name(place.name + ending)


def _count(connection: sqlite3.Connection, table: str) -> int | None:
    try:
        return int(connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0])  # noqa: S608  # quoted
    except sqlite3.OperationalError as error:
        if "no such module" in str(error):
            return None
        raise


def _statements(sql: str) -> Iterator[str]:
    """Split a script into its statements, as SQLite's own shell does."""
    pending = ""
    for piece in sql.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            if pending.strip(" \t\r\n;"):
                yield pending
            pending = ""
    if pending.strip(" \t\r\n;"):
        yield pending


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return None if value is None else str(value)


# -- SQLite's schema as text that can be compared: differences of quoting and layout are removed.


_MASTER = """
SELECT type, name, sql FROM sqlite_master
 WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY type, name
"""
_PIECE = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | \[[^\]]*\] | `[^`]*` | --[^\n]* | \w+ | \s+ | .""", re.VERBOSE | re.DOTALL
)
_PLAIN = re.compile(r"""["`\[]([A-Za-z_]\w*)["`\]]""")


def definitions(connection: sqlite3.Connection) -> str:
    """Return every definition, ordered by type and name, each column of a table in a line of its own."""
    rows = connection.execute(_MASTER).fetchall()
    return "".join(f"{_one(sql, split=kind == 'table')};\n" for kind, _name, sql in rows)


def _one(sql: str, *, split: bool) -> str:
    written, depth, space = "", 0, False
    for piece in _PIECE.findall(sql):
        if piece.isspace() or piece.startswith("--"):
            space = True
            continue
        depth -= piece == ")"
        closes = split and piece == ")" and depth == 0
        if closes or written.endswith("\n  "):
            written = f"{written.rstrip()}\n)" if closes else written + _bare(piece)
        else:
            written += f"{' ' * (space and not written.endswith('(') and piece not in '),')}{_bare(piece)}"
        depth += piece == "("
        if split and depth == 1 and piece in "(,":
            written += "\n  "
        space = False
    return written


def _bare(piece: str) -> str:
    plain = _PLAIN.fullmatch(piece)
    return plain[1] if plain else piece
