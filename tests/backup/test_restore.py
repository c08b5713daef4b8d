"""Going back to a backup: both halves as they were, whatever has become of them; and when it is refused."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from support import file_transactions
from support.databases import SQLITE, Database
from support.going_back import Bench, change_everything, changed_instance, inside, left_over, whole
from support.injection import Injection
from support.notes import notes
from support.projects import Project, Result
from support.zygote import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


Runner = Callable[..., Result]


@pytest.fixture
def do(zygote: Zygote) -> Runner:
    """Run a command of a project."""
    return lambda project, *args: zygote.run(project, args)


def backed_up(do: Runner, project: Project, count: int = 2) -> Project:
    """Take the notes to v1, with one of each kind of file, and copy them."""
    notes(project, count)
    file_transactions.plant(project.data)
    (project.data / "VERSION").unlink()
    do(project, "update", "v1", "--yes").succeeded()
    project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'eins'), (2, 'zwei')")
    do(project, "backup").succeeded()
    return project


def code(result: Result) -> str:
    """Give the code of the error in a stream of JSON."""
    return str(result.exited(1).events[-1]["error"]["code"])


def only_backup(project: Project) -> Path:
    (found,) = (project.data / ".fietsupdate" / "backups").iterdir()
    return found


# -- what comes back


def test_everything_is_as_it_was_on_each_database(do: Runner, any_project: Project) -> None:
    """Tree, times, links, modes, attributes, rows, tables and ledgers; and the next update runs from there."""
    project = backed_up(do, any_project)
    before = whole(project)
    do(project, "update", "--yes").succeeded()
    change_everything(project)
    assert whole(project) != before
    done = do(project, "restore", "--latest", "--yes").succeeded()
    assert whole(project) == before
    assert left_over(project) == []
    assert f"Restored {only_backup(project).name}: both halves are at v1." in done.stdout
    assert do(project, "status", "--json").json["state"] == "outdated"
    do(project, "update", "--yes").succeeded()
    do(project, "check").succeeded()


def test_holes_odd_names_and_hard_links_come_back(project: Project) -> None:
    data = project.data
    with (data / "sparse").open("wb") as file:
        file.seek(50_000_000)
        file.write(b"end")
    names = [b"new\nline", b"not-utf8-\xff\xfe", "übung".encode(), b" blank ", b"-rf"]
    for number, name in enumerate(names):
        Path(os.fsdecode(os.path.join(os.fsencode(data), name))).write_bytes(bytes([number]))
    os.symlink("nowhere\n", data / "dangling")
    backed_up(Project.run, project)
    before = whole(project)
    for entry in data.iterdir():
        if entry.name != ".fietsupdate":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    project.run("restore", "--latest", "--yes").succeeded()
    assert whole(project) == before
    assert (data / "sparse").stat().st_blocks * 512 < 5_000_000


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_sqlite_database_in_the_data_directory_comes_back_with_it(do: Runner, tmp_path: Path, mode: str) -> None:
    root = tmp_path / "project"
    project = Project.create(root, inside(root))
    backed_up(do, project)
    with closing(sqlite3.connect(project.database.file)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    before = whole(project)
    do(project, "update", "--yes").succeeded()
    change_everything(project)
    do(project, "restore", "--latest", "--yes").succeeded()
    after = whole(project)
    assert (after.files, after.database, after.ledger) == (before.files, before.database, before.ledger)
    assert left_over(project) == []


def test_further_roots_come_back(do: Runner, make_project: Callable[..., Project], tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    (media / "film").write_text("reel one")
    (media / "film").chmod(0o604)
    project = backed_up(do, make_project(section={"extra_dirs": f"media={media}"}))
    (media / "film").write_text("cut")
    (media / "film").chmod(0o600)
    (media / "more").write_text("new")
    do(project, "restore", "--latest", "--yes").succeeded()
    assert {path.name: path.read_text() for path in media.iterdir()} == {"film": "reel one"}
    assert (media / "film").stat().st_mode & 0o777 == 0o604


def test_what_a_careless_copy_of_the_backup_has_lost_comes_back_by_its_listing(
    do: Runner, project: Project, tmp_path: Path
) -> None:
    """``cp -r`` of a backup loses times, modes and attributes; the listing has them."""
    backed_up(do, project)
    before = whole(project)
    elsewhere = tmp_path / "elsewhere"
    source = only_backup(project)
    subprocess.run(["cp", "-rdp", "--no-preserve=mode,timestamps,xattr", source, elsewhere], check=True)
    (project.data / "one").write_text("changed since")
    do(project, "restore", str(elsewhere), "--yes").succeeded()
    assert whole(project) == before


# -- places


@contextmanager
def mounted(place: Path, source: Path | None = None) -> Iterator[Path]:
    """Mount a file system in memory, or another folder (bind), for a while."""
    place.mkdir(exist_ok=True)
    what = ["-t", "tmpfs", "fietsupdate"] if source is None else ["--bind", str(source)]
    done = subprocess.run(["mount", *what, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("bind", [False, True], ids=["tmpfs", "bind"])
def test_a_data_directory_that_is_a_mount_point_and_holds_another_is_restored_in_place(
    do: Runner, project: Project, tmp_path: Path, bind: bool
) -> None:
    """Neither can be renamed. The nested one, two folders down, has the same device number where it is bound."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "nested").mkdir()
    with mounted(project.data, tmp_path / "volume" if bind else None):
        (project.data / "media").mkdir()
        with mounted(project.data / "media" / "films", tmp_path / "nested" if bind else None) as films:
            (films / "film").write_text("reel one")
            (films.parent / "poster").write_text("reel one")
            backed_up(do, project)
            before = whole(project)
            (films / "film").unlink()
            (films / "more").write_text("new")
            (films.parent / "poster").write_text("new")
            change_everything(project)
            done = do(project, "restore", "--latest", "--yes").succeeded()
            assert whole(project) == before
            assert left_over(project) == []
            assert os.path.ismount(films) or bind, done.output
            assert not (films / ".fietsupdate").exists()
            assert (tmp_path / "nested" / "film").exists() == bind


