"""Which database a connection leads to: what its own server says there. A URL only says what was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What was found out on the connection that env.py configured."""

    url: str = field(repr=False)
    """The URL that leads there: env.py's, with what the driver was given beside it and the server's own name of the
    database. Password and all; never printed."""
    shown: str
    """The same with the password masked."""
    file: Path | None = None
    """The database file, for SQLite: the one that is open, wherever the URL points."""
    identity: tuple[str, ...] = ()
    """What tells this database from every other, its name (or file) first; empty where nobody could tell."""
    search_path: tuple[str, ...] = ()
    """On PostgreSQL, the schemas in which names without one are looked up."""
    version_table: str = ""
    """Alembic's version table, whose name the ledger's table shares; "" where nobody could tell."""
    schema: str = ""
    """The schema that the ledger is in, or would be made in; "" where none needs to be named."""
    others: tuple[str, ...] = ()
    """Ledgers of other instances in the same database, by the names of their tables."""
    attached: tuple[str, ...] = ()
    """Further SQLite files that are open on the same connection."""

    @property
    def name(self) -> str:
        """The database's name as its server says it; "" where nobody could tell."""
        return self.identity[0] if self.identity else ""


NOWHERE = Whereabouts("", "")
"""Nobody has asked."""
