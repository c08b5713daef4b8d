"""A database is copied whole, loaded beside the live one, and put in its place: SQLite, PostgreSQL, MariaDB."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from fietsupdate.database.dump import open_store, sqlite_file
from fietsupdate.errors import DatabaseError
from support.databases import MARIADB, POSTGRESQL, SQLITE, Database
from support.stores import CHANGES, administer, databases_on, everything, filled, quoted, store_of, sweep

OTHER_CHARSET = "ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_german1_ci"
"""After this, mariadb-dump writes the database's own name into its dump, around triggers and routines."""
AMONG_PROPERTIES = """
COMMENT ON DATABASE {name} IS 'it''s \\ ours'; REVOKE CONNECT ON DATABASE {name} FROM PUBLIC;
GRANT CREATE ON DATABASE {name} TO pg_monitor WITH GRANT OPTION; ALTER DATABASE {name} CONNECTION LIMIT 17;
ALTER DATABASE {name} SET search_path TO "$user", "odd, ""x", public; ALTER DATABASE {name} SET datestyle TO 'ISO, DMY';
ALTER ROLE postgres IN DATABASE {name} SET work_mem = '5MB'
"""


@pytest.fixture
def full(database: Database) -> Iterator[Database]:
    """Give a database with some of everything; what a test leaves beside it is dropped."""
    filled(database)
    yield database
    sweep(database)


@pytest.fixture
def server(request: pytest.FixtureRequest, make_database: Callable[[str], Database]) -> Iterator[Database]:
    """Give a database on a server, of the kind that the test names, with one table of two rows."""
    database = make_database(request.param)
    store_of(database).run("CREATE TABLE note (id INT PRIMARY KEY); INSERT INTO note VALUES (1), (2)")
    yield database
    sweep(database)


@pytest.fixture
def live(sqlite: Database) -> Database:
    """Give a SQLite database with one table of two rows."""
    filled(sqlite, "CREATE TABLE note (id INTEGER PRIMARY KEY); INSERT INTO note VALUES (1), (2)")
    return sqlite


on_postgresql = pytest.mark.parametrize("server", [POSTGRESQL], indirect=True)
on_mariadb = pytest.mark.parametrize("server", [MARIADB], indirect=True)
on_servers = pytest.mark.parametrize("server", [POSTGRESQL, MARIADB], indirect=True)


def fails(action: Callable[[], object]) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        action()
    return caught.value


def name_of(database: Database) -> str:
    return database.file.name if database.kind == SQLITE else database.name


# -- the round trip


def test_what_was_dumped_comes_back_whole(full: Database, tmp_path: Path) -> None:
    """Rows, types, bytes, unicode, views, triggers, keys, sequences, routines, events, rights, settings."""
    store = store_of(full)
    if full.kind == MARIADB:
        store.run(OTHER_CHARSET)
    if full.kind == POSTGRESQL:
        store.run(AMONG_PROPERTIES.format(name=full.name))
    before, counts, schema = everything(full), store.row_counts(), store.schema_text()

    dumped: list[int] = []
    loaded: list[int] = []
    store.dump(tmp_path / "database.dump", dumped.append)
    size = (tmp_path / "database.dump").stat().st_size
    assert (sum(dumped), store.size_of_dump()) == (size, size if full.kind == SQLITE else None)
    store.run(CHANGES[full.kind])
    changed, changed_schema, changed_counts = full.dump(), store.schema_text(), store.row_counts()
    assert changed_schema != schema
    new = store.load_beside(tmp_path / "database.dump", "t1", loaded.append)
    assert sum(loaded) == pytest.approx(size, rel=0.2)  # on MariaDB some lines are edited on the way
    assert new.row_counts() == counts
    assert full.dump() == changed

    store.swap(new, "t1")
    store.swap(new, "t1")
    assert everything(full) == before
    assert store.schema_text() == schema
    assert store.beside("t1") is None
    old = store.old("t1")
    assert old is not None
    if full.kind == MARIADB:  # its tables; what hung on them is kept as text
        ((kept,),) = old.query("SELECT CONVERT(script USING utf8mb4) FROM fietsupdate_aside WHERE name = 'kept'")
        assert all(made in str(kept) for made in ("PROCEDURE `forget`", "EVENT `tidy`", "FUNCTION `twice`"))
    else:
        assert old.schema_text() == changed_schema
    assert old.row_counts() == changed_counts
    old.drop()
    old.drop()
    assert store.old("t1") is None
    assert databases_on(full) == {name_of(full)}


