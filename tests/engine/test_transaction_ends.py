"""Nobody but us ends the transaction of an update; what gets through all the same costs nobody a byte (invariant 11).

v2 moves a column into files: the text of each row goes to ``notes/ID``, and the row's own copy goes. So whoever keeps
the rows and takes the files back has lost the text.
"""

from __future__ import annotations

import signal

import pytest

from fietsupdate import Updater
from fietsupdate.errors import FietsupdateError
from support.databases import ATOMIC_KINDS, KINDS, MARIADB, POSTGRESQL, SQLITE
from support.notes import notes
from support.projects import Project

ROWS = [(1, "one"), (2, "two")]
MOVE = """
for id, text in self.connection.execute(sa.text("SELECT id, text FROM notes")).all():
    self.files.write(f"notes/{id}", text)
    self.connection.execute(sa.text("UPDATE notes SET text = NULL WHERE id = :id"), {"id": id})
"""
INSERT_AGAIN = "self.connection.execute(sa.text(\"INSERT INTO notes (id, text) VALUES (1, 'default')\"))"
RAW = "raw = self.connection.connection.driver_connection\n"
ENVIRONMENTS = [*((kind, "stock") for kind in KINDS), (SQLITE, "async"), (POSTGRESQL, "async")]
BOOM = "raise RuntimeError('boom')"
KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def filled(make_project):
    """Give a function that makes an instance at v1 with two rows."""

    def make(kind: str = SQLITE, variant: str = "stock") -> Project:
        project = notes(make_project(variant, kind), 1)
        Updater.from_config(project.ini).update()
        project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'one'), (2, 'two')")
        return project

    return make


def v2(project: Project, body: str, **more: str) -> None:
    project.update("v2", "v1", "r1", up_post=body, **more)


def failure_of(project: Project, body: str, **more: str) -> FietsupdateError:
    """Let v2 fail with this hook, and give its error."""
    v2(project, body, **more)
    with pytest.raises(FietsupdateError) as caught:
        Updater.from_config(project.ini).update()
    return caught.value


def rows(project: Project) -> list[tuple[object, ...]]:
    return project.database.execute("SELECT id, text FROM notes ORDER BY id")


def found(project: Project) -> dict[str, str]:
    """Give what was set aside, by name."""
    paths = (project.data / ".fietsupdate" / "found").rglob("*")
    return {path.name: path.read_text() for path in paths if path.is_file()}


def assert_nothing_is_lost(project: Project) -> None:
    """The text of each row is in the row, or set aside; nothing of v2 lies in the tree."""
    assert not (project.data / "notes").exists()
    for number, text in ROWS:
        assert (number, text) in rows(project) or found(project).get(str(number)) == text


# -- refused before it reaches the database

AGAIN = f"try: {INSERT_AGAIN}\nexcept sa.exc.IntegrityError: @end@\n{MOVE}"
ANYWHERE = {
    "rollback()": AGAIN.replace("@end@", "self.connection.rollback()") + "self.connection.commit()",
    "commit()": f"{MOVE}\nself.connection.commit()\n{BOOM}",
    "a session of its own": "from sqlalchemy.orm import Session\nsession = Session(self.connection)\n"
    + AGAIN.replace("@end@", "session.rollback()").replace("self.connection", "session"),
    "close()": f"{MOVE}\nself.connection.close()\n{BOOM}",
    "the word ROLLBACK": f"self.connection.execute(sa.text('-- so\\n rollback'))\n{MOVE}\nself.connection.commit()",
    "the driver's rollback()": f"{RAW}raw.rollback()\n{MOVE}\nraw.commit()",
    "the driver's commit()": f"{RAW}{MOVE}\nraw.commit()\n{BOOM}",
    "caught": f"{MOVE}\ntry: self.connection.rollback()\nexcept Exception: pass",
    "caught, and worked on": f"try: self.connection.rollback()\nexcept Exception: pass\n{MOVE}",
}
ON_POSTGRESQL = {
    "COMMIT AND CHAIN": f"{MOVE}\nself.connection.execute(sa.text('COMMIT AND CHAIN'))\n{BOOM}",
    "behind a semicolon": f"{MOVE}\nself.connection.exec_driver_sql('SELECT 1; END')\n{BOOM}",
    "PREPARE TRANSACTION": f"{MOVE}\nself.connection.execute(sa.text(\"PREPARE TRANSACTION 'x'\"))\n{BOOM}",
    "the driver's block": f"{RAW}{MOVE}\nwith raw: pass\n{BOOM}",
}
ON_SQLITE = {
    "executescript()": f"{RAW}{MOVE}\nraw.executescript('CREATE TABLE t (id)')\n{BOOM}",
    "COMMIT at the driver": f"{RAW}{MOVE}\nraw.execute('COMMIT')\n{BOOM}",
    "ROLLBACK at the driver": f"{RAW}raw.cursor().execute('ROLLBACK')\n{MOVE}",
    "isolation_level": f"{RAW}{MOVE}\nraw.isolation_level = None\n{BOOM}",
}
REFUSED = {SQLITE: ANYWHERE | ON_SQLITE, POSTGRESQL: ANYWHERE | ON_POSTGRESQL, MARIADB: ANYWHERE}


