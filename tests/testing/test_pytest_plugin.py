"""The plugin finds in an application's updates what it promises to find, and says what to do about it.

Each test runs pytest in a small real project: notes in a table, whose texts go into files.

    first (aaaa: the table) - second (bbbb: the column that was moved into files goes)
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import alembic.command  # noqa: F401  # pytester forgets what is imported for the first time inside
import pytest
import sqlalchemy.orm  # noqa: F401  # pytester forgets it likewise, and half of SQLAlchemy would be of before

import fietsupdate
import fietsupdate.testing.checks
import fietsupdate.testing.models
import fietsupdate.testing.sweep
from fietsupdate import pytest_plugin
from support.databases import MARIADB, POSTGRESQL, SQLITE, _require, _server, create, server_url
from support.projects import Project

pytest_plugins = ["pytester"]

READY = sorted(name for name in vars(pytest_plugin) if name.startswith("test_") and "version_hooks" not in name)
MODELS = """
import sqlalchemy as sa

metadata = sa.MetaData()
notes = sa.Table("notes", metadata, sa.Column("id", sa.Integer, primary_key=True))
"""
TABLE = (
    "op.create_table('notes', sa.Column('id', sa.Integer, primary_key=True), sa.Column('text', sa.String(20)))",
    "op.drop_table('notes')",
)
COLUMN = ("op.drop_column('notes', 'text')", "op.add_column('notes', sa.Column('text', sa.String(20)))")
WRITE = """
for row in self.connection.execute(sa.text("SELECT id, text FROM notes")).all():
    self.files.write(f"notes/{row.id}.txt", row.text)
"""
READ = """
for path in list(self.files.glob("notes/*.txt")):
    values = {"id": int(Path(path).stem), "text": self.files.read_text(path)}
    self.connection.execute(sa.text("UPDATE notes SET text = :text WHERE id = :id"), values)
if self.files.exists("notes"):
    self.files.remove("notes")
"""
DECLARES = "references = [{'table': 'notes', 'path': 'notes/{id}.txt'}]\nowned = ['notes/**']"
CONFTEST = """
import pytest
import sqlalchemy as sa


@pytest.fixture
def three_notes(fietsupdate_instance):
    with fietsupdate_instance.connect() as connection:
        connection.execute(sa.text("INSERT INTO notes (id, text) VALUES (1, 'as'), (2, 'it'), (3, 'was')"))


@pytest.fixture
def fietsupdate_data():
    def fill(instance):
        with instance.connect() as connection:
            connection.execute(sa.text("INSERT INTO notes (id, text) VALUES (7, 'seven')"))

    return {"first": fill}
"""


class Notes:
    """A project, and pytest in it."""

    def __init__(self, pytester: pytest.Pytester, variant: str = "stock", kind: str = SQLITE) -> None:
        self.pytester = pytester
        self.project = Project.create(pytester.path, create(SQLITE, pytester.path), variant, models=MODELS)
        self.project.revision("aaaa", None, *TABLE)
        self.project.revision("bbbb", "aaaa", *COLUMN)
        self.project.update("first", (), "aaaa")
        self.second()
        pytester.makepyfile(conftest=CONFTEST)
        if kind != SQLITE:
            pytester.makeini(f"[pytest]\nfietsupdate_server = {server_url(kind).render_as_string(False)}\n")

    def second(self, **options: object) -> None:
        """Write the update that all is about."""
        self.project.update(
            "second", "first", "bbbb", **{"up_pre": WRITE, "down_post": READ, "head": DECLARES, **options}
        )

    def run(self, *names: str, text: str = "", options: tuple[str, ...] = ()) -> pytest.RunResult:
        """Run some of the ready tests, or a test file of one's own."""
        (self.pytester.path / "test_updates.py").write_text(
            f"from fietsupdate.pytest_plugin import {', '.join((*names, 'kill_sweep'))}\n{textwrap.dedent(text)}"
        )
        return self.pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rsf", *options, "test_updates.py")

    def said(self, *names: str, text: str = "") -> str:
        """Run what must fail, and give what it says, as one line."""
        done = self.run(*names, text=text)
        done.assert_outcomes(failed=1)
        return " ".join(done.stdout.str().split())