def test_backups_on_a_volume_of_their_own_inside_the_data_directory_stay(
    do: Runner, make_project: Callable[..., Project]
) -> None:
    project = make_project(section={"backup_dir": "%(here)s/data/safe/backups"})
    (project.data / "safe").mkdir()
    with mounted(project.data / "safe" / "backups"):
        notes(project, 1)
        do(project, "update", "--yes").succeeded()
        (project.data / "safe" / "note").write_text("before")
        do(project, "backup").succeeded()
        (project.data / "safe" / "note").write_text("after")
        do(project, "restore", "--latest", "--yes").succeeded()
        assert (project.data / "safe" / "note").read_text() == "before"
        assert len(do(project, "backup", "list", "--json").json["backups"]) == 1


@pytest.mark.parametrize("named", ["data/safe", "copies"])
def test_newer_backups_stay_where_their_folder_is_in_the_data_directory(
    do: Runner, make_project: Callable[..., Project], named: str
) -> None:
    project = make_project(section={"backup_dir": f"%(here)s/{named}"})
    (project.data / "safe").mkdir()
    (project.root / "copies").symlink_to(project.data / "safe")
    notes(project, 1)
    do(project, "update", "--yes").succeeded()
    for _ in range(2):
        do(project, "backup").succeeded()
    both = sorted(os.listdir(project.data / "safe"))
    do(project, "restore", both[0], "--yes").succeeded()
    assert sorted(os.listdir(project.data / "safe")) == both
    for name in both:
        do(project, "backup", "verify", name).succeeded()


# -- disasters


