"""The project's own env.py, as found in the wild: one transaction with all of them, or a refusal that says why."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from fietsupdate import Updater, UpdateState
from fietsupdate.errors import RevisionFailedError, UpdateFailedError
from fietsupdate.testing.content import dump
from support.databases import MARIADB, POSTGRESQL, SQLITE
from support.environments import NEEDS_PYTHON_312, ONE_TRANSACTION, SQLITE_ONLY, env_py
from support.projects import Project

TABLE = "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True), sa.Column('x', sa.String(20)))"
COLUMN = "op.add_column('t', sa.Column('y', sa.String(20)))"
INSERT = "self.connection.execute(sa.text(\"INSERT INTO t (id, x) VALUES ({id}, 'x')\"))"

KINDS = [
    pytest.param(variant, kind, id=f"{variant}-{kind}")
    for variant in ONE_TRANSACTION
    for kind in (SQLITE, POSTGRESQL)
    if (kind == SQLITE or variant not in SQLITE_ONLY)
    and (sys.version_info >= (3, 12) or variant not in NEEDS_PYTHON_312)
    and variant not in {"statement_before_configure", "never_closes"}
]


def written(project: Project, *, post: str = "pass") -> Project:
    """Write two updates: ``one`` (revision aaaa), then ``two`` (bbbb), whose post hook is `post`."""
    project.revision("aaaa", None, TABLE, "op.drop_table('t')")
    project.revision("bbbb", "aaaa", COLUMN, "op.drop_column('t', 'y')")
    project.update("one", (), "aaaa", up_post=INSERT.format(id=1), down_pre="pass")
    project.update(
        "two", "one", "bbbb", up_pre=f"{INSERT.format(id=2)}; self.files.write('two.txt', 'two')", up_post=post
    )
    return project


@pytest.fixture
def updater(monkeypatch: pytest.MonkeyPatch) -> Callable[[Project], Updater]:
    """Give a function that makes an updater in this process: dozens of env.py variants are quicker so."""

    def make(project: Project) -> Updater:
        monkeypatch.chdir(project.root)
        for name, value in project.environment.items():
            monkeypatch.setenv(name, value)
        return Updater.from_config(project.ini, x=[text for text in project.options if text != "-x"])

    return make


@pytest.mark.parametrize(("variant", "kind"), KINDS)
def test_each_env_py_gives_one_transaction(
    make_project: Callable[..., Project], updater: Callable[[Project], Updater], variant: str, kind: str
) -> None:
    """A failing post hook leaves both halves as they were; mended, the update and its downgrade reach both."""
    project = make_project(variant, kind)
    broken = project.root / "broken"
    written(project, post=f"assert not Path({str(broken)!r}).exists(), 'broken'")
    instance = updater(project)
    assert instance.update("one").done == ("one",)
    before, tree = dump(project.database.url), project.tree(exclude=[".fietsupdate"])
    broken.touch()
    with pytest.raises(UpdateFailedError, match="AssertionError: broken") as caught:
        instance.update()
    assert caught.value.stands == "Nothing of two stands: it was rolled back, and its file changes are undone."
    assert dump(project.database.url) == before
    assert project.tree(exclude=[".fietsupdate"]) == tree
    broken.unlink()
    assert instance.update().current == ("two",)
    assert (project.data / "two.txt").read_text() == "two"
    assert instance.state() is UpdateState.OKAY
    assert instance.downgrade("one").current == ("one",)
    status = instance.status()
    assert (status.current, status.alembic_current) == (("one",), ("aaaa",))


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
def test_a_failing_revision_leaves_both_halves_as_they_were(make_project: Callable[..., Project], kind: str) -> None:
    project = written(make_project("stock", kind))
    project.revision("cccc", "bbbb", "op.create_table('u', sa.Column('id', sa.Integer)); op.execute('SELECT nonsense')")
    project.update("three", "two", "cccc", up_pre="self.files.remove('two.txt')")
    project.run("update", "two", "--yes").succeeded()
    before, tree = dump(project.database.url), project.tree(exclude=[".fietsupdate"])
    error = project.run("update", "--yes", "--json").exited(1).events[-1]["error"]
    assert error["code"] == "revision_failed"
    assert "cccc" in error["message"]
    assert dump(project.database.url) == before
    assert project.tree(exclude=[".fietsupdate"]) == tree


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL, MARIADB])
def test_an_env_that_swallows_errors_is_a_failure(make_project: Callable[..., Project], kind: str) -> None:
    project = written(make_project("swallows_errors", kind), post="raise ValueError('swallowed')")
    project.run("update", "one", "--yes").succeeded()
    result = project.run("update", "--yes")  # env.py itself logs the traceback
    assert result.code == 1
    assert "Error:  Up.post_alembic of two failed" in result.stderr
    assert project.version == "one"


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
@pytest.mark.parametrize("variant", ["never_commits", "statement_before_configure"])
def test_an_env_that_does_not_commit_is_a_failure(
    make_project: Callable[..., Project], variant: str, kind: str
) -> None:
    """Also at the very first update, which makes the ledger: "no such table" would help nobody."""
    project = written(make_project(variant, kind))
    result = project.run("update", "--yes")
    if variant == "statement_before_configure" and result.code == 0:
        assert project.run("check").code == 0
        return
    assert "the database has not committed the ledger" in result.exited(1).told
    assert "Nothing was changed." in result.told
    assert "See that env.py commits" in result.told
    assert project.version is None


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
def test_an_env_that_has_stopped_to_commit_lets_no_hook_commit_either(
    make_project: Callable[..., Project], kind: str
) -> None:
    project = written(make_project("stock", kind))
    project.run("update", "one", "--yes").succeeded()
    project.update("two", "one", "bbbb", atomic=False, up_pre=project.trace("the hook ran"))
    (project.root / "migrations" / "env.py").write_text(env_py("never_commits"))
    told = project.run("update", "--yes").exited(1).told
    assert "the database has not committed the beginning of the update" in told
    assert project.traces() == []
    project.run("check").exited(3)


def test_several_databases_are_refused_with_a_reason(make_project: Callable[..., Project]) -> None:
    project = written(make_project("several_databases"))
    tree = project.tree()
    for command in (["status"], ["update", "--yes"], ["check"]):
        assert "run_migrations() more than once" in project.run(*command).exited(1).stderr
    assert project.tree() == tree


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL, MARIADB])
def test_an_env_that_never_closes_its_connection_blocks_nothing(
    make_project: Callable[..., Project], kind: str
) -> None:
    project = written(make_project("never_closes", kind))
    project.run("update", "--yes").succeeded()
    assert project.version == "two"


@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_a_session_that_blocks_a_schema_change_is_named(
    make_project: Callable[..., Project],
    updater: Callable[[Project], Updater],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fietsupdate.database.lock.LONGEST_WAIT", 1)
    project = written(make_project("stock", kind))
    instance = updater(project)
    instance.update("one")
    engine = sa.create_engine(project.database.url)
    with engine.connect() as forgotten:
        forgotten.execute(sa.text("SELECT count(*) FROM t")).scalar()
        with pytest.raises(RevisionFailedError, match=r"Idle in a transaction: (pid|connection) \d+"):
            instance.update()
    engine.dispose()
    instance.update()
    assert project.version == "two"


@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_an_engine_in_autocommit_mode_is_not_atomic_and_says_so(
    make_project: Callable[..., Project], kind: str
) -> None:
    project = written(make_project("autocommit_engine", kind))
    plan = project.run("update", "--dry-run").succeeded().stdout
    assert "NOT atomic here" in plan
    project.run("update", "--yes").succeeded()
    assert project.version == "two"


def test_what_env_py_does_to_the_process_is_put_back(make_project: Callable[..., Project]) -> None:
    project = make_project("changes_process")
    project.update(
        "one",
        up_pre=(
            "import os, signal\n"
            "Path(self.data_dir, 'mode').write_text(oct(os.stat(self.data_dir).st_mode)); print('noise')"
        ),
    )
    result = project.run("update", "--yes", "--json").succeeded()
    assert result.events[-1]["event"] == "finished"
    assert "noise" not in result.stdout


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL, MARIADB])
def test_the_ledger_is_invisible_to_alembic(make_project: Callable[..., Project], kind: str) -> None:
    columns = "sa.Column('id', sa.Integer, primary_key=True), sa.Column('x', sa.String(20))"
    models = f"import sqlalchemy as sa\nmetadata = sa.MetaData()\nsa.Table('t', metadata, {columns})\n"
    project = make_project("stock", kind, models=models)
    project.revision("aaaa", None, TABLE)
    project.update("one", (), "aaaa")
    project.run("update", "--yes").succeeded()
    assert "No new upgrade operations detected" in project.alembic("check").succeeded().output
    project.database.execute("CREATE TABLE forgotten (id INTEGER)")
    told = project.alembic("revision", "--autogenerate", "-m", "nothing of ours").succeeded().output
    assert re.findall("Detected removed .*", told) == ["Detected removed table 'forgotten'"]
    made = next((project.root / "migrations" / "versions").glob("*nothing*.py")).read_text()
    assert "forgotten" in made
    assert "fietsupdate" not in made


def test_the_ledger_of_another_version_table_is_invisible_too(make_project: Callable[..., Project]) -> None:
    """Its tables are called after the version table."""
    columns = "sa.Column('id', sa.Integer, primary_key=True), sa.Column('x', sa.String(20))"
    models = f"import sqlalchemy as sa\nmetadata = sa.MetaData()\nsa.Table('t', metadata, {columns})\n"
    project = make_project("other_version_table", models=models)
    project.revision("aaaa", None, TABLE)
    project.update("one", (), "aaaa")
    project.run("update", "--yes").succeeded()
    assert "fietsupdate_ledger_schema_history" in project.database.tables()
    told = project.alembic("check").succeeded().output
    assert "No new upgrade operations detected" in told
    assert "Detected removed" not in told


FAMILY = """
op.create_table('parents', sa.Column('id', sa.Integer, primary_key=True), sa.Column('n', sa.Integer))
op.create_table('children', sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('parent', sa.Integer, sa.ForeignKey('parents.id', ondelete='CASCADE')))
op.execute('INSERT INTO parents (id, n) VALUES (1, 1), (2, 2)')
op.execute('INSERT INTO children (id, parent) VALUES (10, 1), (11, 2), (12, 2)')
"""
BATCH = "with op.batch_alter_table('parents') as batch: batch.alter_column('n', type_=sa.String(20))"


def test_a_batch_migration_with_cascading_children_loses_no_row(make_project: Callable[..., Project]) -> None:
    """SQLite: the batch drops and renames ``parents``; with foreign keys on, that would empty ``children``."""
    project = make_project("foreign_keys")
    project.revision("aaaa", None, FAMILY)
    project.revision("bbbb", "aaaa", BATCH)
    project.update("one", (), "aaaa")
    project.update("two", "one", "bbbb")
    project.run("update", "--yes").succeeded()
    assert len(dump(project.database.url)["rows"]["children"]) == 3


def test_broken_foreign_keys_are_not_committed(make_project: Callable[..., Project]) -> None:
    project = make_project("foreign_keys")
    project.revision("aaaa", None, FAMILY)
    project.update("one", (), "aaaa")
    project.update("two", "one", "aaaa", up_post="self.connection.execute(sa.text('DELETE FROM parents WHERE id = 2'))")
    project.run("update", "one", "--yes").succeeded()
    before = dump(project.database.url)
    error = " ".join(project.run("update", "--yes").exited(1).stderr.split())
    assert '2 rows of "children" without their "parents"' in error
    assert dump(project.database.url) == before


ORPHAN = "self.connection.execute(sa.text('INSERT INTO children (id, parent) VALUES ({id}, {parent})'))"


def test_foreign_keys_that_were_broken_before_do_not_stop_an_update(make_project: Callable[..., Project]) -> None:
    project = make_project("foreign_keys")
    project.revision("aaaa", None, FAMILY)
    project.revision("bbbb", "aaaa", BATCH.replace("parents", "children").replace("'n'", "'id'"))
    project.update("one", (), "aaaa")
    project.update("two", "one", "bbbb")
    project.update("three", "two", "bbbb", up_post=ORPHAN.format(id=14, parent=99))
    project.run("update", "one", "--yes").succeeded()
    project.database.execute("INSERT INTO children (id, parent) VALUES (13, 99)")
    project.run("update", "two", "--yes").succeeded()
    assert project.database.execute("SELECT parent FROM children WHERE id = 13") == [(99,)]
    assert '1 row of "children" without their "parents"' in project.run("update", "--yes").exited(1).told


def test_a_transaction_that_ends_in_the_middle_is_noticed(make_project: Callable[..., Project]) -> None:
    """SQLite's INSERT OR ROLLBACK ends the transaction; the hook that catches the error knows nothing of it."""
    project = written(
        make_project(),
        post=(
            "try: self.connection.execute(sa.text(\"INSERT OR ROLLBACK INTO t (id, x) VALUES (1, 'again')\"))\n"
            "except sa.exc.IntegrityError: pass"
        ),
    )
    project.run("update", "one", "--yes").succeeded()
    before = dump(project.database.url)
    assert "The transaction ended in the middle" in project.run("update", "--yes").exited(1).stderr
    assert dump(project.database.url) == before
    assert project.version == "one"


