"""A second backup links to the copies of the first for what has not changed; it is as good as one that copies all."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from fietsupdate import Updater
from fietsupdate.backup import file_list, unchanged
from fietsupdate.backup.manifest import Backup
from fietsupdate.testing.content import tree
from support.mounts import mounted
from support.notes import notes
from support.projects import Project


@pytest.fixture
def project(make_project, monkeypatch) -> Project:
    """An instance with files in folders; what was just written counts as settled."""
    monkeypatch.setattr(file_list, "SETTLED", 0)
    made = make_project()
    notes(made, 1)
    Updater.from_config(made.ini).update()
    for folder in ("a", "b/c", "b/\udcff"):
        (made.data / folder).mkdir(parents=True)
        for number in range(5):
            (made.data / folder / f"{number}.bin").write_bytes(os.urandom(3000))
    time.sleep(0.02)  # a clock's tick: ctimes must be older than now
    return made


def backup(project: Project, **options: str) -> Backup:
    return Updater.from_config(project.ini, options=options).backup()


def files(project: Project) -> dict[str, object]:
    return {path: node for path, node in tree(project.data).items() if path and not path.startswith(".fietsupdate")}


def copied(backup: Backup) -> set[str]:
    """Name the files that are in no other backup."""
    top = backup.path / "files"
    files = (Path(folder, name) for folder, _, names in os.walk(top) for name in names)
    return {str(path.relative_to(top)) for path in files if path.is_file() and os.lstat(path).st_nlink == 1}


def is_good(project: Project, backup: Backup) -> bool:
    return not Updater.from_config(project.ini).verify_backup(backup.name).wrong


def test_only_what_has_changed_is_copied_again(project: Project) -> None:
    """By content, mode, owner, or another file of the same size and time: the inode tells."""
    first = backup(project)
    a = project.data / "a"
    (a / "0.bin").write_bytes(bytes(3000))
    os.chmod(a / "1.bin", 0o640)
    status = (a / "2.bin").stat()
    (a / "new").write_bytes(bytes(3000))
    os.utime(a / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.rename(a / "new", a / "2.bin")
    with (a / "3.bin").open("r+b") as file:  # of the same size, with the time of before
        file.write(b"changed")
    os.utime(a / "3.bin", ns=(status.st_atime_ns, status.st_mtime_ns))
    (a / "added").touch()
    second = backup(project)
    assert {name for name in copied(second) if name.startswith("a/")} == {f"a/{n}.bin" for n in range(4)} | {"a/added"}
    assert not {name for name in copied(second) if name.startswith("b/")}
    assert not os.path.samefile(second.path / "files" / "b" / "c" / "0.bin", project.data / "b" / "c" / "0.bin")
    assert is_good(project, first)
    assert is_good(project, second)


def test_a_linked_backup_restores_the_same_tree_and_the_live_files_share_nothing(project: Project) -> None:
    os.link(project.data / "a" / "0.bin", project.data / "a" / "same.bin")
    before = files(project)
    backup(project)
    second = backup(project)
    shutil.rmtree(project.data / "b")
    Updater.from_config(project.ini).restore(second.name)
    assert files(project) == before
    for folder, _, names in os.walk(project.data):
        if ".fietsupdate" not in folder:
            assert {os.lstat(os.path.join(folder, name)).st_nlink for name in names} <= {1, 2 * folder.endswith("/a")}


def test_every_backup_stands_alone(project: Project) -> None:
    """The first is taken away, and the second still holds everything."""
    backup(project)
    second = backup(project)
    assert Updater.from_config(project.ini).prune_backups(1) != ()
    assert is_good(project, second)
    assert copied(second) >= {"a/0.bin", "b/c/0.bin"}


def test_a_damaged_copy_is_found_in_both(project: Project) -> None:
    """The link hides nothing: the digest of the listing decides."""
    first = backup(project)
    path = first.path / "files" / "a" / "0.bin"
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"rotten")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = backup(project)
    assert not is_good(project, first)
    assert not is_good(project, second)


@pytest.mark.parametrize("what", ["size", "mode", "symlink", "folder", "listing", "inodes", "gone"])
def test_a_copy_that_is_not_as_it_was_made_is_not_linked(project: Project, what: str, tmp_path: Path) -> None:
    first = backup(project)
    copy = first.path / "files" / "a" / "0.bin"
    secret = tmp_path / "secret"
    shutil.copytree(copy.parent, secret)
    match what:
        case "size":
            copy.write_bytes(b"short")
        case "mode":
            copy.chmod(0o666)
        case "symlink":
            copy.unlink()
            copy.symlink_to(secret / "0.bin")
        case "folder":  # exchanged for a symlink that leads elsewhere
            shutil.rmtree(copy.parent)
            copy.parent.symlink_to(secret)
        case "listing":
            with (first.path / "files.jsonl").open("r+b") as file:
                file.write(b"X")
        case "inodes":
            (first.path / "inodes").write_bytes(b"\xff" * 7)
        case _:
            copy.unlink()
    second = backup(project)
    assert "a/0.bin" in copied(second)
    assert is_good(project, second)
    assert (second.path / "files" / "a" / "0.bin").read_bytes() == (project.data / "a" / "0.bin").read_bytes()


def test_a_file_that_was_just_written_is_copied_again_next_time(project: Project, monkeypatch) -> None:
    """Within a tick of the clock it may be written twice, with the same size and times."""
    monkeypatch.setattr(file_list, "SETTLED", 60_000_000_000)
    backup(project)
    assert "a/0.bin" in copied(backup(project))


def test_a_folder_with_more_files_than_are_kept_ahead_is_linked_whole(project: Project, monkeypatch) -> None:
    """Many are gone: first every other one, then all but the last ones."""
    monkeypatch.setattr(unchanged, "WINDOW", 20)
    for number in range(300):
        (project.data / "a" / f"more {number}").write_text("more")
    time.sleep(0.02)
    backup(project)
    for number in range(0, 300, 2):
        (project.data / "a" / f"more {number}").unlink()
    assert not {name for name in copied(backup(project)) if name.startswith("a/")}
    names = os.listdir(project.data / "a")
    for name in names[:100]:
        (project.data / "a" / name).unlink()
    left = {name for name in copied(backup(project)) if name.startswith("a/")}
    assert len(left) <= unchanged.MISSES + 100 // unchanged.WINDOW + 1


def test_a_backup_of_what_has_not_changed_fits_on_a_disk_without_room_for_a_whole_one(project, tmp_path, monkeypatch):
    monkeypatch.setattr("fietsupdate.filesystem.space.RESERVE", 1 << 20)
    (project.data / "large").write_bytes(os.urandom(6 << 20))
    time.sleep(0.02)
    with mounted(tmp_path / "disk", "size=10m,mode=0755") as disk:
        first = backup(project, backup_dir=str(disk / "backups"))
        second = backup(project, backup_dir=str(disk / "backups"))
        assert os.path.samefile(first.path / "files" / "large", second.path / "files" / "large")
