"""MariaDB and MySQL, by mariadb-dump or mysqldump and the command line client."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path

import sqlalchemy as sa

from fietsupdate.database.dump import mysql_client as address
from fietsupdate.database.dump import mysql_client as client
from fietsupdate.database.dump import programs
from fietsupdate.database.dump.mysql_cautions import barriers, cautions, oversized
from fietsupdate.database.dump.mysql_origin import Heir, Origin, defined_by, fitting
from fietsupdate.database.dump.mysql_rights import Rights
from fietsupdate.database.dump.mysql_rows import rows_in
from fietsupdate.database.dump.mysql_scripts import ASIDE, definitions_of, hidden
from fietsupdate.database.dump.mysql_swap import TableSwap, charset, disable_events
from fietsupdate.database.dump.mysql_verify import differences
from fietsupdate.database.dump.store import (
    CLONE,
    NEW,
    OLD,
    OnBytes,
    Settings,
    Store,
    arriving,
    emerging,
    is_swapped,
    occupied,
    refuse_empty,
    refuse_live,
    suffix,
)
from fietsupdate.database.identity import ASKED
from fietsupdate.database.quoting import backquoted, mysql_literal
from fietsupdate.errors import DatabaseError
from fietsupdate.model.listeners import ignore

LONGEST_NAME = 64
"""The most characters of an identifier."""
END_OF_DUMP = b"-- Dump completed"
"""The last line of every complete dump."""
_UNKNOWN_THREAD = 1094
_CONTENT = ("--skip-add-locks", "--single-transaction", "--quick", "--hex-blob", "--routines", "--triggers", "--events")
"""Without LOCK TABLES: a table whose default is a sequence could not be loaded, and there are no other users."""
_TABLES = (
    "SELECT table_name FROM information_schema.tables WHERE table_schema = {name} "  # noqa: S608  # filled in quoted
    f"AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED') AND table_name <> '{ASIDE}' ORDER BY table_name"
)
_VERSIONED = (
    "SELECT 1 FROM information_schema.tables WHERE table_schema = {name} AND table_type = 'SYSTEM VERSIONED' LIMIT 1"
)


class MySQLStore(Store):
    """One database on a MariaDB or MySQL server."""

    file = None

    def __init__(self, url: str, *, is_ours: bool = False) -> None:
        self.url = url
        self.is_ours = is_ours
        self._parsed = sa.make_url(url)
        self._server = self._parsed.set(database="")
        self.dialect = self._parsed.get_backend_name()
        self.name = self._parsed.database or ""
        if not self.name:
            raise DatabaseError("The URL names no database, so it cannot be copied.", hint="Add its name to the URL.")

    def check(self) -> None:
        """Compare the programs' versions with the server's, where they are of the same family."""
        programs.find(client.CLIENTS[self.dialect], client.INSTALL)
        self.refuse_another()
        kind, server, text = client.family(self._server.render_as_string(hide_password=False))
        dumper = programs.find(client.DUMPERS[kind], client.INSTALL)
        own = client.program_version(dumper)
        name = os.path.basename(dumper)
        if own and own[:2] < server[:2] and ("mariadb" in name) == (kind == "mariadb"):
            raise DatabaseError(
                f"{name} is version {'.'.join(map(str, own))}, older than the server, {text}.",
                hint=f"Install the client programs of version {'.'.join(map(str, server[:2]))} or later.",
            )

    def identity(self) -> tuple[str, ...]:
        """Return the server's answer to the same query through its client."""
        return tuple(value or "" for value in client.select(self._parsed, ASKED["mysql"])[0])

    def exists(self) -> bool:
        """Return whether the server lists the database."""
        sql = f"SELECT 1 FROM information_schema.schemata WHERE schema_name = {mysql_literal(self.name)}"  # noqa: S608
        return bool(client.select(self._server, sql))

    def size(self) -> int:
        """Return the bytes of tables and indexes, as the server last counted them."""
        sql = (
            "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables "  # noqa: S608
            f"WHERE table_schema = {mysql_literal(self.name)}"
        )
        return int(float(client.select(self._server, sql)[0][0] or 0))

    def dump(self, dest: Path, moved: OnBytes = ignore) -> None:
        """Write one snapshot of all InnoDB tables, with routines, triggers and events."""
        self.refuse_another()
        origin = Origin.on(self._parsed)
        with arriving(dest) as draft:
            for part in self._parts():
                with part as call:
                    programs.to_file(call, draft, moved, origin.signing())
            _see_whole(draft)
            self.notes = tuple(oversized(self._parsed, draft))

    def load_beside(self, dump: Path, tag: str, moved: OnBytes = ignore, settings: Settings | None = None) -> Store:
        """Load into a new database with the character set and collation of the old one; its events are switched off."""
        del settings  # they are in the dump
        _see_whole(dump)
        new, origin = self.sibling(NEW, tag), Origin.of(dump)
        url = sa.make_url(new.url)
        heir = Heir(Origin.on(self._parsed).user, takes_all=not Rights.on(self._parsed).may_define_for_others())
        with emerging(new):
            self._create(new, (origin.charset, origin.collation))
            with client.loading(url) as call:
                programs.from_file(call, dump, fitting(origin, url, heir), moved)
            refuse_empty(new)
            if heir.given:
                whose = ", ".join(sorted(heir.given))
                new.notes += (f"views, triggers, routines and events of {whose} belong to {heir.user} here",)
            TableSwap.remember(url)
            disable_events(url)
        return new

    def clone(
        self, tag: str, folder: Path | None = None, moved: OnBytes = ignore, *, by_dump: bool = False, definer: str = ""
    ) -> Store:
        """Copy by dump and load, in one stream; the copy's events are switched off."""
        del folder, by_dump  # a server stores its databases itself, and a dump is the only way
        self.refuse_another()
        clone = self.sibling(CLONE, tag)
        url = sa.make_url(clone.url)
        with emerging(clone):
            self._create(clone)
            for part in self._parts():
                with part as giver, client.loading(url) as taker:
                    programs.through(giver, taker, defined_by(definer, fitting(Origin(self.name), url)), moved)
            disable_events(url)
        return clone

    def swap(self, new: Store, tag: str) -> None:
        """Exchange the tables in one RENAME TABLE; see `mysql_swap`."""
        if not isinstance(new, MySQLStore):
            raise DatabaseError(f"{new.masked_url} is not a MariaDB or MySQL database.")
        old = self.sibling(OLD, tag)
        if is_swapped(self, new, old):
            return
        self.refuse_another()
        exchange = TableSwap(self._parsed, sa.make_url(new.url), sa.make_url(old.url))
        if not exchange.is_renamed():
            refuse_empty(new)
            if old.exists() and old.tables():
                raise occupied(old)
            exchange.refuse_impossible()
            exchange.rename()
        exchange.finish()

    def barriers(self) -> tuple[tuple[str, str], ...]:
        """Check rights, foreign keys of other databases, and what the server lets this user create."""
        if not self.exists():
            return ()
        return tuple(barriers(self._parsed, *(sa.make_url(self.sibling(kind, "0" * 8).url) for kind in (NEW, OLD))))

    def cautions(self) -> tuple[str, ...]:
        """Find objects of other users, objects that are hidden from this user, and grants on routines."""
        return tuple(cautions(self._parsed))

    def rows_in(self, dump: Path, schema: str, table: str) -> list[dict[str, str | None]] | None:
        """Read the one table from the text of the dump."""
        del schema
        return rows_in(dump, table)

    def differences(self, dump: Path) -> tuple[str, ...]:
        """Compare the dump with one of this database."""
        with client.dumping(self._parsed, *self._content()) as call:
            return tuple(differences(dump, self._parsed, call))

    def sibling(self, kind: str, tag: str, folder: Path | None = None) -> MySQLStore:
        """Return the database of that kind and tag: ``shop_old_TAG``; a long name is cut and made unique by a hash."""
        del folder
        ending = suffix(kind, tag, mark="__")
        name = self.name
        if len(name) + len(ending) > LONGEST_NAME:
            name = f"{name[: LONGEST_NAME - len(ending) - 9]}_{sha256(name.encode()).hexdigest()[:8]}"
        return MySQLStore(address.at(self._parsed, name + ending).render_as_string(hide_password=False), is_ours=True)

    def drop(self) -> None:
        """Drop the database and end its sessions."""
        refuse_live(self)
        if self.exists():
            self._end_sessions()
            client.execute(self._server, [f"DROP DATABASE IF EXISTS {backquoted(self.name)}"])

    def run(self, sql: str) -> None:
        """Execute statements; schema changes commit each by itself, as always on these servers."""
        script = f"START TRANSACTION;\n{sql.strip().rstrip(';')};\nCOMMIT;\n"
        client.execute_script(self._parsed, script.encode("utf-8", "surrogateescape"))

    def query(self, sql: str) -> list[tuple[str | None, ...]]:
        """Return the rows of one statement; NUL characters arrive as blanks."""
        return client.select(self._parsed, sql)

    def tables(self) -> list[str]:
        """Return the tables, without views, sequences and our own table in a database that is not live."""
        return [name or "" for (name,) in client.select(self._server, _TABLES.format(name=mysql_literal(self.name)))]

    def row_counts(self) -> dict[str, int]:
        """Count the rows of every table, in one statement."""
        tables = self.tables()
        if not tables:
            return {}
        counts = (f"SELECT {number}, COUNT(*) FROM {backquoted(table)}" for number, table in enumerate(tables))  # noqa: S608
        rows = sorted((int(number or 0), int(count or 0)) for number, count in self.query(" UNION ALL ".join(counts)))
        return {tables[number]: count for number, count in rows}

    def schema_text(self) -> str:
        """Return the dump program's definitions, without its comments, and without the next AUTO_INCREMENT."""
        return definitions_of(self._parsed)

    def _parts(self) -> list[AbstractContextManager[programs.Call]]:
        """Return the calls that write the whole dump.

        If some routines are hidden, routines come first, since views need them.
        """
        content = self._content()
        if not hidden(self._parsed):
            return [client.dumping(self._parsed, *content)]
        rest = [argument for argument in content if argument != "--routines"]
        return [client.dumping_routines(self._parsed), client.dumping(self._parsed, *rest)]

    def _content(self) -> list[str]:
        versioned = client.select(self._server, _VERSIONED.format(name=mysql_literal(self.name)))
        return [*_CONTENT, f"--ignore-table={self.name}.{ASIDE}", *(["--dump-history"] if versioned else [])]

    def _create(self, place: MySQLStore, wanted: tuple[str, str] = ("", "")) -> None:
        """Create a database with the wanted character set and collation, by default those of this one."""
        own = charset(self._parsed)
        if own is None:
            raise DatabaseError(
                f"There is no database {self.name!r} on the server.", hint="Create it, empty; then go on."
            )
        character_set, collation = wanted if all(wanted) else own
        sql = f"CREATE DATABASE {backquoted(place.name)} CHARACTER SET {character_set} COLLATE {collation}"
        client.execute(self._parsed, [sql])

    def _end_sessions(self) -> None:
        """End sessions that are left of a program that was killed while it loaded: they would go on writing."""
        sql = f"SELECT id FROM information_schema.processlist WHERE db = {mysql_literal(self.name)}"  # noqa: S608
        for (number,) in client.select(self._server, sql):
            try:
                client.execute(self._server, [f"KILL {int(number or 0)}"])
            except client.MySQLStatementError as error:
                if error.number != _UNKNOWN_THREAD:
                    raise


def _see_whole(dump: Path) -> None:
    with open(dump, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 200))
        if END_OF_DUMP not in file.read():
            raise DatabaseError(f"The dump {dump} is not whole: its end is missing.", hint="Take another backup.")