def test_a_fresh_machine_gets_the_instance_back(
    do: Runner, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    """An empty database and an empty data directory: nothing but the code, the configuration and the backup."""
    old = backed_up(do, make_project(name="old"))
    before = whole(old)
    backup = tmp_path / "rescued"
    subprocess.run(["cp", "-a", only_backup(old), backup], check=True)
    new = notes(make_project(name="new"), 2)
    do(new, "restore", str(backup), "--yes").succeeded()
    after = whole(new)
    assert (after.files.keys(), after.database, after.ledger) == (before.files.keys(), before.database, before.ledger)
    assert do(new, "status", "--json").json["state"] == "outdated"


def test_a_database_file_that_is_lost_comes_back(do: Runner, project: Project) -> None:
    """With its owner and mode: the application's group may have to read it."""
    backed_up(do, project)
    project.database.file.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(project.database.file, 12345, 12345)
    looked = project.database.file.stat()
    do(project, "backup").succeeded()
    before = whole(project)
    project.database.file.unlink()
    assert do(project, "status", "--json").json["problems"][0]["code"] == "database_missing"
    do(project, "restore", "--latest", "--yes").succeeded()
    assert whole(project) == before
    found = project.database.file.stat()
    assert (found.st_mode, found.st_uid, found.st_gid) == (looked.st_mode, looked.st_uid, looked.st_gid)


def test_a_database_file_that_is_garbage_is_replaced(do: Runner, project: Project) -> None:
    backed_up(do, project)
    before = whole(project)
    project.database.file.write_bytes(b"this is no database" * 1000)
    do(project, "restore", "--latest", "--yes").succeeded()
    assert whole(project) == before


def test_a_server_that_does_not_answer_is_told_and_nothing_is_changed(do: Runner, project: Project) -> None:
    project.ini.write_text(project.ini.read_text().replace(project.url, "postgresql+psycopg://nobody@127.0.0.1:1/gone"))
    told = do(project, "restore", "--latest", "--yes").exited(1).told
    assert "Connection refused. Now: Nothing was changed. Next: See that the server runs" in told


def test_half_a_dump_never_comes_to_the_live_place(do: Runner, project: Project) -> None:
    """Kolibri: half a dump restored leaves a database of 0 bytes."""
    backed_up(do, project)
    dump = only_backup(project) / "database.dump"
    dump.write_bytes(dump.read_bytes()[: dump.stat().st_size // 2])
    before = whole(project)
    do(project, "restore", "--latest", "--yes").exited(2)  # it does not even count as a backup
    manifest = json.loads((dump.parent / "manifest.json").read_text())
    manifest["dump"]["size"] = dump.stat().st_size
    (dump.parent / "manifest.json").write_text(json.dumps(manifest))
    assert code(do(project, "restore", "--latest", "--yes", "--json")) == "backup_damaged"
    damaged = do(project, "restore", "--latest", "--yes", "--despite", "damage").exited(1)
    assert "Nothing was changed." in damaged.told
    assert whole(project) == before
    assert left_over(project) == []


# -- the way out of an update that is not atomic


AUTO = {"backup": "auto"}


@pytest.fixture
def guarded(make_project: Callable[..., Project]) -> Project:
    """Give a project in which backups are made by themselves, as they are unless somebody says no."""
    return make_project(section=AUTO)


HALF_WAY = """
self.files.write("tracks/1/track.gpx", "as the update wants it")
self.files.remove("one")
Path(self.data_dir, "plain").write_text("by a plain call")
"""


def broken_off(do: Runner, project: Project, **update: object) -> Result:
    """Take the notes to v1, and break an update off half-way that is not atomic there."""
    notes(project, 1)
    file_transactions.plant(project.data)
    (project.data / "VERSION").unlink()
    project.update("bad", "v1", "r9", up_pre=HALF_WAY, **update)  # type: ignore[arg-type]
    broken = 'op.add_column("notes", sa.Column("new", sa.Integer))\nop.execute("ALTER TABLE not_there ADD x INTEGER")'
    project.revision("r9", "r1", broken)
    do(project, "update", "v1", "--yes").succeeded()
    project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'eins')")
    return do(project, "update", "--yes")


def test_a_revision_that_broke_between_two_statements_is_taken_back_by_the_command_that_status_names(
    do: Runner, mariadb: Database, tmp_path: Path
) -> None:
    """MariaDB commits at each of them: nobody can resume that, and the dump with the vault is the way out."""
    project = Project.create(tmp_path / "project", mariadb, section=AUTO)
    failed = broken_off(do, project).exited(1)
    (backup,) = do(project, "backup", "list", "--json").json["backups"]
    assert backup["scope"] == "database"
    status = do(project, "status", "--json").json
    assert status["state"] == "interrupted"
    command = f"fietsupdate restore {backup['name']}"
    assert command in status["problems"][0]["hint"]
    assert command in failed.told
    assert "new" in {column for column, *_ in project.database.execute("SHOW COLUMNS FROM notes")}
    do(project, "restore", backup["name"], "--yes").succeeded()
    assert [row for (row,) in project.database.execute("SELECT text FROM notes")] == ["eins"]
    assert "new" not in {column for column, *_ in project.database.execute("SHOW COLUMNS FROM notes")}
    assert (project.data / "tracks/1/track.gpx").read_text() == "<gpx/>"
    assert (project.data / "one").read_text() == "two names"
    assert not (project.data / "plain").exists()
    assert do(project, "status", "--json").json["state"] == "outdated"
    assert [path for path in left_over(project) if not path.startswith(("found", "kept"))] == []


def test_an_update_with_connections_of_its_own_is_taken_back_after_it_has_broken_off(
    do: Runner, guarded: Project
) -> None:
    """Its hook has committed by itself, so nothing was undone; what it wrote is set aside, never deleted."""
    own = "engine = sa.create_engine(config['sqlalchemy.url'])\nwith engine.begin() as c:\n    c.execute(sa.text("
    own = f"{HALF_WAY}\n{own}\"UPDATE notes SET text = 'half'\"))\nengine.dispose()\nraise ValueError('half-way')"
    project = guarded
    notes(project, 1)
    file_transactions.plant(project.data)
    (project.data / "VERSION").unlink()
    project.update("bad", "v1", "r1", up_pre=own, atomic=False)
    do(project, "update", "v1", "--yes").succeeded()
    project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'eins')")
    before = whole(project)
    do(project, "update", "--yes").exited(1)
    assert whole(project).database != before.database
    assert do(project, "status", "--json").json["state"] == "interrupted"
    do(project, "restore", "--latest", "--yes").succeeded()
    after = whole(project)
    assert (after.files, after.database, after.ledger) == (before.files, before.database, before.ledger)


def test_a_finished_update_that_was_not_atomic_is_taken_back_as_long_as_its_vault_is_kept(
    do: Runner, guarded: Project
) -> None:
    project = guarded
    notes(project, 1)
    file_transactions.plant(project.data)
    (project.data / "VERSION").unlink()
    project.update("v2", "v1", "r1", up_pre=HALF_WAY, atomic=False)
    do(project, "update", "v1", "--yes").succeeded()
    before = whole(project)
    do(project, "update", "--yes").succeeded()
    assert whole(project) != before
    do(project, "restore", "--latest", "--yes").succeeded()
    after = whole(project)
    assert (after.files, after.database, after.ledger) == (before.files, before.database, before.ledger)
    assert do(project, "status", "--json").json["state"] == "outdated"


def test_a_dump_whose_vault_is_gone_is_not_offered_and_is_refused(do: Runner, guarded: Project, tmp_path: Path) -> None:
    project = guarded
    notes(project, 1)
    project.update("v2", "v1", "r1", up_pre="self.files.write('a', 'a')", atomic=False)
    do(project, "update", "v1", "--yes").succeeded()
    do(project, "update", "--yes").succeeded()
    dump = only_backup(project)
    elsewhere = shutil.copytree(dump, tmp_path / "elsewhere")
    assert [each["spent"] for each in do(project, "backup", "list", "--json").json["backups"]] == [False]
    do(project, "recover", "--purge", "--yes").succeeded()
    before = whole(project)
    shutil.copytree(elsewhere, dump)
    listed = do(project, "backup", "list").stdout
    assert "update  the database, spent" in listed
    assert "Spent: its other half, an update's vault, is gone; `fietsupdate backup prune` takes it away." in listed
    assert do(project, "backup", "prune").succeeded().stdout == f"1 backup taken away:\n  {dump.name}\n"
    assert code(do(project, "restore", str(elsewhere), "--yes", "--json")) == "vault_gone"
    do(project, "restore", "--latest", "--yes").exited(2)
    assert whole(project) == before


# -- refusals: nothing is changed, and each says what would have to be said to do it all the same


def refused(do: Runner, project: Project, *args: str, despite: str = "") -> str:
    """Give the code of a refusal that has changed nothing; with `despite` it is no refusal any more."""
    before = whole(project)
    answer = code(do(project, "restore", *args, "--yes", "--json"))
    assert whole(project) == before
    assert left_over(project) == []
    if despite:
        do(project, "restore", *args, "--yes", "--despite", despite).succeeded()
        assert whole(project) != before
    return answer


def test_a_backup_of_another_instance_is_refused(do: Runner, make_project: Callable[..., Project]) -> None:
    other, project = backed_up(do, make_project(name="other")), backed_up(do, make_project(name="project"))
    assert refused(do, project, str(only_backup(other)), despite="instance") == "other_instance"
    assert do(project, "check").code == 3  # outdated, and whole


def test_a_new_database_beside_files_of_another_instance_is_refused(
    do: Runner, make_project: Callable[..., Project]
) -> None:
    other, project = backed_up(do, make_project(name="other")), make_project(name="project")
    notes(project, 2)
    (project.data / "precious").write_text("somebody's")
    assert refused(do, project, str(only_backup(other))) == "other_instance"


def test_a_backup_that_this_code_is_too_old_for_is_refused(do: Runner, project: Project) -> None:
    backed_up(do, project)
    do(project, "update", "--yes").succeeded()
    do(project, "backup").succeeded()
    for path in (project.updates / "upd_v2.py", *(project.root / "migrations" / "versions").glob("r[23]*")):
        path.unlink()
    project.database.execute("UPDATE notes SET text = 'changed since'")
    assert refused(do, project, "--latest", despite="version") == "too_new"


def test_a_backup_that_is_not_as_it_was_made_is_refused(do: Runner, project: Project) -> None:
    backed_up(do, project)
    (only_backup(project) / "files" / "one").write_text("two NAMES")
    (project.data / "link").unlink()
    assert refused(do, project, "--latest", despite="damage") == "backup_damaged"
    assert (project.data / "link").is_symlink()


def test_nothing_is_restored_while_the_application_runs(do: Runner, make_project: Callable[..., Project]) -> None:
    project = backed_up(do, make_project(section={"running": "test -e running"}))
    (project.root / "running").touch()
    (project.data / "one").unlink()
    assert refused(do, project, "--latest", despite="running") == "application_running"


def test_a_dump_of_another_kind_of_database_is_refused(do: Runner, make_project: Callable[..., Project]) -> None:
    project = backed_up(do, make_project())
    manifest = only_backup(project) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"sqlite"', '"postgresql"'))
    assert refused(do, project, "--latest") == "other_dialect"


def test_a_manifest_that_does_not_belong_to_its_dump_is_refused(do: Runner, project: Project) -> None:
    backed_up(do, project)
    manifest = only_backup(project) / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "tip_hash": "0" * 64}))
    assert refused(do, project, "--latest") == "refused"


