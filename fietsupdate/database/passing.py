"""Errors that pass by themselves: two processes met at the same tables, and whoever looks again is well.

A transaction of REPEATABLE READ that is older than a table cannot read it (MariaDB, 1412); a table is found in the
catalog and gone when it is read; two transactions wait for each other. The transaction is lost then, and a fresh one
sees what the other process has made. Only somebody who has changed nothing yet may look again.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

MYSQL_NUMBERS = frozenset({1020, 1146, 1213, 1412})
"""Record changed since it was read, no such table, deadlock, table definition has changed."""

SQLSTATES = frozenset({"40001", "40P01", "42P01"})
"""PostgreSQL: serialization failure, deadlock, undefined table."""

MESSAGES = ("could not open relation with OID", "cache lookup failed", "database schema has changed")
"""PostgreSQL's internal errors for what was dropped between two looks at its catalog; SQLite's for the same."""


def passes(error: BaseException | None) -> bool:
    """Tell whether an error came of another process's work at the same moment."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    origin = error.orig
    number = getattr(origin, "errno", None) or next(iter(origin.args), None)
    state = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
    return number in MYSQL_NUMBERS or state in SQLSTATES or any(words in str(origin) for words in MESSAGES)
