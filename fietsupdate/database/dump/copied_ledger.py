"""Read the ledger from a copy of a database: from a loaded copy, or from the dump itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fietsupdate.database.dump.store import Store
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
from fietsupdate.model import Direction, Entry, fingerprint, questions


@dataclass(frozen=True)
class Loaded:
    """The ledger's facts in a copy of a database."""

    instance_id: str
    """"" where the copy has no ledger."""
    last: Entry | None
    """The last finished entry."""
    begun: str
    """The transaction that is begun in it, "" for none: it cannot be finished in a copy."""

    def is_at(self, instance_id: str, tip_hash: str) -> bool:
        """Return whether the copy is of that instance, at that tip, and has no transaction begun."""
        last = fingerprint((self.last,)) if self.last else ""
        return (self.instance_id, last) == (instance_id, tip_hash) and not self.begun


def loaded(store: Store, ledger: LedgerTable | None) -> Loaded:
    """Read the ledger of a loaded copy.

    Raises:
        DatabaseError: The ledger cannot be read.
    """
    if ledger is None or not {ledger.rows.name, f"{ledger.schema}.{ledger.rows.name}"} & set(store.tables()):
        return Loaded("", None, "")
    name = sa.make_url(store.url).get_dialect()().identifier_preparer.format_table
    columns = (*FIELDS, "status")
    # A table of an earlier version has no column answers: the name then refers to that of the outer SELECT, which is
    # NULL.
    rows = store.query(
        f"SELECT {', '.join(columns)}, (SELECT {ANSWERS} FROM {name(ledger.rows)} AS i WHERE i.seq = o.seq) "  # noqa: S608  # our own names
        f"FROM (SELECT {', '.join(columns)}, NULL AS {ANSWERS} FROM {name(ledger.rows)}) AS o"
    )
    ids = store.query(f"SELECT instance_id FROM {name(ledger.instance)}")  # noqa: S608  # our own names
    values = [dict(zip((*columns, ANSWERS), row, strict=True)) for row in rows]
    return _said(values, (ids[0][0] or "") if ids else "")


def dumped(store: Store, dump: Path, ledger: LedgerTable) -> Loaded | None:
    """Read the ledger of a dump without loading it; return None where that is not possible.

    Raises:
        DatabaseError: The dump cannot be read.
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


def ledger_in(store: Store, version_table: str, schema: str) -> LedgerTable | None:
    """Return the ledger's table in a copy: by the recorded names, otherwise the only one that exists."""
    return ledger_of(version_table, schema or None, store.dialect) if version_table else _only_ledger(store)


def _only_ledger(store: Store) -> LedgerTable | None:
    """Return the ledger by the names of the tables, where the live database cannot tell how env.py names it."""
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
