"""Puts another database in the place of the live one where no database can be renamed: by its tables.

One RENAME TABLE takes every live table aside and every new one to the live place; it happens or does not (MariaDB since
10.6, MySQL since 8.0). Views, triggers, routines and events belong to their database, so they are taken down before and
made again after, from scripts that lie in a table of ours. That table is renamed in the same statement: where it is,
tells whether it has happened. Whatever is interrupted can be called again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlalchemy as sa

from fietsupdate.database import programs
from fietsupdate.database.stores import mysql_client as client
from fietsupdate.database.stores.mysql_client import literal, quoted

ASIDE = "fietsupdate_aside"
"""The table that lies in a new and in an old database, never in a live one."""
THESE, THOSE = "these", "those"
"""Its rows: the scripts of what a database held beside tables; during an exchange also those of the live one."""
_CREATE = (
    "CREATE TABLE IF NOT EXISTS {} (name VARCHAR(16) PRIMARY KEY, script LONGTEXT NOT NULL) "
    "ENGINE = InnoDB CHARACTER SET utf8mb4"
)
_VIEWS = "SELECT table_name FROM information_schema.views WHERE table_schema = {} ORDER BY 1"
_HANGING = """
SELECT 1, 'EVENT', event_name FROM information_schema.events WHERE event_schema = {0} UNION ALL
SELECT 2, 'TRIGGER', trigger_name FROM information_schema.triggers WHERE trigger_schema = {0} UNION ALL
SELECT 3, 'VIEW', table_name FROM information_schema.views WHERE table_schema = {0} UNION ALL
SELECT CASE routine_type WHEN 'PACKAGE' THEN 5 ELSE 4 END, routine_type, routine_name
  FROM information_schema.routines WHERE routine_schema = {0} ORDER BY 1, 2, 3
