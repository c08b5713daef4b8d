"""A backup is what can be restored: what stands against it is said when it is made, and what is lost is named."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from fietsupdate import Updater
from fietsupdate.backup.manifest import Backup, Manifest, Reason, Scope, Stored
from fietsupdate.backup.policy import excess
from fietsupdate.database.dump import open_store
from fietsupdate.database.dump.digests import digests
from fietsupdate.errors import DatabaseError
from fietsupdate.testing.databases import Copy
from support.databases import MARIADB, POSTGRESQL, SQLITE, Database
from support.going_back import left_over
from support.notes import notes
from support.paths import DOCS
from support.projects import Project, Result
from support.stores import administer
from support.zygote import Zygote

Runner = Callable[..., Result]
on_postgresql = pytest.mark.parametrize("database", [POSTGRESQL], indirect=True)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture
def do(zygote: Zygote) -> Runner:
    """Run a command of a project."""
    return lambda project, *args: zygote.run(project, args)


@contextmanager
def role(database: Database, name: str, options: str = "LOGIN CREATEDB") -> Iterator[str]:
    """Make a role of one's own on a server; it is gone afterwards, with all that it owns."""
    full = f"case_{database.name[-17:]}_{name}"
    administer(database, f"CREATE ROLE {full} {options}")
    try:
        yield full
    finally:
        administer(database, f"DROP DATABASE IF EXISTS {database.name} WITH (FORCE)", f"DROP ROLE IF EXISTS {full}")


def owned(database: Database, owner: str) -> Database:
    """Give a database to an ordinary role, as which it is opened from then on."""
    administer(database, f"ALTER DATABASE {database.name} OWNER TO {owner}")
    url = sa.make_url(database.url).set(username=owner)
    return replace(database, url=url.render_as_string(hide_password=False))


def directly(database: Database, *statements: str) -> None:
    """Execute statements in a database, each committed by itself."""
    engine = sa.create_engine(database.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def at_v1(do: Runner, project: Project) -> Project:
    notes(project, 2)
    do(project, "update", "v1", "--yes").succeeded()
    project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'eins')")
    return project


def manifest_of(project: Project) -> dict[str, object]:
    (found,) = (project.data / ".fietsupdate" / "backups").iterdir()
    return dict(json.loads((found / "manifest.json").read_text()))


# -- rights


@on_postgresql
def test_an_ordinary_owner_restores_with_settings_comment_and_rights(
    do: Runner, tmp_path: Path, database: Database
) -> None:
    with role(database, "own") as owner, role(database, "read", "NOLOGIN") as reader:
        name = database.name
        project = at_v1(do, Project.create(tmp_path / "project", owned(database, owner)))
        administer(
            database,
            f"ALTER DATABASE {name} SET work_mem = '5MB'",
            f"ALTER ROLE {owner} IN DATABASE {name} SET statement_timeout = '1h'",
            f"COMMENT ON DATABASE {name} IS 'then'",
            f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {name} TO {reader}",
        )
        project.database.execute(f"GRANT SELECT ON notes TO {reader}")
        made = do(project, "backup").succeeded()
        assert "could not restore" not in made.output
        administer(
            database,
            f"ALTER DATABASE {name} SET work_mem = '9MB'",
            f"COMMENT ON DATABASE {name} IS 'now'",
            f"GRANT CONNECT ON DATABASE {name} TO PUBLIC",
        )
        project.database.execute("DELETE FROM notes")
        do(project, "restore", "--latest", "--dry-run").succeeded()
        do(project, "restore", "--latest", "--yes").succeeded()
        assert left_over(project) == []
        assert project.database.execute("SELECT id FROM notes") == [(1,)]
        assert project.database.execute("SHOW work_mem") == [("5MB",)]
        assert project.database.execute("SHOW statement_timeout") == [("1h",)]
        told = "SELECT shobj_description(oid, 'pg_database'), datacl::text FROM pg_database WHERE datname = :name"
        ((comment, rights),) = project.database.execute(told, name=name)
        assert comment == "then"
        assert f"{reader}=c/{owner}" in rights
        assert not re.search(r"[{,]=T?c", rights)
        granted = f"SELECT has_table_privilege('{reader}', 'notes', 'SELECT')"
        assert project.database.execute(granted) == [(True,)]
        do(project, "check").exited(3)