def test_a_backup_with_a_further_root_that_is_not_configured_is_refused(
    do: Runner, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    (tmp_path / "media").mkdir()
    project = backed_up(do, make_project(section={"extra_dirs": f"media={tmp_path / 'media'}"}))
    project.ini.write_text(project.ini.read_text().replace("extra_dirs", "# extra_dirs"))
    assert refused(do, project, "--latest") == "root_missing"


def test_root_on_somebody_elses_data_directory_is_refused(do: Runner, project: Project) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be refused")
    backed_up(do, project)
    os.chown(project.data, 65534, 65534)
    assert refused(do, project, "--latest") == "ownership"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--yes"], "Which backup?"),
        (["--latest"], "There is no backup in"),
        (["--latest", "one", "--yes"], "exclude each other"),
        (["none-such", "--yes"], "There is no backup 'none-such'"),
        (["--latest", "--yes", "--despite", "reason"], "--despite takes instance, version, damage, running"),
    ],
)
def test_a_command_line_that_says_too_little_changes_nothing(
    do: Runner, project: Project, args: list[str], words: str
) -> None:
    notes(project, 1)
    do(project, "update", "--yes").succeeded()
    assert words in do(project, "restore", *args).exited(2).told


# -- half restored


@pytest.fixture(scope="module")
def half(zygote: Zygote) -> Iterator[Callable[[], Bench]]:
    """Give a function that kills a restore when it has moved the first file away."""
    with changed_instance(zygote, SQLITE) as bench:
        seen = bench.break_at(Injection()).succeeded().seen
        first = next(number for number, event in enumerate(seen, 1) if event == "files: os.rename VERSION")

        def again() -> Bench:
            assert bench.break_at(Injection("kill", first + 1)).was_killed
            assert bench.where() == "half"
            return bench

        yield again


