"""Tables without transactions on MySQL and MariaDB: MyISAM, Aria, MEMORY and others."""

from __future__ import annotations

from sqlalchemy import Connection, text

from fietsupdate.views import MYSQL

MOST_NAMED = 5

_UNSAFE = text(
    "SELECT t.table_name, t.engine FROM information_schema.tables t "
    "JOIN information_schema.engines e ON e.engine = t.engine "
    "WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' AND COALESCE(e.transactions, 'NO') <> 'YES' "
    "ORDER BY t.table_name"
)


def tables_without_transaction(connection: Connection) -> tuple[str, ...]:
    """Return the tables whose rows ROLLBACK does not restore, each with its engine: ``notes (MyISAM)``."""
    if connection.dialect.name not in MYSQL:
        return ()
    return tuple(f"{name} ({engine})" for name, engine in connection.execute(_UNSAFE))


def named(tables: tuple[str, ...]) -> str:
    """Return a clause that names tables without transactions; "" for none."""
    if not tables:
        return ""
    more = f" and {len(tables) - MOST_NAMED} more" if len(tables) > MOST_NAMED else ""
    return f"what is written to {', '.join(tables[:MOST_NAMED])}{more} cannot be taken back"
