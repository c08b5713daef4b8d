"""The tests' own tools: databases are separate and compared exactly, every env.py works under plain Alembic."""

from __future__ import annotations

import os
import sys

import pytest
import sqlalchemy as sa

from fietsupdate.testing.content import tree
from support import databases, environments
from support.databases import ATOMIC_KINDS, KINDS, MARIADB, POSTGRESQL, SQLITE, Database
from support.projects import Project

CREATE = 'op.create_table("tracks", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(50)))'
ADD = 'op.add_column("tracks", sa.Column("length", sa.Float))'


def fill(project: Project) -> None:
    project.revision("a1", None, CREATE, 'op.drop_table("tracks")')
    project.revision("a2", "a1", ADD, 'op.drop_column("tracks", "length")')


def usable(variant: str, kind: str) -> bool:
    if variant in environments.SQLITE_ONLY and kind != SQLITE:
        return False
    if variant == "application_context":  # works under no command but ours, which calls `setup`
        return False
    return variant == "stock" or kind != MARIADB


CASES = [(variant, kind) for variant in environments.WORKS for kind in KINDS if usable(variant, kind)]


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_alembic_alone_works_with_every_env_py(variant, kind, make_project):
    if variant in environments.NEEDS_PYTHON_312 and sys.version_info < (3, 12):
        pytest.skip("sqlite3's autocommit came with Python 3.12")
    project = make_project(variant, kind)
    fill(project)
    project.alembic("upgrade", "head").succeeded()
    assert project.alembic_version() == ["a2"]
    assert "tracks" in project.database.tables()


@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_an_env_py_that_never_commits_leaves_no_revision_behind(kind, make_project):
    project = make_project("never_commits", kind)
    fill(project)
    project.alembic("upgrade", "head").succeeded()
    assert project.alembic_version() == []


def test_an_env_py_with_two_databases_migrates_both(make_project):
    project = make_project("several_databases")
    fill(project)
    project.alembic("upgrade", "head").succeeded()
    second = Database(SQLITE, f"sqlite:///{project.root / 'second.sqlite'}", "second")
    assert project.alembic_version() == ["a2"]
    assert second.tables() == ["alembic_version", "tracks"]


def test_an_env_py_that_swallows_errors_exits_without_one(make_project):
    project = make_project("swallows_errors")
    project.revision("a1", None, "raise RuntimeError('no')")
    assert project.alembic("upgrade", "head").code == 0
    assert project.alembic_version() == []


def test_dumps_are_equal_when_the_content_is(database):
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(20))")
    database.execute("INSERT INTO t VALUES (2, 'b'), (1, 'a')")
    before = database.dump()
    database.execute("DELETE FROM t WHERE id = 2")
    assert database.dump() != before
    database.execute("INSERT INTO t VALUES (2, 'b')")
    assert database.dump() == before


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE t ADD COLUMN c INTEGER",
        "CREATE INDEX i ON t (name)",
        "CREATE UNIQUE INDEX i ON t (name)",
        "CREATE TABLE u (id INTEGER PRIMARY KEY)",
        "CREATE VIEW v AS SELECT name FROM t",
        "UPDATE t SET name = NULL",
    ],
)
def test_dumps_differ_when_schema_or_rows_do(database, change):
    database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(20))")
    database.execute("INSERT INTO t VALUES (1, 'a')")
    before = database.dump()
    database.execute(change)
    assert database.dump() != before


def test_a_dump_can_leave_our_own_tables_out(database):
    before = database.dump()
    database.execute("CREATE TABLE fietsupdate_ledger (seq INTEGER PRIMARY KEY)")
    database.execute("INSERT INTO fietsupdate_ledger VALUES (1)")
    assert database.dump()["rows"] != {}
    assert database.dump(bookkeeping=False)["rows"] == before["rows"] == {}
    assert database.dump(bookkeeping=False)["schema"] in ([], None)


def test_a_dump_does_not_create_a_missing_sqlite_file(sqlite):
    assert sqlite.dump() == {"schema": None, "rows": {}}
    assert not sqlite.file.exists()


@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_a_database_is_dropped_under_an_open_session(kind, tmp_path):
    database = databases.create(kind, tmp_path)
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    connection = engine.connect()
    connection.execute(sa.text("CREATE TABLE t (id INTEGER)"))
    connection.execute(sa.text("INSERT INTO t VALUES (1)"))
    database.drop()
    with pytest.raises(sa.exc.DBAPIError), engine.connect():
        pytest.fail("the database is still there")
    connection.invalidate()
    connection.close()


@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_an_absent_server_skips_unless_it_is_required(kind, tmp_path, monkeypatch):
    url = databases.server_url(kind).set(port=1)
    monkeypatch.setenv(f"FIETSUPDATE_TEST_{kind.upper()}_URL", url.render_as_string(hide_password=False))
    monkeypatch.setattr(databases, "_absence", databases._absence.__wrapped__)
    monkeypatch.delenv("FIETSUPDATE_TEST_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"no {kind} server"):
        databases.create(kind, tmp_path)
    monkeypatch.setenv("FIETSUPDATE_TEST_REQUIRE", f"other, {kind}")
    with pytest.raises(pytest.fail.Exception, match="FIETSUPDATE_TEST_REQUIRE names it"):
        databases.create(kind, tmp_path)


def test_a_tree_notices_content_mode_time_links_and_attributes(tmp_path):
    for change in (_content, _mode, _time, _hard_link, _symlink, _empty_folder):
        root = tmp_path / change.__name__
        root.mkdir()
        (root / "a").write_text("a")
        (root / "b").write_text("a")
        (root / "l").symlink_to("a")
        os.utime(root / "a", ns=(0, 0))
        os.utime(root / "b", ns=(0, 0))
        before = tree(root)
        assert tree(root) == before
        change(root)
        assert tree(root) != before, change.__name__


def _content(root):
    (root / "a").write_text("b")
    os.utime(root / "a", ns=(0, 0))


def _mode(root):
    (root / "a").chmod(0o600)


def _time(root):
    os.utime(root / "a", ns=(0, 1))


def _hard_link(root):
    (root / "b").unlink()
    os.link(root / "a", root / "b")


def _symlink(root):
    (root / "l").unlink()
    (root / "l").symlink_to("b")


def _empty_folder(root):
    (root / "empty").mkdir()
