"""Whole databases: copied, restored, cloned, compared; one or two modules for each backend."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from fietsupdate.database.dump.store import Store
from fietsupdate.errors import DatabaseError
from fietsupdate.views import Whereabouts


def live_store(place: Whereabouts) -> Store:
    """Return the store of the database that env.py's connection leads to; does not connect yet.

    Raises:
        DatabaseError: Databases of that kind cannot be copied.
    """
    store = open_store(place.url, file=place.file)
    store.visited = place.identity
    return store


def open_store(url: str, *, file: Path | None) -> Store:
    """Return the store of a database by its URL alone, without checking that env.py's connection leads there.

    Args:
        url: SQLAlchemy's URL with its password.
        file: The database file of SQLite; derived from the URL if None.

    Raises:
        DatabaseError: Databases of that kind cannot be copied.
    """
    parsed = sa.make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            from fietsupdate.database.dump.sqlite import SQLiteStore

            return SQLiteStore(url, file)
        case "postgresql":
            from fietsupdate.database.dump.postgresql import PostgreSQLStore

            return PostgreSQLStore(url)
        case "mysql" | "mariadb":
            from fietsupdate.database.dump.mysql import MySQLStore

            return MySQLStore(url)
        case dialect:
            raise DatabaseError(
                f"{dialect} databases cannot be copied: SQLite, PostgreSQL, MariaDB and MySQL can.",
                hint="Make a backup with the database's own tools, and repeat with --no-backup.",
            )
