"""Write down the objects of a MariaDB or MySQL database besides rows, as text to compare or to execute again."""

from __future__ import annotations

import re
from collections.abc import Sequence

import sqlalchemy as sa

from fietsupdate.database.dump import mysql_client as client
from fietsupdate.database.dump import programs
from fietsupdate.database.dump.mysql_origin import Origin, fitting
from fietsupdate.database.quoting import backquoted, mysql_literal

ASIDE = "fietsupdate_aside"
"""Our table in a new and in an old database, never in a live one."""
BARE = ("--no-data", "--no-create-info", "--skip-comments")
_VIEWS = "SELECT table_name FROM information_schema.views WHERE table_schema = {} ORDER BY 1"
_TRIGGERS = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = {} ORDER BY 1"
_HANGING = """
SELECT 1, 'EVENT', event_name, definer FROM information_schema.events WHERE event_schema = {0} UNION ALL
SELECT 2, 'TRIGGER', trigger_name, definer FROM information_schema.triggers WHERE trigger_schema = {0} UNION ALL
SELECT 3, 'VIEW', table_name, definer FROM information_schema.views WHERE table_schema = {0} UNION ALL
SELECT CASE routine_type WHEN 'PACKAGE' THEN 5 ELSE 4 END, routine_type, routine_name, definer
  FROM information_schema.routines WHERE routine_schema = {0} ORDER BY 1, 2, 3
"""
"""Objects that belong to a database and not to a table, in the order in which they are dropped: events first, as they
act."""
_HIDDEN = (
    "SELECT routine_type, routine_name, definer FROM information_schema.routines "
    "WHERE routine_schema = {} AND routine_definition IS NULL ORDER BY 1, 2"
)
_NOISE = re.compile(
    r"--.*|/\*M?![0-9]+\\- .*|/\*!\d+ SET .*|SET (@\w+|character_set_client) .*|ALTER DATABASE .*|DO SETVAL\(.*|\s*"
)
_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")
_DROPPED_ROUTINE = re.compile(
    rb"^/\*!50003 DROP (?:PROCEDURE|FUNCTION|PACKAGE|PACKAGE BODY) IF EXISTS .*\n", re.MULTILINE
)
_MADE_ROUTINE = re.compile(rb"^(DELIMITER ;;\nCREATE )(?=DEFINER=)", re.MULTILINE)


def name_of(url: sa.URL) -> str:
    """Return the name of the database in a URL."""
    return url.database or ""


def hanging(url: sa.URL) -> list[tuple[str, str, str]]:
    """Return the objects of a database besides tables, each with kind, name and owner.

    In the order in which to drop them.
    """
    rows = client.select(url.set(database=""), _HANGING.format(mysql_literal(name_of(url))))
    return [(kind or "", name or "", definer or "") for _, kind, name, definer in rows]


def hidden(url: sa.URL) -> list[tuple[str, str, str]]:
    """Return the routines of other users of which this user sees only the name; in the form of `hanging`."""
    rows = client.select(url.set(database=""), _HIDDEN.format(mysql_literal(name_of(url))))
    return [(kind or "", name or "", definer or "") for kind, name, definer in rows]


def views(url: sa.URL) -> list[str]:
    """Return the names of the views, sorted."""
    return [name or "" for (name,) in client.select(url, _VIEWS.format(mysql_literal(name_of(url))))]


def triggers(url: sa.URL) -> list[str]:
    """Return the names of the triggers, sorted."""
    return [name or "" for (name,) in client.select(url, _TRIGGERS.format(mysql_literal(name_of(url))))]


def definitions_of(url: sa.URL) -> str:
    """Return all definitions of a database as text that can be compared."""
    arguments = ("--no-data", "--triggers", "--events", "--skip-comments", "--skip-add-drop-table")
    written = _dumped(url, *arguments, f"--ignore-table={name_of(url)}.{ASIDE}")
    with client.dumping_routines(url) as call:
        written += programs.output_of(call)
    edit = fitting(Origin(name_of(url)), url)
    text = b"".join(map(edit, written.splitlines(keepends=True))).decode(errors="surrogateescape")
    lines = (_COUNTER.sub("", line).rstrip() for line in text.split("\n") if not _NOISE.fullmatch(line))
    return "\n".join(lines) + "\n"


def script_of(url: sa.URL) -> bytes:
    """Return a script of the objects besides tables of a database that was just loaded; events last, as they act.

    On MariaDB routines are replaced, not dropped: users who may execute a routine still may.
    """
    ignored = _without_views(url)
    script = _dumped(url, *BARE, "--routines", "--triggers", "--add-drop-trigger", *ignored)
    if client.is_mariadb(url):
        script = _MADE_ROUTINE.sub(rb"\1OR REPLACE ", _DROPPED_ROUTINE.sub(b"", script))
    if names := views(url):
        script += _dumped(url, "--no-data", "--skip-triggers", "--skip-comments", names=names)
    return script + _dumped(url, *BARE, "--skip-triggers", "--events", *ignored)


def kept_of(url: sa.URL) -> bytes:
    """Return a script of the live objects besides tables, to be kept; views are included even if they are broken."""
    script = _dumped(url, *BARE, "--triggers", "--add-drop-trigger", "--events", *_without_views(url))
    with client.dumping_routines(url) as call:
        script += programs.output_of(call)
    statements = "; ".join(f"SHOW CREATE VIEW {backquoted(name)}" for name in views(url))
    rows = client.select(url, statements) if statements else []
    return script + "".join(f"{row[1]};\n" for row in rows).encode("utf-8", "surrogateescape")


def triggers_of(url: sa.URL) -> bytes:
    """Return a script of the triggers of the live tables, which drops and creates each."""
    return _dumped(url, *BARE, "--triggers", "--add-drop-trigger", *_without_views(url))


def _without_views(url: sa.URL) -> list[str]:
    return [f"--ignore-table={name_of(url)}.{name}" for name in (*views(url), ASIDE)]


def _dumped(url: sa.URL, *arguments: str, names: Sequence[str] = ()) -> bytes:
    with client.dumping(url, *arguments, names=names) as call:
        return programs.output_of(call)
