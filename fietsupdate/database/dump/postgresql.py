"""PostgreSQL, by pg_dump, pg_restore and psql: a database becomes the live one by being renamed.

Both renames are one transaction of the server, so there is always a complete live database. A clone never ends a
session; a swap ends them all, because a database in use cannot be renamed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path

import sqlalchemy as sa

from fietsupdate.database.dump import postgresql_client as address
from fietsupdate.database.dump import postgresql_load as loading
from fietsupdate.database.dump import postgresql_rights as rights
from fietsupdate.database.dump import postgresql_verify as proof
from fietsupdate.database.dump import programs
from fietsupdate.database.dump.postgresql_client import (
    DUMPED_TABLES,
    IN_USE,
    INSTALL,
    NOT_ALLOWED,
    PostgreSQLClient,
    PostgreSQLStatementError,
)
from fietsupdate.database.dump.postgresql_place import creation, properties, statements
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
from fietsupdate.database.quoting import literal, quoted
from fietsupdate.errors import DatabaseError
from fietsupdate.model.listeners import ignore

LONGEST_NAME = 63
"""The most bytes of an identifier (NAMEDATALEN - 1)."""
ATTEMPTS = 5
"""How often sessions are ended and the renames tried: an application may connect again in between."""
_A_TABLE = re.compile(r"^\d+; 1259 \d+ TABLE (?!DATA |ATTACH )", re.MULTILINE)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+(?:\.\d+)*)")
_NOISE = re.compile(r"(--.*|SET .*;|SELECT pg_catalog\.set_config\(.*|\\(un)?restrict .*|\s*)")

_TABLESPACES = """
SELECT DISTINCT spcname::text FROM pg_class JOIN pg_tablespace t ON t.oid = reltablespace WHERE spcname <> 'pg_global'
"""
_USABLE = "SELECT spcname::text FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')"


class PostgreSQLStore(PostgreSQLClient, Store):
    """One database on a PostgreSQL server, copied and replaced."""

    dialect = "postgresql"
    file = None

    def check(self) -> None:
        """Compare the programs' version with the server's; pg_dump refuses a newer server."""
        for program in ("pg_dump", "pg_restore", "psql"):
            programs.find([program], INSTALL)
        self.refuse_another()
        number, name = self.query("SELECT current_setting('server_version_num'), current_setting('server_version')")[0]
        server = int(number or 0) // 10_000
        for program in ("pg_dump", "pg_restore"):
            own = programs.version(programs.find([program], INSTALL), _VERSION)
            if own and own[0] < server:
                raise DatabaseError(
                    f"{program} is version {'.'.join(map(str, own))}, older than the PostgreSQL server, {name}.",
                    hint=f"Install the client programs of PostgreSQL {server} (Debian: postgresql-client-{server}).",
                )

    def dump(self, dest: Path, moved: OnBytes = ignore) -> None:
        """Write pg_dump's custom format: one snapshot, even if other sessions write meanwhile."""
        self.refuse_another()
        with _dumping(self._parsed) as call, arriving(dest) as draft:
            programs.to_file(call, draft, moved)

    def load_beside(
        self, dump: Path, tag: str, moved: OnBytes = ignore, settings: Settings | None = None
    ) -> PostgreSQLStore:
        """Load into a new database with the live one's owner, encoding and collation."""
        expected = len(_A_TABLE.findall("\n".join(loading.entries(dump))))
        new = self.sibling(NEW, tag)
        with self._emerging(new, settings=settings):
            new.notes += loading.load(sa.make_url(new.url), dump, moved, tablespaces=self._has_tablespaces(settings))
            refuse_empty(new)
            if (arrived := len(new.query(DUMPED_TABLES))) < expected:
                raise DatabaseError(f"Of {expected} tables in {dump} only {arrived} were loaded into {new.shown}.")
            new.analyze()
        return new

    def clone(
        self, tag: str, folder: Path | None = None, moved: OnBytes = ignore, *, by_dump: bool = False, definer: str = ""
    ) -> Store:
        """Copy on the server if no other session is connected, which is fast; otherwise by dump and restore."""
        del folder, definer  # a server stores its databases itself, and functions run for their owner
        self.refuse_another()
        clone = self.sibling(CLONE, tag)
        with self._emerging(clone, template=not by_dump and self._is_alone()) as is_full:
            if not is_full:
                with _dumping(self._parsed, "--compress=0") as giver, _restoring(sa.make_url(clone.url)) as taker:
                    programs.through(giver, taker, moved=moved)
            clone.analyze()
        return clone

    def swap(self, new: Store, tag: str) -> None:
        """Rename both in one transaction, after the sessions of other users have been ended."""
        if not isinstance(new, PostgreSQLStore):
            raise DatabaseError(f"{new.masked_url} is not a PostgreSQL database.")
        old = self.sibling(OLD, tag)
        if is_swapped(self, new, old):
            return
        refuse_empty(new)
        self.refuse_another()
        if self.exists() and old.exists():
            raise occupied(old)
        renames = [(self.name, old.name)] if self.exists() else []
        self._rename([*renames, (new.name, self.name)])

    def sibling(self, kind: str, tag: str, folder: Path | None = None) -> PostgreSQLStore:
        """Return the database of that kind and tag: ``shop_old_TAG``; a long name is cut and made unique by a hash."""
        del folder
        ending = suffix(kind, tag, mark="__")
        name, room = self.name, LONGEST_NAME - len(ending.encode())
        if len(name.encode()) > room:
            name = name.encode()[: room - 9].decode(errors="ignore") + "_" + sha256(name.encode()).hexdigest()[:8]
        url = address.at(self._parsed, name + ending)
        return PostgreSQLStore(url.render_as_string(hide_password=False), is_ours=True)

    def drop(self) -> None:
        """Drop the database and end its sessions."""
        refuse_live(self)
        if self.exists():
            self._end_sessions(self.name)
            self._server.administer(f"DROP DATABASE IF EXISTS {quoted(self.name)}")

    def schema_text(self) -> str:
        """Return pg_dump's definitions, without its comments and settings."""
        with _dumping(self._parsed, "--schema-only", form="plain") as call:
            text = programs.output_of(call).decode(errors="surrogateescape")
        return "\n".join(line for line in text.split("\n") if not _NOISE.fullmatch(line)) + "\n"

    def settings(self) -> Settings:
        """Return comment, rights, settings and tablespaces: they belong to the database, not to its content."""
        used = (("tablespace", name or "") for (name,) in self.query(_TABLESPACES))
        return (*(tuple(one) for one in properties(self.query, self.name)), *used)

    def set_up(self, known: Settings) -> tuple[str, ...]:
        """Apply these settings to this database; return what was refused."""
        owner = self.query("SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()")
        return tuple(loading.attempted(self._parsed, statements(known, self.name, owner[0][0] or "")))

    def barriers(self) -> tuple[tuple[str, str], ...]:
        """Check what this user may do here, and what prevents the database from being renamed or dropped."""
        try:
            self._server.administer("SELECT 1")
        except DatabaseError as error:
            return ((error.message, error.hint),)
        return tuple(rights.barriers(self._parsed))

    def cautions(self) -> tuple[str, ...]:
        """Search the catalogue, and try the expressions that are computed while a dump is loaded."""
        return tuple(rights.cautions(self._parsed))

    def differences(self, dump: Path) -> tuple[str, ...]:
        """Compare the script of the dump with the script that pg_dump writes of this database."""
        with _dumping(self._parsed, *proof.ALIKE, form="plain") as call:
            return tuple(proof.differences(dump, call))

    def rows_in(self, dump: Path, schema: str, table: str) -> list[dict[str, str | None]] | None:
        """Let pg_restore write the one table."""
        return loading.rows_in(dump, schema, table)

    def _has_tablespaces(self, settings: Settings | None) -> bool:
        """Return whether all known tablespaces of the dump's tables can be used here."""
        names = [values[0] for kind, *values in settings or () if kind == "tablespace"]
        here = {name for (name,) in self._server.ask(_USABLE)}
        return set(names) <= here

    # -- creating and renaming

    @contextmanager
    def _emerging(
        self, place: PostgreSQLStore, *, template: bool = False, settings: Settings | None = None
    ) -> Iterator[bool]:
        """Create a database like this one, full if it could be copied on the server; after an error it is dropped."""
        with emerging(place):
            is_full = template and self._copied(place.name)
            if not is_full:
                self._make(place.name)
            yield is_full
            place.notes += place.set_up(properties(self._server.ask, self.name) if settings is None else settings)

    def _make(self, name: str, *, full: bool = False) -> None:
        sql = creation(self._server.ask, self.name, name, full=full)
        if sql is None:
            raise DatabaseError(
                f"There is no database {self.name!r} on the server.",
                hint="Create it, empty, with its owner; then go on.",
            )
        self._server.administer(sql)

    def _copied(self, name: str) -> bool:
        """Copy on the server; return False when another session has connected meanwhile, or this user may not copy."""
        try:
            self._make(name, full=True)
        except PostgreSQLStatementError as error:
            if error.sqlstate in {IN_USE, NOT_ALLOWED}:
                return False
            raise
        return True

    def _is_alone(self) -> bool:
        sql = f"SELECT 1 FROM pg_stat_activity WHERE datname = {literal(self.name)} LIMIT 1"  # noqa: S608
        return not self._server.ask(sql)

    def _rename(self, pairs: list[tuple[str, str]]) -> None:
        renames = "".join(f"ALTER DATABASE {quoted(before)} RENAME TO {quoted(after)};\n" for before, after in pairs)
        script = f"SET synchronous_commit = on;\nBEGIN;\n{renames}COMMIT;\n"
        for attempt in range(ATTEMPTS):
            for before, _ in pairs:
                self._end_sessions(before)
            try:
                self._server.administer(script)
            except PostgreSQLStatementError as error:
                if error.sqlstate != IN_USE or attempt == ATTEMPTS - 1:
                    raise
            else:
                return

    def _end_sessions(self, name: str) -> None:
        """End all sessions on a database; the next statement will report sessions that we may not end."""
        sql = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "  # noqa: S608  # quoted
            f"WHERE datname = {literal(name)} AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'"
        )
        try:
            self._server.ask(sql)
        except PostgreSQLStatementError as error:
            if error.sqlstate != NOT_ALLOWED:
                raise


def _dumping(url: sa.URL, *options: str, form: str = "custom") -> AbstractContextManager[programs.Call]:
    program = programs.find(["pg_dump"], INSTALL)
    hint = "See that this user may read everything in the database, and that no schema change is running."
    return address.calling(
        url, program, f"--format={form}", "--lock-wait-timeout=60s", "--no-subscriptions", *options, hint=hint
    )


def _restoring(url: sa.URL) -> AbstractContextManager[programs.Call]:
    program = programs.find(["pg_restore"], INSTALL)
    hint = "Its owners and extensions must exist here, and this user must be allowed to act for them."
    return address.calling(url, program, "--exit-on-error", hint=hint)
