"""Many files in one undo record: made and undone as one by one, whatever interrupts it (invariants 1 to 4, 9)."""

import errno
import json
import os
import shutil
import tempfile
from itertools import count
from pathlib import Path

import pytest

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import batches
from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.journal import column_effects
from fietsupdate.filesystem.journal import header as headers
from fietsupdate.filesystem.journal.columns import KINDS, Columns, Group
from fietsupdate.filesystem.journal.record import Do, Record
from fietsupdate.filesystem.posix import durable
from support.file_transactions import (
    HEADER,
    STRIDE,
    begin,
    columns_in,
    every_batch,
    fill,
    ours,
    picture,
    recover,
    run_failing,
    run_killed,
)
from support.power_cuts import Recorder, restore

EVERY_KIND = {kind.value for kind in KINDS}


@pytest.fixture(autouse=True)
def _columns_for_few(monkeypatch):
    """Columns from the first change on, and the whole file system synced for two."""
    monkeypatch.setattr(batches, "LEAST", 1)
    monkeypatch.setattr(durable, "MANY", 2)


@pytest.fixture
def folder():
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def work(data_dir):
    transaction = begin(data_dir)
    every_batch(transaction.files)
    transaction.seal()


def fresh(folder):
    shutil.rmtree(folder / "data", ignore_errors=True)
    data_dir = fill(folder)
    return data_dir, picture(data_dir)


def test_every_kind_of_change_stands_in_columns_and_comes_back(folder):
    data_dir, before = fresh(folder)
    transaction = begin(data_dir)
    every_batch(transaction.files)
    assert columns_in(data_dir) == EVERY_KIND
    assert (data_dir / "VERSION").read_text() == "again"
    assert (data_dir / "b").read_text() == "once more" * 2
    assert (data_dir / "copy/a").read_text() == "OTHER"
    assert (data_dir / "new/c.up").read_text() == "C"
    assert not (data_dir / "far/away/big").exists()
    transaction.seal()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before
    assert ours(data_dir) == []


def test_what_is_finished_stays(folder):
    data_dir, _ = fresh(folder)
    transaction = begin(data_dir)
    every_batch(transaction.files)
    transaction.seal()
    after = picture(data_dir)
    transaction.finish()
    assert picture(data_dir) == after
    assert ours(data_dir) == []


def test_killed_before_any_call_the_tree_comes_back(folder):
    for number in count(1):
        data_dir, before = fresh(folder)
        killed = run_killed(lambda data_dir=data_dir: work(data_dir), number)
        if not killed:
            assert columns_in(data_dir) == EVERY_KIND
        assert recover(data_dir) == (), number
        assert picture(data_dir) == before, number
        assert ours(data_dir) == [], number
        if not killed:
            break
    assert number > 70


def test_killed_before_any_call_of_playback_the_next_one_ends_in_the_same_tree(folder):
    for number in count(1):
        data_dir, before = fresh(folder)
        work(data_dir)
        killed = run_killed(lambda data_dir=data_dir: recover(data_dir), number)
        assert recover(data_dir) == (), number
        assert picture(data_dir) == before, number
        assert ours(data_dir) == [], number
        if not killed:
            break
    assert number > 30


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_when_any_call_fails_the_batch_is_taken_back_and_its_files_are_changed_one_by_one(folder, number):
    """Or the transaction fails, and all of it is undone."""

    def change(data_dir):
        try:
            work(data_dir)
        except (OSError, FilesError):
            recover(data_dir)

    for at in count(1, STRIDE):
        data_dir, before = fresh(folder)
        failed = run_failing(lambda data_dir=data_dir: change(data_dir), number, at)
        recover(data_dir)
        assert picture(data_dir) == before, at
        assert ours(data_dir) == [], at
        if not failed:
            break
    assert at > 70


@pytest.mark.parametrize("seed", [1, 2])
def test_power_lost_at_any_moment_the_tree_comes_back(folder, monkeypatch, seed):
    data_dir = fill(folder)
    before = picture(data_dir, inodes=False)
    for number, disk in enumerate(crashes_of(data_dir, lambda: work(data_dir), monkeypatch, seed)):
        assert after_recovery(disk, folder, monkeypatch) == (before, ()), number
    assert columns_in(data_dir) == EVERY_KIND


