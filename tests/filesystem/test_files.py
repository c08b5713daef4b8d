"""The verbs of scripts, and that undoing them brings back the very same tree (invariants 2, 3, 4, 9)."""

import contextlib
import errno
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.journal import effects as effects_module
from fietsupdate.filesystem.ledger import inspect_files
from fietsupdate.filesystem.paths import PathError
from fietsupdate.filesystem.posix import mounts
from fietsupdate.filesystem.posix import rename as place_module
from fietsupdate.filesystem.posix.folders import path_of
from fietsupdate.filesystem.transaction import FileTransaction
from fietsupdate.model import Direction, Entry
from support.file_transactions import HEADER, begin, every_verb, ours, picture, recover
from support.paths import TESTS


def entry(seq=1):
    return Entry(seq, "t", "u1", Direction.UP, "c", "2026-01-01T00:00:00.000Z", 5, "1.0", "0.1", "me")


# What the verbs do


def test_write_takes_bytes_text_and_streams(files, data_dir):
    files.write("a", b"\x00\xff")
    files.write("b", "gr\u00fcn\r\n")
    files.write("c/d/e", io.BytesIO(b"stream"))
    files.write("f", io.StringIO("text\u00e9"))
    assert (data_dir / "a").read_bytes() == b"\x00\xff"
    assert (data_dir / "b").read_bytes() == "gr\u00fcn\r\n".encode()
    assert (data_dir / "c/d/e").read_bytes() == b"stream"
    assert (data_dir / "f").read_bytes() == "text\u00e9".encode()


def test_a_replaced_file_keeps_mode_and_attributes(files, data_dir):
    (data_dir / "one").chmod(0o604)
    files.write("one", b"new")
    assert stat.S_IMODE((data_dir / "one").stat().st_mode) == 0o604
    assert os.getxattr(data_dir / "one", "user.colour") == b"red"
    assert (data_dir / "tracks" / "other").read_text() == "two names"