def test_a_half_restored_instance_says_so_and_reading_commands_leave_it_alone(half: Callable[[], Bench]) -> None:
    bench = half()
    status = bench.run("status", "--json").json
    (problem,) = status["problems"]
    assert (status["state"], problem["code"], status["current"]) == ("interrupted", "restore_interrupted", [])
    assert "Do not start the application." in problem["message"]
    assert problem["hint"].startswith("Type `fietsupdate recover`")
    assert bench.run("status").stdout.startswith("State     interrupted - half restored: a restore was interrupted\n")
    bench.run("check").exited(7)
    before = file_transactions.picture(bench.project.root), bench.project.database.dump()
    error = json.loads(bench.run("update", "--dry-run", "--json").exited(1).stdout)["error"]
    assert error["code"] == "restore_interrupted"
    for reading in (["status"], ["history"], ["heads"], ["check"], ["backup", "list"]):
        bench.run(*reading)
    assert (file_transactions.picture(bench.project.root), bench.project.database.dump()) == before


@pytest.mark.parametrize("command", ["recover", "update", "restore", "stamp", "backup"])
def test_every_command_that_changes_something_finishes_it_first(half: Callable[[], Bench], command: str) -> None:
    more = {"recover": [], "update": ["v1", "--yes"], "restore": ["--latest", "--yes"], "stamp": ["v1", "--yes"]}
    bench = half()
    done = bench.run(command, *more.get(command, [])).succeeded()
    assert "it is finished now" in done.stdout
    now = whole(bench.project)
    if command == "stamp":
        assert now.database["rows"]["notes"] == bench.after.database["rows"]["notes"]
        assert now.files.keys() == bench.after.files.keys()
    else:
        assert now == bench.after
    assert left_over(bench.project) == []