@pytest.mark.parametrize("kind", KINDS)
def test_an_ending_is_refused_before_it_reaches_the_database(kind, filled):
    project = filled(kind)
    tree = project.tree(exclude=[".fietsupdate"])
    for name, body in REFUSED[kind].items():
        error = failure_of(project, body)
        assert "would end the transaction of the update, and was refused" in error.message, name
        assert "with self.connection.begin_nested():" in error.hint, name
        assert error.stands == "Nothing of v2 stands: it was rolled back, and its file changes are undone.", name
        assert rows(project) == ROWS, name
        assert project.tree(exclude=[".fietsupdate"]) == tree, name
        assert found(project) == {}, name


@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_an_async_env_refuses_as_well(kind, filled):
    """What goes to asyncpg itself is not heard beforehand; it is noticed before the next statement."""
    project = filled(kind, "async")
    for end in ("self.connection.rollback()", "self.connection.commit()", "self.connection.connection.rollback()"):
        error = failure_of(project, f"{end}\n{MOVE}\n{end}")
        is_heard = kind == SQLITE or "connection.connection" not in end
        assert ("was refused" if is_heard else "something ended it at the driver") in error.message
        assert rows(project) == ROWS
        assert_nothing_is_lost(project)


def test_a_hook_of_the_beginning_and_verify_are_no_exceptions(filled):
    project = filled(POSTGRESQL)
    for more in (
        {"up_pre": f"self.connection.rollback()\n{MOVE}"},
        {"up_pre": MOVE, "up_more": "def verify(self, config): self.connection.commit()"},
    ):
        assert "was refused" in failure_of(project, "pass", **more).message
        assert rows(project) == ROWS
        assert_nothing_is_lost(project)


@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_a_revision_may_not_roll_back(kind, filled):
    """It may commit: the row ``begun`` is committed with it, and nothing is undone then."""
    project = filled(kind)
    project.revision(
        "r2", "r1", "op.execute('ROLLBACK')\nop.execute('UPDATE notes SET text = NULL')\nop.execute('COMMIT')"
    )
    project.update("v2", "v1", "r2", up_pre=MOVE)
    with pytest.raises(FietsupdateError, match="ROLLBACK would end the transaction") as caught:
        Updater.from_config(project.ini).update()
    assert caught.value.stands.startswith("Nothing of v2 stands")
    assert rows(project) == ROWS
    assert_nothing_is_lost(project)


# -- what is offered instead

INSTEAD = {
    "begin_nested": f"""
try:
    with self.connection.begin_nested(): {INSERT_AGAIN}
except sa.exc.IntegrityError: pass
""",
    "session": """
with self.session() as session:
    session.execute(sa.text("INSERT INTO notes (id, text) VALUES (3, 'kept')"))
    session.commit()
    session.execute(sa.text("INSERT INTO notes (id, text) VALUES (4, 'taken back')"))
    try: session.execute(sa.text("INSERT INTO notes (id, text) VALUES (1, 'default')"))
    except sa.exc.IntegrityError: session.rollback()
    session.execute(sa.text("DELETE FROM notes WHERE id = 3"))
    session.commit()
""",
    "a session of its own that only commits": """
from sqlalchemy.orm import Session
with Session(self.connection) as session:
    session.execute(sa.text("SELECT 1"))
    session.commit()
""",
    "words that only look alike": """
self.connection.execute(sa.text("UPDATE notes SET text = 'x; COMMIT' WHERE text = '; ROLLBACK'"))
self.connection.execute(sa.text("SAVEPOINT a"))
self.connection.execute(sa.text("ROLLBACK TO SAVEPOINT a"))
""",
}


@pytest.mark.parametrize(("kind", "variant"), ENVIRONMENTS)
def test_savepoints_and_sessions_work(kind, variant, filled):
    project = filled(kind, variant)
    v2(project, "\n".join([*INSTEAD.values(), MOVE]))
    assert Updater.from_config(project.ini).update().done == ("v2",)
    assert rows(project) == [(1, None), (2, None)]
    assert [(project.data / "notes" / str(number)).read_text() for number, _ in ROWS] == ["one", "two"]


# -- what gets through

SELECT = 'self.connection.execute(sa.text("SELECT 1"))'
INSERT_OR_ROLLBACK = INSERT_AGAIN.replace("INSERT", "INSERT OR ROLLBACK")
SQLITE_ENDS = {
    "INSERT OR ROLLBACK": f"try: {INSERT_OR_ROLLBACK}\nexcept sa.exc.IntegrityError: pass\n",
    "at the driver": f"{RAW}try: raw.execute(\"INSERT OR ROLLBACK INTO notes (id, text) VALUES (1, '')\")\n"
    "except Exception: pass\n",
    "RAISE(ROLLBACK)": "self.connection.execute(sa.text('CREATE TRIGGER no BEFORE INSERT ON notes "
    f"BEGIN SELECT RAISE(ROLLBACK, $$no$$); END'))\ntry: {INSERT_AGAIN}\nexcept sa.exc.IntegrityError: pass\n".replace(
        "$$", "\\'"
    ),
}
WORKS_ON = {
    "rows": "self.connection.execute(sa.text('DROP TABLE notes'))",
    "files": "self.files.write('notes/3', 'three')",
    "at the driver": "self.connection.connection.driver_connection.execute('DROP TABLE notes')",
}