LEAK = """
connection = sa.create_engine(config["sqlalchemy.url"]).connect()
connection.execute(sa.text("INSERT INTO t (id, x) VALUES (7, 'open')"))
raise ValueError("with the transaction open")
"""


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL, MARIADB])
def test_a_failing_hook_that_leaves_its_own_transaction_open_does_not_block_recovery(
    make_project: Callable[..., Project], kind: str
) -> None:
    project = written(make_project("stock", kind))
    project.update("three", "two", "bbbb", atomic=None, up_pre=LEAK)
    result = project.run("update", "--yes", "--lock-timeout", "20").exited(1)
    assert "The database has no record of three" in result.told
    assert "Rows that it wrote may stand: its hooks work on database connections of their own" in result.told
    assert project.run("status", "--json").json["current"] == ["two"]


def test_an_interrupted_update_records_itself_once(make_project: Callable[..., Project]) -> None:
    """The database says no after the data directory has recorded the entry; the resumed run records it again."""
    project = make_project("stock", MARIADB)
    project.revision("aaaa", None, TABLE)
    broken = project.root / "broken"
    broken.touch()
    post = f"if Path({str(broken)!r}).exists(): self.connection.execute(sa.text('DELETE FROM fietsupdate_ledger'))"
    project.update("one", (), "aaaa", up_post=post)
    assert "vanished" in project.run("update", "--yes").exited(1).stderr
    broken.unlink()
    project.run("update", "--yes").succeeded()
    lines = (project.data / ".fietsupdate" / "ledger.jsonl").read_text().splitlines()
    assert len(lines) == 1
    assert project.run("check").code == 0


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
def test_a_failing_revision_of_an_update_that_is_not_atomic_is_undone_where_nothing_was_committed(
    make_project: Callable[..., Project], kind: str
) -> None:
    """The hook opened no transaction of its own, and the revision was rolled back: nothing stands."""
    project = written(make_project("stock", kind))
    project.revision("cccc", "bbbb", "op.create_table('u', sa.Column('id', sa.Integer)); op.execute('SELECT nonsense')")
    project.update("three", "two", "cccc", atomic=None, up_pre="Path(self.data_dir, 'two.txt').unlink()")
    project.run("update", "two", "--yes").succeeded()
    before = dump(project.database.url)
    result = project.run("update", "--yes").exited(1)
    assert "The database has no record of three" in result.told
    assert dump(project.database.url) == before
    assert (project.data / "two.txt").read_text() == "two"
    assert project.run("status", "--json").json["state"] == "outdated"


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
def test_a_revision_that_commits_in_the_middle_is_never_undone(make_project: Callable[..., Project], kind: str) -> None:
    project = written(make_project("stock", kind))
    middle = "op.create_table('u', sa.Column('id', sa.Integer)); op.get_bind().commit(); op.execute('SELECT nonsense')"
    project.revision("cccc", "bbbb", middle)
    project.update("three", "two", "cccc", up_pre="self.files.remove('two.txt')")
    project.run("update", "two", "--yes").succeeded()
    result = project.run("update", "--yes").exited(1)
    assert "three is half applied" in result.stderr
    assert not (project.data / "two.txt").exists()
    assert project.run("status", "--json").json["state"] == "interrupted"
    assert "u" in project.database.tables()
