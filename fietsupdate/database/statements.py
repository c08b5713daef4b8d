"""Recognise in the text of a SQL statement what it does to transactions."""

from __future__ import annotations

import re
from functools import lru_cache

_ASIDE = re.compile(
    r"""--[^\n]*|\#[^\n]*|/\*.*?\*/            # comments
      |'(?:[^'\\]|''|\\.)*'|"(?:[^"]|"")*"|`[^`]*`  # strings and names
      |\$(\w*)\$.*?\$\1\$                    # PostgreSQL's dollar quotes""",
    re.DOTALL | re.VERBOSE,
)
_BODY = re.compile(
    r"CREATE\s(?:.*\s)?(?:TRIGGER|PROCEDURE|FUNCTION|EVENT|PACKAGE)\b|BEGIN\s+NOT\s+ATOMIC", re.IGNORECASE | re.DOTALL
)
"""Definitions that may contain statements, which do not run now."""
_COMMIT = re.compile(
    r"COMMIT\b|END\b(?!\s+(?:IF|LOOP|CASE|WHILE|REPEAT))|PREPARE\s+TRANSACTION\b|BEGIN\b(?!\s+NOT\b)|START\s+TRANSACTION\b"
    r"|SET\s+(?:(?:SESSION|LOCAL)\s+|@@(?:SESSION\.|LOCAL\.)?)?AUTOCOMMIT\b|XA\s",
    re.IGNORECASE,
)
"""BEGIN and similar statements commit the open transaction on MySQL."""
_ROLLBACK = re.compile(r"ROLLBACK\b(?!(?:\s+(?:WORK|TRANSACTION))?\s+TO\b)|ABORT\b", re.IGNORECASE)

_HEAD = 100
"""The number of characters that identify a statement."""

_READS = re.compile(r"(?:SELECT|SHOW|EXPLAIN|DESCRIBE|DESC|PRAGMA|VALUES|TABLE|SET|USE|FETCH)\b", re.IGNORECASE)
_CHANGES_SCHEMA = re.compile(r"(?:CREATE|ALTER|DROP|RENAME|TRUNCATE)\b", re.IGNORECASE)


def commits(text: str) -> bool:
    """Return whether a text commits the transaction, or begins another one in its place."""
    return any(_COMMIT.match(statement) for statement in _statements(text))


def rolls_back(text: str) -> bool:
    """Return whether a text rolls the whole transaction back; a rollback to a savepoint does not count."""
    return any(_ROLLBACK.match(statement) for statement in _statements(text))


def only_reads(text: str) -> bool:
    """Return whether a text certainly writes no row, unless a function that it calls does."""
    return all(_READS.match(statement) for statement in _statements(text))


def changes_schema(text: str) -> bool:
    """Return whether a text creates, alters or drops something."""
    return any(_CHANGES_SCHEMA.match(statement) for statement in _statements(text))


@lru_cache(maxsize=100)
def _statements(text: str) -> tuple[str, ...]:
    """Return the beginning of each statement, without comments, strings, and the body of a routine."""
    heads = []
    for statement in _ASIDE.sub(" ", text).split(";"):
        if stripped := statement.strip():
            heads.append(stripped[:_HEAD])
            if _BODY.match(stripped):
                break
    return tuple(heads)