@pytest.fixture
def notes(pytester) -> Notes:
    return Notes(pytester)


def passes(notes: Notes, *names: str, every: int) -> None:
    text = f"\ntest_it_survives = kill_sweep('second', fill='three_notes', every={every})\n"
    options = ("--fietsupdate-release",) if "test_released_scripts_are_unchanged" in names else ()
    done = notes.run(*names, text=text, options=options)
    assert done.parseoutcomes() == {"passed": len(names) + 1}, done.stdout.str()


def test_a_sound_application_passes(notes):
    """What its files hold may depend on the clock."""
    when = "self.files.write('when', __import__('uuid').uuid4().hex)"
    notes.second(up_pre=f"{WRITE}\n{when}", down_post=f"{READ}\nself.files.remove('when')")
    before = sorted(path.name for path in notes.project.root.iterdir())
    passes(notes, *READY, every=60)
    assert list(notes.project.data.iterdir()) == []
    assert notes.project.database.tables() == []
    added = {"test_updates.py", "__pycache__"}
    assert {path.name for path in notes.project.root.iterdir()} - set(before) <= added


@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_a_sound_application_passes_on_a_server(pytester, kind):
    """All databases that were made there are dropped again."""
    before = databases(kind)
    passes(Notes(pytester, kind=kind), "test_every_update_goes_up_down_up", every=170)
    assert {
        name for name in databases(kind) - before if name.startswith("fietsupdate_") and "main" not in name
    } == set()


def databases(kind: str) -> set[str]:
    _require(kind)
    query = "SELECT datname FROM pg_database" if kind == POSTGRESQL else "SHOW DATABASES"
    with _server(kind) as connection:
        names = connection.exec_driver_sql(query).scalars().all()
    return {name for name in names if f"_{os.getpid()}_" in name}


def test_an_async_env_py_gets_an_async_driver(pytester):
    notes = Notes(pytester, "async")
    notes.run("test_update_from_empty_to_head", "test_every_update_goes_up_down_up").assert_outcomes(passed=2)


def test_instances_can_be_used_inside_of_an_event_loop(pytester):
    text = """
        import asyncio

        def test_inside(fietsupdate_instance):
            async def work():
                fietsupdate_instance.update("first")

            asyncio.run(work())
            assert fietsupdate_instance.status().current == ("first",)
    """
    Notes(pytester, "async").run(text=text).assert_outcomes(passed=1)


def test_an_instance_can_be_looked_at(notes):
    text = """
        import logging

        def test_look(fietsupdate_instance, caplog):
            instance = fietsupdate_instance
            instance.update_through("second")
            assert instance.contents() == {"notes/7.txt": b"seven"}
            assert sorted(instance.tree()) == ["notes", "notes/7.txt"]
            assert instance.dump()["rows"] == {"notes": [(("id", 7),)]}
            logging.getLogger("looked_at").warning("still there")
            assert caplog.messages == ["still there"]
            instance.downgrade("base")
            assert instance.status().current == ()
            assert instance.tree() == {}
    """
    notes.run(text=text).assert_outcomes(passed=1)


# -- each ready test can fail


def test_two_heads_are_told_with_their_files(notes):
    notes.project.update("other", "first", "aaaa")
    said = notes.said("test_each_folder_has_one_head")
    assert "updates has 2 heads: other (upd_other.py), second (upd_second.py)." in said
    assert "Join them by a new update: `fietsupdate revision --merge`" in said


def test_every_script_that_does_not_load_is_told(notes):
    notes.second(head="import no_such_module")
    notes.project.update("third", "second", "bbbb", down_more="def __init__(self): 1 / 0")
    said = notes.said("test_every_script_loads")
    assert "the script of second cannot be imported: ModuleNotFoundError: No module named 'no_such_module'." in said
    assert "Down() of third cannot be made: ZeroDivisionError" in said


