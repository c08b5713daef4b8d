"""MariaDB: what its dump program knows comes back, and what would stop a restore is told before it touches anything.

The users here are ordinary ones: they may do what the documentation tells administrators to grant, on their own
database and on those beside it, and nothing on the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fietsupdate.database.dump import mysql_client, mysql_swap
from fietsupdate.errors import DatabaseError
from support import mariadb
from support.databases import MARIADB, Database
from support.stores import administer, store_of, sweep

NOTES = "CREATE TABLE note (id INT PRIMARY KEY); INSERT INTO note VALUES (1), (2)"
NOTED = "CREATE TRIGGER noted BEFORE INSERT ON note FOR EACH ROW SET NEW.id = NEW.id + 1"


@pytest.fixture
def live(make_database: Callable[[str], Database]) -> Iterator[Database]:
    """Give an empty database on the server."""
    database = make_database(MARIADB)
    yield database
    sweep(database)


@pytest.fixture
def user(live: Database) -> Iterator[str]:
    """Give an ordinary user of that database."""
    with mariadb.user(live, mariadb.everywhere(live)) as name:
        yield name


def fails(action: Callable[[], object]) -> DatabaseError:
    with pytest.raises(DatabaseError) as caught:
        action()
    return caught.value


def hanging(database: Database) -> set[str]:
    """Name what belongs to the database beside tables."""
    name = database.name
    rows = database.execute(
        f"SELECT table_name FROM information_schema.views WHERE table_schema = '{name}' UNION ALL "
        f"SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = '{name}' UNION ALL "
        f"SELECT routine_name FROM information_schema.routines WHERE routine_schema = '{name}' UNION ALL "
        f"SELECT event_name FROM information_schema.events WHERE event_schema = '{name}'"
    )
    return {found for (found,) in rows}


# -- every kind of object


def test_every_kind_of_object_comes_back_in_place_of_what_became_of_it(live: Database, tmp_path: Path) -> None:
    """Engines, generated columns, periods, partitions, sequences, packages, events, each to the letter."""
    mariadb.make_everything(live.url)
    store = store_of(live)
    store.run(
        "SET NAMES latin1; SET sql_mode = 'ANSI_QUOTES'; "
        "CREATE EVENT its_own ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DO DELETE FROM thing"
    )
    before = mariadb.text_of(live)
    store.dump(tmp_path / "dump")
    new = store.load_beside(tmp_path / "dump", "proof")
    assert new.differences(tmp_path / "dump") == ()
    new.run("DROP VIEW all_owned; UPDATE in_aria SET id = 9; ALTER TABLE ranged COMMENT 'x'; DROP PROCEDURE forget")
    assert new.differences(tmp_path / "dump") == (
        "Dumping data for table `in_aria`: not as in the dump",
        "Dumping routines for database: not as in the dump",
        "Final view structure for view `all_owned`: missing",
        "Table structure for table `ranged`: not as in the dump",
        "Temporary table structure for view `all_owned`: missing",
    )
    new.drop()
    store.run("DROP VIEW all_owned; DROP TRIGGER gone; DELETE FROM thing; DROP PROCEDURE forget; DROP TABLE parts")
    administer(live, f"ALTER DATABASE {live.name} CHARACTER SET latin1 COLLATE latin1_german1_ci")
    store.swap(store.load_beside(tmp_path / "dump", "t1"), "t1")
    assert mariadb.text_of(live) == before


def test_every_kind_of_object_comes_back_under_another_name_for_another_user(
    live: Database, make_database: Callable[[str], Database], tmp_path: Path
) -> None:
    """An ordinary user dumped it, and another one restores it: what belonged to the one belongs to the other."""
    other = make_database(MARIADB)
    with (
        mariadb.user(live, mariadb.everywhere(live)) as owner,
        mariadb.user(other, mariadb.everywhere(other)) as heir,
    ):
        mariadb.make_everything(mariadb.as_user(live.url, owner))
        before = mariadb.text_of(live)
        mariadb.store_as(live, owner).dump(tmp_path / "dump")
        store = mariadb.store_as(other, heir)
        store.swap(store.load_beside(tmp_path / "dump", "t1"), "t1")
        assert mariadb.text_of(other) == before.replace(owner, heir)
    sweep(other)


def test_a_sequence_of_another_database_stays_the_one_of_that_database(live: Database, tmp_path: Path) -> None:
    other = f"{live.name}_apart"
    administer(live, f"CREATE DATABASE {other}", f"CREATE SEQUENCE {other}.counter START WITH 500")
    store = store_of(live)
    store.run(f"CREATE SEQUENCE counter; CREATE TABLE t (n INT DEFAULT NEXTVAL({other}.counter), own INT DEFAULT "
              "NEXTVAL(counter))")  # fmt: skip
    store.dump(tmp_path / "dump")
    store.swap(store.load_beside(tmp_path / "dump", "t1"), "t1")
    store.run("INSERT INTO t VALUES (DEFAULT, DEFAULT)")
    assert store.query("SELECT n, own FROM t") == [("500", "1")]


def test_those_who_may_execute_a_routine_still_may(live: Database, user: str, tmp_path: Path) -> None:
    """A routine is replaced, as what is dropped takes its grants along."""
    store = store_of(live)
    store.run(f"{NOTES}; CREATE PROCEDURE kept() SELECT 1; CREATE PROCEDURE changed() SELECT 2")
    store.dump(tmp_path / "dump")
    with mariadb.user(
        live, f"EXECUTE ON PROCEDURE {live.name}.kept", f"EXECUTE ON PROCEDURE {live.name}.changed"
    ) as guest:
        store.run("CREATE OR REPLACE PROCEDURE changed() SELECT 3; CREATE PROCEDURE newer() SELECT 4")
        store.swap(store.load_beside(tmp_path / "dump", "t1"), "t1")
        with mariadb.connected(mariadb.as_user(live.url, guest)) as connection:
            assert connection.exec_driver_sql("CALL kept()").scalar() == 1
            assert connection.exec_driver_sql("CALL changed()").scalar() == 2
    assert hanging(live) == {"kept", "changed"}


def test_an_exchange_that_an_earlier_version_began_is_finished(
    live: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took everything down that hung on both, kept both scripts, and was cut off before or after the rename."""
    store = store_of(live)
    store.run(f"{NOTES}; {NOTED}; CREATE VIEW seen AS SELECT id FROM note")
    store.dump(tmp_path / "dump")
    before = mariadb.text_of(live)
    for is_renamed in (False, True):
        store.run("DELETE FROM note")
        new = store.load_beside(tmp_path / "dump", "t1")
        new.run("UPDATE fietsupdate_aside SET name = 'these'; INSERT INTO fietsupdate_aside VALUES ('those', '')")
        store.run("DROP TRIGGER noted; DROP VIEW seen")
        if is_renamed:
            with monkeypatch.context() as cut:
                cut.setattr(mysql_swap.TableSwap, "finish", lambda _: None)
                store.swap(new, "t1")
            store.sibling("old", "t1").run("UPDATE fietsupdate_aside SET name = 'these' WHERE name = 'next'")
        store.swap(new, "t1")
        assert mariadb.text_of(live) == before
        store.sibling("old", "t1").drop()


