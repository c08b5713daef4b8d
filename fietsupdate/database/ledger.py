"""The ledger table: the database's record of the transactions on an instance.

A row is ``begun`` when its transaction starts and ``done`` when it ends; entries are the rows that are done. Values are
text, so that every database returns exactly what the other half holds. One instance row names the instance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from fietsupdate.model import Begun, Direction, Entry, Phase, questions
from fietsupdate.views import MYSQL

TABLE = "fietsupdate_ledger"
INSTANCE_TABLE = "fietsupdate_instance"
DEFAULT_VERSION_TABLE = "alembic_version"
LONGEST_SUFFIX = 40
BEGUN, DONE = "begun", "done"


def suffix(version_table: str) -> str:
    """Return the suffix of our tables' names, so that two revision trees in one database have a ledger each."""
    if version_table == DEFAULT_VERSION_TABLE:
        return ""
    if len(version_table) > LONGEST_SUFFIX:
        version_table = hashlib.sha256(version_table.encode()).hexdigest()[:LONGEST_SUFFIX]
    return f"_{version_table}"


ANSWERS = "answers"
"""A column that tables of earlier versions lack, until an update asks something; ``NULL`` for no answers."""
FIELDS = tuple(name for name in Entry.__dataclass_fields__ if name != ANSWERS)
"""The columns of an entry that every table has, whatever version has created it."""


@lru_cache
def ledger_of(version_table: str, schema: str | None, dialect: str) -> LedgerTable:
    """Return the ledger that belongs to a version table."""
    return LedgerTable(version_table, schema, dialect)


