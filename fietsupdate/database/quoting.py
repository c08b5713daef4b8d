"""Quote names and strings for SQL."""

from __future__ import annotations


def quoted(name: str) -> str:
    """Quote an identifier for PostgreSQL and SQLite, as the SQL standard says."""
    return '"' + name.replace('"', '""') + '"'


def backquoted(*names: str) -> str:
    """Quote an identifier for MariaDB and MySQL, or several that are joined by dots."""
    return ".".join("`" + name.replace("`", "``") + "`" for name in names)


def literal(text: str) -> str:
    """Quote a string for PostgreSQL, whatever ``standard_conforming_strings`` is."""
    doubled = text.replace("'", "''")
    return f"E'{doubled.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{doubled}'"


def mysql_literal(text: str) -> str:
    """Quote a string for MariaDB and MySQL, for the ``sql_mode`` that our sessions set."""
    doubled = text.replace("\\", "\\\\").replace("'", "''")
    return f"'{doubled}'"
