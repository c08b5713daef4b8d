"""`quarantine`: strays are moved and come back; what only looks like strays is left where it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fietsupdate import Updater
from fietsupdate.commands import quarantine
from fietsupdate.errors import RefusedError
from fietsupdate.filesystem import lock
from fietsupdate.testing.content import tree
from support.databases import MARIADB, POSTGRESQL, SQLITE
from support.projects import Project, result_of
from support.rows_and_files import SECTION, application, avatar, preview, track
from support.states import age

OURS = ".fietsupdate"
STRAYS = ["tracks/0x/deep/a.gpx", "tracks/00/b.gpx", "media:avatars/stray.png"]
TRACKS = 60


@pytest.fixture
def instance(make_project) -> Project:
    """An application whose rows and files match, but for three strays; all files are old."""
    return with_strays(application(make_project(section=SECTION), TRACKS))


def with_strays(project: Project) -> Project:
    for root, path in ((project.data, "tracks/0x/deep/a.gpx"), (project.data, "tracks/00/b.gpx")):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    with open(avatar(project, b"stray.png"), "wb") as file:
        file.write(b"stray")
    (project.data / "tracks/00/b.gpx").chmod(0o600)
    (project.data / "tracks/0x/deep").chmod(0o750)
    for root in (project.data, project.root / "media"):
        age(root)
    return project


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Mount a folder on itself, read-only; skip the test where this user may not mount."""
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def look(project: Project) -> list[object]:
    return [tree(root, exclude=[OURS]) for root in (project.data, project.root / "media")]


def moved(project: Project, *words: str) -> dict[str, object]:
    """Put the strays into quarantine, and return what was told at the end."""
    return project.run("quarantine", *words, "--yes", "--json").succeeded().events[-1]


def refused(project: Project, code: str, *words: str) -> str:
    """See that nothing moves, with and without --dry-run, and return what is said."""
    before = look(project)
    for more in (["--dry-run"], ["--yes"]):
        failed = project.run("quarantine", *words, *more, "--json").exited(1).events[-1]["error"]
        assert failed["code"] == code, failed
        assert look(project) == before
    assert not (project.data / OURS / "quarantine").exists()
    told = project.run("quarantine", *words, "--yes").exited(1).told
    assert "Nothing was changed" in told
    return told


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL, MARIADB])
def test_strays_go_and_are_released_to_the_identical_tree(make_project, kind):
    project = with_strays(application(make_project(kind=kind, section=SECTION), TRACKS))
    before, rows = look(project), project.database.dump()
    plan = project.run("quarantine", "--dry-run", "--json").succeeded().json
    assert sorted(plan["files"]) == sorted(STRAYS)
    done = moved(project)
    assert done["files"] == 3
    assert project.run("audit").succeeded()
    assert not (project.data / "tracks/0x").exists()
    (there,) = project.run("quarantine", "list", "--json").succeeded().json["quarantines"]
    assert (there["name"], there["files"], there["roots"]) == (done["quarantine"], 3, {"": 2, "media": 1})
    shown = project.run("quarantine", "list", there["name"]).succeeded().stdout
    assert all(path in shown for path in STRAYS)
    assert project.run("quarantine", "release", "--json").succeeded().events[-1]["files"] == 3
    assert look(project) == before
    assert project.database.dump() == rows
    assert "Nothing is in quarantine" in project.run("quarantine", "list").succeeded().stdout


def test_without_strays_there_is_nothing_to_do(make_project):
    project = application(make_project(section=SECTION), TRACKS)
    assert "No strays" in project.run("quarantine", "--yes").succeeded().stdout
    assert "No strays" in project.run("quarantine").succeeded().stdout
    assert not (project.data / OURS / "quarantine").exists()


def test_where_nothing_is_declared_nothing_is_a_stray(make_project):
    from support.notes import notes

    project = notes(make_project(), 1)
    project.run("update", "--yes").succeeded()
    (project.data / "anything").write_text("x")
    assert "No strays" in project.run("quarantine", "--yes").succeeded().stdout
    assert (project.data / "anything").exists()


def test_single_files_and_folders_are_released(instance):
    moved(instance)
    instance.run("quarantine", "release", "tracks/0x", "media:avatars/stray.png").succeeded()
    assert (instance.data / "tracks/0x/deep/a.gpx").exists()
    assert os.path.exists(avatar(instance, b"stray.png"))
    assert not (instance.data / "tracks/00/b.gpx").exists()
    told = instance.run("quarantine", "release", "tracks/nothing").exited(2)
    assert "Not in quarantine: tracks/nothing" in told.told
    name = instance.run("quarantine", "list", "--json").json["quarantines"][0]["name"]
    instance.run("quarantine", "release", name).succeeded()
    assert (instance.data / "tracks/00/b.gpx").exists()


