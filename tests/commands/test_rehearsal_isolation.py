"""Whatever the updates of a rehearsal try, the real instance stays as it is; and what was not kept from them is said.

The updates run in a child with mounts of its own, where the system gives that, and on a server with an account whose
rights end at the clone, where one can be made. What is claimed of the real instance was looked at.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import sqlite3
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from test_rehearsal import at_v1, left_as_it_is, rehearsed

from fietsupdate.commands.rehearsal.untouched import TreeSnapshot
from fietsupdate.errors import LockedError
from fietsupdate.filesystem import lock
from fietsupdate.filesystem.posix.namespaces import is_faithful_for, isolate
from fietsupdate.model import Event
from support.databases import MARIADB, POSTGRESQL, Database, _server, server_url
from support.projects import Project

PR_SET_DUMPABLE = 4


def in_a_child(work: Callable[[], None]) -> int:
    """Run something in a fork; give its exit code, 1 for an exception."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except PermissionError:
            code = 2
        except BaseException:  # noqa: BLE001  # it ends here
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def gives_mounts() -> bool:
    """Tell whether this system lets this user have mounts of his own."""
    with tempfile.TemporaryDirectory() as folder:
        return in_a_child(lambda: isolate([Path(folder)], [])) == 0


needs_mounts = pytest.mark.skipif(not gives_mounts(), reason="this system gives no mount namespace")


@contextmanager
def another_thread() -> Iterator[None]:
    """Have a thread run that is not the main one: then the updates cannot have a process of their own."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# -- files

OPENED = "folder = os.open({data!r}, os.O_RDONLY); self.opened.append(folder); "
CALLS = [
    "Path({data!r}, 'kept.txt').write_text('bad')",
    "Path({data!r}, 'bad.txt').touch()",
    "Path({data!r}, 'kept.txt').unlink()",
    "Path({data!r}, 'kept.txt').rename(self.data_dir / 'stolen.txt')",
    "Path({data!r}, 'kept.txt').chmod(0o600)",
    "(self.data_dir / 'second').hardlink_to(Path({data!r}, 'kept.txt'))",
    "import shutil; shutil.rmtree({data!r} + '/folder')",
    "os.rename({data!r}, {data!r} + '-elsewhere')",
    "os.truncate({data!r} + '/kept.txt', 0)",
    "os.utime({data!r} + '/kept.txt', (1, 1))",
    "os.symlink('/', {data!r} + '/bad')",
    f"{OPENED}os.open('bad', os.O_CREAT | os.O_WRONLY, dir_fd=folder)",
    "(self.data_dir / 'l').symlink_to({data!r}); (self.data_dir / 'l' / 'kept.txt').write_text('bad')",
    "os.mkfifo({data!r} + '/fifo')",
    f"{OPENED}os.mknod('fifo', dir_fd=folder)",
    "os.chdir({data!r})",
    "subprocess.run(['rm', 'kept.txt'], cwd={data!r})",
    "sqlite3.connect({database!r}).execute('DROP TABLE notes')",
    "sqlite3.connect('file:' + {database!r} + '?mode=rw', uri=True).execute('DROP TABLE notes')",
    "sqlite3.connect({uri!r}, uri=True).execute('DROP TABLE notes')",
]
"""Python's own calls, which are refused before they are made."""

OTHERS = [
    "subprocess.run(['rm', {data!r} + '/kept.txt'], check=True)",
    "subprocess.run('cd {data} && rm kept.txt', shell=True, check=True)",
    "assert os.system('echo bad > {data}/kept.txt') == 0",
    "p = spawn.Process(target=spawned.work, args=[{data!r}]); p.start(); p.join(); assert p.exitcode == 0",
    "assert ctypes.CDLL(None).rename({data!r}.encode() + b'/kept.txt', {data!r}.encode() + b'/gone') == 0",
    "assert ctypes.CDLL(None).mkfifo({data!r}.encode() + b'/fifo', 0o600) == 0",
    "sqlite3.connect({second!r}).execute('DROP TABLE other')",
    "sqlite3.connect('file:' + {second_uri!r} + '?mode=rw', uri=True).execute('DROP TABLE other')",
    "sa.create_engine('sqlite:///' + {second!r}).connect().exec_driver_sql('DROP TABLE other')",
    "c = sqlite3.connect(''); c.execute('ATTACH ' + repr({second!r}) + ' AS b'); c.execute('DROP TABLE other')",
    "c = sqlite3.connect(''); c.execute('ATTACH ' + repr({database!r}) + ' AS b'); c.execute('DROP TABLE notes')",
]
"""What Python is not asked about: programs, other processes, C libraries, other SQLite files of the application."""