def test_a_hidden_foreign_key_is_told_when_what_was_replaced_cannot_be_dropped(
    live: Database, user: str, tmp_path: Path
) -> None:
    """This user has no right in the database that has it, so that no look shows it to him."""
    store, other = mariadb.store_as(live, user), f"apart_{live.name}"
    store.run(NOTES)
    store.dump(tmp_path / "dump")
    administer(live, f"CREATE DATABASE {other}")
    try:
        administer(live, f"CREATE TABLE {other}.child (n INT, FOREIGN KEY (n) REFERENCES {live.name}.note (id))")
        assert (store.barriers(), len(store_of(live).barriers())) == ((), 1)
        store.swap(store.load_beside(tmp_path / "dump", "t1"), "t1")
        old = store.sibling("old", "t1")
        assert fails(old.drop).hint.startswith("A foreign key of another database leads here.")
        administer(live, f"DROP TABLE {other}.child")
        old.drop()
    finally:
        administer(live, f"DROP DATABASE {other}")


# -- what others have made meanwhile


def test_what_root_has_made_after_the_backup_stops_no_ordinary_user(live: Database, user: str, tmp_path: Path) -> None:
    """He could not make it again, and nothing of it has to be made again; a routine that he cannot read stays."""
    store = mariadb.store_as(live, user)
    store.run(f"{NOTES}; {NOTED}; CREATE VIEW seen AS SELECT id FROM note; CREATE PROCEDURE own() SELECT 1")
    store.dump(tmp_path / "dump")
    store_of(live).run(
        "DROP TRIGGER noted; CREATE TRIGGER roots BEFORE INSERT ON note FOR EACH ROW SET NEW.id = 7; "
        "CREATE VIEW of_root AS SELECT * FROM note; CREATE OR REPLACE VIEW seen AS SELECT 1; "
        "CREATE PROCEDURE hidden() SELECT 1; "
        "CREATE EVENT at_night ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DO DELETE FROM note"
    )
    store.swap(store.load_beside(tmp_path / "dump", "t1"), "t1")
    assert hanging(live) == {"noted", "seen", "own", "hidden"}
    old = store.old("t1")
    assert old is not None
    old.drop()
    (caution,) = store.cautions()
    assert re.fullmatch(
        "the PROCEDURE hidden of root@.* is hidden from this user: no backup of his has it, .*", caution
    )
    store.run(
        "CREATE FUNCTION twice(n INT) RETURNS INT RETURN n * 2; CREATE VIEW doubled AS SELECT twice(id) FROM note"
    )
    schema = store.schema_text()
    store.dump(tmp_path / "again")
    new, clone = store.load_beside(tmp_path / "again", "t2"), store.clone("t2")
    assert (new.differences(tmp_path / "again"), new.schema_text(), clone.schema_text()) == ((), schema, schema)
    store.swap(new, "t2")
    assert hanging(live) == {"noted", "seen", "own", "hidden", "twice", "doubled"}


