"""A process that is killed leaves a tree that the next one puts back exactly (invariants 1, 2, 3, 9)."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

import pytest

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.filesystem.transaction import FileTransaction
from support.file_transactions import (
    HEADER,
    STRIDE,
    begin,
    every_plain_call,
    every_verb,
    ours,
    picture,
    plant,
    recover,
    run_failing,
    run_killed,
    somebody_else,
)
from support.paths import TESTS


@pytest.fixture
def data_dir():
    """In memory where there is such a place: hundreds of runs, and a kill does not lose what was not synced."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        path = Path(folder, "data")
        path.mkdir()
        yield path


def fill(data_dir):
    """A new tree, with our folder in it, as the lock leaves it."""
    shutil.rmtree(data_dir)
    data_dir.mkdir()
    plant(data_dir)
    (data_dir / ".fietsupdate").mkdir(mode=0o700)
    os.utime(data_dir, ns=(10**18, 10**18))
    return picture(data_dir)


def work(data_dir):
    transaction = begin(data_dir)
    every_verb(transaction.files)
    transaction.record([], ["u1"], "VERSION")
    transaction.seal()


def test_killed_before_any_call_of_any_verb_the_tree_comes_back(data_dir):
    for number in count(1):
        before = fill(data_dir)
        killed = run_killed(lambda: work(data_dir), number)
        assert recover(data_dir) == (), number
        assert picture(data_dir) == before, number
        assert ours(data_dir) == [], number
        if not killed:
            break
    assert number > 150


def test_killed_before_any_call_of_playback_the_next_one_ends_in_the_same_tree(data_dir):
    for number in count(1):
        before = fill(data_dir)
        work(data_dir)
        killed = run_killed(lambda: recover(data_dir), number)
        assert recover(data_dir) == (), number
        assert picture(data_dir) == before, number
        assert ours(data_dir) == [], number
        if not killed:
            break
    assert number > 100


@pytest.mark.parametrize("stride", [1, 3])
def test_playback_that_is_killed_again_and_again_comes_to_an_end(data_dir, stride):
    """Each attempt is let a little further than the one before."""
    before = fill(data_dir)
    work(data_dir)
    attempts = 0
    for number in count(1, stride):
        attempts += 1
        if not run_killed(lambda: recover(data_dir), number):
            break
    assert attempts > 10
    assert picture(data_dir) == before
    assert ours(data_dir) == []


def test_killed_before_any_call_of_finish_the_tree_of_after_stays(data_dir):
    for number in count(1):
        fill(data_dir)
        work(data_dir)
        after = picture(data_dir)

        def finish():
            FileTransaction.reopen(data_dir).finish()

        killed = run_killed(finish, number)
        transaction = FileTransaction.reopen(data_dir)
        if transaction is not None:
            transaction.finish()
        assert picture(data_dir) == after, number
        assert ours(data_dir) == ["ledger.jsonl"], number
        if not killed:
            break
    assert number > 10


def fails_and_is_undone(data_dir, change):
    """Run a transaction; if it fails, play it back in the same process, twice if that fails as well."""
    try:
        change()
    except (OSError, FilesError, shutil.Error):
        pass
    else:
        return
    transaction = FileTransaction.reopen(data_dir)
    if transaction is not None:
        transaction.play_back()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("way", ["verbs", "plain calls"])
def test_when_any_call_fails_the_tree_of_before_or_after_stands(data_dir, number, way):
    def change():
        transaction = begin(data_dir)
        if way == "verbs":
            every_verb(transaction.files)
        else:
            with Guard(print).watching(transaction):
                every_plain_call(data_dir)
        transaction.record([], ["u1"], "VERSION")
        transaction.seal()
        transaction.finish()

    for at in count(1, STRIDE):
        before = fill(data_dir)
        failed = run_failing(lambda: fails_and_is_undone(data_dir, change), number, at)
        if not failed:
            break
        if (data_dir / "log").exists() or (data_dir / "tracks" / "again").exists():
            assert FileTransaction.reopen(data_dir) is None, at  # finished: it failed while it was being emptied
        else:
            assert picture(data_dir) == before, at
        shutil.rmtree(data_dir / ".fietsupdate" / "found", ignore_errors=True)
        assert ours(data_dir) in ([], ["ledger.jsonl"]), at
    assert at > 150


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_when_any_call_of_playback_fails_it_can_be_repeated(data_dir, number):
    def play_back():
        try:
            recover(data_dir)
        except (OSError, FilesError):
            recover(data_dir)

    for at in count(1, STRIDE):
        before = fill(data_dir)
        work(data_dir)
        failed = run_failing(play_back, number, at)
        recover(data_dir)
        assert picture(data_dir) == before, at
        assert ours(data_dir) == [], at
        if not failed:
            break
    assert at > 100