def test_power_lost_at_any_moment_of_playback_the_tree_comes_back(folder, monkeypatch):
    data_dir = fill(folder)
    before = picture(data_dir, inodes=False)
    work(data_dir)
    crashes = crashes_of(data_dir, lambda: recover(data_dir), monkeypatch)
    assert len(crashes) > 60
    for number, disk in enumerate(crashes):
        assert after_recovery(disk, folder, monkeypatch) == (before, ()), number


def crashes_of(data_dir, run, monkeypatch, seed=1):
    with monkeypatch.context() as patches:
        recorder = Recorder(data_dir, patches, seed)
        run()
        recorder.stop()
    return recorder.crashes


def after_recovery(disk, folder, monkeypatch):
    restored = folder / "restored"
    with monkeypatch.context() as patches:
        restore(disk, restored, patches)
        strange = recover(restored)
        result = picture(restored, inodes=False)
    shutil.rmtree(restored)
    return result, strange


# What does not fit


@pytest.mark.parametrize(
    ("verb", "items"),
    [
        ("move_many", [("VERSION", "a"), ("one", "b")]),
        ("move_many", [("VERSION", "a"), ("link", "b")]),
        ("move_many", [("VERSION", "a"), ("empty", "b")]),
        ("move_many", [("VERSION", "a"), ("a", "b")]),
        ("move_many", [("VERSION", "a"), ("tracks/2/big", "VERSION")]),
        ("remove_many", ["VERSION", "tracks/other"]),
        ("write_many", [("new", "a"), ("one", "b")]),
        ("write_many", [("new", "a"), ("way/1/track.gpx", "b"), ("tracks/1/track.gpx", "c")]),
        ("write_many", [("new", "a"), ("link", "b")]),
    ],
)
def test_second_names_symlinks_folders_and_names_that_come_twice_are_left_to_the_single_verbs(folder, verb, items):
    data_dir, before = fresh(folder)
    transaction = begin(data_dir)
    getattr(transaction.files, verb)(items)
    assert columns_in(data_dir) == set()
    assert picture(data_dir) != before
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_folders_by_their_symlinks_fit(folder):
    data_dir, before = fresh(folder)
    transaction = begin(data_dir)
    transaction.files.move_many([("way/1/track.gpx", "way/2/track"), ("./VERSION", "empty//version")])
    assert columns_in(data_dir) == {"move"}
    assert (data_dir / "tracks/2/track").exists()
    assert (data_dir / "empty/version").exists()
    transaction.play_back()
    assert picture(data_dir) == before


def test_a_folder_that_passes_on_its_group_gets_its_files_as_from_a_plain_call(folder):
    data_dir, _ = fresh(folder)
    (data_dir / "empty").chmod(0o2770)
    os.chown(data_dir / "empty", -1, 12345) if os.geteuid() == 0 else None
    begin(data_dir).files.write_many([("empty/a", "a"), ("new", "n")])
    assert columns_in(data_dir) == set()
    assert (data_dir / "empty/a").stat().st_gid == (data_dir / "empty").stat().st_gid
    recover(data_dir)


def test_a_file_that_is_replaced_gives_its_mode_and_attributes(folder):
    data_dir, _ = fresh(folder)
    (data_dir / "VERSION").chmod(0o604)
    os.setxattr(data_dir / "tracks/2/big", "user.colour", b"blue")
    begin(data_dir).files.write_many([("VERSION", "v2"), ("tracks/2/big", "small")])
    assert columns_in(data_dir) == {"replace"}
    assert (data_dir / "VERSION").stat().st_mode & 0o777 == 0o604
    assert os.getxattr(data_dir / "tracks/2/big", "user.colour") == b"blue"
    recover(data_dir)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root works for another user")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(folder):
    data_dir, _ = fresh(folder)
    os.chown(data_dir / "empty", 23456, 23456)
    begin(data_dir).files.write_many([("empty/a", "a"), ("empty/new/b", "b")])
    assert columns_in(data_dir) == {"create"}
    assert {(data_dir / "empty" / name).stat().st_uid for name in ("a", "new", "new/b")} == {23456}
    recover(data_dir)


