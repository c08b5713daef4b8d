"""Access to one database through its own programs: the server's command line client, or SQLite's library."""

from __future__ import annotations

from abc import ABC, abstractmethod

import sqlalchemy as sa

from fietsupdate.errors import DatabaseError
from fietsupdate.masks import masked

_UNKNOWN = "Which database env.py's connection leads to could not be asked, so {url} cannot be shown to be it."
_SAY_IT_IN_THE_URL = (
    "Put host, port, user and database into the URL that env.py opens; what is given to the driver beside it "
    "(creator=, a session's own USE) the database's programs cannot see."
)


class DatabaseClient(ABC):
    """One database, by its URL, as its own programs reach it: its identity, its size, its tables and rows.

    Attributes:
        url: The SQLAlchemy URL of this database, with its password; never to be printed.
        is_ours: Whether fietsupdate created it, beside a live one; only then may it be dropped.
        visited: The identity of the database that env.py's connection leads to (`fietsupdate.views`); empty if unknown,
            None if not determined.

    Every method raises DatabaseError with the message of the database or its program, without secrets.
    """

    url: str
    is_ours: bool = False
    visited: tuple[str, ...] | None = None

    @property
    def masked_url(self) -> str:
        """The URL with its password masked."""
        return masked(sa.make_url(self.url).render_as_string(hide_password=True))

    @abstractmethod
    def identity(self) -> tuple[str, ...]:
        """Return the identity of this database, as its own program reaches it; see `fietsupdate.database.identity`."""

    def refuse_another(self) -> None:
        """Refuse a database that is not provably the one that env.py's connection leads to.

        Called before anything is dumped or replaced. Databases that we created are identified by their names.

        Raises:
            DatabaseError: The identities differ, or one is unknown; the message names them.
        """
        if self.is_ours or self.visited is None:
            return
        identity = self.identity()
        if not self.visited:
            raise DatabaseError(_UNKNOWN.format(url=self.masked_url), hint=_SAY_IT_IN_THE_URL)
        if identity != self.visited:
            raise DatabaseError(
                f"env.py's connection leads to {_words(self.visited)}; by the URL that env.py opens, "
                f"{self.masked_url}, the database's own programs come to {_words(identity)}. Which one is meant cannot "
                "be known.",
                hint=_SAY_IT_IN_THE_URL,
            )

    @abstractmethod
    def exists(self) -> bool:
        """Return whether the database exists, empty or not."""

    @abstractmethod
    def size(self) -> int:
        """Return the bytes of the database on disk, as its server counts them; 0 when it does not exist."""

    @abstractmethod
    def run(self, sql: str) -> None:
        """Execute statements and commit them."""

    @abstractmethod
    def query(self, sql: str) -> list[tuple[str | None, ...]]:
        """Return the rows of one SELECT; every value as text, NULL as None."""

    @abstractmethod
    def tables(self) -> list[str]:
        """Return the tables, sorted; a table outside of the default schema is called ``schema.table``."""

    @abstractmethod
    def row_counts(self) -> dict[str, int]:
        """Return the number of rows of every table, by the names of `tables`."""


def _words(identity: tuple[str, ...]) -> str:
    """Return an identity for a message: the name, and in brackets the facts that distinguish it from others."""
    name, *rest = identity or ("no database",)
    return f"{name!r} ({', '.join(filter(None, rest))})" if any(rest) else repr(name)