@on_postgresql
def test_who_may_make_no_database_is_told_at_the_backup_and_refused_before_anything_is_loaded(
    do: Runner, tmp_path: Path, database: Database
) -> None:
    with role(database, "own", "LOGIN") as owner:
        project = at_v1(do, Project.create(tmp_path / "project", owned(database, owner)))
        told = do(project, "backup").succeeded().output
        assert f"this user could not restore it here. {owner} may not make databases" in told
        assert f'ALTER ROLE "{owner}" CREATEDB' in told
        for words in (["--dry-run"], ["--yes"]):
            refused = do(project, "restore", "--latest", *words).exited(1)
            assert f'ALTER ROLE "{owner}" CREATEDB' in refused.told
            assert "Nothing was changed." in refused.told
        administer(database, f'ALTER ROLE "{owner}" CREATEDB')
        do(project, "restore", "--latest", "--yes").succeeded()


BARRIERS = [
    (
        "CREATE SUBSCRIPTION {name} CONNECTION 'dbname=none' PUBLICATION p WITH (connect = false, slot_name = NONE)",
        "has the subscription {name}",
        'ALTER SUBSCRIPTION "{name}" DISABLE; DROP SUBSCRIPTION "{name}"',
    ),
    ("ALTER DATABASE {name} IS_TEMPLATE true", "is a template", 'ALTER DATABASE "{name}" IS_TEMPLATE false'),
]


@on_postgresql
@pytest.mark.parametrize("barrier", BARRIERS)
def test_what_keeps_a_database_from_being_exchanged_is_told_before_with_what_to_type(
    do: Runner, tmp_path: Path, database: Database, barrier: tuple[str, str, str]
) -> None:
    statement, why, remedy = barrier
    project = at_v1(do, Project.create(tmp_path / "project", database))
    name = database.name
    directly(database, statement.format(name=name))
    made = do(project, "backup").succeeded()
    assert why.format(name=name) in made.output
    refused = do(project, "restore", "--latest", "--yes").exited(1)
    assert why.format(name=name) in refused.told
    assert remedy.format(name=name) in refused.told
    directly(database, *remedy.format(name=name).split("; "))
    do(project, "restore", "--latest", "--yes").succeeded()
    assert left_over(project) == []


@on_postgresql
def test_what_this_user_could_not_restore_is_told_by_name_at_the_backup_and_at_the_restore(
    do: Runner, tmp_path: Path, database: Database
) -> None:
    """An untrusted extension, objects of others, and what needs a search path; none of it is guessed."""
    with role(database, "own") as owner:
        project = at_v1(do, Project.create(tmp_path / "project", owned(database, owner)))
        for statement in (
            "CREATE SCHEMA ext",
            "CREATE EXTENSION file_fdw SCHEMA ext",
            "CREATE TABLE theirs (id int)",
            f"GRANT SELECT ON theirs TO {owner}",
            "CREATE FUNCTION deep(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
            "CREATE FUNCTION lost(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN deep($1); END'",
            "CREATE FUNCTION found(int) RETURNS int IMMUTABLE SET search_path=public LANGUAGE sql AS 'SELECT deep($1)'",
            "CREATE INDEX by_lost ON notes (lost(id))",
            "CREATE INDEX by_found ON notes (found(id))",
        ):
            database.execute(statement)
        made = do(project, "backup").succeeded()
        told = " ".join(made.output.split())
        assert "The extension file_fdw can only be made by a superuser" in told
        assert re.search(r"\d+ objects, .* among them, belong to postgres", told)
        assert "The index public.by_lost calls a function that needs a search path" in told
        assert "function deep(integer) does not exist" in told
        assert "by_found" not in told
        cautions = manifest_of(project)["cautions"]
        assert isinstance(cautions, list)
        plan = do(project, "restore", "--latest", "--dry-run").succeeded()
        assert all(text in plan.stdout for text in cautions)
        refused = do(project, "restore", "--latest", "--yes").exited(1)
        assert "file_fdw" in refused.told
        assert "Nothing was changed." in refused.told
        assert left_over(project) == []


