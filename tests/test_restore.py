"""Going back to a backup: both halves as they were, whatever has become of them; and when it is refused."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fs_support
import pytest

from support.databases import Database
from support.going_back import change_everything, inside, left_over, whole
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
    fs_support.plant(project.data)
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
    with sqlite3.connect(project.database.file) as connection:
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
    backed_up(do, project)
    before = whole(project)
    project.database.file.unlink()
    assert do(project, "status", "--json").json["problems"][0]["code"] == "database_missing"
    do(project, "restore", "--latest", "--yes").succeeded()
    assert whole(project) == before


def test_a_database_file_that_is_garbage_is_replaced(do: Runner, project: Project) -> None:
    backed_up(do, project)
    before = whole(project)
    project.database.file.write_bytes(b"this is no database" * 1000)
    do(project, "restore", "--latest", "--yes").succeeded()
    assert whole(project) == before


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
    fs_support.plant(project.data)
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
    fs_support.plant(project.data)
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
    fs_support.plant(project.data)
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
    elsewhere = shutil.copytree(only_backup(project), tmp_path / "elsewhere")
    do(project, "recover", "--purge", "--yes").succeeded()
    before = whole(project)
    assert code(do(project, "restore", str(elsewhere), "--yes", "--json")) == "vault_gone"
    do(project, "restore", "--latest", "--yes").exited(2)
    assert whole(project) == before