# Surprises


def test_a_file_that_appears_under_a_new_name_is_neither_replaced_silently_nor_set_aside(folder, monkeypatch):
    """The batch takes it for free; what was put elsewhere by then is taken back, and the drafts are not used again."""
    data_dir, _ = fresh(folder)
    real = column_effects.make

    def late(columns, paths, folders):
        (data_dir / "tracks/1/b").write_text("of the application")
        real(columns, paths, folders)

    transaction = begin(data_dir)
    with monkeypatch.context() as patches:
        patches.setattr(column_effects, "make", late)
        transaction.files.write_many([("a", "new"), ("tracks/1/b", "new"), ("c", "new")])
    assert columns_in(data_dir) == {"create"}
    assert [(data_dir / name).read_text() for name in ("a", "tracks/1/b", "c")] == ["new"] * 3
    transaction.seal()
    assert transaction.play_back() == ()
    assert (data_dir / "tracks/1/b").read_text() == "of the application"
    assert not (data_dir / "a").exists()


def test_a_destination_that_is_taken_is_told_and_what_comes_before_it_is_moved(folder):
    data_dir, before = fresh(folder)
    transaction = begin(data_dir)
    with pytest.raises(FileExistsError):
        transaction.files.move_many([("VERSION", "a"), ("tracks/2/big", "one"), ("tracks/1/track.gpx", "c")])
    assert columns_in(data_dir) == {"move"}
    assert (data_dir / "a").exists()
    assert not (data_dir / "c").exists()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_where_the_file_system_renames_in_no_such_way_columns_are_given_up(folder, monkeypatch):
    data_dir, before = fresh(folder)

    def refuse(*_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(column_effects, "renaming", lambda *_, **__: refuse)
    transaction = begin(data_dir)
    for number in range(6):
        transaction.files.write_many([(f"{number}/a", "a"), (f"{number}/b", "b")])
    journal = data_dir / ".fietsupdate" / "txn" / HEADER.txn / "journal"
    assert journal.read_bytes().count(b'"columns"') == 3
    assert len(list(data_dir.glob("[0-9]/*"))) == 12
    monkeypatch.undo()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_what_the_application_changes_afterwards_is_set_aside_or_stays(folder):
    data_dir, before = fresh(folder)
    transaction = begin(data_dir)
    every_batch(transaction.files)
    transaction.seal()
    (data_dir / "b").write_text("a user's")
    (data_dir / "VERSION").unlink()
    (data_dir / "tracks/1/track.gpx").write_text("in the way")
    strange = transaction.play_back()
    assert {path.name for path in strange} == {"b", "track.gpx"}
    assert {path.read_text() for path in strange} == {"a user's", "in the way"}
    tree = picture(data_dir)
    assert tree[0]["tracks/1/track.gpx"] == before[0]["tracks/1/track.gpx"]
    assert tree[0]["VERSION"] == before[0]["VERSION"]


def test_what_plain_calls_change_afterwards_is_undone(folder):
    data_dir, before = fresh(folder)
    transaction = begin(data_dir)
    with Guard(print).watching(transaction):
        every_batch(transaction.files)
        (data_dir / "b").write_text("changed by a plain call")
        (data_dir / "new/c.up").unlink()
        os.rename(data_dir / "VERSION", data_dir / "V")
    transaction.seal()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_set_aside_keeps_what_was_made(folder):
    data_dir, before = fresh(folder)
    transaction = begin(data_dir)
    transaction.files.write_many([("a", "new"), ("VERSION", "v2")])
    strange = transaction.play_back(set_aside=True)
    assert {path.read_text() for path in strange} == {"new", "v2"}
    assert picture(data_dir) == before


# What is read back


def test_columns_are_read_as_they_were_written_and_as_records_of_their_own():
    looks = [1, 2], [3, 4], [5, 6]
    columns = Columns(
        "media",
        (
            Group(Do.MOVE, "", "a\udcff", ["x", "\n"], ["y", "z"], looks),
            Group(Do.REPLACE, "drafts", "b", ["1", "2"], ["x", "y"], looks, ([7, 8], [9, 10], [11, 12])),
        ),
    )
    again = Columns.from_json(json.dumps(columns.to_values()).encode())
    assert list(again) == list(columns)
    assert [record.root for record in again] == ["media"] * 4
    assert [(record.path, record.other) for record in again][:2] == [("x", "a\udcff/y"), ("\n", "a\udcff/z")]
    assert len(again) == 4


DRAFTS, VAULT = (f".fietsupdate/txn/{HEADER.txn}/{kind}" for kind in ("drafts", "vault"))


@pytest.mark.parametrize(
    "group",
    [
        ["move", "..", "a", ["x"], ["y"], [1], [1], [1]],
        ["move", "", "/etc", ["x"], ["y"], [1], [1], [1]],
        ["move", "", "a", ["x"], ["../y"], [1], [1], [1]],
        ["move", "", "a", [".."], ["y"], [1], [1], [1]],
        ["move", "", "", [".fietsupdate"], ["y"], [1], [1], [1]],
        ["move", "", "a/.fietsupdate", ["x"], ["y"], [1], [1], [1]],
        ["move", "", "a", ["x\0"], ["y"], [1], [1], [1]],
        ["move", "", "a", ["x", "z"], ["y"], [1], [1], [1]],
        ["move", "", "a", ["x"], ["y"], ["1"], [1], [1]],
        ["move", "", "a", ["x"], ["y"], [1], [1]],
        ["move", "", "a", "x", ["y"], [1], [1], [1]],
        ["move", "", "a", [], [], [], [], []],
        ["remove", "a", "vault", ["x"], ["1"], [1], [1], [1]],
        ["remove", "a", VAULT, ["x"], ["y"], [1], [1], [1]],
        ["remove", "a", VAULT, ["x", "z"], ["1", "../2"], [1, 1], [1, 1], [1, 1]],
        ["remove", "a", DRAFTS, ["x"], ["1"], [1], [1], [1]],
        ["create", "a", "b", ["1"], ["y"], [1], [1], [1]],
        ["create", DRAFTS, "../b", ["1"], ["y"], [1], [1], [1]],
        ["replace", DRAFTS, "b", ["1"], ["y"], [1], [1], [1]],
        ["mkdir", "", "b", ["1"], ["y"], [1], [1], [1]],
    ],
)
def test_columns_with_other_paths_than_an_update_has_are_doubt(folder, group):
    data_dir, before = fresh(folder)
    transaction = begin(data_dir)

    class Forged(Columns):
        def to_values(self):
            return {"do": "columns", "root": "", "groups": [group]}

    transaction.changes.journal.append([Forged("", ())])
    with pytest.raises(FilesError, match="cannot be followed"):
        recover(data_dir)
    assert picture(data_dir) == before


def test_a_transaction_of_an_earlier_release_is_undone(folder, monkeypatch):
    data_dir, before = fresh(folder)
    with monkeypatch.context() as patches:
        patches.setattr(headers, "FORMAT", 1)
        patches.setattr(batches, "LEAST", 1000)
        transaction = begin(data_dir)
    patches.undo()
    monkeypatch.setattr(batches, "LEAST", 1000)
    every_batch(transaction.files)
    assert columns_in(data_dir) == set()
    assert recover(data_dir) == ()
    assert picture(data_dir) == before


def test_an_earlier_release_is_told_to_leave_a_journal_with_columns_alone(folder):
    """It refuses the header, whose format it does not know, before it reads a record."""
    data_dir, _ = fresh(folder)
    begin(data_dir)
    header = (data_dir / ".fietsupdate" / "txn" / HEADER.txn / "header").read_text()
    assert json.loads(header.splitlines()[0])["format"] == 2
    with pytest.raises(ValueError, match="columns"):
        Record.from_json(b'{"do":"columns","root":"","groups":[]}')
    recover(data_dir)