@on_postgresql
def test_rights_of_a_role_that_is_gone_are_named_and_the_rest_comes_back(
    do: Runner, tmp_path: Path, database: Database
) -> None:
    project = at_v1(do, Project.create(tmp_path / "project", database))
    with role(database, "stays", "NOLOGIN") as stays:
        gone = f"case_{database.name[-17:]}_gone"
        administer(database, f"CREATE ROLE {gone}")
        project.database.execute(f"GRANT SELECT ON notes TO {gone}")
        project.database.execute(f"GRANT SELECT ON notes TO {stays}")
        project.database.execute(f"CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO {gone}")
        project.database.execute("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM notes")
        do(project, "backup").succeeded()
        project.database.execute(f"DROP OWNED BY {gone}")
        administer(database, f"DROP ROLE {gone}")
        done = do(project, "restore", "--latest", "--yes").succeeded()
        told = " ".join(done.output.split())
        assert f'GRANT SELECT ON TABLE public.notes TO {gone}: role "{gone}" does not exist' in told
        assert f"may not act for {gone}, to whom it belonged" in told
        assert project.database.execute("SELECT n FROM counted") == [(1,)]
        granted = f"SELECT has_table_privilege('{stays}', 'notes', 'SELECT')"
        assert project.database.execute(granted) == [(True,)]
        assert project.database.execute("SELECT count(*) FROM theirs") == [(0,)]


@on_postgresql
def test_a_time_limit_of_the_role_does_not_cut_a_copy_off(tmp_path: Path, database: Database) -> None:
    """It is meant for the application's own statements."""
    with role(database, "own") as owner:
        store = open_store(owned(database, owner).url, file=None)
        store.run("CREATE TABLE public.t (id int); INSERT INTO public.t VALUES (1)")
        administer(database, f"ALTER ROLE {owner} SET statement_timeout = '200ms'")
        administer(database, f"ALTER ROLE {owner} SET default_transaction_read_only = on")
        assert store.query("SELECT 7 FROM pg_sleep(0.5)") == [("7",)]
        assert store.row_counts() == {"t": 1}
        store.clone("c1").drop()


# -- schemas and tenants


SEARCH_PATHS = {
    "user": ("CREATE SCHEMA postgres",),
    "role": ("CREATE SCHEMA other", "ALTER ROLE postgres IN DATABASE {name} SET search_path = other"),
}


@on_postgresql
@pytest.mark.parametrize("how", [*SEARCH_PATHS, "url", "env"])
def test_tables_in_another_schema_come_back(do: Runner, tmp_path: Path, database: Database, how: str) -> None:
    for statement in SEARCH_PATHS.get(how, ("CREATE SCHEMA other",)):
        database.execute(statement.format(name=database.name))
    if how == "url":
        url = sa.make_url(database.url).update_query_dict({"options": "-csearch_path=other"})
        database = replace(database, url=url.render_as_string(hide_password=False))
    project = Project.create(tmp_path / "project", database)
    if how == "env":
        env = project.root / "migrations" / "env.py"
        inserted = (
            "        connection.exec_driver_sql('SET search_path TO other'); connection.commit()\n"
            "        connection.dialect.default_schema_name = 'other'\n        context.configure("
        )
        text = env.read_text()
        assert "        context.configure(\n            connection" in text
        head, _, tail = text.rpartition("        context.configure(")
        env.write_text(head + inserted + tail)
    notes(project, 2)
    do(project, "update", "v1", "--yes").succeeded()
    schema = "postgres" if how == "user" else "other"
    do(project, "backup").succeeded()
    assert manifest_of(project)["schema"] == schema
    database.execute(f"INSERT INTO {schema}.notes (id, text) VALUES (9, 'neun')")
    do(project, "restore", "--latest", "--yes").succeeded()
    assert database.execute(f"SELECT id FROM {schema}.notes") == []
    assert left_over(project) == []
    do(project, "update", "--yes").succeeded()


@on_postgresql
def test_a_backup_whose_tables_nobody_would_find_here_is_refused(
    do: Runner, tmp_path: Path, database: Database
) -> None:
    database.execute("CREATE SCHEMA postgres")
    project = at_v1(do, Project.create(tmp_path / "project", database))
    do(project, "backup").succeeded()
    administer(database, f"ALTER DATABASE {database.name} SET search_path = public")
    refused = do(project, "restore", "--latest", "--yes", "--despite", "instance").exited(1)
    assert "in the schema 'postgres'; here env.py looks for them in 'public'" in refused.told