def test_an_update_that_fails_on_a_new_instance_is_told(notes):
    notes.second(up_post="raise ValueError('not today')")
    said = notes.said("test_update_from_empty_to_head")
    assert "Up.post_alembic of second failed at" in said
    assert "ValueError: not today." in said


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({"down_post": "pass"}, "file notes/7.txt is there, and should not be rows of notes differs"),
        ({"down_post": f"{READ}\nself.files.write('left', '')"}, "file left is there, and should not be"),
        ({"up_post": "self.files.mkdir('more')"}, "file more is there, and should not be"),
    ],
)
def test_a_down_that_does_not_bring_everything_back_is_told(notes, broken, complaint):
    notes.second(**broken)
    done = notes.run("test_every_update_goes_up_down_up")
    said = " ".join(done.stdout.str().split())
    assert "Down of second does not take back what Up does. Against before the update:" in said
    assert complaint in said
    assert f"Mend Down in {notes.project.updates / 'upd_second.py'}" in said
    assert done.ret == 1


def test_a_revision_that_does_not_go_back_is_told(notes):
    notes.project.revision("bbbb", "aaaa", COLUMN[0], "op.add_column('notes', sa.Column('text', sa.Integer))")
    done = notes.run("test_every_update_goes_up_down_up")
    said = " ".join(done.stdout.str().split())
    assert "schema: notes: column text VARCHAR(20) is missing" in said
    assert "schema: notes: column text INTEGER is there, and should not be" in said


def test_a_second_time_that_leads_elsewhere_is_told(notes):
    down = f"{READ}\nself.connection.execute(sa.text('DELETE FROM notes WHERE id = 7'))"
    up = (
        f"{WRITE}\nif not self.files.exists('notes'): self.connection.execute(sa.text('CREATE TABLE odd (id INTEGER)'))"
    )
    notes.pytester.makepyfile(conftest=CONFTEST.replace("(7, 'seven')", "(7, 'seven'), (8, NULL)"))
    notes.second(up_pre=up.replace("row.text)", "row.text or '')"), down_post=down)
    said = " ".join(notes.run("test_every_update_goes_up_down_up").stdout.str().split())
    assert "rows of notes differs" in said


def test_a_script_without_a_down_is_skipped_with_the_reason(notes):
    notes.second(has_down=False)
    notes.project.update("third", "second", "bbbb")
    done = notes.run("test_every_update_goes_up_down_up")
    assert done.parseoutcomes() == {"passed": 1, "skipped": 1}
    done.stdout.fnmatch_lines(["*upd_second.py has no class Down: second cannot be reverted*"])


def test_released_scripts_may_not_change_or_go(notes):
    ready = "test_released_scripts_are_unchanged"
    done = notes.run(ready)
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(["*no script is recorded as released; after a release: pytest --fietsupdate-release*"])
    notes.run(ready, options=("--fietsupdate-release",)).assert_outcomes(passed=1)
    assert (notes.project.updates / "released.json").read_text().count("\n") == 4
    notes.run(ready).assert_outcomes(passed=1)
    script = notes.project.updates / "upd_second.py"
    script.write_text(script.read_text() + "# changed\n")
    said = notes.said(ready)
    assert f"{script} (second) has changed: instances that have had it will not run it again." in said
    assert "Put it back as it was, and write a new update for what is new." in said
    script.unlink()
    assert "second is gone: instances that have had it could not be updated any more." in notes.said(ready)


def test_a_release_that_nobody_would_record_is_refused(notes):
    done = notes.run("test_every_script_loads", options=("--fietsupdate-release",))
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*test_released_scripts_are_unchanged is not among the tests; add 'from fietsupdate.*"])


def test_a_released_file_that_was_merged_badly_is_told(notes):
    (notes.project.updates / "released.json").write_text("<<<<<<< ours")
    assert "released.json is not JSON" in notes.said("test_released_scripts_are_unchanged")


