"""Exchanging what is in a root: which folders stay, what is moved byte by byte, what happens to strangers' files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fietsupdate.backup import swap
from fietsupdate.errors import FilesError
from fietsupdate.filesystem.layout import restore_folder
from support import file_transactions
from support.states import quick_folder


@contextmanager
def mounted(place: Path, *what: str) -> Iterator[Path]:
    """Mount something, by default a file system in memory."""
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", *(what or ("-t", "tmpfs", "fietsupdate")), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a tree to be exchanged."""
    root = tmp_path / "data"
    root.mkdir()
    file_transactions.plant(root)
    return root


def prepared(root: Path, *keep: Path) -> tuple[swap.SwapUnit, ...]:
    units = swap.units_of("", root, keep)
    swap.prepare(root, units)
    swap.complete(root, units)
    return units


def paths(units: tuple[swap.SwapUnit, ...]) -> dict[str, tuple[str, ...]]:
    return {unit.path: unit.stays for unit in units}


def test_only_folders_with_something_that_must_stay_are_entered(root: Path) -> None:
    """data: tracks (2: app.sqlite), empty, ...; what is not below the root, or is ours, counts for nothing."""
    keep = [root / "tracks" / "2" / "app.sqlite", root / ".fietsupdate" / "backups", root.parent / "elsewhere"]
    assert paths(swap.units_of("", root, keep)) == {
        "": (".fietsupdate", "tracks"),
        "tracks": (".fietsupdate", "2"),
        "tracks/2": (".fietsupdate", "app.sqlite"),
    }


def test_mount_points_are_roots_of_their_own_and_keep_lost_and_found(root: Path) -> None:
    with mounted(root / "tracks" / "volume"), mounted(root / ".fietsupdate" / "backups"):
        units = swap.units_of("", root, [])
    assert paths(units) == {
        "": (".fietsupdate", "tracks"),
        "tracks": (".fietsupdate", "volume"),
        "tracks/volume": (".fietsupdate", "lost+found"),
    }
    assert [unit.top for unit in units] == ["", "", "tracks/volume"]


def test_everything_moves_out_and_in_and_every_step_can_be_repeated(root: Path) -> None:
    units = prepared(root)
    before, _ = file_transactions.picture(root, inodes=False)
    for _ in range(2):
        swap.move_out(root, units, "tag")
    assert os.listdir(root) == [".fietsupdate"]
    (restore_folder(root) / "new").rmdir()
    (restore_folder(root) / "old").rename(restore_folder(root) / "new")
    for _ in range(2):
        assert swap.move_in(root, units, "tag") == ()
    after, _ = file_transactions.picture(root, inodes=False)
    assert {name: look for name, look in after.items() if name != "."} == {
        name: look for name, look in before.items() if name != "."
    }


def test_what_cannot_be_renamed_is_moved_byte_by_byte(root: Path) -> None:
    """Two file systems in place of one: rename(2) answers EXDEV for every entry, as for an overlay's lower folders."""
    before, _ = file_transactions.picture(root, inodes=False)
    with mounted(restore_folder(root)):
        units = prepared(root)
        swap.move_out(root, units, "tag")
        assert os.listdir(root) == [".fietsupdate"]
        (restore_folder(root) / "new").rmdir()
        (restore_folder(root) / "old").rename(restore_folder(root) / "new")
        assert swap.move_in(root, units, "tag") == ()
        after, _ = file_transactions.picture(root, inodes=False)
        with pytest.raises(FilesError, match="Something is mounted at"):
            swap.clear(root, units, "tag")
    assert {name: look for name, look in after.items() if name != "."} == {
        name: look for name, look in before.items() if name != "."
    }


def test_a_folder_of_an_image_is_moved_although_it_cannot_be_renamed(root: Path, tmp_path: Path) -> None:
    """overlayfs: the data directory came with a container's image."""
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={root},upperdir={tmp_path / 'upper'},workdir={tmp_path / 'work'},redirect_dir=off"
    with mounted(tmp_path / "merged", "-t", "overlay", "overlay", "-o", options) as merged:
        names = sorted(os.listdir(merged))
        units = prepared(merged)
        swap.move_out(merged, units, "tag")
        assert os.listdir(merged) == [".fietsupdate"]
        assert sorted(os.listdir(restore_folder(merged) / "old")) == names
        assert (restore_folder(merged) / "old" / "tracks" / "1" / "track.gpx").read_text() == "<gpx/>"
        swap.clear(merged, units, "tag")
        assert list(restore_folder(merged).iterdir()) == []


def test_what_somebody_puts_in_the_way_is_set_aside_and_named(root: Path) -> None:
    units = prepared(root)
    swap.move_out(root, units, "tag")
    (restore_folder(root) / "new" / "one").write_text("restored")
    (restore_folder(root) / "new" / "tracks").mkdir()
    (restore_folder(root) / "new" / "tracks" / "a").write_text("restored")
    (root / "one").write_text("an upload meanwhile")
    (root / "tracks").mkdir()
    (root / "tracks" / "b").write_text("another one")
    (aside,) = swap.move_in(root, units, "tag")
    assert aside.read_text() == "an upload meanwhile"
    assert aside.is_relative_to(root / ".fietsupdate" / "found")
    assert (root / "one").read_text() == "restored"
    assert sorted(os.listdir(root / "tracks")) == ["a", "b"]


def test_a_move_by_bytes_that_was_cut_off_before_its_last_step_is_finished(root: Path) -> None:
    """The copy is whole and has its name; the file itself is still there."""
    with mounted(restore_folder(root)):
        units = prepared(root)
        swap.move_out(root, units, "tag")
        staged = restore_folder(root) / "new" / "one"
        staged.write_text("restored")
        (root / "one").write_text("restored")
        os.utime(root / "one", ns=(0, staged.stat().st_mtime_ns))
        assert swap.move_in(root, units, "tag") == ()
        assert not staged.exists()


def test_a_user_who_cannot_move_the_folders_is_told_before_anything_moves() -> None:
    with quick_folder() as root:
        (root / "tracks").mkdir(mode=0o500)
        root.chmod(0o777)
        units = swap.units_of("", root, [])
        child = os.fork()
        if child == 0:
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                swap.refuse_unmovable(root, units)
            except FilesError as error:
                os._exit(0 if f"{root / 'tracks'} cannot be moved" in error.message else 2)
            except BaseException:  # noqa: BLE001  # the child says everything by its exit code
                os._exit(3)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
