"""Where files go back to when what they came from is not as it was: missing, taken, a symlink, somebody else's."""

import os
import shutil
import stat
import struct
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.transaction import FileTransaction
from support.file_transactions import begin, fill, picture, somebody_else

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def place():
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


@pytest.fixture
def data_dir(place):
    return fill(place)


def kept(data_dir):
    """What was set aside, by name below the folder of the transaction."""
    found = data_dir / ".fietsupdate" / "found"
    return {
        path.relative_to(found).as_posix().partition("/")[2]: path.read_text()
        for path in found.rglob("*")
        if path.is_file()
    }


# A file that came from a private folder


@pytest.fixture
def moved_in(data_dir, place):
    """A transaction that has got a file from a folder of mode 0700, which is gone since then."""
    transaction = begin(data_dir)
    private = place / "private"
    private.mkdir(mode=0o700)
    (private / "key").write_text("secret")
    with Guard(print).watching(transaction):
        os.replace(private / "key", data_dir / "key")
    private.rmdir()
    return transaction, private


def test_a_private_folder_that_is_made_again_is_private_again(data_dir, moved_in):
    before = picture(data_dir)[0].keys() - {"key"}
    transaction, private = moved_in
    assert transaction.play_back() == ()
    assert (private / "key").read_text() == "secret"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert picture(data_dir)[0].keys() == before


def test_where_a_file_has_taken_the_folders_name_what_came_from_it_is_set_aside(data_dir, moved_in):
    transaction, private = moved_in
    private.write_text("theirs")
    assert [path.name for path in transaction.play_back()] == ["key"]
    assert private.read_text() == "theirs"
    assert kept(data_dir) == {"key": "secret"}
    assert FileTransaction.reopen(data_dir) is None


def test_a_symlink_in_the_place_of_the_folder_is_not_followed(data_dir, moved_in, place):
    transaction, private = moved_in
    (place / "victim").mkdir()
    private.symlink_to(place / "victim")
    transaction.play_back()
    assert [*(place / "victim").iterdir()] == []
    assert kept(data_dir) == {"key": "secret"}


@pytest.mark.skipif(not IS_ROOT, reason="only root can make a folder that belongs to somebody else")
def test_a_folder_of_that_name_that_somebody_else_has_made_does_not_get_the_file(data_dir, moved_in):
    transaction, private = moved_in
    private.mkdir()
    os.chown(private, 4713, 4713)
    transaction.play_back()
    assert [*private.iterdir()] == []
    assert kept(data_dir) == {"key": "secret"}


def test_what_was_set_aside_is_not_called_lost_when_playback_is_repeated(data_dir, place):
    before = picture(data_dir)
    transaction = begin(data_dir)
    transaction.files.write("tracks/1/track.gpx", "replaced")
    transaction.files.remove("tracks/2/big")
    shutil.rmtree(data_dir / "tracks")
    (place / "elsewhere").mkdir()
    (data_dir / "tracks").symlink_to(place / "elsewhere")
    transaction._undo_all(set_aside=False)
    found = FileTransaction.reopen(data_dir).play_back()
    assert sorted(path.name for path in found) == ["big", "track.gpx"]
    assert [*(place / "elsewhere").iterdir()] == []
    root = data_dir / ".fietsupdate" / "found"
    assert {path.read_bytes() for path in root.rglob("*") if path.is_file()} == {b"<gpx/>", bytes(range(256)) * 100}
    assert before[0].keys() - picture(data_dir)[0].keys() == {
        *("tracks/1", "tracks/2", "tracks/other", "tracks/1/track.gpx", "tracks/2/big")
    }


# A folder that is missing, whatever comes back into it


CHANGES = {
    "replace": lambda files: files.write("sub/deep/a", "new"),
    "remove": lambda files: files.remove("sub/deep/a"),
    "move": lambda files: files.move("sub/deep/a", "b"),
    "remove a folder": lambda files: files.remove("sub/deep"),
    "write many": lambda files: files.write_many([("sub/deep/a", "new")]),
}


@pytest.fixture
def sub(data_dir):
    (data_dir / "sub" / "deep").mkdir(parents=True)
    (data_dir / "sub" / "deep" / "a").write_text("old")
    return data_dir / "sub"


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_comes_back_finds_its_folders_made_again(data_dir, sub, change):
    transaction = begin(data_dir)
    change(transaction.files)
    shutil.rmtree(sub)
    assert transaction.play_back() == ()
    assert (sub / "deep" / "a").read_text() == "old"