def test_rows_and_files_that_do_not_match_are_told(notes):
    """Also those of the test's own data; where nothing is declared, the test is skipped."""
    wrong = WRITE.replace("{row.id}.txt", "{row.id}.text")
    notes.second(up_pre=wrong)
    said = notes.said("test_rows_and_files_match")
    assert "After the update second, rows and files no longer match: stray notes/7.text" in said
    assert "missing notes/7.txt (notes id=7)" in said
    notes.second()
    conftest = notes.project.root / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        .replace('{"first": fill}', '{"first": fill, "second": more}')
        .replace(
            "    return",
            """
    def more(instance):
        with instance.connect() as connection:
            connection.execute(sa.text("INSERT INTO notes (id) VALUES (8)"))

    return""",
        )
    )
    said = notes.said("test_rows_and_files_match")
    assert "With the data that belongs to second rows and files do not match: missing notes/8.txt (notes id=8)" in said
    notes.second(head="")
    done = notes.run("test_rows_and_files_match")
    done.assert_outcomes(skipped=1)
    assert "no update declares `references` or `owned`" in done.stdout.str()


def test_models_that_no_update_leads_to_are_told(notes):
    (notes.project.root / "models.py").write_text(
        MODELS.replace("primary_key=True)", 'primary_key=True), sa.Column("size", sa.Integer)')
    )
    said = notes.said("test_models_match_after_update")
    assert "New upgrade operations detected" in said
    assert "add_column" in said
    assert "fietsupdate revision --autogenerate" in said


def test_a_revision_that_no_update_reaches_is_told(notes):
    notes.project.revision("cccc", "bbbb")
    said = notes.said("test_models_match_after_update")
    assert "No update reaches the newest Alembic revision, cccc: `fietsupdate update` would never run it." in said


def test_an_env_py_without_models_is_told(notes):
    env = notes.project.root / "migrations" / "env.py"
    env.write_text(env.read_text().replace("from models import metadata as target_metadata", "target_metadata = None"))
    said = notes.said("test_models_match_after_update")
    assert "Give env.py the models' metadata as target_metadata." in said


def test_an_update_that_starts_other_programs_does_not_survive_a_kill(notes):
    move = "import subprocess\nsubprocess.run(['mkdir', '-p', self.data_dir / 'previews'], check=True)"
    notes.second(up_pre=f"{move}\n{WRITE}")
    said = notes.said(text="test_it_survives = kill_sweep('second', fill='three_notes', every=15)")
    assert "the instance is neither as before second nor as after it. Against before:" in said
    assert "file previews is there, and should not be" in said
    assert "Change files with self.files and rows with self.connection" in said


def test_an_update_that_cannot_run_twice_does_not_survive_a_kill(notes):
    """It is not atomic, and looks not whether it has done its work before."""
    engine = "engine = sa.create_engine(config['sqlalchemy.url'])\nwith engine.begin() as connection:\n"
    insert = "    connection.execute(sa.text(\"INSERT INTO notes (id, text) VALUES (9, 'nine')\"))\nengine.dispose()"
    notes.second(atomic=False, up_pre=f"{engine}{insert}", head="")
    said = notes.said(text="test_it_survives = kill_sweep('second', every=25)")
    assert "second cannot be run again" in said
    assert "UNIQUE constraint failed" in said


def test_an_update_that_leads_to_chance_cannot_be_swept(notes):
    notes.second(up_pre=f"{WRITE}\nimport uuid\nself.files.write(f'{{uuid.uuid4()}}', '')")
    said = notes.said(text="test_it_survives = kill_sweep('second')")
    assert "second leads somewhere else each time it runs" in said


def test_a_sweep_of_an_update_that_is_not_there_is_told(notes):
    said = notes.said(text="test_it_survives = kill_sweep('secnd')")
    assert "There is no update 'secnd'; did you mean 'second'?" in said


