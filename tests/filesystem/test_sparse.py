"""Holes stay holes: in copies, under the guard, and when all is undone."""

import os

import pytest

from fietsupdate.filesystem.guard import blind
from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.posix import content
from support.file_transactions import begin

HUNDRED_GIB = 100 << 30
LITTLE = 1 << 20
"""Bytes on the disk that a file with little in it may take."""


@pytest.fixture
def sparse(data_dir):
    """A file of 100 GiB that holds two blocks and ends in a hole."""
    path = data_dir / "sparse"
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(HUNDRED_GIB // 2)
        file.write(b"middle")
        file.truncate(HUNDRED_GIB)
    if path.stat().st_blocks * 512 > LITTLE:
        pytest.skip("this file system has no holes")
    return path


def middle(path):
    with path.open("rb") as file:
        file.seek(HUNDRED_GIB // 2)
        return file.read(6)


def is_sparse(path):
    status = path.stat()
    return status.st_size == HUNDRED_GIB and status.st_blocks * 512 < LITTLE and middle(path) == b"middle"


def test_a_copy_of_a_file_with_holes_has_them_too(data_dir, sparse):
    files = begin(data_dir).files
    files.copy("sparse", "copy")
    files.copy_many([("sparse", "copied")])
    with files.open("sparse", "ab") as file:
        file.write(b"more")
    assert is_sparse(data_dir / "copy")
    assert is_sparse(data_dir / "copied")
    assert (data_dir / "sparse").stat().st_size == HUNDRED_GIB + 4
    assert (data_dir / "sparse").stat().st_blocks * 512 < LITTLE


@pytest.mark.parametrize("has_more_names", [False, True])
def test_a_file_with_holes_is_changed_under_the_guard_and_comes_back(data_dir, sparse, has_more_names):
    if has_more_names:
        os.link(sparse, data_dir / "second")
    transaction = begin(data_dir)
    with Guard(print).watching(transaction), sparse.open("ab") as file:
        file.write(b"x")
    assert sparse.stat().st_size == HUNDRED_GIB + 1
    assert sum(path.lstat().st_blocks for path in data_dir.rglob("*")) * 512 < 4 * LITTLE
    transaction.seal()
    assert transaction.play_back() == ()
    assert is_sparse(sparse)


def test_a_content_that_the_kernel_does_not_copy_is_copied_all_the_same(tmp_path, monkeypatch):
    """As that of files in /proc, whose length is 0."""
    with open("/proc/self/status", "rb") as reader, open(tmp_path / "copy", "w+b") as writer:
        content.copy_content(reader.fileno(), writer.fileno())
    assert (tmp_path / "copy").read_bytes().startswith(b"Name:")


def test_a_large_folder_is_not_looked_through_to_its_end(data_dir, monkeypatch):
    monkeypatch.setattr(blind, "MOST_ENTRIES", 10)
    for number in range(30):
        (data_dir / "empty" / str(number)).touch()
    looked = []
    real = os.scandir

    class Counted:
        def __init__(self, path):
            self.entries = real(path)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.entries.close()

        def __iter__(self):
            return (looked.append(entry.name) or entry for entry in self.entries)

    transaction = begin(data_dir)
    with Guard(print).watching(transaction):
        transaction.files.write("empty/new", "new")
        monkeypatch.setattr(blind.os, "scandir", Counted)
    monkeypatch.undo()
    assert len(looked) == 10
