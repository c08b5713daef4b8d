"""``restore --only``: files that are missing come back as they were, and nothing that is there is touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.notes import notes
from support.projects import Project
from support.states import OLD

OURS = ".fietsupdate"
ODD = os.fsdecode(b"tracks/odd\xff\nname")


def plant(root: Path) -> None:
    """Lay out files of every kind, with modes and times of their own."""
    for path, text in {"tracks/1/track.gpx": "first", "tracks/2/track.gpx": "second", ODD: "odd"}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    os.link(root / "tracks/1/track.gpx", root / "tracks/1/other name")
    (root / "tracks/1/link").symlink_to("../nowhere")
    (root / "tracks/empty").mkdir()
    (root / "tracks/1/track.gpx").chmod(0o640)
    (root / "tracks/1").chmod(0o500)
    for folder, folders, names in os.walk(root / "tracks", topdown=False):
        for name in (*names, *folders):
            os.utime(os.path.join(folder, name), ns=(OLD, OLD), follow_symlinks=False)
    os.utime(root / "tracks", ns=(OLD, OLD))


@pytest.fixture
def project(make_project, tmp_path: Path) -> Project:
    """An instance with a further root, and a backup of both."""
    (tmp_path / "media").mkdir()
    project = notes(make_project(section={"extra_dirs": f"media={tmp_path / 'media'}"}), 1)
    project.run("update", "--yes").succeeded()
    for root in (project.data, tmp_path / "media"):
        plant(root)
    project.run("backup").succeeded()
    return project


def lose(path: Path) -> None:
    """Delete a file or folder, whatever its modes."""
    for folder, _, _ in os.walk(path):
        os.chmod(folder, 0o700)
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_folder_that_was_lost_comes_back_with_its_modes_and_times(project: Project):
    before, rows = project.tree(exclude=[OURS]), project.database.dump()
    lose(project.data / "tracks")
    told = project.run("restore", "--latest", "--only", "tracks", "--yes").succeeded()
    assert "tracks/1/track.gpx" in told.stdout
    assert project.tree(exclude=[OURS]) == before
    assert project.database.dump() == rows
    assert not (project.data / OURS / "txn").exists()


def test_a_single_file_comes_back_alone_into_folders_that_look_as_they_did(project: Project):
    lose(project.data / "tracks")
    project.run("restore", "--only", "tracks/1/track.gpx", "--yes").succeeded()
    there = sorted(str(path.relative_to(project.data)) for path in (project.data / "tracks").rglob("*"))
    assert there == ["tracks/1", "tracks/1/track.gpx"]
    for path, mode in {"tracks/1": 0o500, "tracks/1/track.gpx": 0o640}.items():
        status = (project.data / path).stat()
        assert (status.st_mode & 0o777, status.st_mtime_ns) == (mode, OLD)


@pytest.mark.parametrize("form", ["media:tracks/2", "{media}/tracks/2/"])
def test_a_further_root_is_named_before_the_path_or_by_an_absolute_one(project: Project, tmp_path: Path, form: str):
    media = tmp_path / "media"
    for root in (media, project.data):
        lose(root / "tracks/2")
    done = project.run("restore", "--only", form.format(media=media), "--yes", "--json").succeeded()
    assert done.events[-1]["files"] == ["media:tracks/2/track.gpx"]
    assert (media / "tracks/2/track.gpx").read_text() == "second"
    assert not (project.data / "tracks/2").exists()


def test_more_words_after_only_are_more_paths(project: Project):
    name = project.run("backup", "list", "--json").json["backups"][0]["name"]
    for folder in ("1", "2", "empty"):
        lose(project.data / "tracks" / folder)
    project.run("restore", name, "--only", "tracks/2", "tracks/empty", "--yes").succeeded()
    assert sorted(os.listdir(project.data / "tracks")) == ["2", "empty", os.path.basename(ODD)]


def test_what_is_there_with_the_same_content_stays_and_is_told(project: Project):
    lose(project.data / "tracks/2")
    (project.data / "tracks/1/track.gpx").chmod(0o600)
    done = project.run("restore", "--only", "tracks", "--yes", "--json").succeeded().events[-1]
    assert done["files"] == ["tracks/2/track.gpx"]
    assert set(done["present"]) == {"tracks/1/track.gpx", "tracks/1/other name", "tracks/1/link", ODD}
    assert (project.data / "tracks/1/track.gpx").stat().st_mode & 0o777 == 0o600


def test_what_is_there_with_other_content_is_named_and_nothing_comes_back(project: Project):
    lose(project.data / "tracks/2")
    (project.data / ODD).write_text("precious")
    for more in (["--dry-run"], ["--yes"]):
        told = project.run("restore", "--only", "tracks", *more).exited(1)
        assert "Nothing was changed" in told.told
        assert "There, but not as in the backup" in told.told
    assert not (project.data / "tracks/2").exists()
    assert (project.data / ODD).read_text() == "precious"


@pytest.mark.parametrize("what", ["file", "link out", "link inside"])
def test_what_has_taken_the_place_of_a_folder_is_not_followed(project: Project, tmp_path: Path, what: str):
    folder = project.data / "tracks"
    lose(folder)
    (tmp_path / "outside").mkdir()
    (project.data / "inside").mkdir()
    if what == "file":
        folder.write_text("a file")
    else:
        folder.symlink_to(tmp_path / "outside" if what == "link out" else project.data / "inside")
    told = project.run("restore", "--only", "tracks/1/track.gpx", "--yes").exited(1)
    assert "Nothing was changed" in told.told
    assert os.listdir(tmp_path / "outside") + os.listdir(project.data / "inside") == []


def test_a_file_that_the_backup_does_not_hold_any_more_as_it_was_does_not_come_back(project: Project):
    backup = next((project.data / OURS / "backups").glob("2*"))
    (backup / "files/tracks/2/track.gpx").write_text("forged")
    lose(project.data / "tracks")
    told = project.run("restore", "--only", "tracks", "--yes").exited(1)
    assert "Nothing was changed" in told.told
    assert "is not what it was" in told.told
    assert not (project.data / "tracks").exists()
    project.run("restore", "--only", "tracks/1", "--yes").succeeded()


def test_a_listing_that_somebody_has_changed_is_not_followed(project: Project):
    backup = next((project.data / OURS / "backups").glob("2*"))
    text = (backup / "files.jsonl").read_text()
    (backup / "files.jsonl").write_text(text.replace('"tracks/2/track.gpx"', '"tracks/3/track.gpx"'))
    lose(project.data / "tracks/2")
    told = project.run("restore", backup.name, "--only", "tracks/3/track.gpx", "--yes").exited(1)
    assert "files.jsonl is not what it was" in told.told


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("tracks/../../etc/passwd", "leads out of its root"),
        ("/etc/passwd", "is in none of the folders"),
        (".fietsupdate/ledger.jsonl", "leads out of its root"),
        (".", "names a whole root"),
        ("VERSION", "says which updates the instance is at"),
        ("tracks/nothing", "No backup in"),
    ],
)
def test_a_path_that_names_no_file_of_the_application_is_wrong_usage(project: Project, path: str, says: str):
    assert says in project.run("restore", "--only", path, "--yes").exited(2).told


def test_without_a_terminal_it_asks_for_yes_and_dry_run_tells_what_would_come_back(project: Project):
    lose(project.data / "tracks/2")
    assert "--yes" in project.run("restore", "--only", "tracks").exited(2).told
    plan = project.run("restore", "--only", "tracks", "--dry-run", "--json").succeeded().json
    assert plan["files"] == ["tracks/2/track.gpx"]
    assert plan["bytes"] == len("second")
    assert not (project.data / "tracks/2").exists()


def test_it_is_refused_while_an_update_is_interrupted(project: Project):
    project.revision("r2", "r1", "pass")
    project.update("v2", "v1", "r2", up_pre="import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    project.run("update", "--yes").exited(-9)
    lose(project.data / "tracks/2")
    told = project.run("restore", "--only", "tracks/2", "--yes").exited(1)
    assert "fietsupdate recover" in told.told
    assert not (project.data / "tracks/2").exists()