def test_a_half_restored_instance_is_not_finished_while_the_application_runs(half: Callable[[], Bench]) -> None:
    bench = half()
    bench.project.ini.write_text(f"{bench.project.ini.read_text()}running = true\n")
    assert "The application is running" in bench.run("recover").exited(1).told
    assert bench.problem() == "restore_interrupted"


def test_a_damaged_journal_is_told_and_nothing_is_touched(half: Callable[[], Bench]) -> None:
    bench = half()
    journal = bench.project.data / ".fietsupdate" / "restore" / "journal"
    journal.write_bytes(journal.read_bytes()[:-20])
    before = file_transactions.picture(bench.project.root)
    assert bench.problem() == "restore_interrupted"
    assert "'old'" in bench.run("recover").exited(1).told
    assert file_transactions.picture(bench.project.root) == before


def test_an_environment_that_connects_elsewhere_now_does_not_get_the_other_half(
    half: Callable[[], Bench], tmp_path: Path
) -> None:
    """The journal names the database; the files that are moved belong to that one."""
    bench = half()
    text = bench.project.ini.read_text()
    bench.project.ini.write_text(text.replace(bench.project.database.file.name, "elsewhere.sqlite"))
    bench.run("recover").exited(1)
    bench.project.ini.write_text(text)
    bench.run("recover").succeeded()
    assert bench.where() == "after"