@pytest.mark.parametrize("database", [SQLITE, POSTGRESQL], indirect=True)
def test_what_was_put_aside_can_be_put_back(full: Database, tmp_path: Path) -> None:
    store = store_of(full)
    store.dump(tmp_path / "database.dump")
    store.run(CHANGES[full.kind])
    changed, schema = full.dump(), store.schema_text()
    store.swap(store.load_beside(tmp_path / "database.dump", "t1"), "t1")
    old = store.old("t1")
    assert old is not None
    store.swap(old, "t2")
    assert full.dump() == changed
    assert store.schema_text() == schema


def test_a_clone_is_the_same_and_leaves_the_original_alone(full: Database, tmp_path: Path) -> None:
    """On MariaDB its sequences are its own, and its events sleep."""
    store = store_of(full)
    before = everything(full)
    with full.connect() as connection:  # somebody is connected, and stays so
        clone = store.clone("k1", tmp_path)
        connection.exec_driver_sql("SELECT 1")
    assert clone.schema_text() == store.schema_text().replace(" ENABLE DO", " DISABLE DO")
    assert clone.row_counts() == store.row_counts()
    clone.run(CHANGES[full.kind])
    if full.kind == MARIADB:
        clone.run("INSERT INTO ticket VALUES (DEFAULT)")
        assert {row[0] for row in clone.query("SELECT status FROM information_schema.events "
                                              "WHERE event_schema = DATABASE()")} == {"DISABLED"}  # fmt: skip
    assert everything(full) == before
    found = store.cloned("k1", tmp_path)
    assert found is not None
    assert found.url == clone.url
    found.drop()
    assert databases_on(full) == {name_of(full)}


@on_postgresql
def test_where_nobody_is_connected_postgresql_copies_by_itself(server: Database) -> None:
    store = store_of(server)
    store.run(AMONG_PROPERTIES.format(name=server.name))
    clone = store.clone("k1")
    properties = "SELECT datconnlimit, datacl::text FROM pg_database WHERE datname = current_database()"
    assert clone.query(properties) == store.query(properties)
    assert clone.row_counts() == {"note": 2}
    clone.drop()


@pytest.mark.parametrize("database", [SQLITE, MARIADB], indirect=True)
def test_only_what_is_committed_is_dumped_while_others_write(database: Database, tmp_path: Path) -> None:
    store = store_of(database)
    filled(database, "CREATE TABLE note (id INT PRIMARY KEY)")
    if database.kind == SQLITE:
        database.execute("PRAGMA journal_mode = WAL")
    database.execute("INSERT INTO note VALUES (1)")
    with database.connect() as kept:
        kept.exec_driver_sql("INSERT INTO note VALUES (2)")
        store.dump(tmp_path / "database.dump")
    new = store.load_beside(tmp_path / "database.dump", "t1")
    assert new.query("SELECT id FROM note") == [("1",)]
    assert store.query("SELECT id FROM note ORDER BY id") == [("1",), ("2",)]
    new.drop()


# -- what is refused


def test_the_live_database_is_never_dropped(live: Database) -> None:
    error = fails(store_of(live).drop)
    assert error.message == f"sqlite:///{live.file} was not made by fietsupdate, and is not dropped."
    assert live.file.exists()


@pytest.mark.parametrize("database", [SQLITE, MARIADB], indirect=True)
def test_an_empty_dump_is_not_put_in_the_place_of_anything(database: Database, tmp_path: Path) -> None:
    store = store_of(database)
    if database.kind == SQLITE:
        sqlite3.connect(database.file).close()
        database.file.touch()
    store.dump(tmp_path / "empty.dump")
    assert "There is no table in" in fails(lambda: store.load_beside(tmp_path / "empty.dump", "t1")).message
    if database.kind != SQLITE:
        assert store.beside("t1") is None


