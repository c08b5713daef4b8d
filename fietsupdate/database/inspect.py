"""Read the database once: Alembic's position, the revision tree, the ledger. Nothing is changed (invariant 10)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.script import Script
from sqlalchemy import Engine

from fietsupdate.database import table_engines
from fietsupdate.database.environment import Environment, Visit
from fietsupdate.database.errors import TRY_ALEMBIC
from fietsupdate.database.identity import of_engine, whereabouts
from fietsupdate.database.redirect import MARK
from fietsupdate.errors import DatabaseError, FietsupdateError
from fietsupdate.views import DatabaseView, Whereabouts


def inspect_database(environment: Environment) -> DatabaseView:
    """Enter env.py once, read, and leave.

    Raises:
        DatabaseError: The database cannot be reached, or is in memory only.
        EnvPyError: env.py does something that cannot work.
    """
    views: list[DatabaseView] = []

    def work(visit: Visit) -> tuple[()]:
        views.append(view(visit))
        return ()

    environment.visit(work, writes=False, command="current")
    return views[-1]


def view(visit: Visit) -> DatabaseView:
    """Describe the database that this visit is connected to."""
    connection, table = visit.connection, visit.ledger
    revisions = list(visit.script.walk_revisions())
    place = whereabouts(connection, table, visit.missing_file)
    if connection.dialect.name == "sqlite" and place.file is None:
        raise DatabaseError(
            "The database is in memory: nothing of it outlives env.py.", hint="Name a file in 'sqlalchemy.url'."
        )
    has_ledger = table.exists(connection)
    return DatabaseView(
        dialect=connection.dialect.name,
        url=place.url,
        shown_url=place.masked_url,
        alembic_current=visit.heads,
        revisions=revision_tree(revisions),
        labels=branch_labels(revisions),
        alembic_heads=tuple(sorted(visit.script.get_heads())),
        entries=table.entries(connection) if has_ledger else (),
        has_ledger=has_ledger,
        instance_id=table.instance_id(connection) if has_ledger else "",
        begun=table.begun(connection) if has_ledger else None,
        not_transactional=_not_transactional(visit),
        file=place.file,
        exists=visit.missing_file is None,
        tables=0 if has_ledger or visit.heads else len(_tables(visit)),
        place=place,
    )


def revision_tree(revisions: Sequence[Script]) -> Mapping[str, tuple[str, ...]]:
    """Return each revision's parents and dependencies; parents come before children."""
    return {revision.revision: tuple(revision._all_down_revisions) for revision in reversed(revisions)}  # noqa: SLF001


def branch_labels(revisions: Sequence[Script]) -> Mapping[str, tuple[str, ...]]:
    """Return each branch label with the revisions that carry it."""
    labels: dict[str, tuple[str, ...]] = {}
    for revision in revisions:
        for label in revision.branch_labels:
            labels[label] = (*labels.get(label, ()), revision.revision)
    return labels


def _not_transactional(visit: Visit) -> str:
    """Return why updates cannot be atomic here, including the tables in which no row can be rolled back.

    "" when they can.
    """
    unsafe = table_engines.named(table_engines.tables_without_transaction(visit.connection))
    return ", and ".join(filter(None, [visit.not_transactional, unsafe]))


def application_tables(environment: Environment) -> tuple[str, ...]:
    """Return the names of the application's tables, sorted: all but Alembic's and our own."""
    names: list[str] = []

    def work(visit: Visit) -> tuple[()]:
        names.extend(sorted(_tables(visit)))
        return ()

    environment.visit(work, writes=False, command="current")
    return tuple(names)


def _tables(visit: Visit) -> set[str]:
    names = sa.inspect(visit.connection).get_table_names(schema=visit.context.version_table_schema)
    own = {visit.context.version_table, visit.ledger.rows.name, visit.ledger.instance.name, MARK}
    return set(names) - own


# -- The database that env.py connects to, even if no server answers there.


@dataclass(frozen=True)
class Destination:
    """The database that env.py connects to."""

    place: Whereabouts

    @property
    def shown(self) -> str:
        """Its URL with the password masked."""
        return self.place.masked_url

    @property
    def file(self) -> Path | None:
        """The database file, for SQLite."""
        return self.place.file


def destination(environment: Environment) -> Destination:
    """Find out which database env.py connects to.

    Raises:
        FietsupdateError: env.py fails before it connects, or it connects to several databases before it fails.
    """
    destinations: list[Destination] = []

    def work(visit: Visit) -> tuple[()]:
        destinations.append(Destination(whereabouts(visit.connection, visit.ledger, visit.missing_file)))
        return ()

    with _watching() as engines:
        try:
            environment.visit(work, writes=False, command="current")
        except FietsupdateError:
            if not engines:
                raise
    if destinations:
        return destinations[-1]
    if not engines:
        raise DatabaseError("env.py opened no database, so nothing can be restored there.", hint=TRY_ALEMBIC)
    return Destination(of_engine(environment.configured or _only(engines)))


def _only(engines: Sequence[Engine]) -> Engine:
    """Return the engine of the one database that env.py opens.

    Raises:
        DatabaseError: env.py opens several, and has not configured one of them before it failed.
    """
    if len({str(engine.url) for engine in engines}) == 1:
        return engines[-1]
    urls = dict.fromkeys(engine.url.render_as_string(hide_password=True) for engine in engines)
    raise DatabaseError(
        f"env.py opens several databases, {', '.join(urls)}, and fails before it configures one of them: which one "
        "is to be restored cannot be known.",
        hint="See `alembic current`. Where a damaged SQLite file is in the way, move it away, and restore again.",
    )


@contextlib.contextmanager
def _watching() -> Iterator[list[Engine]]:
    """Collect all engines from which a connection is requested."""
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
