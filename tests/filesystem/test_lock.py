"""One updater at a time; locks of real processes."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from fietsupdate.backup.directory import inspect_directory as look_for_backups
from fietsupdate.errors import DataDirMissingError, FilesError, LockedError, OwnershipError
from fietsupdate.filesystem import lock
from fietsupdate.filesystem.layout import make_home
from fietsupdate.filesystem.lock import hold, holder
from fietsupdate.filesystem.posix import ownership
from support.file_transactions import somebody_else

HOLD = """
import sys
from pathlib import Path
from fietsupdate.filesystem.lock import hold
with hold(Path(sys.argv[1]), timeout=0, on_wait=print, command="update"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock, until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def take(data_dir, timeout=0.0):
    with hold(data_dir, timeout=timeout, on_wait=print, command="downgrade"):
        return holder(data_dir)


def test_the_holder_is_named_while_the_lock_is_held_and_gone_afterwards(tmp_path):
    who = take(tmp_path)
    assert (who.pid, who.command) == (os.getpid(), "downgrade")
    assert who.since.endswith("Z")
    assert holder(tmp_path) is None


def test_a_second_updater_that_does_not_wait_is_told_who_holds_the_lock(tmp_path, other):
    with pytest.raises(LockedError, match=rf"^Process {other.pid} on .* \(update, since .*C\) is updating ") as caught:
        take(tmp_path)
    assert caught.value.exit_code == 8
    assert caught.value.details["pid"] == other.pid


def test_whoever_waits_says_for_whom_once_and_goes_on_when_it_is_free(tmp_path, other):
    told = []

    def let_go(who):
        told.append(who)
        other.communicate()

    with hold(tmp_path, timeout=60, on_wait=let_go, command="downgrade"):
        assert holder(tmp_path).pid == os.getpid()
    assert [who.pid for who in told] == [other.pid]


def test_waiting_ends_with_the_timeout(tmp_path, other):
    begun = time.monotonic()
    with pytest.raises(LockedError):
        take(tmp_path, timeout=0.2)
    assert 0.2 <= time.monotonic() - begun < 30


def test_a_killed_holders_lock_is_free_at_once(tmp_path, other):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert holder(tmp_path) is None
    assert take(tmp_path).pid == os.getpid()


FORK = HOLD.replace(
    "    sys.stdin.read()",
    """\
    import os
    here, there = os.pipe()
    if os.fork() == 0:
        os.write(there, b"forked")
        sys.stdin.read()
    else:
        os.read(here, 6)
    os._exit(0)
""",
)


def test_a_forked_child_does_not_keep_the_lock_of_its_dead_parent(tmp_path):
    with subprocess.Popen([sys.executable, "-c", FORK, str(tmp_path)], stdin=subprocess.PIPE) as parent:
        assert parent.wait() == 0
        assert holder(tmp_path) is None


def test_asking_for_the_holder_creates_nothing(tmp_path):
    assert holder(tmp_path) is None
    assert holder(tmp_path / "missing") is None
    assert list(tmp_path.iterdir()) == []


def test_asking_for_the_holder_never_takes_the_lock_from_others(tmp_path):
    """A thread asks all the time; taking without waiting succeeds every time."""
    take(tmp_path)
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            holder(tmp_path)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(300):
            take(tmp_path)
    finally:
        stop.set()
        thread.join()


def test_a_lock_file_that_was_swapped_under_the_holder_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """Between open and lock the data directory is replaced: the lock is taken on the file that the path names."""
    real = lock._try_lock
    swapped = []

    def swap(descriptor, data_dir):
        if not swapped:
            swapped.append(os.fstat(descriptor).st_ino)
            (tmp_path / ".fietsupdate").rename(tmp_path / "old")
            (tmp_path / ".fietsupdate").mkdir()
        return real(descriptor, data_dir)

    monkeypatch.setattr(lock, "_try_lock", swap)
    assert take(tmp_path, timeout=5).pid == os.getpid()
    assert (tmp_path / ".fietsupdate" / "lock").stat().st_ino != swapped[0]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    with pytest.raises(FilesError, match="does not support locks"):
        take(tmp_path)


def test_a_holder_that_has_not_signed_yet_is_unknown_but_there(tmp_path, other):
    (tmp_path / ".fietsupdate" / "lock").write_text("{")
    assert holder(tmp_path).pid == 0
    with pytest.raises(LockedError, match=r"^Another process is updating"):
        take(tmp_path)


def test_the_lock_file_says_who_holds_it_in_json(tmp_path, other):
    assert json.loads((tmp_path / ".fietsupdate" / "lock").read_text())["pid"] == other.pid


def test_our_folder_is_private_and_the_data_directory_keeps_its_time(tmp_path):
    os.utime(tmp_path, ns=(10**18, 10**18))
    take(tmp_path)
    assert (tmp_path / ".fietsupdate").stat().st_mode & 0o777 == 0o700
    assert tmp_path.stat().st_mtime_ns == 10**18


def test_a_missing_data_directory_cannot_be_locked(tmp_path):
    with pytest.raises(DataDirMissingError, match="does not exist"):
        take(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_root_creates_belongs_to_the_owner_of_the_data_directory(tmp_path):
    os.chown(tmp_path, 1234, 1235)
    take(tmp_path)
    for name in (".fietsupdate", ".fietsupdate/lock"):
        status = (tmp_path / name).stat()
        assert (status.st_uid, status.st_gid) == (1234, 1235)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_on_somebody_elses_data_is_refused_with_the_line_to_type(tmp_path):
    ownership.refuse_root(tmp_path, as_root=False)
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(OwnershipError, match="belongs to nobody") as caught:
        ownership.refuse_root(tmp_path, as_root=False)
    assert "runuser -u nobody --" in caught.value.hint or "docker exec -u 65534" in caught.value.hint
    ownership.refuse_root(tmp_path, as_root=True)


def test_a_writable_data_directory_passes_and_nothing_is_left_in_it(tmp_path):
    os.utime(tmp_path, ns=(10**18, 10**18))
    ownership.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == 10**18


def test_what_is_no_data_directory_is_named(tmp_path):
    with pytest.raises(DataDirMissingError):
        ownership.check_writable(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(FilesError, match="is not a directory"):
        ownership.check_writable(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_data_directory_of_somebody_else_is_not_writable(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from fietsupdate.filesystem.posix.ownership import check_writable\n"
    )
    code += "os.setuid(65534)\ntry: check_writable(Path(sys.argv[1]))\nexcept Exception as error: print(error)"
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o755)
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout == f"{tmp_path} cannot be written: Permission denied.\n"
    hidden = tmp_path / "hidden"
    (hidden / "data").mkdir(parents=True)
    hidden.chmod(0o700)
    run = subprocess.run([sys.executable, "-c", code, str(hidden / "data")], capture_output=True, text=True, check=True)
    assert run.stdout == f"{hidden / 'data'} cannot be reached: Permission denied.\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_folder_that_only_another_user_may_read_is_named_with_him():
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder)
        data_dir.chmod(0o755)
        ownership.check_readable(data_dir)
        make_home(data_dir)
        shelf = data_dir / ".fietsupdate" / "backups"
        shelf.mkdir()
        with (
            somebody_else(23456, 54321),
            pytest.raises(FilesError, match="cannot be read: Permission denied") as caught,
        ):
            ownership.check_readable(data_dir)
        assert caught.value.hint == "Run as root, the owner of the directory."
        with somebody_else(23456, 54321), pytest.raises(FilesError, match="cannot be read: Permission denied"):
            look_for_backups(shelf)
        data_dir.chmod(0o700)
        with somebody_else(23456, 54321), pytest.raises(FilesError) as caught:
            ownership.check_readable(data_dir)
        assert caught.value.hint == "Run as a user who may enter the folders above it."