def test_live_objects_that_are_broken_do_not_stop_what_mends_them(live: Database, tmp_path: Path) -> None:
    """A revision broke off between two statements: a view leads nowhere, a trigger writes to a table that is gone."""
    store = store_of(live)
    store.run(f"{NOTES}; CREATE TABLE more (id INT); CREATE VIEW seen AS SELECT * FROM more; "
              "CREATE TRIGGER noted AFTER INSERT ON note FOR EACH ROW INSERT INTO more VALUES (1)")  # fmt: skip
    store.dump(tmp_path / "dump")
    store.run("DROP TABLE more")
    store.swap(store.load_beside(tmp_path / "dump", "t1"), "t1")
    store.run("INSERT INTO note VALUES (3)")
    assert store.query("SELECT * FROM seen") == [("1",)]


# -- what is refused, before anything live is touched


def test_a_foreign_key_from_elsewhere_is_told_with_what_takes_it_away(live: Database, tmp_path: Path) -> None:
    """A rename would take it along to the old table."""
    other = f"{live.name}_apart"
    store = store_of(live)
    store.run(f"{NOTES}; {NOTED}")
    store.dump(tmp_path / "dump")
    administer(
        live,
        f"CREATE DATABASE {other}",
        f"CREATE TABLE {other}.child (n INT, CONSTRAINT fk FOREIGN KEY (n) REFERENCES {live.name}.note (id))",
    )
    new, before = store.load_beside(tmp_path / "dump", "t1"), mariadb.text_of(live)
    error = fails(lambda: store.swap(new, "t1"))
    assert error.message == (
        f"A foreign key of another database refers to a table that a restore replaces: {other}.child to note, by fk."
    )
    assert (mariadb.text_of(live), store.old("t1")) == (before, None)
    statement = re.findall(r"ALTER TABLE .*? DROP FOREIGN KEY `fk`", error.hint)
    administer(live, *statement)
    store.swap(new, "t1")
    assert store.row_counts() == {"note": 2}


def test_a_right_that_is_missing_is_told_by_name(live: Database, tmp_path: Path) -> None:
    """All is granted beside the live database, on which this user may not make what hangs on tables."""
    beside = live.name.replace("_", "\\_")
    tables = "SELECT, INSERT, CREATE, ALTER, DROP, INDEX, REFERENCES, LOCK TABLES"
    store_of(live).run(f"{NOTES}; CREATE VIEW seen AS SELECT 1")
    with mariadb.user(
        live, f"{tables}, SHOW VIEW, EXECUTE, EVENT, TRIGGER ON `{beside}`.*", f"ALL ON `{beside}\\_%`.*"
    ) as name:
        store_of(live).run(f"CREATE OR REPLACE DEFINER = {name}@'127.0.0.1' VIEW seen AS SELECT id FROM note")
        store = mariadb.store_as(live, name)
        store.dump(tmp_path / "dump")
        new, before = store.load_beside(tmp_path / "dump", "t1"), mariadb.text_of(live)
        error = fails(lambda: store.swap(new, "t1"))
        assert error.message.endswith("that this user does not have: CREATE VIEW.")
        assert (mariadb.text_of(live), store.old("t1")) == (before, None)
        administer(live, error.hint.replace("this user.", f"{name}@'127.0.0.1'"))
        store.swap(new, "t1")
        assert hanging(live) == {"seen"}