FULL = """
import os, pathlib, sys
sys.path.insert(0, {tests!r})
from contextlib import suppress
from support.file_transactions import begin, picture, plant, recover
from fietsupdate.errors import FilesError
from fietsupdate.filesystem.guard.guard import Guard
disk = pathlib.Path(sys.argv[1])
data, others = disk / "data", disk / "others"
data.mkdir()
plant(data)
def fill():
    for size in (10**5, 4096, 1):
        with suppress(OSError):
            for number in range(1000):
                with open(others / (str(size) + "." + str(number)), "wb") as file:
                    file.write(b"x" * size)
    with suppress(OSError):
        for number in range(1000):
            os.symlink("x", others / (str(number) + "y" * 200))  # names need space, too
def change(way):
    if way == "verbs":
        for number in range(1000):
            transaction.files.write("new/" + str(number), b"x" * 300_000)
    elif way == "plain calls":
        (data / "one").write_text("in place, by both names")
        for number in range(40):
            (data / ("new" + str(number))).write_text("new")
        with (data / "tracks/2/big").open("r+b") as file:
            file.write(b"y")
        fill()
        (data / "more").write_bytes(b"x" * 10_000)
    else:
        os.rename(data / "VERSION", data / "renamed")
for way in ("verbs", "plain calls", "rename"):
    others.mkdir()
    before = picture(data)
    transaction = begin(data)
    try:
        with Guard(print).watching(transaction):
            change(way)
    except OSError as error:
        print(error.strerror)
    fill()  # not a block is left
    print(transaction.play_back(), picture(data) == before)
    for path in others.iterdir():
        path.unlink()
    others.rmdir()
before = picture(data)
if os.fork() == 0:
    begin(data).files.remove("one")
    os._exit(0)
os.wait()
transaction.changes.journal.close()
os.system("mount -o remount,ro " + str(disk))
for effect in (lambda: recover(data), lambda: begin(data)):
    try:
        effect()
    except FilesError as error:
        print(error)
os.system("mount -o remount,rw " + str(disk))
print(recover(data), picture(data) == before)
"""
MOUNT = """
truncate -s 4M "$4" && mkfs.ext4 -q -m 0 -N 2000 "$4" 2>/dev/null && mount -o loop "$4" "$1" 2>/dev/null ||
mount -t tmpfs -o size=2m none "$1" && exec "$2" "$3" "$1"
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None or os.system("unshare -m true 2>/dev/null") != 0,
    reason="needs root and mount namespaces",
)
def test_on_a_disk_that_is_full_and_on_one_that_cannot_be_written_nothing_is_lost(tmp_path, data_dir):
    script, disk, image = tmp_path / "script.py", tmp_path / "disk", data_dir / "image"
    script.write_text(FULL.format(tests=str(TESTS)))
    disk.mkdir()
    command = ["unshare", "-m", "sh", "-c", MOUNT, "sh", str(disk), sys.executable, str(script), str(image)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        *["No space left on device", "() True"] * 2,
        "() True",
        f"The open transaction in {disk / 'data'} cannot be opened: Read-only file system.",
        f"The transaction {HEADER.txn} is still open in {disk / 'data'}.",
        "() True",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("is_committed", [False, True])
def test_what_may_be_moved_but_not_read_is_put_back_or_stays(data_dir, is_committed):
    """Files of others, and his own without a mode: who may write to the folder may move, replace and remove them."""
    user = 23456
    for folder in (data_dir.parent, data_dir / "closed"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    for name in ("moved", "removed", "replaced", "renamed", "deleted", "closed/kept"):
        (data_dir / name).write_text(name)
        (data_dir / name).chmod(0)
    for name in (".", "moved", "closed"):
        os.chown(data_dir / name, user, user)
    (data_dir / "closed").chmod(0o300)
    before = picture(data_dir)
    with somebody_else(user, user):
        transaction = begin(data_dir)
        transaction.files.move("moved", "new")
        transaction.files.move("closed", "open")
        transaction.files.remove("removed")
        transaction.files.write("replaced", "new")
        with Guard(print).watching(transaction):
            os.rename(data_dir / "renamed", data_dir / "other")
            os.unlink(data_dir / "deleted")
        transaction.seal()
        if is_committed:
            transaction.finish()
        assert recover(data_dir) == ()
    assert (picture(data_dir) == before) is not is_committed
    if is_committed:
        assert {path.name for path in data_dir.iterdir()} == {".fietsupdate", "new", "open", "other", "replaced"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_folder_that_cannot_be_emptied_waits_for_somebody_who_may(data_dir):
    data_dir.parent.chmod(0o755)
    for folder in (data_dir, data_dir / "tree"):
        folder.mkdir(exist_ok=True)
        os.chown(folder, 23456, 23456)
    (data_dir / "tree" / "theirs").mkdir()
    (data_dir / "tree" / "theirs" / "file").touch()
    with somebody_else(23456, 23456):
        transaction = begin(data_dir)
        transaction.files.remove("tree")
        transaction.seal()
        transaction.finish()
        assert [folder.name for folder in cleanup.rubbish(data_dir)] == [HEADER.txn]
        cleanup.purge(data_dir)
    assert cleanup.rubbish(data_dir)
    cleanup.sweep(data_dir)
    assert cleanup.rubbish(data_dir) == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_in_a_folder_of_the_group_all_comes_back_but_times_that_only_the_owner_may_set(data_dir):
    """As where a container runs with any user, and the group alone is known."""
    group = 54321
    for folder in (data_dir.parent, data_dir, data_dir / "sub"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o775)
        os.chown(folder, 12345, group)
    for name in ("one", "sub/two"):
        (data_dir / name).write_text(name)
    with somebody_else(23456, group):
        transaction = begin(data_dir)
        transaction.files.write("one", "new")
        transaction.files.remove("sub/two")
        with Guard(print).watching(transaction):
            (data_dir / "sub" / "three").write_text("3")
        transaction.seal()
        assert recover(data_dir) == ()
    assert [(data_dir / name).read_text() for name in ("one", "sub/two")] == ["one", "sub/two"]
    assert not (data_dir / "sub" / "three").exists()


def test_a_tree_with_paths_longer_than_the_system_takes_goes_and_comes_back(data_dir):
    name = "d" * 200
    folder = os.open(data_dir, os.O_RDONLY)
    for _ in range(30):
        os.mkdir(name, dir_fd=folder)
        below = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    begin(data_dir).files.remove(name)
    assert recover(data_dir) == ()
    assert (data_dir / name / name).is_dir()
    transaction = begin(data_dir)
    transaction.files.remove(name)
    transaction.seal()
    transaction.finish()
    assert {path.name for path in data_dir.iterdir()} == {".fietsupdate"}
    assert ours(data_dir) == []
