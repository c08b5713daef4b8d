"""Where env.py connects to, also when nothing answers there.

While two databases are exchanged by their names there may be none by the name that env.py knows. What env.py would
open is then still to be had: SQLAlchemy is watched while env.py tries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from fietsupdate.database.environment import Environment, Visit
from fietsupdate.database.failures import TRY_ALEMBIC
from fietsupdate.database.identity import of_engine, whereabouts
from fietsupdate.errors import DatabaseError, FietsupdateError
from fietsupdate.whereabouts import Whereabouts


@dataclass(frozen=True)
class Destination:
    """The database that env.py connects to."""

    place: Whereabouts

    @property
    def shown(self) -> str:
        """Its URL with the password masked."""
        return self.place.shown

    @property
    def file(self) -> Path | None:
        """The database file, for SQLite."""
        return self.place.file


def destination(environment: Environment) -> Destination:
    """Find out where env.py connects to.

    Raises:
        FietsupdateError: it does not even come to that, or it connects to several databases before it fails.
    """
    found: list[Destination] = []

    def work(visit: Visit) -> tuple[()]:
        found.append(Destination(whereabouts(visit.connection, visit.ledger, visit.missing_file)))
        return ()

    with _watching() as engines:
        try:
            environment.visit(work, writes=False, command="current")
        except FietsupdateError:
            if not engines:
                raise
    if found:
        return found[-1]
    if not engines:
        raise DatabaseError("env.py opened no database, so nothing can be restored there.", hint=TRY_ALEMBIC)
    return Destination(of_engine(environment.configured or _only(engines)))


def _only(engines: Sequence[Engine]) -> Engine:
    """Give the engine of the one database that env.py opens.

    Raises:
        DatabaseError: it opens several, and has not come so far as to configure one of them.
    """
    if len({str(engine.url) for engine in engines}) == 1:
        return engines[-1]
    shown = dict.fromkeys(engine.url.render_as_string(hide_password=True) for engine in engines)
    raise DatabaseError(
        f"env.py opens several databases, {', '.join(shown)}, and fails before it configures one of them: which one "
        "is to be restored cannot be known.",
        hint="See 'alembic current'. Where a damaged SQLite file is in the way, move it away, and restore again.",
    )


@contextlib.contextmanager
def _watching() -> Iterator[list[Engine]]:
    """Collect all engines that are asked for a connection."""
    engines: list[Engine] = []
    original = Engine.raw_connection

    def raw_connection(engine: Engine) -> Any:
        engines.append(engine)
        return original(engine)

    Engine.raw_connection = raw_connection  # type: ignore[assignment,method-assign]
    try:
        yield engines
    finally:
        Engine.raw_connection = original  # type: ignore[method-assign]