TRIES_ALL = """
self.opened = []
import ctypes, multiprocessing, os, sqlite3, subprocess, spawned
from fietsupdate.errors import FilesError
spawn = multiprocessing.get_context('spawn')
for code in {codes!r}:
    try:
        exec(code, {{**globals(), **locals()}})
    except {refusal} as error:
        pass
    else:
        self.tell(code)
for folder in self.opened: os.close(folder)
"""


def tries(project: Project, codes: Sequence[str], refusal: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Have an update try everything, and tell what was let through; beside the database lies another one."""
    monkeypatch.syspath_prepend(project.root)
    second = project.database.file.with_name("second database.sqlite")
    with closing(sqlite3.connect(second)) as connection:
        connection.execute("CREATE TABLE other (id INTEGER)")
    (project.root / "spawned.py").write_text("def work(data): open(data + '/kept.txt', 'w')")
    names = {
        "data": str(project.data),
        "database": str(project.database.file),
        "uri": f"file:{quote(str(project.database.file)).replace('sqlite', 'sqlit%65')}",
        "second": str(second),
        "second_uri": quote(str(second)),
    }
    text = TRIES_ALL.format(codes=[code.format(**names) for code in codes], refusal=refusal)
    return at_v1(project, up_pre=text)


def test_pythons_own_calls_are_refused_and_fail_the_rehearsal(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook goes on, and so the rehearsal fails for the trespass; as well where the system gives nothing."""
    tries(project, CALLS, "FilesError", monkeypatch)
    told: list[Event] = []
    with left_as_it_is(project), another_thread():
        report = rehearsed(project, on_event=told.append)
    assert [event.text for event in told if event.event == "tell"] == []
    assert report.failure is not None
    assert report.failure.code == "trespass", report.failure.message
    assert report.seclusion is not None
    assert not report.seclusion.read_only
    assert report.seclusion.changed == ()


@needs_mounts
def test_whatever_a_script_uses_the_real_files_are_read_only(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    tries(project, OTHERS, "Exception", monkeypatch)
    second = project.database.file.with_name("second database.sqlite")
    before, told = second.read_bytes(), list[Event]()
    with left_as_it_is(project):
        report = rehearsed(project, on_event=told.append)
    assert [event.text for event in told if event.event == "tell"] == []
    assert report.failure is None, report.failure
    assert report.seclusion is not None
    assert report.seclusion.read_only
    assert report.seclusion.changed == ()
    assert second.read_bytes() == before
    assert sorted(path.name for path in second.parent.iterdir() if path.name.startswith("second")) == [second.name]


@needs_mounts
def test_a_script_that_fails_for_a_read_only_folder_is_told_why(project: Project) -> None:
    at_v1(project, up_pre=f"import os; os.mkdir({str(project.database.file.parent / 'export')!r})")
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is not None
    assert "Read-only file system" in report.failure.message
    assert report.failure.hint.startswith("In a rehearsal the real folders, and those that hold a SQLite database")


def test_environment_and_working_directory_lead_into_the_clone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a whole value and as a part of one; for programs and for children that begin anew."""
    run = "subprocess.run({}, shell=True, check=True)"
    body = [
        "import multiprocessing, os, spawned, subprocess",
        run.format("'rm \"$APP_DATA/kept.txt\"'"),
        run.format("'rm \"${APP_OPTIONS#--dir=}/inside.txt\"'"),
        run.format("'rm old.txt'"),
        "child = multiprocessing.get_context('spawn').Process(target=spawned.work, args=['spawned.txt'])",
        "child.start(); child.join(); assert child.exitcode == 0",
        "self.tell(os.environ['APP_DATABASE'])",
    ]
    (project.root / "spawned.py").write_text(
        "import os\ndef work(name): open(os.path.join(os.environ['APP_DATA'], name), 'w').write('x')"
    )
    at_v1(project, up_pre="\n".join(body))
    monkeypatch.syspath_prepend(project.root)
    monkeypatch.setenv("APP_DATA", str(project.data))
    monkeypatch.setenv("APP_OPTIONS", f"--dir={project.data}/folder")
    monkeypatch.setenv("APP_DATABASE", f"file:{quote(str(project.database.file))}?mode=rw")
    monkeypatch.chdir(project.data)
    told: list[Event] = []
    with left_as_it_is(project):
        report = rehearsed(project, on_event=told.append)
    assert report.files is not None, report.failure
    changes = [(change.how, change.path) for change in report.files.changes]
    assert changes == [
        ("removed", "folder/inside.txt"),
        ("removed", "kept.txt"),
        ("removed", "old.txt"),
        ("added", "spawned.txt"),
    ]
    (opened,) = [event.text for event in told if event.event == "tell"]
    assert opened.startswith("file:/")
    assert ".clone-" in opened
    assert opened.endswith("?mode=rw")
    assert os.environ["APP_DATA"] == str(project.data)


@pytest.mark.parametrize("move", ["os.rename({!r}, target)", "shutil.move({!r}, target)"])
def test_no_file_from_elsewhere_goes_into_the_clone_and_away_with_it(project: Project, move: str) -> None:
    """What is neither of the clone nor temporary; `tmp_path` is taken for no temporary folder here."""
    elsewhere = project.root / "legacy.txt"
    elsewhere.write_text("the only copy")
    body = "import os, shutil, tempfile\ntempfile.tempdir = '/var/tmp'\ntarget = str(self.data_dir / 'legacy.txt')\n"
    at_v1(project, up_pre=f"{body}{move.format(str(elsewhere))}")
    with left_as_it_is(project):
        report = rehearsed(project)
    assert elsewhere.read_text() == "the only copy"
    assert report.failure is not None
    assert "is no part of the instance: a rehearsal would take it away" in report.failure.message
    assert "extra_dirs" in report.failure.hint


def test_an_application_in_a_path_with_blanks_is_rehearsed(tmp_path: Path) -> None:
    folder = tmp_path / "my application"
    folder.mkdir()
    file = folder / "the data.sqlite"
    database = Database("sqlite", f"sqlite:///{file}", "blank")
    project = at_v1(Project.create(folder / "project", database))
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is None


def test_a_program_that_works_on_the_clone_may_run(project: Project) -> None:
    """By either name of the clone: the one that scripts are given, and the one inside of the real folder."""
    copy = "subprocess.run(['cp', {0} + 'kept.txt', {0} + '{1}'], check=True, cwd=self.data_dir)"
    bases = {"one": "str(self.data_dir) + '/'", "two": "os.path.realpath(self.data_dir) + '/'", "three": "''"}
    at_v1(project, up_pre="\n".join(["import os, subprocess", *(copy.format(bases[name], name) for name in bases)]))
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is None
    assert report.files is not None
    assert sorted(change.path for change in report.files.changes) == ["one", "three", "two"]


@needs_mounts
def test_an_ordinary_user_has_mounts_of_his_own_and_no_other_rights() -> None:
    """In a user namespace he could do everything to his own files; there he may do what he may do outside."""
    with tempfile.TemporaryDirectory() as name:
        folder, gate = Path(name, "real"), Path(name, "real", "clone")
        gate.mkdir(parents=True)
        for path in (Path(name), folder, gate):
            os.chown(path, 65534, 65534) if os.geteuid() == 0 else None
        os.chmod(name, 0o755)  # another user looks into it
        shut = gate / "shut"

        def work() -> None:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # as a process that began as this user
            isolate([folder], [gate])
            assert is_faithful_for({(os.geteuid(), os.getegid())})
            assert not is_faithful_for({(os.geteuid() + 1, os.getegid())})
            shut.mkdir(0o500)
            for path in (folder / "x", gate / ".." / "x"):
                try:
                    path.touch()
                except OSError:
                    continue
                raise AssertionError(path)
            (shut / "x").touch()  # a PermissionError, as everywhere

        assert in_a_child(work) == 2
        assert shut.is_dir()


def test_a_tree_is_compared_whatever_the_clock_says(tmp_path: Path) -> None:
    """A change is found by its inode, size, mode and times, and named where its ctime is later than the first look."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("x")
    for change in (
        lambda: (tmp_path / "folder" / "file").write_text("y"),
        lambda: (tmp_path / "folder" / "file").chmod(0o600),
        lambda: os.utime(tmp_path / "folder" / "file", ns=(1, 1)),
        lambda: os.rename(tmp_path / "folder" / "file", tmp_path / "folder" / "other"),
        lambda: os.mkfifo(tmp_path / "folder" / "fifo"),
        lambda: shutil.rmtree(tmp_path / "folder"),
    ):
        before = TreeSnapshot.take([tmp_path], [tmp_path / "database"], [])
        assert before.changed() == ()
        change()
        assert before.changed()
        assert all(name.startswith(str(tmp_path)) for name in before.changed())


# -- servers


TRIES_STATEMENTS = """
from sqlalchemy import create_engine
engine = create_engine(config['sqlalchemy.url'], isolation_level='AUTOCOMMIT')
for statement in {statements!r}:
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
    except sa.exc.DBAPIError as error:
        self.tell('refused: ' + str(error.orig))
    else:
        self.tell('done: ' + statement)
engine.dispose()
"""


def outcomes(told: Sequence[Event], statements: Sequence[str]) -> list[str]:
    found = [event.text for event in told if event.event == "tell"]
    assert len(found) == len(statements)
    return [text for text in found if text.startswith("done: ")]


def test_on_postgresql_the_rights_of_a_rehearsal_end_at_the_clone(make_project: Callable[..., Project]) -> None:
    project = make_project(kind=POSTGRESQL)
    name, user = project.database.name, sa.make_url(project.url).username
    statements = [
        f"CREATE ROLE {name}_stays",
        f"ALTER DATABASE {name} SET work_mem = '5MB'",
        f"ALTER ROLE {user} IN DATABASE {name} SET work_mem = '5MB'",
        f"CREATE DATABASE {name}_stays",
        f"COMMENT ON DATABASE {name} IS 'changed'",
        "ALTER TABLE notes ADD COLUMN mine TEXT",
    ]
    at_v1(project, up_pre=TRIES_STATEMENTS.format(statements=statements), atomic=None)
    told: list[Event] = []
    with left_as_it_is(project):
        report = rehearsed(project, on_event=told.append)
    assert outcomes(told, statements) == [f"done: {statements[-1]}"]
    assert report.failure is None
    assert report.seclusion is not None
    assert report.seclusion.account.startswith("fietsupdate_")
    assert report.seclusion.gaps == ()
    with _server(POSTGRESQL) as connection:
        roles = connection.exec_driver_sql("SELECT rolname FROM pg_roles").scalars().all()
    assert report.seclusion.account not in roles


@pytest.mark.parametrize(
    "opening",
    [
        "sa.create_engine('postgresql+psycopg://', creator=lambda: psycopg.Connection.connect({0})).connect()",
        "psycopg.connect({0})",
    ],
)
def test_a_connection_that_is_made_by_hand_is_asked_where_it_leads(
    make_project: Callable[..., Project], opening: str
) -> None:
    project = make_project(kind=POSTGRESQL)
    url = sa.make_url(project.url)
    arguments = f"host={url.host!r}, port={url.port!r}, user={url.username!r}, dbname={url.database!r}"
    body = f"import psycopg\nconnection = {opening.format(arguments)}\nraise AssertionError('it was let through')"
    at_v1(project, up_pre=body, atomic=None)
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is not None
    assert "which is not its clone" in report.failure.message


def test_on_mariadb_neither_a_schema_nor_a_definer_leads_out_of_the_clone(make_project: Callable[..., Project]) -> None:
    """Triggers, routines and views run with the rights of whoever defined them: in the clone that is its account."""
    project = make_project(kind=MARIADB)
    name = project.database.name
    statements = [
        f"ALTER TABLE {name}.notes DROP COLUMN text",
        "INSERT INTO notes (id, text) VALUES (2, 'and the trigger writes')",
        "CALL writes()",
        f"CREATE USER {name[-12:]}_stays",
        "ALTER TABLE other ADD COLUMN mine INT",
    ]
    at_v1(project, up_pre=TRIES_STATEMENTS.format(statements=statements), atomic=None)
    project.database.execute("CREATE TABLE other (text VARCHAR(20))")
    write = f"INSERT INTO {name}.other VALUES ('real')"
    project.database.execute(f"CREATE TRIGGER noted AFTER INSERT ON notes FOR EACH ROW {write}")
    project.database.execute(f"CREATE PROCEDURE writes() {write}")
    told: list[Event] = []
    with left_as_it_is(project):
        report = rehearsed(project, on_event=told.append)
    assert outcomes(told, statements) == [f"done: {statements[-1]}"]
    assert report.failure is None
    assert report.seclusion is not None
    assert report.seclusion.gaps == ()


def test_a_revision_that_names_the_real_schema_fails_with_what_that_means(make_project: Callable[..., Project]) -> None:
    project = make_project(kind=MARIADB)
    at_v1(project)
    project.revision("r2", "r1", f"op.drop_column('notes', 'text', schema={project.database.name!r})")
    with left_as_it_is(project):
        report = rehearsed(project)
    assert report.failure is not None
    assert "whose rights end at the clone" in report.failure.hint


@contextmanager
def ordinary_user(project: Project) -> Iterator[str]:
    """Give the URL of a user who owns the database, may make databases, and may make no accounts."""
    kind, name = project.database.kind, f"u{secrets.token_hex(6)}"
    made = {
        POSTGRESQL: [f"CREATE ROLE {name} LOGIN CREATEDB", f"ALTER DATABASE {project.database.name} OWNER TO {name}"],
        MARIADB: [f"CREATE USER {name}@'%%'", f"GRANT ALL ON `{project.database.name}%%`.* TO {name}@'%%'"],
    }
    gone = {POSTGRESQL: f"DROP ROLE {name}", MARIADB: f"DROP USER {name}@'%%'"}
    with _server(kind) as connection:
        for statement in made[kind]:
            connection.exec_driver_sql(statement)
        yield sa.make_url(project.url).set(username=name, password=None).render_as_string(hide_password=False)
        if kind == POSTGRESQL:
            owner = server_url(kind).username
            connection.exec_driver_sql(f"ALTER DATABASE {project.database.name} OWNER TO {owner}")
            project.database.execute(f"REASSIGN OWNED BY {name} TO {owner}")
        connection.exec_driver_sql(gone[kind])


@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_what_cannot_be_isolated_is_named_before_it_starts_and_what_changes_is_found(
    make_project: Callable[..., Project], kind: str
) -> None:
    """A program reaches the real database as the real user: no claim is made, but what was looked at."""
    project = make_project(kind=kind)
    with ordinary_user(project) as url:
        project.ini.write_text(project.ini.read_text().replace(project.url, url.replace("%", "%%")))
        to, change = sa.make_url(url), "UPDATE notes SET text = 'changed'"
        names = [str(to.username), "-h", str(to.host), "-w", str(to.database), "-c", change]
        if kind == MARIADB:
            names = [str(to.username), "-h", str(to.host), str(to.database), "-e", change]
        program = ["psql" if kind == POSTGRESQL else "mariadb", "-U" if kind == POSTGRESQL else "-u", *names]
        at_v1(project, up_pre=f"import subprocess; subprocess.run({program!r}, check=True)", atomic=None)
        told = project.run("rehearse").exited(1)
    assert told.stdout.index("The clone is reached as the real user") < told.stdout.index("Applying v2")
    report = told.stdout[told.stdout.index("The real instance is NOT") :]
    assert report.startswith("The real instance is NOT as it was before the updates: rows of notes.\n")
    assert "Not kept" in report
    assert "as it was" not in report.partition("\n")[2].replace("NOT as it was", "")


def test_a_file_that_changes_meanwhile_fails_the_rehearsal_whoever_it_was(project: Project) -> None:
    body = "import subprocess; subprocess.run(['touch', {!r}], check=True)"
    at_v1(project, up_pre=body.format(str(project.data / "uploaded")))
    with another_thread():
        report = rehearsed(project)
    assert report.failure is not None
    assert report.failure.code == "real_changed"
    assert report.seclusion is not None
    assert report.seclusion.changed == (str(project.data), str(project.data / "uploaded"))
    assert "other threads" in report.seclusion.gaps[0]


@pytest.mark.parametrize(("value", "is_same"), [("auto", True), ("dump", False)])
def test_a_clone_by_dump_is_made_where_the_configuration_says_so(
    make_project: Callable[..., Project], value: str, *, is_same: bool
) -> None:
    """What PostgreSQL copies on the server keeps its oids; what is loaded from a dump has new ones."""
    project = make_project(kind=POSTGRESQL, section={"rehearsal": value})
    oid = "SELECT CAST('notes'::regclass AS oid)"
    at_v1(project, up_pre=f"self.tell(str(self.connection.exec_driver_sql({oid!r}).scalar()))")
    told: list[Event] = []
    with left_as_it_is(project):
        assert rehearsed(project, on_event=told.append).failure is None
    (cloned,) = [event.text for event in told if event.event == "tell"]
    with project.database.connect() as connection:
        real = str(connection.exec_driver_sql(oid).scalar())
    assert (cloned == real) == is_same


# -- beside others


def test_what_an_update_is_at_work_on_is_waited_for_not_called_interrupted(project: Project) -> None:
    at_v1(project, up_pre="import os; os.kill(os.getpid(), 9)")
    assert project.run("update", "--yes").code == -9
    with (
        lock.hold(project.data, timeout=0, on_wait=lambda _holder: None, command="update"),
        pytest.raises(LockedError),
    ):
        rehearsed(project, lock_timeout=0)


def test_a_table_of_a_module_that_python_lacks_is_no_obstacle_to_a_round_trip(project: Project) -> None:
    at_v1(project)
    with closing(sqlite3.connect(project.database.file)) as connection:
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(body)")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, 'fts5', 'lacking') WHERE name = 'words'")
        connection.commit()
    report = rehearsed(project, round_trip=True)
    assert report.failure is None, report.failure
    assert report.round_trip is not None
    assert report.round_trip.restored