# -- one half restored by hand


@pytest.mark.parametrize("older", ["database", "data directory"])
def test_status_names_the_older_half_and_the_backup_that_fits(do: Runner, project: Project, older: str) -> None:
    """The nearest backup is the one that is where the older half is, not the newest."""
    backed_up(do, project, 3)
    before = whole(project)
    name = only_backup(project).name
    do(project, "update", "+1", "--yes").succeeded()
    do(project, "backup").succeeded()
    do(project, "update", "--yes").succeeded()
    assert do(project, "status", "--json").json["problems"] == []
    copy = only_backup_called(project, name)
    if older == "database":
        shutil.copy(copy / "database.dump", project.database.file)
    else:
        for entry in ("VERSION", "one"):
            shutil.copy2(copy / "files" / entry, project.data / entry)
        shutil.copy2(copy / "ledger.jsonl", project.data / ".fietsupdate" / "ledger.jsonl")
    (problem,) = do(project, "status", "--json").json["problems"]
    assert problem["message"].startswith(f"The {older} is older than the ")
    assert f"`fietsupdate restore {name}`" in problem["hint"]
    do(project, "restore", name, "--yes").succeeded()
    assert whole(project) == before


def test_a_lost_data_directory_is_brought_back_by_the_newest_backup(
    do: Runner, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = backed_up(do, make_project(section={"backup_dir": str(tmp_path / "backups")}))
    do(project, "update", "--yes").succeeded()
    do(project, "backup").succeeded()
    before = whole(project)
    newest = do(project, "backup", "list", "--json").json["backups"][0]["name"]
    shutil.rmtree(project.data)
    project.data.mkdir()
    (problem,) = do(project, "status", "--json").json["problems"]
    assert (problem["code"], f"`fietsupdate restore {newest}`" in problem["hint"]) == ("files_without_ledger", True)
    do(project, "restore", "--latest", "--yes").succeeded()
    assert (whole(project).files, whole(project).ledger) == (before.files, before.ledger)


@pytest.mark.parametrize("damage", [False, True], ids=["open", "damaged"])
def test_what_a_killed_update_left_is_put_away_by_a_restore_of_both_halves(zygote: Zygote, damage: bool) -> None:
    """Its journal may be damaged: nobody can play that back, and a backup of both halves is the way out."""
    with changed_instance(zygote, SQLITE) as bench:
        bench.snapshot.restore()
        change = "self.files.write('tracks/1/track.gpx', 'x')\nself.files.remove('one')"
        bench.project.update("v9", "v2", "r2", up_pre=f"{change}\nimport os; os.kill(os.getpid(), 9)")
        assert bench.run("update", "--yes").was_killed
        (folder,) = (bench.project.data / ".fietsupdate" / "txn").iterdir()
        if damage:
            (folder / "header").write_text("damaged")
        assert bench.problem() == ("transaction_doubt" if damage else "interrupted")
        bench.run("restore", "--latest", "--yes").succeeded()
        assert bench.is_exact()
        assert left_over(bench.project) == []


def only_backup_called(project: Project, name: str) -> Path:
    return project.data / ".fietsupdate" / "backups" / name


# -- choosing, asking, stopping


def on_a_terminal(project: Project, *args: str, answers: str) -> tuple[int, str]:
    """Run the command with a terminal as its input and output, and type; give the exit code and what was shown."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(project.root)
        os.execv(project.python, [project.python, "-m", "fietsupdate", *args])
    os.write(terminal, answers.encode())
    shown = b""
    with contextlib.suppress(OSError):  # the terminal ends with its last user
        while piece := os.read(terminal, 4096):
            shown += piece
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    return code, shown.decode()


def test_on_a_terminal_a_backup_is_chosen_from_a_list(do: Runner, project: Project) -> None:
    """Newest first; a number that is not there is asked again, and the question says what will be replaced."""
    backed_up(do, project)
    before = whole(project)
    old = only_backup(project).name
    do(project, "update", "--yes").succeeded()
    do(project, "backup").succeeded()
    change_everything(project)
    code, shown = on_a_terminal(project, "restore", answers="7\n2\ny\n")
    assert code == 0, shown
    assert shown.index("  v2") < shown.index("  v1")
    assert shown.count("Which one?") == 2
    assert f"Restore the backup {old}, made " in shown
    assert "Do this now? [y/n]" in shown
    assert whole(project) == before


def test_who_chooses_nothing_or_says_no_has_changed_nothing(do: Runner, project: Project) -> None:
    backed_up(do, project)
    change_everything(project)
    before = whole(project)
    for answers in ("\n", "1\nn\n"):
        code, shown = on_a_terminal(project, "restore", answers=answers)
        assert (code, "Nothing was changed." in shown) == (1, True), shown
        assert whole(project) == before


def test_a_dry_run_says_what_would_be_replaced_and_refuses_what_would_be_refused(
    do: Runner, make_project: Callable[..., Project]
) -> None:
    other, project = backed_up(do, make_project(name="other")), backed_up(do, make_project(name="project"))
    change_everything(project)
    before = whole(project)
    assert f"everything in {project.data} is replaced by" in do(project, "restore", "--latest", "--dry-run").stdout
    told = do(project, "restore", "--latest", "--dry-run", "--json").succeeded().json
    assert (told["backup"]["name"], told["roots"]) == (only_backup(project).name, [str(project.data)])
    refused = do(project, "restore", str(only_backup(other)), "--dry-run", "--json")
    assert code(refused) == "other_instance"
    assert whole(project) == before


def test_latest_is_the_newest_by_its_own_time_that_can_be_restored(do: Runner, project: Project) -> None:
    """Not the one whose name or folder is the newest, and not a dump whose other half is gone."""
    backed_up(do, project)
    old = only_backup(project)
    do(project, "update", "--yes").succeeded()
    do(project, "backup").succeeded()
    before = whole(project)
    old.rename(old.with_name("zz-copied-back"))
    change_everything(project)
    done = do(project, "restore", "--latest", "--yes", "--json").succeeded()
    assert done.events[-1]["restored"] != "zz-copied-back"
    assert whole(project) == before


def test_a_signal_leaves_everything_as_it_was_or_waits_until_all_is_restored(zygote: Zygote) -> None:
    with changed_instance(zygote, SQLITE) as bench:
        seen = bench.break_at(Injection()).succeeded().seen
        begun = next(number for number, event in enumerate(seen, 1) if ".journal." in event)
        first = seen.index("files: os.rename VERSION") + 1
        moments = {begun + 10: "SIGINT", first - 30: "SIGTERM", first: "SIGINT", first + 20: "SIGTERM"}
        for number, name in moments.items():
            stopped = bench.break_at(Injection(name, number))
            assert bench.where() == ("before" if stopped.code else "after"), stopped.output
            assert stopped.code in {0, {"SIGINT": 130, "SIGTERM": 143}[name]}
            assert left_over(bench.project) == []
        assert stopped.code == 0, "past the point of no return it goes to the end"


def test_too_little_room_is_found_before_anything_is_copied(
    do: Runner, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    """A copy of everything must fit beside what is there, and a reserve stays free."""
    project = make_project(section={"backup_dir": str(tmp_path / "backups")})
    notes(project, 1)
    with mounted(project.data):
        subprocess.run(["mount", "-o", "remount,size=100m", project.data], check=True)
        (project.data / "large").write_bytes(bytes(1 << 25))
        do(project, "update", "--yes").succeeded()
        do(project, "backup").succeeded()
        failed = do(project, "restore", "--latest", "--yes").exited(1)
        assert "MiB more are to stay free" in failed.told
        assert "Nothing was changed." in failed.told
        assert left_over(project) == []