def test_another_instance_in_the_same_database_is_not_taken_back_unasked(
    do: Runner, tmp_path: Path, database: Database
) -> None:
    """Two revision trees, each with a version table and a data directory of its own, share one database."""
    one = at_v1(do, Project.create(tmp_path / "one", database))
    other = Project.create(tmp_path / "two", database)
    env = other.root / "migrations" / "env.py"
    env.write_text(env.read_text().replace("target_metadata=target_metadata", "version_table='second'"))
    other.revision("aaa1", upgrade="op.create_table('second_notes', sa.Column('id', sa.Integer, primary_key=True))")
    other.update("w1", alembic_revision="aaa1")
    do(other, "update", "--yes").succeeded()
    made = do(other, "backup").succeeded()
    assert "of another instance is in the same database" in " ".join(made.output.split())
    database.execute("INSERT INTO notes (id, text) VALUES (2, 'zwei')")
    for words in (["--dry-run"], ["--yes"]):
        refused = do(other, "restore", "--latest", *words).exited(1)
        assert "holds other instances, too" in refused.told
        assert "--despite tenants" in refused.told
    assert database.execute("SELECT id FROM notes ORDER BY id") == [(1,), (2,)]
    do(other, "restore", "--latest", "--yes", "--despite", "tenants").succeeded()
    assert database.execute("SELECT id FROM notes") == [(1,)]
    do(one, "status").succeeded()


@on_postgresql
@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_one_schema_is_taken_back_alone_as_the_documentation_says(
    do: Runner, tmp_path: Path, database: Database
) -> None:
    """The commands are those of docs/guides/going-back.md, with the names of the test."""
    tenants = {}
    for name in ("a", "b"):
        database.execute(f"CREATE SCHEMA {name}")
        url = sa.make_url(database.url).update_query_dict({"options": f"-csearch_path={name}"})
        own = replace(database, url=url.render_as_string(hide_password=False))
        tenants[name] = at_v1(do, Project.create(tmp_path / name, own))
    one, other = tenants["b"], tenants["a"]
    (one.data / "then").write_text("then")
    do(one, "backup").succeeded()
    for project in tenants.values():
        project.database.execute("INSERT INTO notes (id, text) VALUES (2, 'zwei')")
    (one.data / "then").unlink()
    assert "Several instances in one database" in do(one, "restore", "--latest", "--yes").exited(1).told
    (backup,) = (one.data / ".fietsupdate" / "backups").iterdir()
    page = (DOCS / "guides" / "going-back.md").read_text()
    typed = page.partition("### Several instances")[2].partition("```text\n")[2].partition("```")[0]
    url = sa.make_url(database.url)
    names = {"side": f"{database.name}_side", "app": database.name, "BACKUP": str(backup), "DATA_DIR": str(one.data)}
    for word, value in names.items():
        typed = re.sub(rf"(?<=[ =/]){word}\b", shlex.quote(value), typed)
    environment = {**os.environ, "PGHOST": str(url.host), "PGPORT": str(url.port), "PGUSER": str(url.username)}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", typed], env=environment, capture_output=True, text=True)  # noqa: PLW1510
    assert done.returncode == 0, f"{typed}\n{done.stderr}"
    assert one.database.execute("SELECT id FROM notes") == [(1,)]
    assert other.database.execute("SELECT id FROM notes ORDER BY id") == [(1,), (2,)]
    assert (one.data / "then").read_text() == "then"
    assert "State     outdated" in do(one, "status").succeeded().stdout


# -- the comparison that a restore makes, made by the backup


def test_rows_are_read_from_a_dump_of_mariadb_as_the_server_has_them(tmp_path: Path, mariadb: Database) -> None:
    """Before it stands a table whose text looks like the one that is read."""
    mariadb.execute("CREATE TABLE a (t TEXT)")
    mariadb.execute(
        "INSERT INTO a VALUES (:text)", text="INSERT INTO `odd``name` VALUES (1,'no');\nCREATE TABLE `odd``name` ("
    )
    mariadb.execute("CREATE TABLE `odd``name` (id INT PRIMARY KEY, `te``xt` TEXT, n INT, at DATETIME(3))")
    for number, text in enumerate(["plain", 'it\'s \\ "q" (1),(2);\n\t\r\0\x1a', "ü '' \\'", "", None, "NULL", "),("]):
        mariadb.execute(
            "INSERT INTO `odd``name` VALUES (:id, :text, :n, '2026-01-01 00:00:00.125')",
            id=number,
            text=text,
            n=-number or None,
        )
    mariadb.execute("CREATE TABLE z (t TEXT)")
    store = open_store(mariadb.url, file=None)
    store.dump(tmp_path / "dump")
    there = mariadb.execute("SELECT id, `te``xt`, n, at FROM `odd``name` ORDER BY id")
    rows = store.rows_in(tmp_path / "dump", "", "odd`name") or []
    assert [tuple(row) for row in rows] == [("id", "te`xt", "n", "at")] * len(there)
    assert [(row["id"], row["te`xt"], row["n"], row["at"]) for row in rows] == [
        (str(number), text, None if n is None else str(n), "2026-01-01 00:00:00.125") for number, text, n, _ in there
    ]
    assert store.rows_in(tmp_path / "dump", "", "none") == []