def test_a_path_that_is_taken_is_named_and_its_file_stays(instance):
    moved(instance)
    (instance.data / "tracks/00/b.gpx").write_text("of the application")
    told = instance.run("quarantine", "release").exited(1)
    assert "tracks/00/b.gpx" in told.stdout
    assert (instance.data / "tracks/00/b.gpx").read_text() == "of the application"
    assert instance.run("quarantine", "list", "--json").json["quarantines"][0]["files"] == 1


# -- what only looks like strays


def test_an_empty_table_moves_nothing_whatever_is_typed(instance):
    instance.database.execute("DELETE FROM tracks")
    number = instance.run("audit", "--json").exited(9).events[-1]["summary"]["stray"]
    for typed in ([], ["--strays", str(number)]):
        told = refused(instance, "empty_table", *typed)
        assert "The table tracks names no file at all" in told


def test_the_whole_database_emptied_moves_nothing(instance):
    for table in ("tracks", "documents", "users"):
        instance.database.execute(f"DELETE FROM {table}")
    refused(instance, "empty_table")


def test_a_table_that_is_gone_moves_nothing(instance):
    instance.database.execute("DROP TABLE tracks")
    before = look(instance)
    told = instance.run("quarantine", "--yes").exited(1)
    assert "Nothing was changed" in told.told
    assert look(instance) == before


def test_a_database_that_cannot_be_reached_moves_nothing(instance):
    instance.database.file.rename(instance.root / "away")
    before = look(instance)
    told = instance.run("quarantine", "--yes").exited(1)
    assert "Nothing was changed" in told.told
    assert look(instance) == before


def test_a_column_that_is_null_in_every_row_needs_the_number(instance):
    instance.database.execute("UPDATE users SET avatar = NULL")
    found = instance.run("audit", "--json").exited(9).events[-1]["summary"]
    number = found["stray"]
    if number * 10 <= sum(found["files"].values()):
        for turn in range(10):
            (instance.data / "tracks" / f"stray{turn}").write_text("x")
        number += 10
    told = refused(instance, "many_strays")
    assert f"fietsupdate quarantine --strays {number}" in told
    assert moved(instance, "--strays", str(number))["files"] == number


def test_a_root_that_is_not_mounted_moves_nothing(instance):
    media = instance.root / "media"
    media.rename(instance.root / "away")
    told = instance.run("quarantine", "--yes").exited(1)
    assert "Nothing was changed" in told.told
    assert (instance.data / "tracks/00/b.gpx").exists()
    media.mkdir()  # the mount point alone


def test_most_files_missing_looks_unmounted_and_moves_nothing(instance):
    shutil.rmtree(instance.data / "tracks")
    (instance.data / "tracks").mkdir()
    (instance.data / "tracks" / "written while unmounted").write_text("x")
    told = refused(instance, "root_unmounted")
    assert "Is the volume mounted" in told


def test_a_data_directory_of_another_volume_moves_nothing(instance):
    shutil.rmtree(instance.data / OURS)
    before = look(instance)
    instance.run("quarantine", "--yes").exited(1)
    assert look(instance) == before


def test_more_than_a_tenth_needs_the_exact_number(instance):
    for number in range(20):
        (instance.data / "tracks" / f"stray{number}").write_text("x")
    told = refused(instance, "many_strays")
    assert "fietsupdate quarantine --strays 23" in told
    assert "23 files without a row, not 22" in refused(instance, "strays_differ", "--strays", "22")
    assert moved(instance, "--strays", "23")["files"] == 23


def test_a_row_that_names_a_file_by_another_path_loses_nothing(instance):
    """A file that is named through a symlink has no row by its own path, and so looks like a stray."""
    (instance.data / "tracks/00").rename(instance.data / "tracks/real")
    (instance.data / "tracks/00").symlink_to("real")
    names = sorted(os.listdir(instance.data / "tracks/real"))
    before = look(instance)
    number = instance.run("audit", "--json").exited(9).events[-1]["summary"]["stray"]
    failed = instance.run("quarantine", "--strays", str(number), "--yes", "--json").exited(1).events[-1]["error"]
    assert (failed["code"], failed["stands"][:20]) == ("row_appeared", "Nothing was changed.")
    assert sorted(os.listdir(instance.data / "tracks/real")) == names
    assert look(instance) == before


def test_a_row_that_comes_meanwhile_keeps_its_file(instance, monkeypatch):
    """The application commits the row of a file when all is compared, and nothing is moved yet."""
    before = look(instance)
    shutil.copy2(track(instance, 7), track(instance, 200))
    moves = quarantine.put_away

    def committed_first(*args: Any, **options: Any) -> Any:
        instance.database.execute("INSERT INTO tracks (id) VALUES (200)")
        return moves(*args, **options)

    monkeypatch.setattr(quarantine, "put_away", committed_first)
    with pytest.raises(RefusedError, match="tracks id=200 names it") as caught:
        Updater.from_config(instance.ini).quarantine(as_root=True)
    assert (caught.value.code, caught.value.stands) == ("row_appeared", "Nothing was changed.")
    assert track(instance, 200).exists()
    track(instance, 200).unlink()
    assert [sorted(root) for root in look(instance)] == [sorted(root) for root in before]