@pytest.mark.parametrize("kind", ["file", "symlink"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_where_something_else_has_the_folders_name_what_comes_back_is_set_aside(data_dir, sub, change, kind, place):
    (place / "victim" / "deep").mkdir(parents=True)
    transaction = begin(data_dir)
    change(transaction.files)
    shutil.rmtree(sub)
    if kind == "file":
        sub.write_text("theirs")
    else:
        sub.symlink_to(place / "victim")
    transaction.play_back()
    assert "old" in kept(data_dir).values()
    assert sub.read_text() == "theirs" if kind == "file" else sub.is_symlink()
    assert [path.name for path in (place / "victim").rglob("*")] == ["deep"]
    assert FileTransaction.reopen(data_dir) is None


def test_an_empty_folder_whose_place_is_taken_stops_nothing(data_dir, sub):
    (sub / "deep" / "a").unlink()
    transaction = begin(data_dir)
    with Guard(print).watching(transaction):
        (sub / "deep").rmdir()
    sub.rmdir()
    sub.write_text("theirs")
    assert transaction.play_back() == (sub / "deep",)
    assert sub.read_text() == "theirs"


# New files in folders that hand something down


def default_list(*, user, permissions):
    """An access control list of a folder that gives one more user something (acl(5), in the kernel's form)."""
    entries = [(1, 7, -1), (2, permissions, user), (4, 5, -1), (16, 7, -1), (32, 0, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


def looks(path):
    status = path.lstat()
    lists = {name: os.getxattr(path, name) for name in os.listxattr(path) if "acl" in name}
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), lists


VERBS = {
    "write": lambda files: files.write("shared/verb", "x"),
    "write below a new folder": lambda files: files.write("shared/verbs/verb", "x"),
    "open": lambda files: files.open("shared/verb", "xb").close(),
    "write_many": lambda files: files.write_many([("shared/verb", "x"), ("shared/verbs/verb", "x")]),
}


@pytest.mark.skipif(not IS_ROOT, reason="only root can give a folder a group that a user is not in")
@pytest.mark.parametrize("handed_down", ["group", "list", "both"])
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_new_file_gets_what_its_folder_hands_down_as_by_a_plain_call(place, verb, handed_down):
    place.chmod(0o755)
    data_dir = place / "data"
    (data_dir / "shared").mkdir(parents=True)
    for folder in (data_dir, data_dir / "shared"):
        os.chown(folder, 4712, 4712)
    if handed_down != "list":
        os.chown(data_dir / "shared", 4712, 4800)  # a group that the user is not in
        (data_dir / "shared").chmod(0o2770)
    if handed_down != "group":
        try:
            os.setxattr(data_dir / "shared", "system.posix_acl_default", default_list(user=33, permissions=4))
        except OSError:
            pytest.skip("this file system has no access control lists")
    with somebody_else(4712, 4712):
        (data_dir / "shared" / "plain").write_text("x")
        (data_dir / "shared" / "plains").mkdir()
        (data_dir / "shared" / "plains" / "plain").write_text("x")
        transaction = begin(data_dir)
        verb(transaction.files)
        transaction.seal()
        transaction.finish()
    shared = data_dir / "shared"
    pairs = [("plain", "verb"), ("plains", "verbs"), ("plains/plain", "verbs/verb")]
    there = [(shared / plain, shared / made) for plain, made in pairs if (shared / made).exists()]
    assert there
    for plain, made in there:
        assert looks(made) == looks(plain)
    assert looks(shared / "plain") != (4712, 4712, 0o644, {})


# Overlayfs, on which containers run


@contextmanager
def overlay(place):
    """A file system of which one layer cannot be written, as in a container."""
    for name in ("lower", "upper", "work", "merged"):
        (place / name).mkdir()
    fill(place / "lower")
    layers = ",".join(f"{name}dir={place / name}" for name in ("lower", "upper", "work"))
    mount = ["mount", "-t", "overlay", "overlay", "-o", layers, str(place / "merged")]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no overlay can be mounted here")
    try:
        yield place / "merged" / "data"
    finally:
        subprocess.run(["umount", str(place / "merged")], check=True)


OVERLAID = {
    "move": lambda files, _: files.move("one", "moved"),
    "move many": lambda files, _: files.move_many([("one", "moved")]),
    "remove": lambda files, _: files.remove("one"),
    "chmod": lambda files, _: files.chmod("one", 0o600),
    "write": lambda files, _: files.write("one", "new"),
    "plain rename": lambda _, data_dir: (data_dir / "one").rename(data_dir / "moved"),
    "plain chmod": lambda _, data_dir: (data_dir / "one").chmod(0o600),
    "plain time": lambda _, data_dir: os.utime(data_dir / "one", ns=(5, 5)),
    "plain now": lambda _, data_dir: os.utime(data_dir / "one"),
    "plain unlink": lambda _, data_dir: (data_dir / "one").unlink(),
    "plain write": lambda _, data_dir: (data_dir / "one").write_text("new"),
    "plain append": lambda _, data_dir: (data_dir / "one").open("a").close(),
    "plain link": lambda _, data_dir: os.link(data_dir / "one", data_dir / "third"),
    "a folder": lambda files, _: files.move("tracks", "moved"),
}


@pytest.mark.skipif(not IS_ROOT, reason="only root can mount")
@pytest.mark.parametrize("change", OVERLAID.values(), ids=OVERLAID)
def test_a_file_of_a_lower_layer_with_two_names_comes_back_though_its_inode_changes(place, change):
    """Its other name is another file from then on; of what was at each name nothing is missing."""
    with overlay(place) as data_dir:
        before = picture(data_dir, inodes=False)[0]
        transaction = begin(data_dir)
        with Guard(print).watching(transaction):
            change(transaction.files, data_dir)
        transaction.look_again()
        assert transaction.play_back() == ()
        assert picture(data_dir, inodes=False)[0] == before