@pytest.mark.parametrize("end", SQLITE_ENDS)
def test_after_an_end_that_sqlite_cannot_announce_nothing_more_is_done(end, filled):
    project = filled()
    for name, more in WORKS_ON.items():
        error = failure_of(project, f"{MOVE}{SQLITE_ENDS[end]}{more}")
        assert "ended" in error.message, name
        assert "Rows that it wrote may stand: the transaction was ended in the middle of it" in error.stands, name
        assert rows(project) == ROWS, name
        assert_nothing_is_lost(project)


THROUGH = (
    MOVE
    + RAW
    + "cursor = raw.cursor()\n"
    + "for statement in ('ROLLBACK', 'UPDATE notes SET text = NULL', 'COMMIT'): cursor.execute(statement)\n"
)
NOTICED = f"try: {SELECT}\nexcept Exception: pass\n"


@pytest.mark.parametrize("last", ["", f"{SELECT}", BOOM, f"{NOTICED}{KILL}"])
@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_what_was_committed_behind_our_back_keeps_its_files(kind, last, filled):
    """The words go to the driver itself, where nobody hears them; the next statement notices."""
    project = filled(kind)
    v2(project, THROUGH + last)
    if KILL in last:
        assert project.run("update", "--yes").code == -signal.SIGKILL
        told = " ".join(project.run("recover").output.split())
    else:
        told = project.run("update", "--yes").exited(1).told
    assert "rows that it wrote may stand" in told.lower()
    assert "as they were" not in told
    assert "as before" not in told
    assert rows(project) == [(1, None), (2, None)]
    assert found(project) == {"1": "one", "2": "two"}


MOVE_ONE = "self.files.write('notes/1', 'one')\n"


def test_a_deadlock_on_mariadb_that_the_hook_survives_is_noticed(filled):
    """InnoDB rolls back all of a transaction that it has chosen; a schema change after that would commit the rest."""
    project = filled(MARIADB)
    other = (
        "engine = sa.create_engine(config['sqlalchemy.url'])\nother = engine.connect()\nimport threading\n"
        "other.execute(sa.text('UPDATE notes SET text = text WHERE id = 2'))\n"
        "for n in range(20): other.execute(sa.text('INSERT INTO notes (id) VALUES (:n)'), {'n': 100 + n})\n"
        "self.connection.execute(sa.text('UPDATE notes SET text = text WHERE id = 1'))\n"
        "late = threading.Thread(target=other.execute, args=[sa.text('UPDATE notes SET text = text WHERE id = 1')])\n"
        "late.start()\n"
        "try: self.connection.execute(sa.text('UPDATE notes SET text = text WHERE id = 2'))\n"
        "except sa.exc.OperationalError: pass\n"
        "late.join(); other.rollback(); other.close()\n"
    )
    error = failure_of(project, f"{MOVE_ONE}{other}self.connection.execute(sa.text('DROP TABLE notes'))")
    assert "Deadlock" in error.message
    assert "Rows that it wrote may stand" in error.stands
    assert rows(project) == ROWS


# -- connections of the hook's own

OWN = """
engine = sa.create_engine(config["sqlalchemy.url"]{options})
with engine.{begin}() as own:
    for id, text in own.execute(sa.text("SELECT id, text FROM notes")).all():
        self.files.write(f"notes/{{id}}", text)
    own.execute(sa.text("UPDATE notes SET text = NULL"))
"""
OWNS = [OWN.format(options="", begin="begin"), OWN.format(options=", isolation_level='AUTOCOMMIT'", begin="connect")]


@pytest.mark.parametrize("end", [BOOM, KILL])
@pytest.mark.parametrize("own", OWNS)
@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_what_an_atomic_hook_commits_on_a_connection_of_its_own_keeps_its_files(kind, own, end, filled):
    project = filled(kind)
    v2(project, own + end)
    told = project.run("update", "--yes").told
    if end == KILL:
        told = " ".join(project.run("recover").succeeded().output.split())
    assert "ows that it wrote may stand: a database connection of its own has committed" in told
    assert rows(project) == [(1, None), (2, None)]
    assert found(project) == {"1": "one", "2": "two"}
    project.run("check").exited(3)


@pytest.mark.parametrize("engine", ["MyISAM", "Aria"])
def test_tables_without_transactions_are_told_before_and_keep_their_files(engine, filled):
    project = filled(MARIADB)
    project.database.execute(f"ALTER TABLE notes ENGINE = {engine}")
    v2(project, MOVE + BOOM)
    words = f"what is written to notes ({engine}) cannot be taken back"
    assert words in " ".join(project.run("update", "--dry-run").succeeded().stdout.split())
    assert f"Rows that it wrote may stand: {words}" in project.run("update", "--yes").exited(1).told
    assert rows(project) == [(1, None), (2, None)]
    assert found(project) == {"1": "one", "2": "two"}