def test_a_new_file_takes_the_umask(files, data_dir):
    old = os.umask(0o027)
    try:
        files.write("new", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((data_dir / "new").stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_is_new_belongs_to_the_owner_of_its_folder(files, data_dir):
    os.chown(data_dir / "tracks", 1234, 1235)
    files.write("tracks/a/b/c", b"")
    files.symlink("tracks/a/link", "b")
    for path in ("tracks/a", "tracks/a/b", "tracks/a/b/c", "tracks/a/link"):
        status = (data_dir / path).lstat()
        assert (status.st_uid, status.st_gid) == (1234, 1235), path


def test_an_opened_file_takes_its_place_when_it_is_closed(files, data_dir):
    with files.open("one", "wb") as file:
        file.write(b"new")
        assert (data_dir / "one").read_text() == "two names"
    assert (data_dir / "one").read_bytes() == b"new"
    text = files.open("notes", encoding="latin-1")
    text.write("\u00e9")
    text.close()
    text.close()
    assert (data_dir / "notes").read_bytes() == b"\xe9"


def test_appending_keeps_what_was_there(files, data_dir):
    with files.open("one", "a") as file:
        file.write(" and more")
    with files.open("none", "ab") as file:
        file.write(b"first")
    assert (data_dir / "one").read_text() == "two names and more"
    assert (data_dir / "none").read_bytes() == b"first"


def test_an_exception_while_writing_leaves_what_was_there(files, data_dir):
    with contextlib.suppress(ZeroDivisionError), files.open("one") as file:
        file.write("half")
        raise ZeroDivisionError
    assert (data_dir / "one").read_text() == "two names"


def test_a_disk_that_fills_while_an_opened_file_is_flushed_leaves_what_was_there(files, data_dir):
    file = files.open("one", "wb")
    file.write(b"half")
    with contextlib.suppress(OSError):
        os.close(file.fileno())
        file.close()
    assert (data_dir / "one").read_text() == "two names"


def test_exclusive_creation_refuses_what_is_there(files):
    with pytest.raises(FileExistsError):
        files.open("one", "x")
    with pytest.raises(ValueError, match=r"The mode 'r\+' is none of"):
        files.open("one", "r+")


def test_move_renames_files_and_whole_folders(files, data_dir):
    inode = (data_dir / "one").stat().st_ino
    files.move("one", "deep/er/one")
    files.move("tracks", "deep/tracks")
    assert (data_dir / "deep/er/one").stat().st_ino == inode
    assert (data_dir / "deep/tracks/1/track.gpx").read_text() == "<gpx/>"


def test_move_and_copy_never_replace(files, data_dir, before):
    with pytest.raises(OSError, match="cannot be copied into itself"):
        files.copy("tracks", "tracks/1/copy")
    for verb in (files.move, files.copy):
        with pytest.raises(FileExistsError):
            verb("one", "VERSION")
        with pytest.raises(FileNotFoundError):
            verb("none", "new")
    with pytest.raises(FileNotFoundError):
        files.remove("none")
    assert picture(data_dir) == before


def test_copy_keeps_modes_times_and_attributes(files, data_dir):
    files.copy("tracks", "copied")
    copied, original = data_dir / "copied", data_dir / "tracks"
    assert (copied / "2/big").read_bytes() == (original / "2/big").read_bytes()
    for path in (".", "1", "1/track.gpx"):
        assert (copied / path).stat().st_mtime_ns == (original / path).stat().st_mtime_ns
        assert (copied / path).stat().st_mode == (original / path).stat().st_mode
    assert os.getxattr(copied, "user.colour") == b"blue"


def test_remove_takes_files_links_and_trees(files, data_dir):
    for path in ("one", "link", "way", "tracks", "empty"):
        files.remove(path)
    assert sorted(path.name for path in data_dir.iterdir()) == [".fietsupdate", "VERSION"]


def test_a_symlink_to_a_folder_is_removed_and_not_what_it_points_to(files, data_dir):
    files.remove("way")
    assert (data_dir / "tracks" / "1").is_dir()


def test_mkdir_makes_the_folders_above_and_accepts_one_that_is_there(files, data_dir):
    files.mkdir("a/b/c")
    files.mkdir("a/b/c")
    assert (data_dir / "a/b/c").is_dir()
    with pytest.raises(FileExistsError):
        files.mkdir("one")


def test_chmod_follows_a_symlink(files, data_dir):
    files.chmod("link", 0o600)
    assert stat.S_IMODE((data_dir / "tracks/1/track.gpx").stat().st_mode) == 0o600


def test_reading_sees_what_was_written(files):
    files.write("tracks/3/track.gpx", "new")
    files.remove("tracks/1")
    assert files.exists("tracks/3/track.gpx")
    assert not files.exists("tracks/1/track.gpx")
    assert files.is_dir("tracks/3")
    assert files.is_file("tracks/3/track.gpx")
    assert files.read_bytes("tracks/3/track.gpx") == b"new"
    assert files.read_text("way/3/track.gpx") == "new"
    assert list(files.glob("tracks/**/*.gpx")) == [PurePosixPath("tracks/3/track.gpx")]
    assert [str(path) for path in files.iterdir("tracks")] == ["tracks/2", "tracks/3", "tracks/other"]


def test_our_own_folder_is_not_listed(files):
    assert ".fietsupdate" not in {str(path) for path in [*files.iterdir(), *files.glob("*"), *files.glob("**/*")]}


# What they refuse


@pytest.mark.parametrize(
    "path",
    [
        "../out",
        "tracks/../../out",
        "tracks/../one",
        "/etc/passwd",
        "out/file",
        "",
        ".",
        "a\0b",
        ".fietsupdate/lock",
        "tracks/.fietsupdate/x",
    ],
)
def test_paths_out_of_the_root_and_ours_are_refused(data_dir, files, path):
    (data_dir / "out").symlink_to("/tmp")
    before = picture(data_dir)
    verbs = [files.remove, lambda path: files.write(path, b""), lambda path: files.move("one", path)]
    for verb in verbs if path == "." else [*verbs, files.mkdir]:
        with pytest.raises(PathError):
            verb(path)
    assert picture(data_dir) == before


def test_leading_out_is_refused_with_the_hint_of_extra_dirs(files):
    with pytest.raises(PathError, match=r"'/srv/media/x' leads out of .*: it is absolute") as caught:
        files.write("/srv/media/x", b"")
    assert "extra_dirs" in caught.value.hint


def test_an_absolute_path_inside_is_accepted(files, data_dir):
    files.write(data_dir / "tracks" / "new", b"")
    assert (data_dir / "tracks" / "new").exists()


def test_symlinks_may_not_lead_out(files, data_dir):
    for target in ("/etc/passwd", "../out", "../../out"):
        with pytest.raises(PathError, match="would lead out"):
            files.symlink("tracks/new", "../" + target if target.startswith(".") else target)
    files.symlink("tracks/new", "../one")
    assert (data_dir / "tracks/new").read_text() == "two names"


def test_the_applications_own_database_is_left_alone(data_dir):
    for name in ("app.db", "app.db-wal"):
        (data_dir / "tracks" / name).write_bytes(b"")
    before = picture(data_dir)
    transaction = begin(data_dir, keep_out=[data_dir / "tracks" / "app.db"])
    for path in ("tracks/app.db", "tracks/app.db-wal", "way/app.db", "tracks"):
        for verb in (transaction.files.remove, lambda path: transaction.files.move(path, "new")):
            with pytest.raises(PathError, match="the application's own database"):
                verb(path)
    with pytest.raises(PathError):
        transaction.files.write("tracks/app.db-shm", b"")
    assert [str(path) for path in transaction.files.glob("tracks/app*")] == []
    assert picture(data_dir) == before


def test_a_folder_is_not_replaced_by_a_file(files):
    with pytest.raises(IsADirectoryError):
        files.write("tracks", b"")


def test_a_forked_child_changes_nothing(transaction, data_dir, before):
    """Neither by a verb, nor by unwinding into the transaction."""
    child = os.fork()
    if child == 0:
        refused = 0
        for effect in (lambda: transaction.files.remove("one"), transaction.seal, transaction.play_back):
            try:
                effect()
            except FilesError:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert picture(data_dir) == before
    transaction.files.remove("one")
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


# What undoing and finishing leave


def test_every_verb_undone_leaves_the_tree_of_before_and_nothing_of_ours(transaction, data_dir, before):
    every_verb(transaction.files)
    transaction.record([entry()], ["u1"], "VERSION")
    transaction.seal()
    assert picture(data_dir) != before
    assert transaction.play_back() == ()
    assert picture(data_dir) == before
    assert ours(data_dir) == []


def test_every_verb_finished_leaves_the_tree_of_after_and_the_ledger(transaction, data_dir):
    every_verb(transaction.files)
    transaction.record([entry()], ["u1", "u2"], "VERSION")
    transaction.seal()
    after = picture(data_dir)
    transaction.finish()
    assert picture(data_dir) == after
    assert ours(data_dir) == ["ledger.jsonl"]
    view = inspect_files(data_dir, "VERSION")
    assert (view.entries, view.version, view.damaged) == ((entry(),), ("u1", "u2"), "")
    assert (data_dir / "VERSION").read_bytes() == b"u1\nu2"


def test_entries_are_appended_and_taken_back(data_dir):
    for seq in (1, 2):
        transaction = begin(data_dir)
        transaction.record([entry(seq)], ["u1"], "VERSION")
        transaction.seal()
        transaction.finish()
    transaction = begin(data_dir)
    transaction.record([entry(3)], ["u3"], "")
    transaction.record([entry(4)], ["u4"], "deep/VERSION")
    assert inspect_files(data_dir, "deep/VERSION").version == ("u4",)
    transaction.play_back()
    assert inspect_files(data_dir, "VERSION").entries == (entry(1), entry(2))
    assert inspect_files(data_dir, "deep/VERSION").version is None


def test_a_kept_vault_stays_until_the_next_transaction_is_finished(data_dir):
    transaction = begin(data_dir)
    transaction.files.remove("one")
    transaction.seal()
    transaction.finish(keep_vault=True)
    kept = data_dir / ".fietsupdate" / "kept" / HEADER.txn / "vault"
    assert [path.read_text() for path in kept.iterdir()] == ["two names"]
    assert FileTransaction.reopen(data_dir) is None
    transaction = begin(data_dir)
    transaction.seal()
    assert kept.exists()
    transaction.finish()
    assert ours(data_dir) == []


def test_a_reopened_transaction_goes_on(data_dir, before):
    begin(data_dir).files.remove("one")
    transaction = FileTransaction.reopen(data_dir)
    transaction.files.write("one", b"new")
    transaction.files.remove("tracks")
    again = FileTransaction.reopen(data_dir)
    assert again.play_back() == ()
    assert picture(data_dir) == before


def test_nothing_can_be_changed_after_sealing(transaction):
    transaction.seal()
    with pytest.raises(FilesError, match="The transaction is complete"):
        transaction.files.remove("one")


def test_a_file_that_is_still_open_for_writing_fails_the_update(transaction, data_dir, before):
    file = transaction.files.open("one")
    file.write("half")
    with pytest.raises(OSError, match="opened a file for writing and not closed it"):
        transaction.seal()
    transaction.play_back()
    with contextlib.suppress(OSError, FilesError):
        file.close()
    assert picture(data_dir) == before


def test_a_verb_that_fails_in_the_middle_has_changed_nothing(files, data_dir, before, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), target.path)

    monkeypatch.setattr(effects_module, "place", refuse)
    with pytest.raises(PermissionError):
        files.write("new/folder/file", b"")
    tree, links = picture(data_dir)
    assert tree.keys() == before[0].keys()
    assert links == before[1]


def test_two_further_roots_are_changed_and_put_back_with_the_data_directory(data_dir, tmp_path, before):
    roots = {"media": tmp_path / "media", "mail": tmp_path / "mail"}
    for root in roots.values():
        root.mkdir()
        (root / "old").write_text("old")
        os.utime(root, ns=(10**18, 10**18))
    pictures = [picture(root) for root in roots.values()]
    for end in ("play_back", "finish"):
        transaction = begin(data_dir, roots=roots)
        for files in transaction.dirs.values():
            files.write("old", b"new")
            files.write("deep/new", b"new")
        transaction.files.remove("one")
        transaction.seal()
        getattr(transaction, end)()
        if end == "play_back":
            assert [picture(root) for root in roots.values()] == pictures
            assert picture(data_dir) == before
    assert [(root / "old").read_text() for root in roots.values()] == ["new", "new"]
    for root in roots.values():
        assert not (root / ".fietsupdate").exists()


# What somebody else does meanwhile


def crashed(data_dir, work):
    work(begin(data_dir).files)


def contents(paths):
    return sorted(path.read_text() for path in paths)


def test_a_new_file_that_the_application_changed_is_set_aside(data_dir, before):
    crashed(data_dir, lambda files: files.write("tracks/new", b"ours"))
    (data_dir / "tracks" / "new").write_text("theirs")
    found = recover(data_dir)
    assert [path.relative_to(data_dir / ".fietsupdate/found" / HEADER.txn) for path in found] == [Path("tracks/new")]
    assert contents(found) == ["theirs"]
    assert picture(data_dir) == before


def test_a_file_that_stands_where_one_was_removed_is_set_aside(data_dir, before):
    crashed(data_dir, lambda files: files.remove("one"))
    (data_dir / "one").write_text("theirs")
    assert contents(recover(data_dir)) == ["theirs"]
    assert picture(data_dir) == before


def test_a_folder_that_stands_where_one_was_removed_is_set_aside_whole(data_dir, before):
    crashed(data_dir, lambda files: files.remove("tracks"))
    (data_dir / "tracks").mkdir()
    (data_dir / "tracks" / "upload").write_text("theirs")
    assert contents(recover(data_dir)) == ["theirs"]
    assert picture(data_dir) == before


def test_a_replaced_file_that_the_application_replaced_again_is_set_aside(data_dir, before):
    crashed(data_dir, lambda files: files.write("one", b"ours"))
    (data_dir / "one").unlink()
    (data_dir / "one").write_text("theirs")
    assert contents(recover(data_dir)) == ["theirs"]
    assert picture(data_dir) == before


def test_a_moved_file_that_the_application_changed_goes_back_and_is_named(data_dir):
    crashed(data_dir, lambda files: files.move("tracks/2/big", "big"))
    (data_dir / "big").write_text("theirs")
    assert recover(data_dir) == (data_dir / "tracks/2/big",)
    assert (data_dir / "tracks/2/big").read_text() == "theirs"


def test_an_upload_into_a_new_folder_stays_and_is_named(data_dir):
    crashed(data_dir, lambda files: files.write("new/file", b"ours"))
    (data_dir / "new" / "upload").write_text("theirs")
    assert recover(data_dir) == (data_dir / "new",)
    assert [path.name for path in (data_dir / "new").iterdir()] == ["upload"]


def test_an_upload_into_a_moved_folder_goes_back_with_it(data_dir):
    crashed(data_dir, lambda files: files.move("tracks", "moved"))
    (data_dir / "moved" / "upload").write_text("theirs")
    assert recover(data_dir) == ()
    assert (data_dir / "tracks" / "upload").read_text() == "theirs"


def test_what_the_application_does_elsewhere_is_left_alone(data_dir):
    crashed(data_dir, lambda files: files.remove("one"))
    (data_dir / "tracks" / "upload").write_text("theirs")
    (data_dir / "VERSION").write_text("v2")
    assert recover(data_dir) == ()
    assert (data_dir / "tracks" / "upload").read_text() == "theirs"
    assert (data_dir / "VERSION").read_text() == "v2"


def test_setting_aside_deletes_nothing_of_the_transactions_own(data_dir, before):
    crashed(data_dir, lambda files: (files.write("one", b"new one"), files.write("tracks/new", b"new track")))
    assert contents(recover(data_dir, set_aside=True)) == ["new one", "new track"]
    assert picture(data_dir) == before


def test_a_folder_and_a_file_of_one_name_are_both_set_aside(data_dir, before):
    crashed(data_dir, lambda files: (files.write("a/b", b"one"), files.move("a", "c"), files.write("a", b"two")))
    assert contents(recover(data_dir, set_aside=True)) == ["one", "two"]
    assert picture(data_dir) == before


def test_setting_aside_after_every_verb_leaves_the_same_tree(data_dir, before):
    crashed(data_dir, every_verb)
    assert b"new" in [path.read_bytes() for path in recover(data_dir, set_aside=True) if path.is_file()]
    assert picture(data_dir) == before


def test_what_was_set_aside_is_reported_again_after_a_crash_in_playback(data_dir):
    crashed(data_dir, lambda files: (files.write("a", b"ours"), files.write("b", b"ours")))
    (data_dir / "b").write_text("theirs")
    transaction = FileTransaction.reopen(data_dir)
    transaction._undo_all(set_aside=False)
    assert contents(recover(data_dir)) == ["theirs"]


# Where the file system does not play along


def test_without_exclusive_renames_and_without_links_it_works_the_same(data_dir, before, monkeypatch):
    monkeypatch.setattr(place_module, "_rename_exclusively", lambda source, target: errno.EINVAL)
    for refusal in (None, errno.EPERM):
        if refusal is not None:

            def refuse(*_, number=refusal, **__):
                raise OSError(number, os.strerror(number))

            monkeypatch.setattr(os, "link", refuse)
        transaction = begin(data_dir)
        every_verb(transaction.files)
        transaction.seal()
        assert transaction.play_back() == ()
        assert picture(data_dir) == before


def test_folders_that_cannot_be_renamed_go_file_by_file(data_dir, before, monkeypatch):
    """As on overlayfs, whose lower folders answer EXDEV while files in them can be renamed."""
    real = place_module._rename_exclusively

    def refuse(source, target):
        path = path_of(source)
        if os.path.isdir(path) and not os.path.islink(path) and "/vault/" not in path:
            return errno.EXDEV
        return real(source, target)

    with monkeypatch.context() as patches:
        patches.setattr(place_module, "_rename_exclusively", refuse)
        transaction = begin(data_dir)
        times = {path.name: path.stat().st_mtime_ns for path in (data_dir / "tracks").iterdir()}
        transaction.files.move("tracks", "moved/tracks")
        assert {path.name: path.stat().st_mtime_ns for path in (data_dir / "moved/tracks").iterdir()} == times
        transaction.files.remove("moved")
        transaction.files.remove("empty")
        assert not (data_dir / "moved").exists()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


MOUNTS = """
set -e
mount -t tmpfs none "$1/tracks/2"
cd /
exec "$2" "$3" "$1"
"""
IN_MOUNT = """
import os, pathlib, shutil, sys
sys.path.insert(0, {tests!r})
from support.file_transactions import begin, picture, recover
from fietsupdate.filesystem.guard.guard import Guard
data = pathlib.Path(sys.argv[1])
(data / "tracks/2/file").write_text("mounted")
(data / "tracks/2/folder").mkdir()
(data / "tracks/2/folder/a").write_text("a")
def work(files):
    files.write("tracks/2/file", b"new")
    files.write("tracks/2/new", b"new")
    files.move("tracks/2/folder", "out")
    files.move("one", "tracks/2/one")
    files.remove("tracks/2/file")
    files.copy("VERSION", "tracks/2/v")
    files.mkdir("tracks/2/dir")
    files.write_many([("tracks/2/w", b"w"), ("w", b"w"), ("tracks/2/v", b"other")])
    files.move_many([("w", "x"), ("x", "tracks/2/x"), ("tracks/2/w", "tracks/2/deep/w")])
    files.remove_many(["tracks/2/x", "tracks/2/deep"])
    try:
        files.remove("tracks")
    except OSError as error:
        print(error.strerror)
before = picture(data, inodes=False)
transaction = begin(data)
work(transaction.files)
transaction.seal()
assert (data / "out/a").read_text() == "a"
print(recover(data))
after = picture(data, inodes=False)
names = before[0].keys() | after[0].keys()
print([(name, before[0].get(name), after[0].get(name)) for name in names if before[0].get(name) != after[0].get(name)])
transaction = begin(data)
with Guard(print).watching(transaction):
    (data / "tracks/2/folder/a").rename(data / "tracks/2/file")
    (data / "tracks/2/file").write_text("in its place")
    (data / "tracks/2/file").unlink()
    (data / "tracks/2/old").mkdir()
    (data / "tracks/2/folder").rename(data / "tracks/2/old/folder")
    shutil.rmtree(data / "tracks/2/old")
transaction.seal()
print(recover(data), picture(data, inodes=False) == before)
transaction = begin(data)
work(transaction.files)
transaction.seal()
transaction.finish()
print(sorted(str(path.relative_to(data)) for path in (data / "tracks/2").rglob("*")))
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None or os.system("unshare -m true 2>/dev/null") != 0,
    reason="needs root and mount namespaces",
)
def test_a_file_system_mounted_in_the_data_directory_is_changed_and_put_back(data_dir, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(IN_MOUNT.format(tests=str(TESTS)))
    command = ["unshare", "-m", "sh", "-c", MOUNTS, "sh", str(data_dir), sys.executable, str(script)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert run.stdout.splitlines() == [
        "A file system is mounted in it",
        "()",
        "[]",
        "() True",
        "A file system is mounted in it",
        "['tracks/2/dir', 'tracks/2/new', 'tracks/2/one', 'tracks/2/v']",
    ]


def test_a_subvolume_is_known_by_its_device_where_the_table_of_mounts_has_none(monkeypatch):
    """As on btrfs, which refuses to rename a file out of a subvolume."""
    monkeypatch.setattr(mounts, "_points", lambda: iter(["/", "/srv"]))
    monkeypatch.setattr(os.path, "ismount", lambda path: path in {"/", "/srv", "/srv/data/media"})
    assert mounts.mount_point("/srv/data/media/new") == "/srv/data/media"
    assert mounts.mount_point("/srv/data/tracks") == "/srv"


# Random trees, random verbs

NAMES = st.sampled_from(["a", "b", "c", "a/b", "a/c", "b/a", "b/c/a", "c/c"])
ITEMS = {
    "write_many": st.tuples(NAMES, st.sampled_from([b"", b"x"])),
    "move_many": st.tuples(NAMES, NAMES),
    "remove_many": NAMES,
}
VERB = st.one_of(
    *(st.tuples(st.just(verb), st.lists(items, min_size=1, max_size=4)) for verb, items in ITEMS.items()),
    st.tuples(st.just("transform"), st.sampled_from(["*", "*/*", "b/**/*"]), st.just(b"new ".__add__)),
    st.tuples(st.just("write"), NAMES, st.sampled_from([b"", b"x", b"long" * 50])),
    st.tuples(st.sampled_from(["move", "copy"]), NAMES, NAMES),
    st.tuples(st.sampled_from(["remove", "mkdir"]), NAMES),
    st.tuples(st.just("symlink"), NAMES, st.sampled_from(["a", "b", "c/c"])),
    st.tuples(st.just("chmod"), NAMES, st.sampled_from([0o700, 0o755, 0o644])),
)
NODE = st.tuples(NAMES, st.sampled_from(["file", "folder", "link", "second name"]))


def random_tree(root, nodes):
    for number, (name, kind) in enumerate(nodes):
        path = root / name
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "file":
                path.write_text(name)
            elif kind == "folder":
                path.mkdir()
            elif kind == "link":
                path.symlink_to("a")
            else:
                os.link(next(item for item in root.rglob("*") if item.is_file()), path)
            os.utime(path, ns=(10**18, 10**18 + number), follow_symlinks=False)


def random_verbs(files, verbs):
    for name, *arguments in verbs:
        with contextlib.suppress(OSError, PathError, RuntimeError):
            getattr(files, name)(*arguments)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(NODE, max_size=10), st.lists(VERB, max_size=14))
def test_random_verbs_on_random_trees_undone_leave_the_same_tree(nodes, verbs):
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        root = Path(folder)
        with contextlib.suppress(StopIteration):
            random_tree(root, nodes)
        (root / ".fietsupdate").mkdir()
        before = picture(root)
        transaction = begin(root)
        random_verbs(transaction.files, verbs)
        transaction.seal()
        after = picture(root)
        assert recover(root) == ()
        assert picture(root) == before
        assert ours(root) == []
        random_verbs(begin(root).files, verbs)
        recover(root, set_aside=True)
        assert picture(root) == before
        shutil.rmtree(root / ".fietsupdate" / "found", ignore_errors=True)
        transaction = begin(root)
        random_verbs(transaction.files, verbs)
        transaction.seal()
        transaction.finish()
        assert [tree.keys() for tree in picture(root)[:1]] == [tree.keys() for tree in after[:1]]
        assert ours(root) == []


def test_open_reads_what_was_written_in_the_same_transaction(files):
    files.write("notes/a.txt", "ä")
    with files.open("notes/a.txt", "rb") as file:
        assert file.read() == "ä".encode()
    with files.open("notes/a.txt", "r") as file:
        assert file.read() == "ä"
    with pytest.raises(FileNotFoundError):
        files.open("notes/missing.txt", "rb")
    with pytest.raises(ValueError, match="a file is read, or replaced"):
        files.open("notes/a.txt", "r+b")
