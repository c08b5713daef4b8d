"""Replace the live database by another one where no database can be renamed: by its tables.

1. The new database was loaded completely, by this user, on this server, so its objects can be created here.
2. Other possible failures are checked before anything live is changed: rights, tables in use, foreign keys of other
  databases.
3. One RENAME TABLE moves every live table aside and every new one to the live place; it happens completely or not at
  all (MariaDB since 10.6, MySQL since 8.0). Triggers would prevent it, so they are dropped first, on both sides; if it
  is refused, the live ones are created again. A table of ours is renamed in the same statement; its place shows whether
  the rename has happened.
4. Afterwards, views, triggers, routines and events are created from a script in that table. Each step can be repeated.
5. The old objects of the live tables are kept in that table, too, as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import sqlalchemy as sa

from fietsupdate.database.dump import mysql_client as client
from fietsupdate.database.dump import mysql_scripts as scripts
from fietsupdate.database.dump.mysql_cautions import barriers
from fietsupdate.database.dump.mysql_origin import Origin, fitting
from fietsupdate.database.dump.mysql_scripts import ASIDE, name_of
from fietsupdate.database.quoting import backquoted, mysql_literal
from fietsupdate.errors import DatabaseError

NEXT, TRIGGERS, KEPT = "next", "triggers", "kept"
"""Rows of our table: the script for the live place; the live triggers; all objects that were live before."""
_THESE, _THOSE = "these", "those"
"""The names of the first and the last of them in an exchange that an earlier version began."""
_RENAMED_ROW = f"UPDATE {{}} SET name = '{NEXT}' WHERE name = '{_THESE}'"  # noqa: S608  # our own names
_CREATE = "CREATE TABLE IF NOT EXISTS {} (name VARCHAR(16) PRIMARY KEY, script LONGBLOB NOT NULL) ENGINE = InnoDB"
_BASE = "SELECT table_name FROM information_schema.tables WHERE table_schema = {} AND table_type <> 'VIEW' ORDER BY 1"
_DEFAULTS = (
    "SELECT table_name, column_name, column_default FROM information_schema.columns "
    "WHERE table_schema = {} AND (column_default LIKE '%nextval(%' OR column_default LIKE '%lastval(%')"
)
_CHARSET = (
    "SELECT default_character_set_name, default_collation_name FROM information_schema.schemata WHERE schema_name = {}"
)
_LOCKED = 1205


class TableSwap:
    """The live database, the new one, and the place for the old one."""

    def __init__(self, live: sa.URL, new: sa.URL, old: sa.URL) -> None:
        self.live, self.new, self.old = live, new, old

    @staticmethod
    def remember(url: sa.URL) -> None:
        """Store in a new database the script of its objects besides tables."""
        _keep(url, NEXT, scripts.script_of(url))

    def is_renamed(self) -> bool:
        """Return whether the tables have been exchanged."""
        return _has_aside(self.old) and not any(_moves(self.new, self.old))

    def refuse_impossible(self) -> None:
        """Find everything that would prevent the exchange, before anything live is changed.

        Raises:
            DatabaseError: The first obstacle.
        """
        for text, remedy in barriers(self.live, self.new, self.old):
            raise DatabaseError(text, hint=remedy)
        self._refuse_used()

    def rename(self) -> None:
        """Drop the triggers, and exchange the tables.

        Raises:
            DatabaseError: The server refused. The live triggers are created again, if this user may create them.
        """
        self._remember_live()
        client.execute(self.live, [f"CREATE DATABASE IF NOT EXISTS {backquoted(name_of(self.old))}"])
        pairs = [
            *_moves(self.live, self.old),
            *_moves(self.new, self.live, but=ASIDE),
            f"{backquoted(name_of(self.new), ASIDE)} TO {backquoted(name_of(self.old), ASIDE)}",
        ]
        try:
            client.execute(self.live, [*_trigger_drops(self.new), *_trigger_drops(self.live)])
            client.execute(self.live, [f"RENAME TABLE {', '.join(pairs)}"])
        except client.MySQLStatementError as error:
            if error.is_answer and not self.is_renamed():
                # if the old place remains, a later call continues from there
                with suppress(client.MySQLStatementError):
                    self._take_back()
            raise

    def finish(self) -> None:
        """Create the objects besides tables in the live place, and drop the new database, which is empty now."""
        there = _scripts(self.old)
        script = there.get(NEXT, there.get(_THESE) if _THOSE in there else None)
        if script is not None:
            client.execute(self.live, [*self._obsolete(), *_database_looks(self.new, self.live)])
            edit = fitting(Origin(name_of(self.new)), self.live)
            client.execute_script(self.live, b"".join(map(edit, script.splitlines(keepends=True))))
            _bring_defaults(self.live, self.new)
            done = (
                f"DELETE FROM {backquoted(name_of(self.old), ASIDE)} WHERE name IN ('{NEXT}', '{_THESE}', '{_THOSE}')"  # noqa: S608
            )
            client.execute(self.old, [done])
        client.execute(self.live, [f"DROP DATABASE IF EXISTS {backquoted(name_of(self.new))}"])

    def _refuse_used(self) -> None:
        """Check that no session holds a live table; other answers to a lock (a broken trigger) prevent no restore.

        Raises:
            MySQLStatementError: A session does.
        """
        tables = ", ".join(f"{backquoted(name_of(self.live), table)} WRITE" for table in _tables(self.live))
        try:
            client.execute(self.live, [f"LOCK TABLES {tables}", "UNLOCK TABLES"] if tables else [])
        except client.MySQLStatementError as error:
            if error.number == _LOCKED:
                raise

    def _remember_live(self) -> None:
        """Store the live objects besides tables, as they were before this exchange changed them for the first time."""
        there = _scripts(self.new)
        if NEXT not in there:
            client.execute(self.new, [_RENAMED_ROW.format(backquoted(name_of(self.new), ASIDE))])
        if TRIGGERS not in there:
            _keep(self.new, KEPT, scripts.kept_of(self.live))
            _keep(self.new, TRIGGERS, scripts.triggers_of(self.live))

    def _take_back(self) -> None:
        """Create the live triggers again, and remove all traces of the exchange."""
        there = _scripts(self.new)
        client.execute_script(self.live, there.get(_THOSE, there.get(TRIGGERS, b"")))
        client.execute(self.live, [f"DROP DATABASE IF EXISTS {backquoted(name_of(self.old))}"])
        aside = backquoted(name_of(self.new), ASIDE)
        client.execute(self.new, [f"DELETE FROM {aside} WHERE name <> '{NEXT}'"])  # noqa: S608  # our own names

    def _obsolete(self) -> list[str]:
        """Return statements that drop the objects in the live place, except routines that are replaced or hidden."""
        new = {(kind, name) for kind, name, _ in scripts.hanging(self.new)} if client.is_mariadb(self.live) else set()
        replaced = new - {(kind, name) for kind, name in new if kind in {"EVENT", "TRIGGER", "VIEW"}}
        replaced |= {(kind, name) for kind, name, _ in scripts.hidden(self.live)}
        return [
            f"DROP {kind} IF EXISTS {backquoted(name_of(self.live), name)}"
            for kind, name, _ in scripts.hanging(self.live)
            if (kind, name) not in replaced
        ]


def disable_events(url: sa.URL) -> None:
    """Switch off the events of a database that is not live."""
    events = client.select(url, client.EVENTS.format(mysql_literal(name_of(url))))
    client.execute(url, [f"ALTER EVENT {backquoted(name_of(url), event or '')} DISABLE" for (event,) in events])


def charset(url: sa.URL) -> tuple[str, str] | None:
    """Return the default character set and collation of a database; None where it does not exist."""
    rows = client.select(url.set(database=""), _CHARSET.format(mysql_literal(name_of(url))))
    return (rows[0][0] or "", rows[0][1] or "") if rows else None


def _database_looks(source: sa.URL, target: sa.URL) -> Iterator[str]:
    wanted = charset(source)
    if wanted is not None and wanted != charset(target):
        yield f"ALTER DATABASE {backquoted(name_of(target))} CHARACTER SET {wanted[0]} COLLATE {wanted[1]}"


def _keep(aside: sa.URL, name: str, script: bytes) -> None:
    table = backquoted(name_of(aside), ASIDE)
    value = f"X'{script.hex()}'" if script else "''"
    replace = f"REPLACE INTO {table} VALUES ('{name}', {value})"  # noqa: S608  # hexadecimal
    client.execute(aside, [_CREATE.format(table), replace])


def _scripts(url: sa.URL) -> dict[str, bytes]:
    if not _has_aside(url):
        return {}
    rows = client.select(url, f"SELECT name, HEX(script) FROM {backquoted(name_of(url), ASIDE)}")  # noqa: S608  # quoted
    return {name or "": bytes.fromhex(script or "") for name, script in rows}


def _has_aside(url: sa.URL) -> bool:
    sql = (
        "SELECT 1 FROM information_schema.tables "  # noqa: S608  # quoted
        f"WHERE table_schema = {mysql_literal(name_of(url))} AND table_name = '{ASIDE}'"
    )
    return bool(client.select(url.set(database=""), sql))


def _trigger_drops(url: sa.URL) -> Iterator[str]:
    return (f"DROP TRIGGER IF EXISTS {backquoted(name_of(url), name)}" for name in scripts.triggers(url))


def _tables(url: sa.URL) -> Iterator[str]:
    for (table,) in client.select(url.set(database=""), _BASE.format(mysql_literal(name_of(url)))):
        yield table or ""


def _moves(source: sa.URL, target: sa.URL, *, but: str = "") -> Iterator[str]:
    for table in _tables(source):
        if table != but:
            yield f"{backquoted(name_of(source), table)} TO {backquoted(name_of(target), table)}"


def _bring_defaults(url: sa.URL, source: sa.URL) -> None:
    """Let defaults use the sequences that came along (a rename leaves defaults on the old ones)."""
    name, before, after = mysql_literal(name_of(url)), backquoted(name_of(source)) + ".", backquoted(name_of(url)) + "."
    for table, column, default in client.select(url, _DEFAULTS.format(name)):
        if default and before in default:
            where = f"{backquoted(name_of(url), table or '')} ALTER COLUMN {backquoted(column or '')}"
            client.execute(url, [f"ALTER TABLE {where} SET DEFAULT {default.replace(before, after)}"])
