"""A folder that is exchanged for a symlink, at whatever moment, leads nothing of ours outside (invariant 12)."""

import ctypes
import os
import signal
import tempfile
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.bulk import BulkFiles
from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.journal.record import Do
from fietsupdate.filesystem.paths import PathError
from fietsupdate.filesystem.posix import folders
from fietsupdate.filesystem.transaction import FileTransaction
from support.file_transactions import STRIDE, begin, picture, run_struck

EXCHANGE = 2


@pytest.fixture
def place():
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


@pytest.fixture(params=["openat2", "part by part"])
def way(request, monkeypatch):
    """How folders are opened: where the system has no openat2, one part of the path after the other."""
    if request.param == "part by part":
        monkeypatch.setattr(folders, "_has_openat2", lambda: False)
    elif not folders._has_openat2():
        pytest.skip("this system has no openat2(2)")


def fill(place, number):
    """A data directory, and a folder outside of it that has the same names."""
    data_dir, outside = place / f"data{number}", place / f"outside{number}"
    for root, text in ((data_dir / "sub", "ours"), (outside, "theirs")):
        (root / "deep").mkdir(parents=True)
        for name in ("old", "gone", "moved", "deep/old", "many", "changed"):
            (root / name).write_text(f"{text} {name}")
    (data_dir / ".fietsupdate").mkdir(mode=0o700)
    return data_dir, outside


def exchange(data_dir, outside):
    os.rename(data_dir / "sub", data_dir / "sub.old")
    os.symlink(outside, data_dir / "sub")


def undo(transaction):
    """Play back; what was not there to be put back is told, as it is not where it was."""
    try:
        transaction.play_back()
    except FilesError as error:
        assert "Not put back" in error.message  # noqa: PT017  # most of the time there is none


def recover(data_dir):
    transaction = FileTransaction.reopen(data_dir)
    if transaction is not None:
        undo(transaction)


def every_verb_below(files):
    files.write("sub/new", "new")
    files.write("sub/old", "replaced")
    files.write("sub/far/away", "new")
    files.remove("sub/gone")
    files.move("sub/moved", "sub/deep/moved")
    files.copy("sub/deep", "sub/copy")
    files.mkdir("sub/made")
    files.symlink("sub/link", "old")
    files.chmod("sub/deep/old", 0o600)
    files.write_many([("sub/one", "1"), ("sub/two", "2"), ("sub/many", "3")])
    files.move_many([("sub/one", "sub/three"), ("sub/two", "sub/deep/two")])
    files.transform(["sub/changed"], bytes.upper)
    files.remove_many(["sub/three", "sub/many"])
    files.remove("sub/deep")


def contents(root):
    """What the files hold, wherever they are: in the tree, or set aside."""
    return {path.read_text() for path in root.rglob("*") if path.is_file() and not path.is_symlink()}


def test_whatever_a_verb_is_about_to_do_it_does_inside_and_nothing_is_lost(place):
    for number in count(1, STRIDE):
        data_dir, outside = fill(place, number)
        before, theirs = contents(data_dir), picture(outside)

        def work(data_dir=data_dir):
            transaction = begin(data_dir)
            every_verb_below(transaction.files)
            transaction.seal()

        struck = run_struck(work, number, partial(exchange, data_dir, outside))
        assert picture(outside) == theirs, number
        recover(data_dir)
        assert picture(outside) == theirs, number
        assert before <= contents(data_dir), number
        if not struck:
            break
    assert number > 60


def test_whatever_playback_is_about_to_do_it_does_inside_and_nothing_is_lost(place):
    for number in count(1, STRIDE):
        data_dir, outside = fill(place, number)
        before, theirs = contents(data_dir), picture(outside)
        transaction = begin(data_dir)
        every_verb_below(transaction.files)
        struck = run_struck(partial(recover, data_dir), number, partial(exchange, data_dir, outside))
        recover(data_dir)
        assert picture(outside) == theirs, number
        assert before <= contents(data_dir), number
        if not struck:
            break
    assert number > 40


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "verb",
    [
        lambda files: files.write("sub/new", "new"),
        lambda files: files.write("sub/old", "replaced"),
        lambda files: files.remove("sub/gone"),
        lambda files: files.move("sub/moved", "sub/deep/moved"),
        lambda files: files.move("sub/deep", "deep"),
        lambda files: files.copy("sub/deep", "sub/copy"),
        lambda files: files.mkdir("sub/made"),
        lambda files: files.symlink("sub/link", "old"),
        lambda files: files.chmod("sub/old", 0o600),
        lambda files: files.write_many([("sub/new", "1"), ("sub/old", "2")]),
        lambda files: files.move_many([("sub/moved", "sub/deep/moved")]),
        lambda files: files.remove_many(["sub/gone", "sub/old"]),
        lambda files: files.transform("sub/*", bytes.upper),
    ],
)
def test_between_the_check_and_the_change_a_folder_becomes_a_symlink(place, verb, monkeypatch):
    """The record is written in between: at that moment the folder is exchanged, and no descriptor of it is open."""
    data_dir, outside = fill(place, 0)
    before, theirs = contents(data_dir), picture(outside)
    transaction = begin(data_dir)
    real = transaction.changes.journal.append

    def append(records):
        real(records)
        if not (data_dir / "sub").is_symlink():
            exchange(data_dir, outside)
            transaction.changes.folders.forget()

    monkeypatch.setattr(transaction.changes.journal, "append", append)
    with pytest.raises((OSError, PathError), match=r"Too many levels|Not a directory|a symlink leads out of it"):
        verb(transaction.files)
    assert picture(outside) == theirs
    undo(transaction)
    assert picture(outside) == theirs
    assert before == contents(data_dir)


