"""Asks one database through its own programs: the server's command line client, or SQLite's library."""

from __future__ import annotations

from abc import ABC, abstractmethod

import sqlalchemy as sa

from fietsupdate.errors import DatabaseError, masked

_UNKNOWN = "Which database env.py's connection leads to could not be asked, so {shown} cannot be shown to be it."
_SAY_IT_IN_THE_URL = (
    "Put host, port, user and database into the URL that env.py opens; what is given to the driver beside it "
    "(creator=, a session's own USE) the database's programs cannot see."
)


class DatabaseClient(ABC):
    """One database, by its URL, as its own programs reach it: its identity, its size, its tables and rows.

    Attributes:
        url: The SQLAlchemy URL of this database, password and all; never to be printed.
        made: Whether fietsupdate created it, beside a live one; only then may it be dropped.
        visited: The identity of the database that env.py's connection leads to (`fietsupdate.views`); empty where
            that could not be found out, None where it was not asked for.

    Every method raises DatabaseError with the message of the database or its program, without secrets.
    """

    url: str
    made: bool = False
    visited: tuple[str, ...] | None = None

    @property
    def shown(self) -> str:
        """The URL with its password masked."""
        return masked(sa.make_url(self.url).render_as_string(hide_password=True))

    @abstractmethod
    def identity(self) -> tuple[str, ...]:
        """Return what identifies this database, as its own program reaches it; see `fietsupdate.database.identity`."""

    def refuse_another(self) -> None:
        """Refuse to go on with a database that cannot be shown to be the one that env.py's connection leads to.

        It is called before anything is dumped or replaced. What we made ourselves is known by its name.

        Raises:
            DatabaseError: with both answers, or with why there is none.
        """
        if self.made or self.visited is None:
            return
        found = self.identity()
        if not self.visited:
            raise DatabaseError(_UNKNOWN.format(shown=self.shown), hint=_SAY_IT_IN_THE_URL)
        if found != self.visited:
            raise DatabaseError(
                f"env.py's connection leads to {_words(self.visited)}; by the URL that env.py opens, {self.shown}, the "
                f"database's own programs come to {_words(found)}. Which one is meant cannot be known.",
                hint=_SAY_IT_IN_THE_URL,
            )

    @abstractmethod
    def exists(self) -> bool:
        """Return whether there is such a database, empty or not."""

    @abstractmethod
    def size(self) -> int:
        """Return the bytes that the database takes on disk, as its server counts them; 0 when it is not there."""

    @abstractmethod
    def run(self, sql: str) -> None:
        """Execute statements and commit them."""

    @abstractmethod
    def query(self, sql: str) -> list[tuple[str | None, ...]]:
        """Return the rows of one SELECT; every value as text, NULL as None."""

    @abstractmethod
    def tables(self) -> list[str]:
        """Name the tables, sorted; a table outside of the default schema is called ``schema.table``."""

    @abstractmethod
    def row_counts(self) -> dict[str, int]:
        """Count the rows of every table, by the names that `tables` gives."""


def _words(identity: tuple[str, ...]) -> str:
    """Say an identity to people: its name, and in brackets what tells it from others of that name."""
    name, *rest = identity or ("no database",)
    return f"{name!r} ({', '.join(filter(None, rest))})" if any(rest) else repr(name)
