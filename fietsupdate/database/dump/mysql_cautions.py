"""Check beforehand what this user could not restore of a MariaDB or MySQL database, and what no dump contains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from fietsupdate.database.dump import mysql_client as client
from fietsupdate.database.dump import mysql_scripts as scripts
from fietsupdate.database.dump.mysql_rights import BESIDE, Rights
from fietsupdate.database.dump.mysql_scripts import name_of
from fietsupdate.database.quoting import backquoted, mysql_literal

_REFERRING = (
    "SELECT constraint_schema, table_name, constraint_name, referenced_table_name "
    "FROM information_schema.referential_constraints "
    "WHERE unique_constraint_schema = {0} AND constraint_schema <> {0} ORDER BY 1, 2, 3"
)
_LOGGED = "SELECT 1 WHERE @@log_bin AND NOT @@log_bin_trust_function_creators"
_UNTRUSTED = "The server writes a binary log, and lets only a user with SUPER make functions and triggers."
_EXECUTORS = (
    "SELECT CONCAT(user, '@', host), routine_type, routine_name FROM mysql.procs_priv WHERE db = {} ORDER BY 2, 3"
)
_BODIES = """
SELECT 'TRIGGER', trigger_name, action_statement FROM information_schema.triggers WHERE trigger_schema = {0} UNION ALL
SELECT 'EVENT', event_name, event_definition FROM information_schema.events WHERE event_schema = {0} UNION ALL
SELECT routine_type, routine_name, routine_definition FROM information_schema.routines WHERE routine_schema = {0}
"""
_LARGE = (
    "SELECT 1 FROM information_schema.columns WHERE table_schema = {} "
    "AND data_type IN ('mediumblob', 'longblob', 'mediumtext', 'longtext', 'json', 'geometry') LIMIT 1"
)
_INSERT = re.compile(rb"^INSERT INTO `((?:[^`]|``)*)`", re.MULTILINE)
_PIECE = 1 << 20
_HEAD = 1024
"""The most bytes of a statement besides a row."""


def barriers(url: sa.URL, *beside: sa.URL) -> list[tuple[str, str]]:
    """Return the reasons why this user could restore nothing at all, each with the command that removes it.

    Args:
        url: The live database.
        beside: The databases that a restore creates beside it; existing content in them counts, too.
    """
    obstacles = [*_keys_from_elsewhere(url)]
    rights = Rights.on(url)
    kinds = {kind for one in (url, *beside) for kind, _, _ in scripts.hanging(one)}
    remedies: dict[str, str] = {}
    for name in map(name_of, (url, *beside)):
        more = BESIDE if name != name_of(url) else ()
        if lacking := ", ".join(rights.lacking(name, kinds, more)):
            text = f"A restore takes rights on the database {name} that this user does not have: {lacking}."
            what, where = (lacking, at) if (at := rights.pattern(name)) else ("ALL", client.beside(name_of(url)))
            remedies.setdefault(f"GRANT {what} ON {backquoted(where)}.* TO this user.", text)
    obstacles += [(text, remedy) for remedy, text in remedies.items()]
    if kinds & {"FUNCTION", "TRIGGER"} and not rights.may("SUPER") and client.select(_server(url), _LOGGED):
        obstacles += [(_UNTRUSTED, "SET GLOBAL log_bin_trust_function_creators = 1.")]
    return obstacles


def _keys_from_elsewhere(url: sa.URL) -> Iterator[tuple[str, str]]:
    for row in client.select(_server(url), _REFERRING.format(mysql_literal(name_of(url)))):
        schema, table, name, referred = (value or "" for value in row)
        key, drop = (
            f"{schema}.{table} to {referred}, by {name}",
            f"ALTER TABLE {backquoted(schema, table)} DROP FOREIGN KEY",
        )
        yield (
            f"A foreign key of another database refers to a table that a restore replaces: {key}.",
            f"{drop} {backquoted(name)}; after the restore, add it again (SHOW CREATE TABLE shows it).",
        )


def cautions(url: sa.URL) -> Iterator[str]:
    """Yield what this user could not restore of the database, and what no dump contains."""
    rights, name = Rights.on(url), name_of(url)
    user = client.select(_server(url), "SELECT CURRENT_USER()")[0][0]
    hidden = scripts.hidden(url)
    for kind, thing, definer in hidden:
        yield f"the {kind} {thing} of {definer} is hidden from this user: no backup of his has it, a restore leaves it"
    hanging = [one for one in scripts.hanging(url) if one not in hidden]
    if not rights.may_define_for_others():
        for kind, thing, definer in hanging:
            if definer != user:
                yield (
                    f"the {kind} {thing} belongs to {definer}, for whom this user may make nothing (SET USER): it "
                    "would come back as his own"
                )
    if not any(rights.may(right, name) for right in ("EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE")):
        yield "routines that others own are hidden from this user (EXECUTE): if there are any, the backup lacks them"
    if not rights.may("TRIGGER", name):
        yield "triggers are hidden from this user (TRIGGER): if there are any, the backup lacks them"
    with suppress(client.MySQLStatementError):  # only an administrator may read the rights to execute
        for who, what, routine in client.select(_server(url), _EXECUTORS.format(mysql_literal(name))):
            yield f"the right of {who} to the {what} {routine} is in no backup; it stays where that is still there"
    for what, named, body in client.select(_server(url), _BODIES.format(mysql_literal(name))):
        if any(f"{mark}{name}{mark}." in (body or "") for mark in ("", "`", '"')):
            yield f"the {what} {named} names the database {name} itself, and still would under another name"


def oversized(url: sa.URL, dump: Path) -> Iterator[str]:
    """Yield a warning about a row of a dump that is larger than what the server accepts at once."""
    if not client.select(_server(url), _LARGE.format(mysql_literal(name_of(url)))):
        return
    most = int(client.select(_server(url), "SELECT @@global.max_allowed_packet")[0][0] or 0)
    longest, table = _longest_line(dump)
    if longest + _HEAD > most:
        yield (
            f"a row of {table} takes {longest + _HEAD} bytes in the dump, and the server takes {most} at once: SET "
            f"GLOBAL max_allowed_packet = {1 << (longest + _HEAD).bit_length()} before a restore"
        )


def _longest_line(dump: Path) -> tuple[int, str]:
    """Return the bytes of the longest line, and its table; lines that are shorter than a piece may be skipped."""
    longest, table, length, current, tail = 0, "", 0, "", b""
    with open(dump, "rb") as file:
        while piece := file.read(_PIECE):
            first, last = piece.find(b"\n"), piece.rfind(b"\n")
            length += len(piece) if first < 0 else first
            if length > longest:
                longest, table = length, current
            if last >= 0:
                length = len(piece) - last - 1
                for insert in _INSERT.finditer(tail + piece):
                    current = insert[1].decode(errors="replace")
            tail = piece[-_HEAD:]
    return longest, table


def _server(url: sa.URL) -> sa.URL:
    return url.set(database="")
