"""Where env.py connects to, also when nothing answers there; and what a copy of that database says of its instance.

While two databases are exchanged by their names there may be none by the name that env.py knows. What env.py would
open is then still to be had: SQLAlchemy is watched while env.py tries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from fietsupdate.database.dump import Store
from fietsupdate.database.environment import Environment, Visit
from fietsupdate.database.failures import TRY_ALEMBIC
from fietsupdate.database.identity import of_engine, whereabouts
from fietsupdate.database.ledger import BEGUN, DEFAULT_VERSION_TABLE, DONE, FIELDS, TABLE, LedgerTable, ledger_of
from fietsupdate.errors import DatabaseError, FietsupdateError
from fietsupdate.model import Direction, Entry
from fietsupdate.whereabouts import Whereabouts


@dataclass(frozen=True)
class Destination:
    """The database that env.py connects to."""

    place: Whereabouts
    ledger: LedgerTable | None
    """Names the ledger's table; None where nothing answered."""

    @property
    def shown(self) -> str:
        """Its URL with the password masked."""
        return self.place.shown

    @property
    def file(self) -> Path | None:
        """The database file, for SQLite."""
        return self.place.file


@dataclass(frozen=True)
class Loaded:
    """What a copy of a database says of its instance."""

    instance_id: str
    """"" where it has no ledger."""
    last: Entry | None
    """The last finished entry."""
    begun: str
    """The transaction that is begun in it, "" for none: nobody can finish it in a copy."""


def destination(environment: Environment) -> Destination:
    """Find out where env.py connects to.

    Raises:
        FietsupdateError: it does not even come to that, or it connects to several databases before it fails.
    """
    found: list[Destination] = []

    def work(visit: Visit) -> tuple[()]:
        found.append(Destination(whereabouts(visit.connection, visit.ledger, visit.missing_file), visit.ledger))
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
    return Destination(of_engine(environment.configured or _only(engines)), None)


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


def loaded(store: Store, ledger: LedgerTable | None) -> Loaded:
    """Read what a loaded copy says of its instance.

    Args:
        store: The copy.
        ledger: The ledger's table; None for the only one that is there.

    Raises:
        DatabaseError: it cannot be read.
    """
    ledger = ledger or _only_ledger(store)
    if ledger is None or not {ledger.rows.name, f"{ledger.schema}.{ledger.rows.name}"} & set(store.tables()):
        return Loaded("", None, "")
    name = sa.make_url(store.url).get_dialect()().identifier_preparer.format_table
    rows, instance = name(ledger.rows), name(ledger.instance)
    last = store.query(
        f"SELECT {', '.join(FIELDS)} FROM {rows} WHERE status = '{DONE}' ORDER BY seq DESC LIMIT 1"  # noqa: S608
    )
    begun = store.query(f"SELECT txn FROM {rows} WHERE status = '{BEGUN}'")  # noqa: S608  # our own names
    ids = store.query(f"SELECT instance_id FROM {instance}")  # noqa: S608
    return Loaded((ids[0][0] or "") if ids else "", _entry(last[0]) if last else None, (begun or [("",)])[0][0] or "")


def _only_ledger(store: Store) -> LedgerTable | None:
    """Find the ledger by the names of the tables: the live database cannot tell how env.py names it."""
    names = [name.rpartition(".") for name in store.tables() if name.rpartition(".")[2].startswith(TABLE)]
    if len(names) != 1:
        return None
    schema, _, name = names[0]
    version_table = name.removeprefix(TABLE).removeprefix("_") or DEFAULT_VERSION_TABLE
    return ledger_of(version_table, schema or None, store.dialect)


def _entry(row: tuple[str | None, ...]) -> Entry:
    values: dict[str, Any] = dict(zip(FIELDS, (value or "" for value in row), strict=True))
    numbers = {name: int(values[name]) for name in ("seq", "duration_ms")}
    return Entry(**{**values, **numbers, "direction": Direction(values["direction"])})


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