def test_a_symlink_inside_leads_where_it_led(place):
    data_dir, _ = fill(place, 0)
    (data_dir / "way").symlink_to("sub/deep")
    (data_dir / "sub" / "file").symlink_to("deep/old")
    transaction = begin(data_dir)
    transaction.files.write("way/new", "new")
    transaction.files.write("sub/file", "replaced")
    transaction.files.move("way/old", "way/older")
    transaction.seal()
    transaction.finish()
    assert (data_dir / "sub" / "deep" / "new").read_text() == "new"
    assert (data_dir / "sub" / "deep" / "older").read_text() == "replaced"
    assert (data_dir / "way").is_symlink()


def test_what_is_read_is_read_from_inside(place, monkeypatch):
    data_dir, outside = fill(place, 0)
    transaction = begin(data_dir)
    assert transaction.files.read_text("sub/deep/old") == "ours deep/old"
    real = transaction.files._absolute
    swapped = lambda path: (real(path), exchange(data_dir, outside))[0]  # noqa: E731  # between the check and the look
    with monkeypatch.context() as patches:
        patches.setattr(transaction.files, "_absolute", swapped)
        with pytest.raises(OSError, match="Too many levels"):
            transaction.files.read_bytes("sub/old")
    for path, error in (("sub.old/deep", IsADirectoryError), ("sub.old/none", FileNotFoundError)):
        with pytest.raises(error, match=f"{data_dir}/{path}"):
            transaction.files.read_text(path)


def test_what_the_guard_saves_it_saves_from_inside(place, monkeypatch):
    """The call is the hook's own, and goes where its path leads; what we do before it does not follow it there."""
    data_dir, outside = fill(place, 0)
    theirs = picture(outside)
    transaction = begin(data_dir)
    real = transaction.changes.journal.append

    def append(records):
        real(records)
        if any(record.do is Do.REMOVE for record in records) and not (data_dir / "sub").is_symlink():
            exchange(data_dir, outside)
            transaction.changes.folders.forget()

    monkeypatch.setattr(transaction.changes.journal, "append", append)
    with Guard(print).watching(transaction), pytest.raises(OSError, match="Too many levels"):
        (data_dir / "sub" / "gone").unlink()
    vault = data_dir / ".fietsupdate" / "txn" / transaction.header.txn / "vault"
    assert [*vault.iterdir()] == []
    undo(transaction)
    assert picture(outside) == theirs
    assert (data_dir / "sub.old" / "gone").read_text() == "ours gone"


def test_while_another_process_exchanges_a_folder_again_and_again_nothing_lands_outside(place):
    data_dir, outside = fill(place, 0)
    theirs = picture(outside)
    (data_dir / "link").symlink_to(outside)
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    names = os.fsencode(data_dir / "sub"), os.fsencode(data_dir / "link")
    if renameat2(-100, names[0], -100, names[1], EXCHANGE) or renameat2(-100, names[0], -100, names[1], EXCHANGE):
        pytest.skip("this file system does not exchange two names")
    attacker = os.fork()
    if attacker == 0:
        while True:
            renameat2(-100, names[0], -100, names[1], EXCHANGE)
    try:
        transaction = begin(data_dir)
        done = refused = 0
        for number in range(300):
            try:
                transaction.files.write(f"sub/x{number}", "ours")
                transaction.files.write_many((f"sub/y{number}-{n}", "ours") for n in range(3))
                transaction.files.move(f"sub/x{number}", f"sub/z{number}")
                transaction.files.remove(f"sub/z{number}")
                done += 1
            except (OSError, FilesError):
                refused += 1
        assert picture(outside) == theirs
        assert refused
    finally:
        os.kill(attacker, signal.SIGKILL)
        os.waitpid(attacker, 0)
    undo(transaction)
    assert picture(outside) == theirs


def test_no_descriptor_is_left_and_a_hundred_folders_need_no_more_than_a_few(place):
    data_dir, _ = fill(place, 0)
    for number in range(200):
        (data_dir / f"{number}").mkdir()
    transaction = begin(data_dir)
    before = os.listdir("/proc/self/fd")
    most = 0
    real = folders.open_real

    def counted(path):
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))
        return real(path)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(folders, "open_real", counted)
        patches.setattr(BulkFiles, "_put_one", lambda *_: pytest.fail("one was made alone"))
        patches.setattr(BulkFiles, "move", lambda *_: pytest.fail("one was made alone"))
        transaction.files.write_many((f"{number}/new", "x") for number in range(200))
        transaction.files.move_many((f"{number}/new", f"{number}/newer") for number in range(200))
    assert most <= len(before) + folders.LIMIT + 3
    assert os.listdir("/proc/self/fd") == before
    transaction.play_back()
    assert len(os.listdir("/proc/self/fd")) <= len(before)
