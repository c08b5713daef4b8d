"""Remove tables and columns from the text of a schema, so that the rest of two schemas can be compared.

The text comes from `Store.schema_text`: definitions that end with ``;``, each column of a table on its own line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from fietsupdate.database.dump.digests import definitions
from fietsupdate.model.leaves import COLUMN, FILES, TABLE, Leave

_NAME = r'(?:"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\]|\w+)'
_DOTTED = rf"{_NAME}(?:\.{_NAME})*"
_TABLE = re.compile(rf"\s*CREATE\s+(?:\w+\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?({_DOTTED})", re.IGNORECASE)
_ABOUT = re.compile(
    rf"\s*(?:CREATE\s+(?:UNIQUE\s+)?INDEX\s+(?:IF\s+NOT\s+EXISTS\s+)?{_DOTTED}\s+ON\s+(?:ONLY\s+)?"
    rf"|ALTER\s+TABLE\s+(?:ONLY\s+)?|COMMENT\s+ON\s+(?:TABLE|COLUMN)\s+)({_DOTTED})",
    re.IGNORECASE,
)
_SEQUENCE = re.compile(rf"\s*(?:CREATE|ALTER)\s+SEQUENCE\s+({_DOTTED})", re.IGNORECASE)
_OWNED = re.compile(rf"\s*ALTER\s+SEQUENCE\s+({_DOTTED})\s+OWNED\s+BY\s+({_DOTTED})\s*;", re.IGNORECASE)
_FIRST = re.compile(rf"\s*({_NAME})")
_KEYS = re.compile(r"\s*(?:CONSTRAINT|PRIMARY|UNIQUE|FOREIGN|CHECK|KEY|INDEX|FULLTEXT|SPATIAL)\b", re.IGNORECASE)


def holds(schema: str, leave: Leave) -> bool:
    """Return whether a table or column exists in a schema."""
    return any(
        leave.kind == TABLE or any(_is_column(line, leave.column) for line in text.splitlines()[1:])
        for text in definitions(schema)
        if (match := _TABLE.match(text)) and _plain(match[1]) == leave.table
    )


def without(schema: str, leaves: Iterable[Leave]) -> str:
    """Return a schema without these tables and columns, and without their keys, indexes and sequences."""
    parts, owned = definitions(schema), _owners(schema)
    for leave in leaves:
        if leave.kind != FILES:
            parts = [left for text in parts if (left := _without(text, leave, owned))]
    return "".join(parts)


def part(schema: str, leave: Leave) -> list[str]:
    """Return the lines that a schema loses without a table or column."""
    rest = Counter(without(schema, [leave]).splitlines())
    return sorted((Counter(schema.splitlines()) - rest).elements())


def columns(leaves: Collection[Leave]) -> dict[str, frozenset[str]]:
    """Return the columns among them, by table."""
    tables = {leave.table for leave in leaves if leave.kind == COLUMN}
    return {
        table: frozenset(leave.column for leave in leaves if leave.kind == COLUMN and leave.table == table)
        for table in tables
    }


def _without(text: str, leave: Leave, owned: Mapping[str, str]) -> str:
    if match := _SEQUENCE.match(text):
        owner = owned.get(_plain(match[1]), "")
        mine = owner == leave.what if leave.column else owner.rpartition(".")[0] == leave.table
        return "" if mine else text
    if match := _TABLE.match(text):
        if _plain(match[1]) != leave.table:
            return text
        return "" if leave.kind == TABLE else _without_column(text, leave.column)
    if (match := _ABOUT.match(text)) is None:
        return text
    subject, rest = _plain(match[1]), text[match.end() :]
    if leave.kind == TABLE:
        return "" if subject == leave.table or subject.rpartition(".")[0] == leave.table else text
    return "" if subject == leave.what or (subject == leave.table and _mentions(rest, leave.column)) else text


def _without_column(text: str, column: str) -> str:
    head, *lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not (_is_column(line, column) or (_KEYS.match(line) and _mentions(line, column)))]
    return "".join([head, *kept])


def _is_column(line: str, column: str) -> bool:
    match = _FIRST.match(line)
    is_quoted = match is not None and match[1][0] in '"`['
    return match is not None and _plain(match[1]) == column and (is_quoted or not _KEYS.match(line))


def _mentions(text: str, column: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(column)}(?!\w)", text) is not None


def _owners(schema: str) -> dict[str, str]:
    """Return the sequences of PostgreSQL with the columns that own them."""
    match = (_OWNED.match(text) for text in definitions(schema))
    return {_plain(one[1]): _plain(one[2]) for one in match if one}


def _plain(name: str) -> str:
    """Return a dotted name without quotes, and without the default schema."""
    parts = [part[1:-1] if part[0] in '"`[' else part for part in re.findall(_NAME, name)]
    return ".".join(parts).removeprefix("public.")
