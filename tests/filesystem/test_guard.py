"""Plain Python calls in hooks are undone like verbs (protocol, 7)."""

import contextlib
import ctypes
import gc
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import zipfile
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import transaction as transaction_module
from fietsupdate.filesystem.guard import guard as guard_module
from fietsupdate.filesystem.guard import intercept as saving_module
from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.journal.record import Do
from fietsupdate.filesystem.paths import PathError
from fietsupdate.filesystem.posix import rename as place_module
from fietsupdate.filesystem.posix.folders import path_of
from support.file_transactions import (
    begin,
    every_plain_call,
    every_verb,
    fill,
    ours,
    picture,
    plant,
    recover,
    run_killed,
)


@pytest.fixture
def data_dir():
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield fill(folder)


@pytest.fixture
def before(data_dir):
    return picture(data_dir)


@pytest.fixture
def told():
    return []


@pytest.fixture
def watched(data_dir, before, told):
    """Runs a hook under the guard, and gives what playing it back reports."""

    def run(hook, *, play_back=True, **options):
        transaction = begin(data_dir, **options)
        with Guard(told.append).watching(transaction):
            hook()
        transaction.seal()
        return transaction.play_back() if play_back else transaction

    return run


def refuse(number):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


def test_every_plain_call_is_undone(data_dir, before, told, watched):
    changed = []
    assert watched(lambda: (every_plain_call(data_dir), changed.append(picture(data_dir)))) == ()
    assert picture(data_dir) == before != changed[0]
    assert ours(data_dir) == []
    assert told == []


