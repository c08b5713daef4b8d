"""Counts the system calls that make things durable, and makes them fail."""

import errno
import os
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.posix import durable
from support.file_transactions import somebody_else


@pytest.fixture
def calls(monkeypatch):
    """Every sync and rename, in order, with the name of the file it was made on."""
    made = []

    def record(name, real):
        def call(descriptor, *rest):
            target = os.readlink(f"/proc/self/fd/{descriptor}") if isinstance(descriptor, int) else str(descriptor)
            made.append((name, os.path.basename(target)))
            return real(descriptor, *rest)

        return call

    monkeypatch.setattr(os, "fsync", record("fsync", os.fsync))
    monkeypatch.setattr(os, "fdatasync", record("fdatasync", os.fdatasync))
    monkeypatch.setattr(os, "rename", record("rename", os.rename))
    monkeypatch.setattr(durable, "_syncfs", record("syncfs", durable._syncfs))
    return made


def test_atomic_write_syncs_the_content_then_renames_then_syncs_the_folder(tmp_path, calls):
    durable.atomic_write(tmp_path / "VERSION", b"new")
    assert [name for name, _ in calls] == ["fsync", "rename", "fsync"]
    assert calls[0][1] == calls[1][1] != "VERSION"
    assert calls[2][1] == tmp_path.name
    assert (tmp_path / "VERSION").read_bytes() == b"new"


def test_atomic_write_takes_the_mode_of_the_folder(tmp_path):
    tmp_path.chmod(0o750)
    durable.atomic_write(tmp_path / "VERSION", b"new")
    assert stat.S_IMODE((tmp_path / "VERSION").stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_atomic_write_takes_the_owner_of_the_folder(tmp_path):
    os.chown(tmp_path, 1234, 1235)
    durable.atomic_write(tmp_path / "VERSION", b"new")
    status = (tmp_path / "VERSION").stat()
    assert (status.st_uid, status.st_gid) == (1234, 1235)


def test_a_failed_sync_leaves_the_old_content_and_is_not_tried_again(tmp_path, monkeypatch):
    (tmp_path / "VERSION").write_bytes(b"old")
    attempts = []

    def fail(descriptor):
        attempts.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(FilesError, match="VERSION could not be made durable: Input/output error"):
        durable.atomic_write(tmp_path / "VERSION", b"new")
    assert len(attempts) == 1
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("VERSION", b"old")]


def test_a_few_paths_are_synced_one_by_one(tmp_path, calls):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    durable.sync_many([tmp_path / "a", tmp_path / "link", tmp_path / "gone", tmp_path])
    assert calls == [("fsync", "a"), ("fsync", tmp_path.name)]


def test_many_paths_cost_one_sync_of_their_file_system(tmp_path, calls):
    for number in range(durable.MANY):
        (tmp_path / str(number)).touch()
    durable.sync_many(tmp_path / str(number) for number in range(durable.MANY))
    assert calls == [("syncfs", tmp_path.name)]


def test_a_folder_that_cannot_be_synced_at_all_is_no_failure(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    (tmp_path / "a").touch()
    monkeypatch.setattr(os, "fsync", refuse)
    durable.sync_path(tmp_path)
    with pytest.raises(FilesError, match="Invalid argument"):
        durable.sync_path(tmp_path / "a")


def test_write_all_goes_on_after_a_short_write(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    with (tmp_path / "a").open("wb", buffering=0) as file:
        durable.write_all(file.fileno(), b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_nothing_else_in_the_package_calls_fsync():
    folder = os.path.dirname(os.path.dirname(durable.__file__))
    found = subprocess.run(
        ["grep", "-rlE", r"\b(fsync|fdatasync|syncfs|os\.sync)\(", "--include=*.py", folder],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [durable.__file__]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_file_system_is_synced_of_what_may_not_be_opened(calls):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        closed = Path(folder, "closed")
        closed.mkdir(0o711)
        (closed / "file").touch(0o600)
        with somebody_else(23456, 54321):
            durable.sync_path(closed / "file")
        assert calls == [("syncfs", os.path.basename(folder))]