def test_a_backup_that_holds_another_ledger_is_not_called_complete(
    do: Runner, tmp_path: Path, database: Database, make_database: Callable[[str], Database]
) -> None:
    """What a program dumped is compared with what env.py's connection shows, as a restore will compare it."""
    project = at_v1(do, Project.create(tmp_path / "project", database))
    other = at_v1(do, Project.create(tmp_path / "other", make_database(database.kind)))
    dumped = tmp_path / "dump"
    open_store(other.database.url, file=None).dump(dumped)
    stores = {SQLITE: "sqlite.SQLiteStore", POSTGRESQL: "postgresql.PostgreSQLStore", MARIADB: "mysql.MySQLStore"}
    module, name = stores[database.kind].split(".")
    with pytest.MonkeyPatch.context() as patch:
        store = getattr(importlib.import_module(f"fietsupdate.database.dump.{module}"), name)
        patch.setattr(store, "dump", lambda _self, dest, _moved=None: shutil.copy(dumped, dest))
        with pytest.raises(DatabaseError, match="does not hold the ledger"):
            Updater.from_config(project.ini).backup()
    assert not list((project.data / ".fietsupdate").glob("backups/*"))


# -- order


def made(name: str, serial: int, when: str) -> Backup:
    """Give a backup of both halves."""
    dump = Stored("database.dump", 1, "ab")
    manifest = Manifest(
        *(name, Scope.FULL, Reason.MANUAL, when, "this", 1, "hash", ("v1",), ("r1",), "", "0.1", "sqlite"),
        data_dir="/srv/data",
        dump=dump,
        serial=serial,
    )
    return Backup(Path("/backups", name), manifest)


def test_what_was_just_made_is_never_pruned_and_comes_first_though_the_clock_went_back(
    do: Runner, tmp_path: Path, sqlite: Database
) -> None:
    project = at_v1(do, Project.create(tmp_path / "project", sqlite, section={"keep": "1"}))
    do(project, "backup").succeeded()
    (first,) = (project.data / ".fietsupdate" / "backups").iterdir()
    manifest = json.loads((first / "manifest.json").read_text())
    (first / "manifest.json").write_text(json.dumps({**manifest, "created_at": "2999-01-01T00:00:00.000Z"}))
    (project.data / "new.txt").write_text("precious")
    told = do(project, "backup").succeeded()
    assert "The clock went back" in " ".join(told.output.split())
    (there,) = (project.data / ".fietsupdate" / "backups").iterdir()
    assert (there / "files" / "new.txt").read_text() == "precious"


def test_backups_without_a_number_are_older_than_those_with_one() -> None:
    old = [made("a", 0, "2999-01-01T00:00:00.000Z"), made("b", 0, "2998-01-01T00:00:00.000Z")]
    new = [made("c", 2, "2026-01-01T00:00:00.000Z"), made("d", 1, "2026-06-01T00:00:00.000Z")]
    assert [one.name for one in excess([*new, *old], 1, "this")] == ["b", "a", "d"]


# -- damage


@pytest.fixture
def cut(do: Runner, project: Project) -> Project:
    """Give an instance with a good backup, and a newer one whose dump is cut off."""
    at_v1(do, project)
    do(project, "backup").succeeded()
    do(project, "backup").succeeded()
    newest = max((project.data / ".fietsupdate" / "backups").iterdir())
    os.truncate(newest / "database.dump", 100)
    return project