"""
"""What belongs to a database and not to a table, in the order in which it goes; events first, as they act."""
_BASE = "SELECT table_name FROM information_schema.tables WHERE table_schema = {} AND table_type <> 'VIEW' ORDER BY 1"
_DEFAULTS = (
    "SELECT table_name, column_name, column_default FROM information_schema.columns "
    "WHERE table_schema = {} AND (column_default LIKE 'nextval(%' OR column_default LIKE 'lastval(%')"
)
_NOISE = re.compile(
    r"--.*|/\*M?![0-9]+\\- .*|/\*!\d+ SET .*|SET (@\w+|character_set_client) .*|ALTER DATABASE .*|DO SETVAL\(.*|\s*"
)
_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")


class Exchange:
    """The live database, the new one, and the place for the old one, which is there and empty."""

    def __init__(self, live: sa.URL, new: sa.URL, old: sa.URL) -> None:
        self.live, self.new, self.old = live, new, old

    @staticmethod
    def remember(url: sa.URL) -> None:
        """Keep the scripts of a database in its own table, once."""
        _keep(url, THESE, url)

    def is_renamed(self) -> bool:
        """Tell whether the tables have changed places."""
        return _has_aside(self.old) and not any(_moves(self.new, self.old))

    def rename(self) -> None:
        """Take down what hangs on the live tables, and let the tables change places."""
        self.remember(self.new)
        _keep(self.new, THOSE, self.live)
        pairs = [
            *_moves(self.live, self.old),
            *_moves(self.new, self.live, but=ASIDE),
            f"{quoted(_name(self.new), ASIDE)} TO {quoted(_name(self.old), ASIDE)}",
        ]
        try:
            client.execute(self.live, [*_drops(self.live), *_drops(self.new)])
            client.execute(self.live, [f"RENAME TABLE {', '.join(pairs)}"])
        except client.StatementFailedError as error:
            if error.is_answer and not self.is_renamed():
                self._take_back()
            raise

    def _take_back(self) -> None:
        """Make again what the live tables have lost, and forget that an exchange was begun."""
        client.execute(self.live, _drops(self.live))
        client.execute_script(self.live, _scripts(self.new)[THOSE])
        client.execute(self.new, [f"DELETE FROM {quoted(_name(self.new), ASIDE)} WHERE name = '{THOSE}'"])  # noqa: S608
        client.execute(self.live, [f"DROP DATABASE IF EXISTS {quoted(_name(self.old))}"])

    def finish(self) -> None:
        """Make again what hangs on the tables, on both sides, and drop the place that is empty now."""
        scripts = _scripts(self.old)
        if THOSE in scripts:
            for url, name in ((self.live, THESE), (self.old, THOSE)):
                client.execute(url, _drops(url))
                client.execute_script(url, scripts[name])
            _bring_defaults(self.live, self.new)
            _bring_defaults(self.old, self.live)
            disable_events(self.old)
            aside = quoted(_name(self.old), ASIDE)
            statements = [
                "START TRANSACTION",
                f"DELETE FROM {aside} WHERE name = '{THESE}'",  # noqa: S608  # our own names
                f"UPDATE {aside} SET name = '{THESE}' WHERE name = '{THOSE}'",  # noqa: S608
                "COMMIT",
            ]
            client.execute(self.old, statements)
        client.execute(self.live, [f"DROP DATABASE IF EXISTS {quoted(_name(self.new))}"])


def definitions_of(url: sa.URL) -> str:
    """Give all definitions of a database as text that can be compared."""
    arguments = ("--no-data", "--routines", "--triggers", "--events", "--skip-comments", "--skip-add-drop-table")
    with client.dumping(url, *arguments, f"--ignore-table={_name(url)}.{ASIDE}") as call:
        written = programs.output_of(call)
    edit = client.edited_for(url)
    text = b"".join(map(edit, written.splitlines(keepends=True))).decode(errors="surrogateescape")
    lines = (_COUNTER.sub("", line).rstrip() for line in text.split("\n") if not _NOISE.fullmatch(line))
    return "\n".join(lines) + "\n"


def disable_events(url: sa.URL) -> None:
    """Switch off the events of a database that is not live."""
    events = client.select(url, client.EVENTS.format(literal(_name(url))))
    client.execute(url, [f"ALTER EVENT {quoted(_name(url), event or '')} DISABLE" for (event,) in events])


def _keep(aside: sa.URL, name: str, source: sa.URL) -> None:
    """Store the scripts of a database, unless they are stored: later it may have lost what they make."""
    table = quoted(_name(aside), ASIDE)
    client.execute(aside, [_CREATE.format(table)])
    if name not in _scripts(aside):
        script = _script_of(source).hex()
        value = f"X'{script}'" if script else "''"
        client.execute(aside, [f"INSERT INTO {table} VALUES ('{name}', {value})"])  # noqa: S608  # hexadecimal


def _script_of(url: sa.URL) -> bytes:
    """Write down views, triggers, routines and events, as the dump program does."""
    arguments = ("--no-data", "--no-create-info", "--routines", "--triggers", "--events", "--add-drop-trigger")
    with client.dumping(url, *arguments, "--skip-comments") as call:
        script = programs.output_of(call)
    views = [name or "" for (name,) in client.select(url, _VIEWS.format(literal(_name(url))))]
    if views:
        with client.dumping(url, "--no-data", "--skip-triggers", "--skip-comments", names=views) as call:
            script += programs.output_of(call)
    return script


def _scripts(url: sa.URL) -> dict[str, str]:
    if not _has_aside(url):
        return {}
    rows = client.select(url, f"SELECT name, script FROM {quoted(_name(url), ASIDE)}")  # noqa: S608  # quoted
    return {name or "": script or "" for name, script in rows}


def _has_aside(url: sa.URL) -> bool:
    sql = (
        f"SELECT 1 FROM information_schema.tables WHERE table_schema = {literal(_name(url))} AND table_name = '{ASIDE}'"  # noqa: S608
    )
    return bool(client.select(url.set(database=""), sql))


def _drops(url: sa.URL) -> Iterator[str]:
    for _, kind, thing in client.select(url, _HANGING.format(literal(_name(url)))):
        yield f"DROP {kind} IF EXISTS {quoted(_name(url), thing or '')}"


def _moves(source: sa.URL, target: sa.URL, *, but: str = "") -> Iterator[str]:
    for (table,) in client.select(source.set(database=""), _BASE.format(literal(_name(source)))):
        if table and table != but:
            yield f"{quoted(_name(source), table)} TO {quoted(_name(target), table)}"


def _bring_defaults(url: sa.URL, source: sa.URL) -> None:
    """Let defaults take their numbers from the sequences that came along (a rename leaves them where they were)."""
    name, before, after = literal(_name(url)), quoted(_name(source)) + ".", quoted(_name(url)) + "."
    for table, column, default in client.select(url, _DEFAULTS.format(name)):
        if default and before in default:
            where = f"{quoted(_name(url), table or '')} ALTER COLUMN {quoted(column or '')}"
            client.execute(url, [f"ALTER TABLE {where} SET DEFAULT {default.replace(before, after)}"])


def _name(url: sa.URL) -> str:
    return url.database or ""
