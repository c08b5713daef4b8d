"""The database that is dumped and replaced is the one whose connection env.py configured, whatever a URL says."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.databases import MARIADB, POSTGRESQL, SQLITE, Database
from support.notes import notes
from support.projects import Project, Result
from support.zygote import Zygote

ENV = """
import os
import sqlalchemy as sa
from alembic import context
URL = sa.make_url(context.config.get_main_option("sqlalchemy.url"))
SETTINGS = {settings!r}

def configured(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()

{body}
"""

OPENED = """
engine = {engine}
with engine.connect() as connection:
    {first}
    configured(connection)
"""

TWO = """
with sa.create_engine(SETTINGS, poolclass=sa.NullPool).connect() as settings, sa.create_engine(URL).connect() as main:
    configured(main)
"""

Runner = Callable[..., Result]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture
def do(zygote: Zygote) -> Runner:
    """Run a command of a project."""
    return lambda project, *args: zygote.run(project, args)


@pytest.fixture
def other(database: Database, make_database: Callable[[str], Database]) -> Database:
    """Another database of the same kind, which is nobody's to touch."""
    other = make_database(database.kind)
    other.execute("CREATE TABLE settings (id INTEGER PRIMARY KEY)")
    other.execute("INSERT INTO settings (id) VALUES (17)")
    return other


def project_with(root: Path, database: Database, other: Database, body: str, url: str = "") -> Project:
    """Make a project at v1 whose env.py does this."""
    project = Project.create(root, database)
    env = root / "migrations" / "env.py"
    notes(project, 2)
    env.write_text(ENV.format(settings=other.url, body=body))
    if url:
        ini = project.ini.read_text()
        project.ini.write_text(ini.replace(project.url.replace("%", "%%"), url.replace("%", "%%")))
        project.url = url
    return project


def goes_back(do: Runner, project: Project, other: Database) -> None:
    """See that a backup and a restore are of the database that env.py configured, and of no other."""
    before = other.dump()
    do(project, "update", "v1", "--yes").succeeded()
    project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'eins')")
    do(project, "backup").succeeded()
    project.database.execute("INSERT INTO notes (id, text) VALUES (2, 'zwei')")
    done = do(project, "restore", "--latest", "--dry-run").succeeded()
    assert project.database.name in done.stdout
    assert other.name not in done.stdout
    do(project, "restore", "--latest", "--yes").succeeded()
    assert project.database.execute("SELECT id FROM notes") == [(1,)]
    assert other.dump() == before


def test_of_two_databases_the_configured_one_is_taken_back(
    do: Runner, tmp_path: Path, database: Database, other: Database
) -> None:
    project = project_with(tmp_path / "project", database, other, TWO)
    goes_back(do, project, other)


def test_a_database_that_is_opened_after_the_configured_one_is_left_alone(
    do: Runner, tmp_path: Path, database: Database, other: Database
) -> None:
    body = OPENED.format(engine="sa.create_engine(URL)", first="sa.create_engine(SETTINGS).connect().close()")
    project = project_with(tmp_path / "project", database, other, body + "sa.create_engine(SETTINGS).connect().close()")
    goes_back(do, project, other)


SERVERS = pytest.mark.parametrize("database", [POSTGRESQL, MARIADB], indirect=True)


@SERVERS
@pytest.mark.parametrize("names", ["other", "none"])
def test_what_the_driver_is_given_beside_the_url_wins(
    do: Runner, tmp_path: Path, database: Database, other: Database, names: str
) -> None:
    """connect_args names the database, where the URL names another one or none."""
    parsed = sa.make_url(database.url)
    url = sa.make_url(other.url) if names == "other" else parsed.set(database="", host=None, port=None)
    key = "dbname" if database.kind == POSTGRESQL else "database"
    arguments = {key: database.name, "host": parsed.host, "port": parsed.port}
    body = OPENED.format(engine=f"sa.create_engine(URL, connect_args={arguments!r})", first="pass")
    project = project_with(tmp_path / "project", database, other, body, url=url.render_as_string(hide_password=False))
    goes_back(do, project, other)


@pytest.mark.parametrize("database", [POSTGRESQL], indirect=True)
@pytest.mark.parametrize("by", ["PGDATABASE", "PGSERVICE"])
def test_a_database_that_only_the_environment_names_is_found(
    do: Runner, tmp_path: Path, database: Database, other: Database, by: str
) -> None:
    parsed = sa.make_url(database.url)
    (tmp_path / "services").write_text(f"[here]\ndbname={database.name}\n")
    url = parsed.set(database=None).render_as_string(hide_password=False)
    project = project_with(
        tmp_path / "project", database, other, OPENED.format(engine="sa.create_engine(URL)", first="pass"), url=url
    )
    values = {"PGDATABASE": database.name} if by == "PGDATABASE" else {"PGSERVICE": "here"}
    project.environment = {**values, "PGSERVICEFILE": str(tmp_path / "services")}
    goes_back(do, project, other)