def test_damage_is_told_first_and_is_the_exit_code(do: Runner, cut: Project) -> None:
    older, newest = sorted(path.name for path in (cut.data / ".fietsupdate" / "backups").iterdir())
    answer = do(cut, "backup", "verify").exited(1)
    lines = [line for line in answer.stdout.splitlines() if line.startswith(("Backup", "An older"))]
    assert lines[0] == f"Backup {newest} is NOT good: database.dump is missing, or not as long as it was."
    assert lines[1].startswith(f"An older one, backup {older}, is good")
    document = do(cut, "backup", "verify", "--json").exited(1).json
    assert document["good"] is False
    assert list(document["passed_over"]) == [newest]
    do(cut, "backup", "verify", newest).exited(1)
    do(cut, "backup", "verify", older).succeeded()
    do(cut, "backup").succeeded()
    do(cut, "backup", "verify").succeeded()  # a newer one is whole again


def test_what_latest_passes_over_is_named_and_asked(do: Runner, cut: Project) -> None:
    newest = max((cut.data / ".fietsupdate" / "backups").iterdir()).name
    passed = f"Passed over, as it is damaged: backup {newest}"
    assert passed in do(cut, "restore", "--latest", "--dry-run").succeeded().stdout
    cut.database.execute("DELETE FROM notes")
    declined = do(cut, "restore", "--latest")
    assert declined.code == 2
    assert cut.database.execute("SELECT id FROM notes") == []
    done = do(cut, "restore", "--latest", "--yes").succeeded()
    assert passed in " ".join(done.output.split())
    assert cut.database.execute("SELECT id FROM notes") == [(1,)]


# -- SQLite


def test_a_restored_file_is_never_open_to_more_people_than_before(do: Runner, tmp_path: Path, sqlite: Database) -> None:
    """The folder's default access control list names a user who may do nothing with the live file."""
    if shutil.which("setfacl") is None:
        pytest.skip("the programs for access control lists are not installed")
    folder = tmp_path / "shared"
    folder.mkdir()
    database = Database(SQLITE, f"sqlite:///{folder / 'app.sqlite'}", "app.sqlite")
    project = at_v1(do, Project.create(tmp_path / "project", database))
    database.file.chmod(0o660)
    if subprocess.run(["setfacl", "-d", "-m", "u:4711:rwx", str(folder)], check=False).returncode:
        pytest.skip("the file system of the temporary folder has no access control lists")
    do(project, "backup").succeeded()
    before = subprocess.check_output(["getfacl", "-cpn", str(database.file)])
    assert b"4711" not in before
    do(project, "restore", "--latest", "--yes").succeeded()
    assert subprocess.check_output(["getfacl", "-cpn", str(database.file)]) == before


def test_a_table_whose_module_nobody_knows_is_passed_over_in_comparisons(sqlite: Database) -> None:
    with closing(sqlite3.connect(sqlite.file)) as connection:
        connection.executescript(
            "CREATE TABLE t (id); INSERT INTO t VALUES (1); CREATE VIRTUAL TABLE w USING fts5(body)"
        )
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'fts5', 'unheard_of') WHERE name = 'w'")
        connection.commit()
    found = digests(open_store(sqlite.url, file=sqlite.file))
    assert "t" in found
    assert "w" not in found
    assert "w_content" in found


def test_what_is_still_in_the_log_of_a_copied_file_is_copied_too(tmp_path: Path, sqlite: Database) -> None:
    with closing(sqlite3.connect(sqlite.file)) as writer:
        writer.execute("PRAGMA journal_mode = wal")
        writer.execute("CREATE TABLE t (id)")
        writer.commit()
        copy = Copy(sqlite.url, tmp_path)
        writer.execute("DROP TABLE t")
        writer.commit()
    copy.restore()
    assert sqlite.tables() == ["t"]


def test_a_folder_in_which_no_file_can_be_made_is_told(sqlite: Database) -> None:
    sqlite.execute("CREATE TABLE t (id int)")
    store = open_store(sqlite.url, file=sqlite.file)
    assert store.barriers() == ()
    for folder in [*sqlite.file.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o055)
    child = os.fork()
    if child == 0:
        os.setresuid(4711, 4711, 4711)
        os._exit(7 if "may not make files in" in str(store.barriers()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_an_old_manifest_can_still_be_read() -> None:
    values = json.loads(made("name", 1, "2026-01-01T00:00:00.000Z").manifest.to_json())
    for name in ("serial", "version_table", "schema", "settings", "cautions"):
        del values[name]
    read = Manifest.from_json(json.dumps(values))
    assert (read.serial, read.settings, read.cautions) == (0, None, ())