def test_what_belongs_to_others_is_told_and_becomes_the_ordinary_users_own(
    live: Database, user: str, tmp_path: Path
) -> None:
    """Who may make things for others gives it back to them."""
    store_of(live).run(f"{NOTES}; {NOTED}; CREATE VIEW seen AS SELECT 1")
    root, mine = store_of(live), mariadb.store_as(live, user)
    owner, before = live.execute("SELECT CURRENT_USER()")[0][0], mariadb.text_of(live)
    belongs = f"belongs to {owner}, for whom this user may make nothing (SET USER): it would come back as his own"
    assert mine.cautions() == (f"the TRIGGER noted {belongs}", f"the VIEW seen {belongs}")
    assert (root.cautions(), root.barriers(), mine.barriers()) == ((), (), ())
    mine.dump(tmp_path / "dump")
    new = mine.load_beside(tmp_path / "dump", "t1")
    assert new.notes == (f"views, triggers, routines and events of {owner} belong to {user}@127.0.0.1 here",)
    mine.swap(new, "t1")
    assert mariadb.text_of(live) == before.replace("`root`@`127.0.0.1`", f"`{user}`@`127.0.0.1`")
    root.swap(root.load_beside(tmp_path / "dump", "t2"), "t2")
    assert mariadb.text_of(live) == before


def test_a_backup_tells_what_could_not_be_restored_and_what_it_does_not_hold(live: Database, tmp_path: Path) -> None:
    store = store_of(live)
    store.run(f"{NOTES}; CREATE PROCEDURE own() SELECT * FROM {live.name}.note; CREATE TABLE large (data LONGBLOB)")
    tables = "SELECT, INSERT, CREATE, ALTER, DROP, INDEX, REFERENCES, EVENT"
    with (
        mariadb.user(live, f"EXECUTE ON PROCEDURE {live.name}.own") as guest,
        mariadb.user(live, f"{tables} ON {live.name}.*") as name,
    ):
        assert store.cautions() == (
            f"the right of {guest}@127.0.0.1 to the PROCEDURE own is in no backup; it stays where that is still there",
            f"the PROCEDURE own names the database {live.name} itself, and still would under another name",
        )
        narrow = mariadb.store_as(live, name)
        assert [text.partition(" are hidden")[0] for text in narrow.cautions()] == [
            "routines that others own",
            "triggers",
        ]
        ((text, remedy),) = narrow.barriers()
        assert f"on the database {live.name}_new_00000000 that this user does not have: SELECT, INSERT, CREATE" in text
        assert remedy.startswith("GRANT ALL ON `")
        administer(live, remedy.replace("this user.", f"{name}@127.0.0.1"))
        assert narrow.barriers() == ()
        narrow.dump(tmp_path / "narrow")
        narrow.swap(narrow.load_beside(tmp_path / "narrow", "t1"), "t1")
        narrow.sibling("old", "t1").drop()
    store.dump(tmp_path / "small")
    assert store.notes == ()
    most = int(live.execute("SELECT @@global.max_allowed_packet")[0][0])
    live.execute(f"INSERT INTO large VALUES (REPEAT('x', {most // 2}))")
    store.dump(tmp_path / "dump")
    assert re.fullmatch(
        rf"a row of large takes \d+ bytes in the dump, and the server takes {most} at once: .*", store.notes[0]
    )


def test_an_exchange_that_is_refused_where_roots_trigger_was_dropped_goes_on_later(
    live: Database, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody takes a table between the look and the rename, and this user cannot make the trigger again."""
    monkeypatch.setattr(mysql_client, "_PATIENCE", "SET SESSION lock_wait_timeout = 1;\n")
    store = mariadb.store_as(live, user)
    store.run(f"{NOTES}; CREATE TABLE other (id INT)")
    store.dump(tmp_path / "dump")
    store_of(live).run(NOTED)
    new = store.load_beside(tmp_path / "dump", "t1")
    real = mysql_client.execute

    def raced(url: sa.URL, statements: object) -> None:
        listed = list(statements)  # type: ignore[call-overload]
        if not listed or not listed[0].startswith("LOCK TABLES"):
            real(url, listed)

    with live.connect() as connection, monkeypatch.context() as racing:
        connection.exec_driver_sql("INSERT INTO other VALUES (9)")
        racing.setattr(mysql_client, "execute", raced)
        error = fails(lambda: store.swap(new, "t1"))
    assert error.hint.startswith("Stop the application and whatever else has a transaction open")
    assert store.old("t1") is not None  # which says that it has begun
    store.swap(new, "t1")
    assert (store.row_counts(), hanging(live)) == ({"note": 2, "other": 0}, set())