def test_half_a_dump_is_refused_and_nothing_stays_beside(full: Database, tmp_path: Path) -> None:
    store = store_of(full)
    store.dump(tmp_path / "whole.dump")
    data = (tmp_path / "whole.dump").read_bytes()
    (tmp_path / "half.dump").write_bytes(data[: len(data) * 2 // 3])
    before = full.dump()
    assert fails(lambda: store.load_beside(tmp_path / "half.dump", "t1")).hint
    assert databases_on(full) == {name_of(full)}
    assert full.dump() == before


def test_what_is_not_there_cannot_take_the_live_place(full: Database) -> None:
    store = store_of(full)
    before = full.dump()
    error = fails(lambda: store.swap(store.sibling("new", "t1"), "t1"))
    assert " is not there, so " in error.message
    assert full.dump() == before


@on_servers
def test_an_old_database_is_not_overwritten_by_another_restore(server: Database, tmp_path: Path) -> None:
    store = store_of(server)
    store.dump(tmp_path / "database.dump")
    store.swap(store.load_beside(tmp_path / "database.dump", "t1"), "t1")
    new = store.load_beside(tmp_path / "database.dump", "t1")
    error = fails(lambda: store.swap(new, "t1"))
    assert error.message.endswith("_old_t1 is there already.")
    assert new.row_counts() == {"note": 2}


def test_other_databases_are_refused_by_name() -> None:
    error = fails(lambda: open_store("oracle://u:secret@h/d", file=None))
    assert error.message == "oracle databases cannot be copied: SQLite, PostgreSQL, MariaDB and MySQL can."


def test_a_database_in_memory_is_refused() -> None:
    assert fails(lambda: open_store("sqlite://", file=None)).message == "A database in memory cannot be copied."


# -- names


@on_servers
def test_names_may_be_odd_and_long(server: Database, tmp_path: Path) -> None:
    """Quotes, blanks, upper case and umlauts; a name that is too long with our ending is cut, and stays unique."""
    name = f"{server.name[:30]} \"O'dd` ü" + "x" * 20
    administer(server, f"CREATE DATABASE {quoted(server, name)}")
    try:
        store = open_store(sa.make_url(server.url).set(database=name).render_as_string(hide_password=False), file=None)
        store.run("CREATE TABLE note (id INT); INSERT INTO note VALUES (7)")
        store.dump(tmp_path / "database.dump")
        store.run("DELETE FROM note")
        store.swap(store.load_beside(tmp_path / "database.dump", "t1"), "t1")
        assert store.query("SELECT id FROM note") == [("7",)]
        old = store.old("t1")
        assert old is not None
        assert sa.make_url(old.url).database != sa.make_url(store.sibling("old", "t2").url).database
        old.drop()
    finally:
        administer(server, f"DROP DATABASE {quoted(server, name)}")
    assert store_of(server).row_counts() == {"note": 2}


# -- rights


@on_postgresql
def test_without_createdb_the_right_is_named(server: Database, tmp_path: Path) -> None:
    role = f"{server.name}_role"
    store_of(server).dump(tmp_path / "database.dump")
    server.execute(f"CREATE ROLE {role} LOGIN")
    try:
        plain = open_store(server.url.replace("postgres@", f"{role}@"), file=None)
        error = fails(lambda: plain.load_beside(tmp_path / "database.dump", "t1"))
    finally:
        server.execute(f"DROP ROLE {role}")
    assert error.message == "PostgreSQL said: permission denied to create database."
    assert error.hint == (
        "Databases are made, renamed and dropped by their owner with CREATEDB: ALTER ROLE name CREATEDB."
    )


@on_mariadb
def test_without_the_grant_the_grant_is_named(server: Database, tmp_path: Path) -> None:
    """The user's password holds everything that an option file would take for something else."""
    password = "a#b'c\"d\\e ;=[]$üß\\"
    store_of(server).dump(tmp_path / "database.dump")
    user = f"u{server.name[-8:]}"
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY :p"), {"p": password})
        connection.exec_driver_sql(f"GRANT ALL ON {server.name}.* TO {user}@'127.0.0.1'")
    try:
        url = sa.make_url(server.url).set(username=user, password=password)
        plain = open_store(url.render_as_string(hide_password=False), file=None)
        assert plain.row_counts() == {"note": 2}
        error = fails(lambda: plain.load_beside(tmp_path / "database.dump", "t1"))
    finally:
        server.execute(f"DROP USER {user}@'127.0.0.1'")
    assert error.message.startswith(f"The database said: Access denied for user '{user}'@'127.0.0.1'")
    assert f"GRANT ALL ON `{server.name.replace('_', chr(92) + '_')}" in error.hint
    assert password not in plain.masked_url + error.message + error.hint


# -- somebody is connected


@on_postgresql
def test_a_swap_ends_the_sessions_of_others(server: Database, tmp_path: Path) -> None:
    store = store_of(server)
    store.dump(tmp_path / "database.dump")
    new = store.load_beside(tmp_path / "database.dump", "t1")
    engine = sa.create_engine(server.url)
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
        store.swap(new, "t1")
        with pytest.raises(sa.exc.DBAPIError):
            connection.exec_driver_sql("SELECT 1")
    engine.dispose()
    assert store.row_counts() == {"note": 2}


@on_mariadb
def test_an_exchange_that_is_refused_is_taken_back(
    server: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has a transaction open on a table: after a while the rename gives up, and the view is there again."""
    from fietsupdate.database.dump import mysql_client

    monkeypatch.setattr(mysql_client, "_PATIENCE", "SET SESSION lock_wait_timeout = 1;\n")
    store = store_of(server)
    store.run("CREATE VIEW seen AS SELECT * FROM note")
    store.dump(tmp_path / "database.dump")
    new = store.load_beside(tmp_path / "database.dump", "t1")
    schema = store.schema_text()
    with server.connect() as connection:
        connection.exec_driver_sql("INSERT INTO note VALUES (9)")
        error = fails(lambda: store.swap(new, "t1"))
    assert error.message == "The database said: Lock wait timeout exceeded; try restarting transaction."
    assert error.hint.startswith("Stop the application and whatever else has a transaction open")
    assert store.schema_text() == schema
    assert store.old("t1") is None
    store.swap(new, "t1")
    assert (store.row_counts(), store.schema_text()) == ({"note": 2}, schema)


# -- values


def test_values_arrive_as_text_and_null_as_none(database: Database) -> None:
    store = store_of(database)
    filled(database, "CREATE TABLE v (id INT, t TEXT)")
    odd = "NULL\t<&>\n\\N 'ü' \"🚲\" \\"
    with database.connect() as connection:
        connection.execute(sa.text("INSERT INTO v VALUES (1, :t), (2, NULL), (3, '')"), {"t": odd})
    assert store.query("SELECT id, t FROM v ORDER BY id;") == [("1", odd), ("2", None), ("3", "")]


def test_statements_are_executed_together_or_not_at_all(live: Database) -> None:
    store = store_of(live)
    fails(lambda: store.run("DELETE FROM note; INSERT INTO nowhere VALUES (1)"))
    assert store.row_counts() == {"note": 2}


def test_the_size_is_that_of_the_live_database(full: Database) -> None:
    store = store_of(full)
    assert store.size() > 10_000
    assert store.sibling("old", "nowhere").size() == 0


# -- SQLite's file


def test_a_copy_of_sqlite_is_one_file_that_keeps_its_header(sqlite: Database, tmp_path: Path) -> None:
    store = filled(sqlite)
    sqlite.execute("PRAGMA journal_mode = WAL")
    with closing(sqlite3.connect(sqlite.file)) as connection:
        connection.execute("INSERT INTO owner (name) VALUES ('in the log')")
        connection.commit()
        store.dump(tmp_path / "copies.dump")
    assert [path.name for path in tmp_path.glob("copies.dump*")] == ["copies.dump"]
    assert (tmp_path / "copies.dump").stat().st_mode & 0o777 == 0o600
    before = everything(sqlite)
    sqlite.execute("DELETE FROM owner")
    store.swap(store.load_beside(tmp_path / "copies.dump", "t1"), "t1")
    assert everything(sqlite) == before


def test_mode_owner_and_symlink_of_the_live_file_stay(live: Database, tmp_path: Path) -> None:
    link = tmp_path / "link.sqlite"
    link.symlink_to(live.file)
    os.chmod(live.file, 0o640)
    if os.geteuid() == 0:
        os.chown(live.file, 1234, 2345)
    before = os.stat(live.file)
    store = open_store(f"sqlite:///{link}", file=link)
    store.dump(tmp_path / "copy")
    store.swap(store.load_beside(tmp_path / "copy", "t1"), "t1")
    after = os.stat(live.file)
    assert link.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_a_file_uri_leads_to_siblings_by_file_uris(live: Database) -> None:
    store = open_store(f"sqlite:///file:{live.file}?uri=true&timeout=3", file=None)
    old = store.sibling("old", "t1")
    assert old.url == f"sqlite:///file%3A{live.file}.old-t1?timeout=3&uri=true"
    assert old.file == live.file.with_name(live.file.name + ".old-t1")


def test_a_database_in_use_is_not_swapped(live: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.1)
    live.execute("PRAGMA journal_mode = WAL")
    store = store_of(live)
    store.dump(tmp_path / "copy")
    new = store.load_beside(tmp_path / "copy", "t1")
    with live.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM note")
        error = fails(lambda: store.swap(new, "t1"))
    assert error.message == f"The database {live.file} is in use: another process held its lock for 0 s."
    assert error.hint.startswith("Stop the application")
    assert store.old("t1") is None
    assert store.beside("t1") is not None


def test_a_writer_is_waited_for(live: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the lock at first, and lets go when we have asked once."""
    holder = sqlite3.connect(live.file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite_file.time, "sleep", lambda _: holder.in_transaction and holder.execute("ROLLBACK"))
    store_of(live).dump(tmp_path / "copy")
    holder.close()
    assert open_store(f"sqlite:///{tmp_path / 'copy'}", file=None).row_counts() == {"note": 2}


def test_a_damaged_database_is_neither_dumped_nor_loaded(sqlite: Database, tmp_path: Path) -> None:
    store = filled(sqlite, "CREATE TABLE t (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                           "WHERE i < 5000) INSERT INTO t SELECT hex(randomblob(20)) FROM n")  # fmt: skip
    store.dump(tmp_path / "good")
    data = bytearray((tmp_path / "good").read_bytes())
    data[3 * 4096 : 3 * 4096 + 64] = bytes(range(64))
    (tmp_path / "bad").write_bytes(data)
    assert fails(lambda: store.load_beside(tmp_path / "bad", "t1")).message.startswith("The database is damaged: ")
    sqlite.file.write_bytes(data)
    assert fails(lambda: store.dump(tmp_path / "copy")).message.startswith("The database is damaged: ")
    assert not list(tmp_path.glob("copy*"))

    store.swap(store.load_beside(tmp_path / "good", "t2"), "t2")
    assert store.row_counts() == {"t": 5000}
    old = store.old("t2")
    assert old is not None
    assert old.file is not None
    assert old.file.read_bytes() == bytes(data)


def test_a_live_file_that_is_no_database_is_put_aside_with_its_log(live: Database, tmp_path: Path) -> None:
    store = store_of(live)
    store.dump(tmp_path / "copy")
    log = live.file.with_name(live.file.name + "-wal")
    live.file.write_bytes(b"this is no database" * 100)
    log.write_bytes(b"nor is this a log")
    store.swap(store.load_beside(tmp_path / "copy", "t1"), "t1")
    assert store.row_counts() == {"note": 2}
    assert databases_on(live) == {live.file.name, f"{live.file.name}.old-t1"}
    assert live.file.with_name(live.file.name + ".old-t1").read_bytes() == b"this is no database" * 100


def test_a_lost_database_is_brought_back(live: Database, tmp_path: Path) -> None:
    store = store_of(live)
    store.dump(tmp_path / "copy")
    live.file.unlink()
    new = store.load_beside(tmp_path / "copy", "t1")
    store.swap(new, "t1")
    store.swap(new, "t1")
    assert store.row_counts() == {"note": 2}
    assert store.old("t1") is None


@pytest.fixture
def mounted(live: Database, tmp_path: Path) -> Iterator[Database]:
    """Mount a database's file over itself, as a container's volume of a single file is."""
    done = subprocess.run(["mount", "--bind", live.file, live.file], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    yield live
    subprocess.run(["umount", live.file], check=True)


def test_a_file_that_is_a_mount_point_is_changed_in_place(mounted: Database, tmp_path: Path) -> None:
    mounted.execute("PRAGMA journal_mode = WAL")
    store = store_of(mounted)
    store.dump(tmp_path / "copy")
    store.run("DELETE FROM note WHERE id = 2; CREATE TABLE more (n)")
    inode = os.stat(mounted.file).st_ino
    new = store.load_beside(tmp_path / "copy", "t1")
    store.swap(new, "t1")
    store.swap(new, "t1")
    assert os.stat(mounted.file).st_ino == inode
    assert store.row_counts() == {"note": 2}
    assert store.query("PRAGMA journal_mode") == [("wal",)]
    old = store.old("t1")
    assert old is not None
    assert old.row_counts() == {"more": 0, "note": 1}
    old.drop()
    assert databases_on(mounted) == {mounted.file.name}


# -- schemas as text


def test_sqlite_definitions_do_not_depend_on_quoting_and_layout(live: Database, tmp_path: Path) -> None:
    def schema(name: str, script: str) -> str:
        store = open_store(f"sqlite:///{tmp_path / name}", file=None)
        sqlite3.connect(tmp_path / name).close()
        (tmp_path / name).touch()
        store.run(script)
        return store.schema_text()

    one = schema("a", "CREATE TABLE \"track\" (\n\tid INTEGER,  -- the key\n\t[name]   TEXT DEFAULT 'a, (b')")
    two = schema("b", "CREATE TABLE other(id INTEGER, name TEXT DEFAULT 'a, (b'); ALTER TABLE other RENAME TO track")
    assert one == "CREATE TABLE track (\n  id INTEGER,\n  name TEXT DEFAULT 'a, (b'\n);\n"
    assert two.replace("track(", "track (") == one