def test_every_plain_call_finished_is_what_it_is_without_us(data_dir, watched, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    plant(plain)
    every_plain_call(plain)
    watched(lambda: every_plain_call(data_dir), play_back=False).finish()
    assert contents(data_dir) == contents(plain)
    assert ours(data_dir) == []


def contents(root):
    """Names, kinds, modes, contents and links, without times, which tell when it was done."""
    tree, links = picture(root, inodes=False)
    return {name: (status[:4], rest) for name, (status, rest) in tree.items()}, links


def test_verbs_and_plain_calls_mix(data_dir, before, told):
    transaction = begin(data_dir)
    with Guard(told.append).watching(transaction):
        every_verb(transaction.files)
        (data_dir / "copied" / "1" / "track.gpx").write_text("plain over verb")
        (data_dir / "plain").write_text("plain")
        transaction.files.move("plain", "deep/moved")
        transaction.files.write("deep/moved", b"verb over plain")
        shutil.rmtree(data_dir / "deep")
    transaction.seal()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before
    assert told == []


def test_an_exception_in_the_hook_leaves_nothing_unrecognised(data_dir, before, told):
    transaction = begin(data_dir)

    def hook():
        every_plain_call(data_dir)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), Guard(told.append).watching(transaction):
        hook()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_threads_are_watched(data_dir, before, watched):
    def hook():
        threads = [
            threading.Thread(target=lambda number=number: (data_dir / f"new{number}").write_text("new"))
            for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (data_dir / "new7").exists()

    assert watched(hook) == ()
    assert picture(data_dir) == before


def test_tempfile_and_zipfile_are_watched(data_dir, before, watched):
    def hook():
        with tempfile.NamedTemporaryFile(dir=data_dir, delete=False) as file:
            file.write(b"x")
        with zipfile.ZipFile(data_dir / "one", "w") as archive:
            archive.writestr("a", "b")
        with zipfile.ZipFile(data_dir / "one") as archive:
            archive.extractall(data_dir / "out")

    assert watched(hook) == ()
    assert picture(data_dir) == before


def test_paths_as_bytes_text_and_relative_to_a_descriptor_are_understood(data_dir, before, watched):
    def hook():
        os.remove(os.fsencode(data_dir / "link"))
        folder = os.open(data_dir / "tracks", os.O_RDONLY)
        os.rename("1", "eins", src_dir_fd=folder, dst_dir_fd=folder)
        os.mkdir("new", dir_fd=folder)
        os.close(os.open("other", os.O_WRONLY | os.O_TRUNC, dir_fd=folder))
        os.close(os.open("eins/track.gpx", os.O_WRONLY | os.O_TRUNC, dir_fd=folder))
        os.close(os.open("new/file", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
        os.chmod(folder, 0o700)
        Path(f"/proc/self/fd/{folder}/2/big").write_text("through a descriptor")
        os.close(folder)

    assert watched(hook) == ()
    assert picture(data_dir) == before


def test_relative_paths_are_understood(data_dir, before, watched, monkeypatch):
    monkeypatch.chdir(data_dir / "tracks")

    def hook():
        Path("1/track.gpx").write_text("changed")
        os.remove("other")
        shutil.move("2", "../two")

    assert watched(hook) == ()
    assert picture(data_dir) == before


def test_symlinks_are_followed_where_the_call_follows_them(data_dir, before, watched):
    def hook():
        (data_dir / "link").write_text("through the link")
        os.chmod(data_dir / "link", 0o600)
        shutil.rmtree(data_dir / "way" / "2")
        (data_dir / "way").unlink()

    assert watched(hook) == ()
    assert picture(data_dir) == before


def test_a_file_moved_in_from_outside_goes_back_there(data_dir, before, watched, tmp_path):
    with tempfile.TemporaryDirectory(dir=data_dir.parent) as folder:
        outside = Path(folder, "upload")
        outside.write_text("upload")
        assert watched(lambda: outside.rename(data_dir / "upload")) == ()
        assert outside.read_text() == "upload"
    assert picture(data_dir) == before


def test_a_file_moved_in_whose_old_name_is_taken_is_set_aside(data_dir, before, watched):
    with tempfile.TemporaryDirectory(dir=data_dir.parent) as folder:
        outside = Path(folder, "upload")
        outside.write_text("first")
        found = watched(lambda: (outside.rename(data_dir / "upload"), outside.write_text("second")))
        assert outside.read_text() == "second"
    assert [path.read_text() for path in found] == ["first"]
    assert picture(data_dir) == before


def test_what_is_moved_out_comes_back(data_dir, before, watched):
    with tempfile.TemporaryDirectory(dir=data_dir.parent) as folder:

        def hook():
            os.rename(data_dir / "one", f"{folder}/one")
            os.rename(data_dir / "tracks", f"{folder}/tracks")

        assert watched(hook) == ()
        assert os.listdir(folder) == []
    assert picture(data_dir) == before


def test_calls_that_fail_fail_as_they_do_without_us(data_dir, before, watched):
    def hook():
        for error, call in (
            (FileNotFoundError, lambda: os.remove(data_dir / "none")),
            (FileNotFoundError, lambda: (data_dir / "none" / "file").write_text("")),
            (FileNotFoundError, lambda: (data_dir / "none").open("r+")),
            (FileExistsError, lambda: (data_dir / "one").open("x")),
            (FileExistsError, lambda: os.mkdir(data_dir / "tracks")),
            (FileExistsError, lambda: os.link(data_dir / "one", data_dir / "VERSION")),
            (FileExistsError, lambda: os.symlink("x", data_dir / "VERSION")),
            (OSError, lambda: os.rmdir(data_dir / "tracks")),
            (OSError, lambda: os.rename(data_dir / "empty", data_dir / "tracks")),
            (IsADirectoryError, lambda: os.rename(data_dir / "one", data_dir / "tracks")),
            (NotADirectoryError, lambda: os.rename(data_dir / "tracks", data_dir / "one")),
            (IsADirectoryError, lambda: os.remove(data_dir / "tracks")),
            (IsADirectoryError, lambda: (data_dir / "tracks").write_text("")),
            (NotADirectoryError, lambda: (data_dir / "one" / "x").write_text("")),
        ):
            with pytest.raises(error):
                call()
        assert picture(data_dir) == before

    assert watched(hook) == ()
    assert picture(data_dir) == before


def test_a_renamed_folder_replaces_an_empty_one(data_dir, before, watched):
    assert watched(lambda: os.rename(data_dir / "tracks", data_dir / "empty")) == ()
    assert picture(data_dir) == before


def test_our_own_folder_is_refused(data_dir, watched):
    def hook():
        with pytest.raises(PathError, match="belongs to fietsupdate"):
            (data_dir / ".fietsupdate" / "lock").write_text("")

    assert watched(hook) == ()


def test_the_applications_own_database_is_left_alone(data_dir, told, watched):
    database = data_dir / "app.db"

    def hook():
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("create table t (x)")
        os.utime(database, ns=(5, 5))

    assert watched(hook, keep_out=[database]) == ()
    assert database.stat().st_mtime_ns == 5
    assert told == []


def test_a_descriptor_that_is_open_for_writing_when_the_hook_begins_is_refused(data_dir, before, watched):
    with (data_dir / "one").open("a"), pytest.raises(FilesError, match=r"cannot begin while .*/one is open for writ"):
        watched(print)
    assert picture(data_dir) == before


def test_a_descriptor_that_the_hook_leaves_open_fails_the_update(data_dir, before, told):
    transaction = begin(data_dir)
    kept = []
    with pytest.raises(FilesError, match="at its end"), Guard(told.append).watching(transaction):
        kept.append((data_dir / "one").open("a"))
    kept[0].close()
    transaction.play_back()


def test_reading_and_what_happens_outside_cost_no_record(data_dir, watched, tmp_path):
    def hook():
        (data_dir / "one").read_text()
        (tmp_path / "outside").write_text("x")
        list(data_dir.rglob("*"))

    transaction = watched(hook, play_back=False)
    assert list(transaction.changes.journal.forwards()) == []
    transaction.play_back()


def test_outside_of_a_hook_nothing_is_journaled(data_dir, told):
    transaction = begin(data_dir)
    with Guard(told.append).watching(transaction):
        pass
    (data_dir / "one").write_text("plain")
    assert list(transaction.changes.journal.forwards()) == []
    transaction.play_back()
    assert (data_dir / "one").read_text() == "plain"


def test_a_guard_that_is_not_told_of_calls_refuses_to_work(data_dir, told, monkeypatch):
    transaction = begin(data_dir)
    monkeypatch.setattr(sys, "audit", lambda *_: None)
    with pytest.raises(FilesError, match="another audit hook keeps it out"), Guard(told.append).watching(transaction):
        pass
    transaction.play_back()


def test_programs_and_databases_are_reported_once(data_dir, told, watched):
    def hook():
        for _ in range(2):
            os.system("true")
            subprocess.run(["true"], check=True)
            sqlite3.connect(data_dir / "tracks" / "other.db").close()
        sqlite3.connect(":memory:").close()

    watched(hook, play_back=False).play_back()
    assert told == [
        "The hook starts true; what other programs change is not undone.",
        f"The hook opens the SQLite database {data_dir}/tracks/other.db; what it writes there is not undone.",
    ]


def test_changes_that_nobody_told_us_of_are_named(data_dir, told, watched):
    def hook():
        (data_dir / "tracks" / "1" / "seen").write_text("x")
        path = os.fsencode(data_dir / "tracks" / "1" / "unseen")
        ctypes.CDLL(None).mkfifo(path, 0o600)

    watched(hook, play_back=False).finish()
    assert told == [
        f"{data_dir}/tracks/1/unseen was changed by something that the guard cannot see; that is not undone."
    ]


def test_a_forked_child_may_not_change_files(data_dir, watched, tmp_path):
    def hook():
        child = os.fork()
        if child == 0:
            (tmp_path / "outside").write_text("may")
            try:
                (data_dir / "one").write_text("may not")
            except FilesError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    assert watched(hook) == ()


def removals(data_dir):
    """Removes files, also such as the same hook has moved or changed before: each step needs the same file back."""
    (data_dir / "tracks" / "1" / "track.gpx").unlink()
    (data_dir / "VERSION").rename(data_dir / "new")
    (data_dir / "new").unlink()
    (data_dir / "tracks" / "2" / "big").chmod(0o600)
    (data_dir / "one").replace(data_dir / "tracks" / "2" / "big")
    (data_dir / "link").unlink()


def test_where_links_are_refused_the_call_removes_a_copy(data_dir, before, watched, monkeypatch):
    monkeypatch.setattr(place_module.os, "link", refuse(1))
    assert watched(lambda: removals(data_dir)) == ()
    assert picture(data_dir) == before


def test_what_cannot_be_linked_or_renamed_to_the_vault_is_copied_there_and_back(data_dir, before, watched, monkeypatch):
    """As between folders with quotas of their own (XFS), which no table of mounts tells apart."""
    real = place_module._rename_exclusively
    monkeypatch.setattr(place_module.os, "link", refuse(18))
    monkeypatch.setattr(
        place_module,
        "_rename_exclusively",
        lambda *names: 18 if "/vault/" in "".join(map(path_of, names)) else real(*names),
    )

    def hook():
        (data_dir / "VERSION").unlink()
        (data_dir / "link").unlink()

    assert watched(hook) == ()
    assert picture(data_dir, inodes=False) == picture_without_inodes(before)


def picture_without_inodes(before):
    tree, links = before
    return {name: (status, [*rest[:-1], 0] if len(rest) == 3 else rest) for name, (status, rest) in tree.items()}, links


def test_mode_and_time_of_the_data_directory_itself_come_back(data_dir, before, watched):
    def hook():
        data_dir.chmod(0o700)
        (data_dir / "new").touch()
        os.utime(data_dir, ns=(5, 5))
        with suppress(OSError):
            os.setxattr(data_dir, "user.colour", b"green")

    assert watched(hook) == ()
    assert picture(data_dir) == before


def test_the_data_directory_cannot_be_moved_away(data_dir, before, watched):
    def hook():
        for folder in (data_dir, data_dir.parent):
            with pytest.raises(PathError, match="which an update cannot move"):
                folder.rename(f"{folder}.old")

    assert watched(hook) == ()
    assert picture(data_dir) == before


def test_what_is_written_into_a_file_that_keeps_its_size_and_time_is_made_durable(data_dir, told, monkeypatch):
    big = data_dir / "tracks" / "2" / "big"
    synced = []
    transaction = begin(data_dir)
    with Guard(told.append).watching(transaction):
        with big.open("r+b") as file:
            transaction.changes.barrier.sync()
            file.write(b"other")
        os.utime(big, ns=(5, next(transaction.changes.journal.forwards(Do.REPLACE)).now.mtime_ns))
    monkeypatch.setattr(transaction_module, "sync_many", synced.extend)
    transaction.seal()
    assert str(big) in synced


def test_folders_that_cannot_be_renamed_are_removed_entry_by_entry(data_dir, before, watched, monkeypatch):
    real = place_module._rename_exclusively
    monkeypatch.setattr(
        place_module,
        "_rename_exclusively",
        lambda source, target: (
            18 if "/vault/" in path_of(target) and os.path.isdir(path_of(source)) else real(source, target)
        ),
    )
    assert watched(lambda: shutil.rmtree(data_dir / "tracks")) == ()
    assert picture(data_dir) == before


def test_a_full_disk_fails_the_call_and_not_the_file(data_dir, before, watched, monkeypatch):
    def hook():
        with monkeypatch.context() as patches:
            patches.setattr(saving_module, "copy_file", refuse(28))
            with pytest.raises(OSError, match="No space left"):
                (data_dir / "tracks" / "2" / "big").open("r+b")
            with pytest.raises(OSError, match="No space left"):
                (data_dir / "one").open("w")
        assert picture(data_dir)[0]["one"] == before[0]["one"]

    assert watched(hook) == ()
    assert picture(data_dir) == before


def test_dormant_it_looks_at_nothing(data_dir, told, monkeypatch):
    transaction = begin(data_dir)
    with Guard(told.append).watching(transaction):
        pass
    transaction.play_back()
    looked = []
    monkeypatch.setattr(guard_module, "_ACTIONS", {"open": lambda *arguments: looked.append(arguments)})
    (data_dir / "one").write_text("x")
    assert looked == []


def test_the_guard_leaves_no_descriptor_open(data_dir, told):
    gc.collect()
    open_before = len(os.listdir("/proc/self/fd"))
    transaction = begin(data_dir)
    with Guard(told.append).watching(transaction):
        every_plain_call(data_dir)
    transaction.seal()
    transaction.play_back()
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_killed_before_any_plain_call_and_any_of_ours_the_tree_comes_back(data_dir, before, told):
    """What a killed hook made and nobody has looked at since is set aside, for it might be somebody else's."""

    def work():
        transaction = begin(data_dir)
        with Guard(told.append).watching(transaction):
            every_plain_call(data_dir)
        transaction.seal()

    for number in count(1):
        killed = run_killed(work, number)
        recover(data_dir)
        assert picture(data_dir) == before, number
        shutil.rmtree(data_dir / ".fietsupdate" / "found", ignore_errors=True)
        assert ours(data_dir) == [], number
        if not killed:
            break
    assert number > 150


NAMES = st.sampled_from(["a", "b", "c", "a/b", "a/c", "b/a", "b/c/a", "c/c"])
CALL = st.one_of(
    st.tuples(st.sampled_from(["write", "append", "touch", "remove", "rmdir", "mkdir", "rmtree", "truncate"]), NAMES),
    st.tuples(st.sampled_from(["rename", "link", "copy", "move", "copytree", "verb"]), NAMES, NAMES),
    st.tuples(st.sampled_from(["symlink"]), st.sampled_from(["a", "b", "c/c"]), NAMES),
    st.tuples(st.just("chmod"), NAMES, st.sampled_from([0o700, 0o755])),
)
CALLS = {
    "write": lambda path: path.write_text(str(path)),
    "append": lambda path: path.open("a").write("more"),
    "touch": pathlib.Path.touch,
    "remove": os.remove,
    "rmdir": os.rmdir,
    "mkdir": os.mkdir,
    "rmtree": shutil.rmtree,
    "truncate": lambda path: os.truncate(path, 1),
    "rename": os.rename,
    "link": os.link,
    "copy": shutil.copy2,
    "move": shutil.move,
    "copytree": shutil.copytree,
    "symlink": os.symlink,
    "chmod": os.chmod,
}


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@example([], [("mkdir", "b"), ("rename", "b", "a"), ("rmdir", "a")])
@example([("mkdir", "a")], [("touch", "a"), ("rmdir", "a")])
@example([], [("write", "a"), ("symlink", "b", "c"), ("rename", "a", "b/a"), ("rename", "c", "b")])
@given(st.lists(CALL, max_size=8), st.lists(CALL, max_size=14))
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_random_plain_calls_undone_leave_the_same_tree(first, then):
    def run(root, calls, files=None):
        for name, one, *rest in calls:
            path = root / one if name != "symlink" else one
            arguments = [root / other if isinstance(other, str) else other for other in rest]
            with contextlib.suppress(OSError, PathError, shutil.Error, RecursionError):
                if name == "verb":
                    if files is not None:
                        files.move(one, rest[0])
                else:
                    CALLS[name](path, *arguments)

    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        root = Path(folder)
        run(root, first)
        (root / ".fietsupdate").mkdir()
        before = picture(root)
        transaction = begin(root)
        told = []
        with Guard(told.append).watching(transaction):
            run(root, then, transaction.files)
        transaction.seal()
        assert told == []
        assert transaction.play_back() == ()
        assert picture(root) == before
        assert ours(root) == []


def test_a_mkdir_that_fails_leaves_the_file_in_its_place_protected(watched, data_dir):
    (data_dir / "taken").write_text("old")

    def hook():
        with suppress(FileExistsError):
            os.mkdir(data_dir / "taken")
        (data_dir / "taken").write_text("new")

    assert watched(hook) == ()
    assert (data_dir / "taken").read_text() == "old"
