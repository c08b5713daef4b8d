"""Where env.py connects to, also when nothing answers there; and what a copy of that database says of its instance.

While two databases are exchanged by their names there may be none by the name that env.py knows. What env.py would
open is then still to be had: SQLAlchemy is watched while env.py tries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from fietsupdate import questions
from fietsupdate.database.dump import Store
from fietsupdate.database.environment import Environment, Visit
from fietsupdate.database.failures import TRY_ALEMBIC
from fietsupdate.database.identity import of_engine, whereabouts
from fietsupdate.database.ledger import (
    ANSWERS,
    BEGUN,
    DEFAULT_VERSION_TABLE,
    DONE,
    FIELDS,
    TABLE,
    LedgerTable,
    ledger_of,
)
from fietsupdate.errors import DatabaseError, FietsupdateError
from fietsupdate.model import Direction, Entry, fingerprint
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


@dataclass(frozen=True)
class Loaded:
    """What a copy of a database says of its instance."""

    instance_id: str
    """"" where it has no ledger."""
    last: Entry | None
    """The last finished entry."""
    begun: str
    """The transaction that is begun in it, "" for none: nobody can finish it in a copy."""

    def is_at(self, instance_id: str, tip_hash: str) -> bool:
        """Tell whether it is that instance, at that tip, and nothing is begun in it."""
        last = fingerprint((self.last,)) if self.last else ""
        return (self.instance_id, last) == (instance_id, tip_hash) and not self.begun


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


def ledger_in(store: Store, version_table: str, schema: str) -> LedgerTable | None:
    """Give the ledger's table in a copy by the names that were written down, or else the only one that is there."""
    return ledger_of(version_table, schema or None, store.dialect) if version_table else _only_ledger(store)


def loaded(store: Store, ledger: LedgerTable | None) -> Loaded:
    """Read what a loaded copy says of its instance.

    Raises:
        DatabaseError: it cannot be read.
    """
    if ledger is None or not {ledger.rows.name, f"{ledger.schema}.{ledger.rows.name}"} & set(store.tables()):
        return Loaded("", None, "")
    name = sa.make_url(store.url).get_dialect()().identifier_preparer.format_table
    columns = (*FIELDS, "status")
    # A table of an earlier version has no answers: the name then means the column of the outer SELECT, which is empty.
    rows = store.query(
        f"SELECT {', '.join(columns)}, (SELECT {ANSWERS} FROM {name(ledger.rows)} AS i WHERE i.seq = o.seq) "  # noqa: S608  # our own names
        f"FROM (SELECT {', '.join(columns)}, NULL AS {ANSWERS} FROM {name(ledger.rows)}) AS o"
    )
    ids = store.query(f"SELECT instance_id FROM {name(ledger.instance)}")  # noqa: S608  # our own names
    found = [dict(zip((*columns, ANSWERS), row, strict=True)) for row in rows]
    return _said(found, (ids[0][0] or "") if ids else "")


def dumped(store: Store, dump: Path, ledger: LedgerTable) -> Loaded | None:
    """Read what a dump says of its instance, without loading it; None where that cannot be done.

    Raises:
        DatabaseError: it cannot be read.
    """
    rows = store.rows_in(dump, ledger.schema or "", ledger.rows.name)
    ids = store.rows_in(dump, ledger.schema or "", ledger.instance.name)
    if rows is None or ids is None:
        return None
    return _said(rows, (ids[0]["instance_id"] or "") if ids else "")


def _said(rows: Sequence[Mapping[str, str | None]], instance_id: str) -> Loaded:
    done = sorted((row for row in rows if row["status"] == DONE), key=lambda row: int(row["seq"] or 0))
    begun = next((row["txn"] or "" for row in rows if row["status"] == BEGUN), "")
    return Loaded(instance_id, _entry(done[-1]) if done else None, begun)


def _only_ledger(store: Store) -> LedgerTable | None:
    """Find the ledger by the names of the tables: the live database cannot tell how env.py names it."""
    names = [name.rpartition(".") for name in store.tables() if name.rpartition(".")[2].startswith(TABLE)]
    if len(names) != 1:
        return None
    schema, _, name = names[0]
    version_table = name.removeprefix(TABLE).removeprefix("_") or DEFAULT_VERSION_TABLE
    return ledger_of(version_table, schema or None, store.dialect)


def _entry(row: Mapping[str, str | None]) -> Entry:
    values: dict[str, Any] = {name: row[name] or "" for name in FIELDS}
    numbers = {name: int(values[name]) for name in ("seq", "duration_ms")}
    answers = questions.from_json(row.get(ANSWERS))
    return Entry(**{**values, **numbers, "direction": Direction(values["direction"]), "answers": answers})


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
