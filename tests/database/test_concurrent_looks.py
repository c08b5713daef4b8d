"""Two processes look at and change one database at the same moment: what passes by itself is looked at again.

env.py of these projects strikes at an exact moment: it changes the tables on a second connection, once for each line
of the file ``strikes``; a line begins with the moment, ``open`` (before Alembic reads its version table) or ``read``
(just before the ledger's rows are read).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fietsupdate.config.config import load_config
from fietsupdate.database.environment import Environment
from support.databases import MARIADB, POSTGRESQL
from support.notes import hooks, notes
from support.projects import Project

ENV_PY = """
from pathlib import Path

from alembic import context
from sqlalchemy import create_engine, event, pool

STRIKES = Path({strikes!r})
URL = context.config.get_main_option("sqlalchemy.url")


def strike(moment):
    lines = STRIKES.read_text().splitlines()
    at, _, statements = (lines or [""])[0].partition(" ")
    if at != moment:
        return
    STRIKES.write_text("\\n".join(lines[1:]))
    with create_engine(URL, poolclass=pool.NullPool).begin() as other:
        for statement in statements.split("; "):
            other.exec_driver_sql(statement)


def before(connection, cursor, statement, *others):
    if "ORDER BY seq" in statement:
        strike("read")


engine = create_engine(URL, poolclass=pool.NullPool, **{options!r})
event.listen(engine, "before_cursor_execute", before)
event.listen(engine, "handle_error", lambda _: strike("failed"))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        connection.exec_driver_sql("SELECT 1 FROM alembic_version")
        strike("open")
        context.run_migrations()
"""

STRIKE = {
    # A snapshot of REPEATABLE READ that is older than the table: error 1412.
    MARIADB: ("open ALTER TABLE fietsupdate_ledger FORCE",),
    # The table is there when it is looked for, and gone when it is read.
    POSTGRESQL: (
        "read ALTER TABLE fietsupdate_ledger RENAME TO away",
        "failed ALTER TABLE away RENAME TO fietsupdate_ledger",
    ),
}
REST = {MARIADB: ("open SELECT 1",), POSTGRESQL: ("open SELECT 1", "open SELECT 1")}
"""Let one visit pass."""

SERVERS = pytest.mark.parametrize("kind", [MARIADB, POSTGRESQL])


@pytest.fixture
def struck(make_project) -> Callable[..., Project]:
    """Give a function that makes the notes at v1, with an env.py that strikes as the file ``strikes`` says."""

    def make(kind: str, **options: object) -> Project:
        project = notes(make_project(kind=kind), 2)
        project.run("update", "--yes", "v1").succeeded()
        strikes = project.root / "strikes"
        strikes.touch()
        text = ENV_PY.replace("{strikes!r}", repr(str(strikes))).replace("{options!r}", repr(options))
        (project.root / "migrations" / "env.py").write_text(text)
        return project

    return make


def arm(project: Project, *lines: str) -> None:
    (project.root / "strikes").write_text("\n".join(lines))


def left(project: Project) -> list[str]:
    return (project.root / "strikes").read_text().splitlines()


@SERVERS
def test_a_table_that_changes_under_a_look_is_looked_at_again(struck, kind):
    project = struck(kind)
    arm(project, *STRIKE[kind] * 3)
    assert project.run("status", "--json").succeeded().json["current"] == ["v1"]
    assert left(project) == []


@SERVERS
def test_tables_that_never_rest_are_an_error(struck, kind):
    project = struck(kind)
    arm(project, *STRIKE[kind] * 100)
    told = project.run("check").exited(1).told
    assert "The database failed: " in told
    assert left(project) != []


@SERVERS
def test_tables_that_change_whenever_an_update_looks_do_not_stop_it(struck, kind):
    project = struck(kind)
    arm(project, *(STRIKE[kind] + REST[kind]) * 10)
    before = len(left(project))
    project.run("update", "--yes").succeeded()
    assert project.traces() == hooks("v1", "v2")
    assert before - len(left(project)) > len(STRIKE[kind] + REST[kind]), "it was struck once only"


UPDATERS = [
    pytest.param(MARIADB, {}, id="mariadb"),
    pytest.param(POSTGRESQL, {}, id="postgresql"),
    pytest.param(POSTGRESQL, {"isolation_level": "REPEATABLE READ"}, id="postgresql-repeatable-read"),
    pytest.param(POSTGRESQL, {"isolation_level": "SERIALIZABLE"}, id="postgresql-serializable"),
]


@pytest.mark.parametrize(("kind", "options"), UPDATERS)
def test_what_was_committed_before_the_lock_was_had_is_seen_under_it(struck, kind, options):
    """Another updater commits and goes between our transaction's first statement and our lock."""
    project = struck(kind, **options)
    claim = "UPDATE fietsupdate_instance SET created_at = created_at"
    row = "2, 'other', 'v2', 'up', '', '', 0, '', '', '', 'done', '[]', '', '', NULL"
    arm(project, f"open {claim}; INSERT INTO fietsupdate_ledger VALUES ({row})")
    seen = []

    def work(visit):
        visit.lock()
        seen.append([row.txn for row in visit.ledger.since(visit.connection, 2)])
        return ()

    Environment(load_config([project.ini])).visit(work, writes=True, command="current")
    assert left(project) == []
    assert seen == [["other"]]