def test_it_is_refused_while_an_update_is_interrupted(instance):
    instance.update("v2", "v1", "r1", atomic=False, up_post="raise ValueError('not today')")
    instance.run("update", "--yes").exited(1)
    if instance.run("status", "--json").json["state"] == "interrupted":
        refused(instance, "interrupted")


# -- deleted for good


def test_purge_deletes_what_is_old_enough_after_a_question(instance):
    moved(instance)
    assert "--older-than" in instance.run("quarantine", "purge", "--yes").exited(2).told
    assert "30d" in instance.run("quarantine", "purge", "--older-than", "soon", "--yes").exited(2).told
    instance.run("quarantine", "purge", "--older-than", "30d", "--yes").succeeded()
    assert instance.run("quarantine", "list", "--json").json["quarantines"][0]["files"] == 3
    assert "--yes" in instance.run("quarantine", "purge", "--older-than", "0d").exited(2).told
    plan = instance.run("quarantine", "purge", "--older-than", "0d", "--dry-run", "--json").succeeded().json
    assert plan["files"] == 3
    done = instance.run("quarantine", "purge", "--older-than", "0s", "--yes", "--json").succeeded().events[-1]
    assert done["files"] == 3
    for root in (instance.data, instance.root / "media"):
        assert not (root / OURS / "quarantine").exists()


def test_purge_deletes_the_one_that_is_named(instance):
    first = moved(instance)["quarantine"]
    (instance.data / "tracks/00/c.gpx").write_text("c")
    second = moved(instance)["quarantine"]
    assert first != second
    instance.run("quarantine", "purge", str(first), "--yes").succeeded()
    assert [one["name"] for one in instance.run("quarantine", "list", "--json").json["quarantines"]] == [second]
    told = instance.run("quarantine", "purge", str(first), "--yes").exited(2)
    assert "fietsupdate quarantine list" in told.told


def test_what_is_not_mounted_is_not_purged_by_its_age_and_is_told_by_a_release(instance):
    moved(instance)
    instance.ini.write_text(instance.ini.read_text().replace("extra_dirs", "# extra_dirs"))
    shown = instance.run("quarantine", "list").succeeded().stdout
    assert "its part in media is not there" in shown
    instance.run("quarantine", "purge", "--older-than", "0s", "--yes").succeeded()
    told = instance.run("quarantine", "release").succeeded()
    assert "in media is not there" in told.output
    instance.ini.write_text(instance.ini.read_text().replace("# extra_dirs", "extra_dirs"))
    instance.run("quarantine", "release").succeeded()
    assert os.path.exists(avatar(instance, b"stray.png"))
    assert instance.run("quarantine", "list", "--json").json["quarantines"] == []


# -- beside others


def test_of_two_at_once_one_moves_and_the_other_finds_nothing(instance):
    with lock.hold(instance.data, timeout=5, on_wait=print, command="test"):
        children = [instance.start("quarantine", "--yes") for _ in range(2)]
        told = instance.run("quarantine", "--yes", "--lock-timeout", "0").exited(8)
        assert "Nothing was changed" in told.told
    said = [result_of(child).succeeded().stdout for child in children]
    assert sorted(("3 files" in text, "No strays" in text) for text in said) == [(False, True), (True, False)]


def test_a_backup_does_not_hold_it_and_a_restore_leaves_it(instance):
    done = moved(instance)
    instance.run("backup").succeeded()
    backup = next((instance.data / OURS / "backups").glob("2*"))
    assert "stray.png" not in (backup / "files.jsonl").read_text()
    instance.run("restore", "--latest", "--yes").succeeded()
    (there,) = instance.run("quarantine", "list", "--json").json["quarantines"]
    assert (there["name"], there["files"]) == (done["quarantine"], 3)
    assert instance.run("quarantine", "release").succeeded()
    assert (instance.data / "tracks/00/b.gpx").exists()


def test_audit_names_the_quarantine_where_a_missing_file_lies(instance):
    moved(instance)
    instance.database.execute("INSERT INTO tracks (id, size) VALUES (100, NULL)")
    shutil.move(track(instance, 5), track(instance, 100))
    instance.database.execute("DELETE FROM tracks WHERE id = 100")
    moved(instance)
    instance.database.execute("INSERT INTO tracks (id, size) VALUES (100, NULL)")
    told = instance.run("audit").exited(9).stdout
    assert f"{OURS}/quarantine/" in told
    assert str(Path("files") / track(instance, 100).relative_to(instance.data)) in told


@pytest.mark.parametrize("root", ["data", "media"])
def test_a_read_only_root_moves_nothing(instance, root):
    before = look(instance)
    with read_only(instance.root / root):
        told = instance.run("quarantine", "--yes").exited(1)
        assert "Read-only file system" in told.told
    assert look(instance) == before
    assert instance.run("status", "--json").json["state"] == "okay"
    assert moved(instance)["files"] == 3


def test_optional_files_that_are_there_are_no_strays(instance):
    moved(instance)
    assert preview(instance).exists()