def _row_columns() -> tuple[sa.Column[Any], ...]:
    """Return the columns of the ledger: those of an entry, then those of a transaction that is begun."""
    return (
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("txn", sa.String(36), nullable=False),
        sa.Column("update_id", sa.String(255), nullable=False),
        sa.Column("direction", sa.String(8), nullable=False),
        sa.Column("checksum", sa.String(64), nullable=False),
        sa.Column("finished_at", sa.String(32), nullable=False),
        sa.Column("duration_ms", sa.BigInteger, nullable=False),
        sa.Column("app_version", sa.String(255), nullable=False),
        sa.Column("tool_version", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(255), nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("phases", sa.String(64), nullable=False),
        sa.Column("failure", sa.Text, nullable=False),
        sa.Column("running", sa.String(8), nullable=False),
        sa.Column(ANSWERS, sa.Text, nullable=True),
    )


class LedgerTable:
    """The ledger's statements, bound to a schema but to no connection.

    They are compiled once. env.py makes a new engine for every visit, and each engine would compile them again, which
    took a third of the time of an update.
    """

    def __init__(self, version_table: str, schema: str | None, dialect: str) -> None:
        self._compiled: dict[tuple[type, str, str], tuple[str, list[str] | None]] = {}
        metadata = sa.MetaData(schema=schema)
        # Only for these servers: the options make SQLAlchemy import its whole MySQL dialect.
        options: Any = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"} if dialect in MYSQL else {}
        ending = suffix(version_table)
        self.schema, self.version_table = schema, version_table
        self.rows = sa.Table(TABLE + ending, metadata, *_row_columns(), **options)
        self.instance = sa.Table(
            INSTANCE_TABLE + ending,
            metadata,
            sa.Column("instance_id", sa.String(36), primary_key=True),
            sa.Column("created_at", sa.String(32), nullable=False),
            **options,
        )

    def _run(self, connection: Connection, sql: str, **values: object) -> sa.CursorResult[Any]:
        """Run a statement in which {rows} and {instance} stand for our tables."""
        dialect = connection.dialect
        key = type(dialect), dialect.paramstyle, sql
        if key not in self._compiled:
            name = dialect.identifier_preparer.format_table
            text = sql.format(rows=name(self.rows), instance=name(self.instance))
            compiled: Any = sa.text(text).compile(dialect=dialect)
            self._compiled[key] = compiled.string, compiled.positiontup
        statement, places = self._compiled[key]
        given = values if places is None else tuple(values[place] for place in places)
        return connection.exec_driver_sql(statement, given)

    def exists(self, connection: Connection) -> bool:
        """Return whether the ledger table exists."""
        return sa.inspect(connection).has_table(self.rows.name, schema=self.schema)

    def keeps_answers(self, connection: Connection) -> bool:
        """Return whether the ledger table has a column for answers."""
        return ANSWERS in self._run(connection, "SELECT * FROM {rows} WHERE seq < 0").keys()  # noqa: SIM118  # no mapping

    def add_answers(self, connection: Connection) -> None:
        """Add the column for answers to the ledger table."""
        self._run(connection, f"ALTER TABLE {{rows}} ADD COLUMN {ANSWERS} TEXT")

    def create(self, connection: Connection, instance_id: str, created_at: str) -> None:
        """Create both tables and name the instance."""
        self.rows.create(connection)
        self.instance.create(connection, checkfirst=True)
        self._run(connection, "DELETE FROM {instance}")
        insert = "INSERT INTO {instance} (instance_id, created_at) VALUES (:instance_id, :created_at)"
        self._run(connection, insert, instance_id=instance_id, created_at=created_at)

    def rename_instance(self, connection: Connection, instance_id: str) -> None:
        """Set another id of the instance, which is a clone and must not be taken for the original."""
        self._run(connection, "UPDATE {instance} SET instance_id = :instance_id", instance_id=instance_id)

    def claim(self, connection: Connection) -> None:
        """Update the instance row without a change.

        Fails where this transaction is older than the last one that did so.
        """
        self._run(connection, "UPDATE {instance} SET created_at = created_at")

    def instance_id(self, connection: Connection) -> str:
        """Return the id of the instance, or "" where the row is missing."""
        return self._run(connection, "SELECT instance_id FROM {instance}").scalar() or ""

    def entries(self, connection: Connection) -> tuple[Entry, ...]:
        """Read the finished entries, by ``seq``."""
        rows = self._run(connection, "SELECT * FROM {rows} WHERE status = :done ORDER BY seq", done=DONE)
        return tuple(_entry(row) for row in rows.mappings())

    def since(self, connection: Connection, seq: int) -> tuple[Entry | Begun, ...]:
        """Return the rows from this ``seq`` on; the last one may be begun."""
        sql = "SELECT * FROM {rows} WHERE seq >= :seq ORDER BY seq"
        rows = self._run(connection, sql, seq=seq).mappings()
        return tuple(_entry(row) if row["status"] == DONE else _begun(row) for row in rows)

    def begun(self, connection: Connection) -> Begun | None:
        """Return the row of a transaction that was committed in part and not finished."""
        sql = "SELECT * FROM {rows} WHERE status = :begun"
        row = self._run(connection, sql, begun=BEGUN).mappings().first()
        return _begun(row) if row else None

    def insert(self, connection: Connection, entries: Iterable[Entry], *, status: str) -> None:
        """Insert rows; with ``begun``, ``finished_at`` is the time at which the transaction began."""
        for entry in entries:
            names = (*FIELDS, "status", "phases", "failure", "running", *([ANSWERS] if entry.answers else []))
            places = ", ".join(f":{name}" for name in names)
            sql = f"INSERT INTO {{rows}} ({', '.join(names)}) VALUES ({places})"  # noqa: S608  # our own column names
            values = {name: getattr(entry, name) for name in FIELDS} | {"direction": str(entry.direction)}
            values |= {ANSWERS: questions.to_json(entry.answers)} if entry.answers else {}
            self._run(connection, sql, **values, status=status, phases="[]", failure="", running="")

    def note(
        self,
        connection: Connection,
        txn: str,
        phases: Sequence[Phase],
        *,
        failure: str | None = None,
        running: str = "",
    ) -> bool:
        """Store the finished phases of a begun row; return False when the row does not exist, or is not begun.

        Args:
            connection: A connection in a transaction.
            txn: The transaction.
            phases: The phases that are complete.
            failure: The error of the update; ``None`` keeps the one that an earlier run has written.
            running: The hook or revision that was running.
        """
        updated = self._run(
            connection,
            "UPDATE {rows} SET phases = :phases, failure = COALESCE(:failure, failure), running = :running "
            "WHERE txn = :txn AND status = :begun",
            phases=json.dumps([str(phase) for phase in phases]),
            failure=failure,
            running=running,
            txn=txn,
            begun=BEGUN,
        )
        if connection.dialect.name not in MYSQL:
            return updated.rowcount == 1
        # rowcount may be the number of changed rows, not of found ones, and the text of the phases may be unchanged.
        sql = "SELECT seq FROM {rows} WHERE txn = :txn AND status = :begun"
        return self._run(connection, sql, txn=txn, begun=BEGUN).first() is not None

    def enter(self, connection: Connection, txn: str, phase: Phase) -> None:
        """Store that a hook runs, in a change that is committed with the hook or not at all.

        If it is visible afterwards, the hook, or a schema change in it, committed before the hook's end.
        """
        sql = "UPDATE {rows} SET running = :phase WHERE txn = :txn AND status = :begun"
        self._run(connection, sql, phase=str(phase), txn=txn, begun=BEGUN)

    def finish(self, connection: Connection, entry: Entry) -> bool:
        """Turn the begun row into the finished entry; return False when the row does not exist, or is not begun."""
        if entry.answers and not self.keeps_answers(connection):
            self.add_answers(connection)  # that a question would be asked could not be known earlier
        sql = (
            "UPDATE {rows} SET finished_at = :finished_at, duration_ms = :duration_ms, actor = :actor, "
            "app_version = :app_version, tool_version = :tool_version, checksum = :checksum, status = :done, "
            "failure = '', running = '' {answers}WHERE txn = :txn AND status = :begun"
        ).replace("{answers}", ", answers = :answers " if entry.answers else "")
        values = {name: getattr(entry, name) for name in FIELDS if f":{name}" in sql}
        values |= {ANSWERS: questions.to_json(entry.answers)} if entry.answers else {}
        return self._run(connection, sql, **values, done=DONE, begun=BEGUN).rowcount == 1

    def forget(self, connection: Connection, txn: str) -> None:
        """Delete a begun row whose transaction was undone completely."""
        self._run(connection, "DELETE FROM {rows} WHERE txn = :txn AND status = :begun", txn=txn, begun=BEGUN)


def _entry(row: Mapping[Any, Any]) -> Entry:
    values = {name: row[name] for name in FIELDS} | {"direction": Direction(row["direction"])}
    return Entry(**values, answers=questions.from_json(row.get(ANSWERS)))


def _begun(row: Mapping[Any, Any]) -> Begun:
    return Begun(
        seq=row["seq"],
        txn=row["txn"],
        update_id=row["update_id"],
        direction=Direction(row["direction"]),
        checksum=row["checksum"],
        finished=tuple(Phase(phase) for phase in json.loads(row["phases"])),
        started_at=row["finished_at"],
        actor=row["actor"],
        failure=row["failure"],
        running=row["running"],
        answers=questions.from_json(row.get(ANSWERS)),
    )
