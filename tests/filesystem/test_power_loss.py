"""After a power cut the tree comes back, whatever of the unsynced changes has survived (invariants 1, 2, 3, 4)."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.transaction import FileTransaction
from fietsupdate.model import Phase
from support.file_transactions import STRIDE, begin, every_plain_call, every_verb, fill, ours, picture, recover
from support.power_cuts import Recorder, restore


@pytest.fixture
def folder():
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def work(data_dir):
    transaction = begin(data_dir)
    every_verb(transaction.files)
    transaction.record([], ["u1"], "VERSION")
    transaction.seal()


def crashes_of(data_dir, run, monkeypatch, seed=1):
    with monkeypatch.context() as patches:
        recorder = Recorder(data_dir, patches, seed)
        run()
        recorder.stop()
    return recorder.crashes


def after_recovery(disk, folder, monkeypatch, data_dir="restored"):
    restored = folder / data_dir
    with monkeypatch.context() as patches:
        restore(disk, restored, patches)
        strange = recover(restored)
        result = picture(restored, inodes=False)
    shutil.rmtree(restored)
    return result, strange


def test_power_lost_while_a_transaction_begins(folder, monkeypatch):
    """Seeds with which a header was once there without the journal, or without the progress of playback."""
    data_dir = fill(folder)
    before = picture(data_dir, inodes=False)
    for seed in (5, 10):
        crashes = crashes_of(data_dir, lambda: begin(data_dir), monkeypatch, seed)
        for number, disk in enumerate(crashes):
            assert after_recovery(disk, folder, monkeypatch) == (before, ()), number
        recover(data_dir)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_power_lost_at_any_moment_of_the_verbs(folder, monkeypatch, seed):
    data_dir = fill(folder)
    before = picture(data_dir, inodes=False)
    crashes = crashes_of(data_dir, lambda: work(data_dir), monkeypatch, seed)
    assert len(crashes) > 400
    for number, disk in enumerate(crashes):
        assert after_recovery(disk, folder, monkeypatch) == (before, ()), number


def test_power_lost_at_any_moment_of_batches_that_sync_whole_file_systems(folder, monkeypatch):
    monkeypatch.setattr(durable, "MANY", 2)
    data_dir = fill(folder)
    before = picture(data_dir, inodes=False)

    def batches():
        transaction = begin(data_dir)
        transaction.files.write_many([("one", "new"), ("VERSION", "new"), ("new/a", "a"), ("new/b", "b")])
        transaction.files.move_many([("new/a", "to/1/a"), ("tracks/2/big", "to/2/big"), ("tracks/other", "to/3/b")])
        transaction.files.transform(["to/1/a", "one"], bytes.upper)
        transaction.files.remove_many(["to/1/a", "VERSION"])
        transaction.seal()

    for number, disk in enumerate(crashes_of(data_dir, batches, monkeypatch)):
        assert after_recovery(disk, folder, monkeypatch) == (before, ()), number


def test_power_lost_at_any_moment_of_plain_calls(folder, monkeypatch):
    """What was written and not synced is not recognised, so something may be set aside; the tree is that of before."""
    data_dir = fill(folder)
    before = picture(data_dir, inodes=False)

    def guarded():
        transaction = begin(data_dir)
        with Guard(print).watching(transaction):
            every_plain_call(data_dir)
        transaction.seal()

    crashes = crashes_of(data_dir, guarded, monkeypatch)
    assert len(crashes) > 300
    for number, disk in enumerate(crashes):
        assert after_recovery(disk, folder, monkeypatch)[0] == before, number


def test_power_lost_at_any_moment_of_playback(folder, monkeypatch):
    data_dir = fill(folder)
    before = picture(data_dir, inodes=False)
    work(data_dir)
    crashes = crashes_of(data_dir, lambda: recover(data_dir), monkeypatch)
    assert len(crashes) > 200
    for number, disk in enumerate(crashes):
        assert after_recovery(disk, folder, monkeypatch) == (before, ()), number


def test_power_lost_at_any_moment_of_playback_of_plain_calls(folder, monkeypatch):
    data_dir = fill(folder)
    before = picture(data_dir, inodes=False)
    transaction = begin(data_dir)
    with Guard(print).watching(transaction):
        every_plain_call(data_dir)
    transaction.seal()
    crashes = crashes_of(data_dir, lambda: recover(data_dir), monkeypatch)
    assert len(crashes) > 300
    for number, disk in enumerate(crashes):
        if number % (2 * STRIDE) == 0:
            assert after_recovery(disk, folder, monkeypatch) == (before, ()), number


def test_power_lost_while_a_phase_is_played_back_both_ends_are_reached(folder, monkeypatch):
    """First where the last committed phase has ended, then, as nothing was committed after all, the very beginning."""
    data_dir = fill(folder)
    before = picture(data_dir, inodes=False)
    transaction = begin(data_dir)
    transaction.files.write("pre", b"pre")
    transaction.files.move("tracks/1", "moved")
    transaction.end_phase(Phase.PRE)
    phase = picture(data_dir, inodes=False)
    transaction.files.write("pre", b"changed")
    transaction.files.remove("one")
    with Guard(print).watching(transaction):
        (data_dir / "moved" / "track.gpx").write_text("other")
        shutil.rmtree(data_dir / "tracks")
    transaction.seal()
    crashes = crashes_of(data_dir, lambda: FileTransaction.reopen(data_dir).play_back_phase([Phase.PRE]), monkeypatch)
    assert len(crashes) > 90
    for number, disk in enumerate(crashes[::STRIDE]):
        restored = folder / "restored"
        with monkeypatch.context() as patches:
            restore(disk, restored, patches)
            assert FileTransaction.reopen(restored).play_back_phase([Phase.PRE]) == (), number
            assert picture(restored, inodes=False) == phase, number
            assert recover(restored) == (), number
            assert picture(restored, inodes=False) == before, number
        shutil.rmtree(restored)


def test_power_lost_at_any_moment_of_finish(folder, monkeypatch):
    data_dir = fill(folder)
    work(data_dir)
    after = picture(data_dir, inodes=False)
    crashes = crashes_of(data_dir, lambda: FileTransaction.reopen(data_dir).finish(), monkeypatch)
    assert len(crashes) > 50
    for number, disk in enumerate(crashes):
        restored = folder / "restored"
        with monkeypatch.context() as patches:
            restore(disk, restored, patches)
            transaction = FileTransaction.reopen(restored)
            if transaction is not None:
                transaction.finish()
            assert picture(restored, inodes=False) == after, number
            assert ours(restored) == ["ledger.jsonl"], number
        shutil.rmtree(restored)


def test_power_lost_after_sealing_keeps_everything(folder, monkeypatch):
    data_dir = fill(folder)
    crashes = crashes_of(data_dir, lambda: work(data_dir), monkeypatch)
    after = picture(data_dir, inodes=False)
    restored = folder / "restored"
    with monkeypatch.context() as patches:
        restore(crashes[-3], restored, patches)  # nothing that was not synced has survived
        FileTransaction.reopen(restored).finish()
    assert picture(restored, inodes=False) == after