def test_a_sweep_is_filled_by_a_fixture_or_a_function(notes):
    text = """
        import pytest

        @pytest.fixture
        def filled(fietsupdate_instance):
            assert fietsupdate_instance.status().current == ("first",)
            raise ValueError("by a fixture")

        def fill(instance):
            assert instance.status().current == ("first",)
            raise ValueError("by a function")

        test_one = kill_sweep("second", fill=filled)
        test_two = kill_sweep("second", fill=fill)
    """
    done = notes.run(text=text)
    done.assert_outcomes(failed=2)
    done.stdout.fnmatch_lines(["*ValueError: by a fixture", "*ValueError: by a function"])


# -- nothing real is touched


def test_an_env_py_that_opens_another_database_is_refused(pytester):
    notes = Notes(pytester, "url_from_environment")
    text = f"""
        import pytest

        @pytest.fixture
        def fietsupdate_environ():
            return {{"APPLICATION_DATABASE_URL": {notes.project.url!r}}}
    """
    done = notes.run("test_update_from_empty_to_head", text=text)
    done.assert_outcomes(errors=1)
    said = " ".join(done.stdout.str().split())
    assert "env.py must open the database of the fixture fietsupdate_database_url." in said
    assert "say so in a fixture fietsupdate_environ" in said
    assert notes.project.database.tables() == []


def test_an_env_py_that_takes_its_url_from_the_environment_is_told_it(pytester):
    notes = Notes(pytester, "url_from_environment")
    text = """
        import pytest

        @pytest.fixture
        def fietsupdate_environ(fietsupdate_database_url):
            return {"APPLICATION_DATABASE_URL": fietsupdate_database_url}

        def test_a_process_of_its_own_gets_it_too(fietsupdate_instance, fietsupdate_database_url):
            environ = fietsupdate_instance.whole_environ()
            assert environ["APPLICATION_DATABASE_URL"] == fietsupdate_database_url
    """
    notes.run("test_update_from_empty_to_head", text=text).assert_outcomes(passed=2)


def test_a_configuration_elsewhere_is_named_in_pytests_own(notes):
    (notes.project.root / "etc").mkdir()
    notes.project.ini.rename(notes.project.root / "etc" / "app.ini")
    ini = notes.project.root / "etc" / "app.ini"
    ini.write_text(ini.read_text().replace("%(here)s", "%(here)s/.."))
    notes.pytester.makeini("[pytest]\nfietsupdate_config = etc/app.ini\n")
    notes.run("test_update_from_empty_to_head").assert_outcomes(passed=1)


def test_a_missing_configuration_is_told_in_words(notes):
    notes.project.ini.unlink()
    done = notes.run("test_every_script_loads")
    done.assert_outcomes(errors=1)
    assert "There is no configuration: neither alembic.ini nor pyproject.toml" in done.stdout.str()


# -- what pytest loads in every project


def test_the_entry_point_imports_nothing_but_pytest(tmp_path):
    look = "before = set(sys.modules); import fietsupdate.pytest_plugin; print(*set(sys.modules) - before)"
    code = f"import sys, pytest; {look}"
    new = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.partition(".")[0] for name in new} - sys.stdlib_module_names == {"fietsupdate"}
    assert {name for name in new if name.startswith("fietsupdate")} == {"fietsupdate", "fietsupdate.pytest_plugin"}


def test_pytest_finds_the_plugin_by_itself_and_stays_light(tmp_path):
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n\ndef test_nothing(request):\n"
        "    assert request.config.pluginmanager.has_plugin('fietsupdate')\n"
        "    assert {'alembic', 'sqlalchemy', 'typer', 'fietsupdate.config.config'}.isdisjoint(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_fixture_begins_with_our_name():
    fixtures = [name for name, value in vars(pytest_plugin).items() if getattr(value, "_get_wrapped_function", None)]
    assert len(fixtures) == 7
    assert all(name.startswith("fietsupdate_") for name in fixtures)


def test_the_example_application_tests_its_updates_with_it():
    """Its folder is the repository's own: nothing is copied, nothing is left behind."""
    top = Path(fietsupdate.__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "docs/example/tests"]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
