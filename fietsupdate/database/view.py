"""One look at the database: Alembic's position, the revision tree, the ledger. Nothing is changed (invariant 10)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from alembic.script import Script

from fietsupdate.database import engines
from fietsupdate.database.environment import Environment, Visit
from fietsupdate.database.identity import whereabouts
from fietsupdate.database.pointing import MARK
from fietsupdate.errors import DatabaseError
from fietsupdate.views import DatabaseView


def look(environment: Environment) -> DatabaseView:
    """Enter env.py once, read, and leave.

    Raises:
        DatabaseError: the database cannot be reached, or lives in memory only.
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
        shown_url=place.shown,
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
    """Give each revision's parents and dependencies; parents come before children, which are walked first."""
    return {revision.revision: tuple(revision._all_down_revisions) for revision in reversed(revisions)}  # noqa: SLF001


def branch_labels(revisions: Sequence[Script]) -> Mapping[str, tuple[str, ...]]:
    """Give each branch label with the revisions that carry it."""
    found: dict[str, tuple[str, ...]] = {}
    for revision in revisions:
        for label in revision.branch_labels:
            found[label] = (*found.get(label, ()), revision.revision)
    return found


def _not_transactional(visit: Visit) -> str:
    """Say why updates cannot be atomic here, and which tables cannot even take a row back."""
    unsafe = engines.named(engines.tables_without_transaction(visit.connection))
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