@pytest.mark.parametrize("database", [MARIADB], indirect=True)
def test_a_database_that_the_session_has_gone_to_is_found(
    do: Runner, tmp_path: Path, database: Database, other: Database
) -> None:
    use = (
        f"connection.exec_driver_sql('USE {database.name}'); connection.commit(); "
        f"connection.dialect.default_schema_name = '{database.name}'"  # by which Alembic finds its version table
    )
    body = OPENED.format(engine="sa.create_engine(URL)", first=use)
    project = project_with(tmp_path / "project", database, other, body, url=other.url)
    goes_back(do, project, other)


@pytest.mark.parametrize("database", [SQLITE], indirect=True)
def test_a_file_that_the_url_does_not_name_is_found(
    do: Runner, tmp_path: Path, database: Database, other: Database
) -> None:
    creator = f"lambda: __import__('sqlite3').connect({str(database.file)!r})"
    body = OPENED.format(engine=f"sa.create_engine(URL, creator={creator})", first="pass")
    project = project_with(tmp_path / "project", database, other, body, url=other.url)
    goes_back(do, project, other)


@pytest.mark.parametrize("database", [POSTGRESQL], indirect=True)
def test_where_the_programs_come_to_another_server_nothing_is_dumped_or_replaced(
    do: Runner, tmp_path: Path, database: Database, other: Database
) -> None:
    """A driver that connects by itself (creator=) leads to a server that the URL does not name."""
    dsn = sa.make_url(database.url).set(drivername="postgresql").render_as_string(hide_password=False)
    creator = f"lambda: __import__('psycopg').connect({dsn!r})"
    body = OPENED.format(engine=f"sa.create_engine(URL, creator={creator})", first="pass")
    url = sa.make_url(other.url).set(host="127.0.0.1", port=1).render_as_string(hide_password=False)
    project = project_with(tmp_path / "project", database, other, body, url=url)
    do(project, "update", "v1", "--yes").succeeded()
    assert "127.0.0.1" in do(project, "backup").exited(1).stderr
    assert not list((project.data / ".fietsupdate").glob("backups/*"))


@pytest.mark.parametrize("database", [POSTGRESQL, MARIADB], indirect=True)
def test_an_answer_that_is_another_one_is_a_refusal_with_both(
    tmp_path: Path, database: Database, other: Database
) -> None:
    from fietsupdate.database.dump import open_store
    from fietsupdate.errors import DatabaseError

    store, visited = open_store(other.url, file=None), open_store(database.url, file=None).identity()
    store.visited = visited
    for action in (store.check, lambda: store.dump(tmp_path / "dump"), lambda: store.clone("x")):
        with pytest.raises(DatabaseError, match="Which one is meant cannot be known") as caught:
            action()
        assert database.name in caught.value.message
        assert other.name in caught.value.message
    store.visited = ()
    with pytest.raises(DatabaseError, match="could not be asked"):
        store.check()
    assert not list(tmp_path.glob("dump*"))


def test_where_env_py_fails_among_several_databases_none_of_them_is_replaced(do: Runner, project: Project) -> None:
    notes(project, 1)
    do(project, "update", "v1", "--yes").succeeded()
    do(project, "backup").succeeded()
    env = project.root / "migrations" / "env.py"
    env.write_text(
        "import sqlalchemy as sa\nfrom alembic import context\n"
        f"for url in ('sqlite:///{project.root}/settings.db', context.config.get_main_option('sqlalchemy.url')):\n"
        "    sa.create_engine(url).connect().exec_driver_sql('SELECT count(*) FROM sqlite_master')\n" + env.read_text()
    )
    project.database.file.write_bytes(b"no database at all" * 100)
    refused = do(project, "restore", "--latest", "--yes").exited(1)
    assert "which one is to be restored cannot be known" in refused.told
    project.database.file.rename(project.root / "damaged.db")
    do(project, "restore", "--latest", "--yes").succeeded()
    with closing(sqlite3.connect(project.database.file)) as connection:
        assert connection.execute("SELECT count(*) FROM fietsupdate_ledger").fetchone() == (1,)
    shutil.rmtree(project.root)
