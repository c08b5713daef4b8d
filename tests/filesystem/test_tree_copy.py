"""A copied tree is the tree, with everything that a file is, and hashes of what was really copied."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import tempfile
from pathlib import Path

import pytest

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import file_copy
from fietsupdate.filesystem.file_copy import CHUNK, ContentCopier
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.measure import measure
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.content import FICLONE
from fietsupdate.filesystem.space import room
from fietsupdate.filesystem.tree_copy import copy_tree, digest
from fietsupdate.testing.content import tree
from support.file_transactions import somebody_else

ODD_NAMES = (b"new\nline", b"\xff\xfe not UTF-8", b" blank ", b"-rf", "ümlaut".encode(), b"q'u\"o\\te")


@pytest.fixture
def source(tmp_path):
    """Everything that a data directory may hold."""
    top = tmp_path / "source"
    (top / "albums" / "2026" / "empty").mkdir(parents=True)
    (top / "albums" / "2026" / "one.jpg").write_bytes(os.urandom(5000))
    (top / "albums" / "nothing").touch()
    (top / "large").write_bytes(os.urandom(3 * CHUNK + 17))
    os.link(top / "large", top / "albums" / "large too")
    os.link(top / "large", top / "and again")
    (top / "link").symlink_to("albums/2026/one.jpg")
    (top / "broken").symlink_to(b"nowhere \xff")
    (top / "to a folder").symlink_to("albums", target_is_directory=True)
    for name in ODD_NAMES:
        (top / os.fsdecode(name)).write_bytes(name)
    (top / "locked").mkdir()
    (top / "locked" / "inside").write_text("read only")
    os.chmod(top / "locked" / "inside", 0o400)
    os.chmod(top / "albums" / "nothing", 0o6751)
    os.setxattr(top / "large", "user.origin", b"camera \x00")
    os.setxattr(top / "albums", "user.folder", b"yes")
    for number, (parent, folders, files) in enumerate(os.walk(top, topdown=False)):
        for name in [*files, *folders]:
            os.utime(os.path.join(parent, name), ns=(0, 10**18 + number), follow_symlinks=False)
    os.chmod(top / "locked", 0o550)
    os.utime(top, ns=(0, 10**18))
    return top


def copied(source, dest, **options):
    """Copy, and give the records by path."""
    records = []
    copy_tree(source, dest, leave_out=options.pop("leave_out", ()), told=records.append, **options)
    assert len({record.path for record in records}) == len(records)
    return {record.path: record for record in records}


def test_the_copy_of_a_tree_is_the_tree(source, tmp_path):
    copied(source, tmp_path / "dest")
    assert tree(tmp_path / "dest") == tree(source)
    assert (tmp_path / "dest").stat().st_mtime_ns == source.stat().st_mtime_ns
    assert (tmp_path / "dest").stat().st_mode == source.stat().st_mode


def test_the_copy_of_a_copy_is_the_tree_too(source, tmp_path):
    """A restore copies a backup."""
    copied(source, tmp_path / "backup")
    copied(tmp_path / "backup", tmp_path / "restored")
    assert tree(tmp_path / "restored") == tree(source)


def test_every_entry_is_told_once_with_what_it_is(source, tmp_path):
    records = copied(source, tmp_path / "dest", root="media")
    assert set(records) == {"", *tree(source)}
    assert {record.root for record in records.values()} == {"media"}
    for path, node in tree(source).items():
        record = records[path]
        if record.kind == "hardlink":
            assert records[record.target].kind == "file"
            continue
        assert (record.mode, record.uid, record.gid, record.mtime_ns) == (
            node.mode & 0o7777,
            node.uid,
            node.gid,
            node.mtime_ns,
        )
        assert record.sha256 == node.sha256
        assert record.target == node.target
        assert set(record.xattrs) == {name for name, _ in node.xattrs}
    assert sum(record.kind == "hardlink" for record in records.values()) == 2
    assert records["large"].size + records["and again"].size + records["albums/large too"].size == 3 * CHUNK + 17


def test_a_record_survives_its_line_whatever_the_name_is(source, tmp_path):
    for record in copied(source, tmp_path / "dest").values():
        line = record.to_json()
        assert line.isascii()
        assert "\n" not in line
        assert FileRecord.from_json(line) == record
    with pytest.raises(ValueError, match="not a file of a backup"):
        FileRecord.from_json("[]")


def test_holes_stay_holes_and_are_hashed_as_zeros(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "sparse", "wb") as file:
        file.truncate(64 << 20)
        file.seek(8 << 20)
        file.write(b"in the middle")
        file.seek(40 << 20)
        file.write(os.urandom(100_000))
    with open(source / "only a hole", "wb") as file:
        file.truncate(1 << 20)
    records = copied(source, tmp_path / "dest")
    assert tree(tmp_path / "dest") == tree(source)
    for name in ("sparse", "only a hole"):
        assert os.stat(tmp_path / "dest" / name).st_blocks <= os.stat(source / name).st_blocks + 8
        assert records[name].size == os.stat(source / name).st_size
        assert records[name].sha256 == hashlib.sha256((source / name).read_bytes()).hexdigest()
    assert measure(source, ())[1] < 1 << 20


def test_what_is_measured_is_what_is_copied(source, tmp_path):
    moved = []
    records = copied(source, tmp_path / "dest", moved=moved.append)
    assert measure(source, ()) == (len(records), sum(moved))
    assert measure(tmp_path / "dest", ()) == measure(source, ())


@pytest.mark.parametrize("size", [0, 1, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK])
@pytest.mark.parametrize("by_kernel", [True, False])
def test_files_of_all_sizes_by_the_kernel_or_through_memory(tmp_path, monkeypatch, size, by_kernel):
    (tmp_path / "source").write_bytes(os.urandom(size))

    def refused(*_arguments):
        raise OSError(errno.EXDEV, "not here")

    if not by_kernel:
        monkeypatch.setattr(os, "copy_file_range", refused)
    with open(tmp_path / "source", "rb") as reader, open(tmp_path / "dest", "w+b") as writer:
        moved = []
        answer = ContentCopier(moved.append).copy(reader.fileno(), writer.fileno(), os.stat(reader.fileno()))
    assert (tmp_path / "dest").read_bytes() == (tmp_path / "source").read_bytes()
    assert answer == (size, digest(tmp_path / "source"))
    assert sum(moved) == size


def test_blocks_are_shared_where_the_file_system_can(tmp_path, monkeypatch):
    """This disk may not be able to: what the system is asked is what counts."""
    (tmp_path / "source").write_bytes(b"shared")
    asked = []

    def ioctl(writer, request, reader):
        asked.append(request)
        os.write(writer, os.pread(reader, 100, 0))
        return 0

    monkeypatch.setattr(file_copy.fcntl, "ioctl", ioctl)
    with open(tmp_path / "source", "rb") as reader, open(tmp_path / "dest", "w+b") as writer:
        answer = ContentCopier(lambda _moved: None).copy(reader.fileno(), writer.fileno(), os.stat(reader.fileno()))
    assert asked == [FICLONE]
    assert answer == (6, hashlib.sha256(b"shared").hexdigest())


def test_whether_blocks_can_be_shared_is_tried_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(file_copy.fcntl, "ioctl", lambda *_arguments: 0)
    assert file_copy.can_share(tmp_path, tmp_path)

    def refused(*_arguments):
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(file_copy.fcntl, "ioctl", refused)
    assert not file_copy.can_share(tmp_path, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_where_no_file_can_be_without_a_name_it_is_not_tried_with_one(tmp_path, monkeypatch):
    """A dry run asks, too; and a name that comes and goes changes the folder's time."""
    os.utime(tmp_path, (1, 1))
    opened = os.open

    def refused(path, flags, *arguments):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return opened(path, flags, *arguments)

    monkeypatch.setattr(file_copy.os, "open", refused)
    monkeypatch.setattr(file_copy.fcntl, "ioctl", lambda *_arguments: 0)
    assert not file_copy.can_share(tmp_path, tmp_path)
    assert tmp_path.stat().st_mtime == 1


def test_our_own_folder_and_what_is_left_out_are_not_copied(source, tmp_path):
    (source / ".fietsupdate" / "backups").mkdir(parents=True)
    (source / ".fietsupdate" / "lock").touch()
    (source / "albums" / ".fietsupdate").write_text("not ours: nobody has mounted anything here")
    (source / "app.db").write_text("rows")
    (source / "app.db-wal").write_text("rows")
    expected = set(tree(source)) - {".fietsupdate", ".fietsupdate/backups", ".fietsupdate/lock"}
    out = [source / "app.db", source / "app.db-wal", source / "albums" / "2026"]
    expected -= {"app.db", "app.db-wal", "albums/2026", "albums/2026/empty", "albums/2026/one.jpg"}
    records = copied(source, tmp_path / "dest", leave_out=out)
    assert set(tree(tmp_path / "dest")) == expected == set(records) - {""}
    assert measure(source, out)[0] == len(records)


def test_a_copy_into_the_tree_does_not_copy_itself(source):
    before = set(tree(source))
    records = copied(source, source / "albums" / "copy")
    assert set(records) - {""} == before == set(tree(source / "albums" / "copy"))


def test_sockets_and_pipes_are_left_out_and_named(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
        told = []
        assert set(copied(source, tmp_path / "dest", warn=told.append)) == {""}
    assert sorted(told) == [
        f"{source / name} is a socket, a pipe or a device, and was left out" for name in ("pipe", "socket")
    ]


def test_a_file_that_vanishes_meanwhile_is_named_and_not_recorded(source, tmp_path):
    told, records = [], []

    def at_the_first(record):
        records.append(record)
        for name in ("large", "and again"):
            (source / name).unlink(missing_ok=True)

    first = os.listdir(source)[0]
    copy_tree(source, tmp_path / "dest", leave_out=(), told=at_the_first, warn=told.append)
    gone = {"large", "and again"} - {record.path for record in records}
    assert gone >= {"large", "and again"} - {first}
    assert set(told) == {f"{source / name} vanished while it was copied" for name in gone}
    assert set(tree(tmp_path / "dest")) == {record.path for record in records} - {""}


def test_a_folder_that_vanishes_meanwhile_is_named(tmp_path):
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    told, records = [], []

    def at_the_root(record):
        records.append(record.path)
        if not record.path:
            (source / "a").rmdir()

    copy_tree(source, tmp_path / "dest", leave_out=(), told=at_the_root, warn=told.append)
    assert told == [f"{source / 'a'} vanished while it was copied"]
    assert records == ["", "a"]


def test_a_file_that_changes_meanwhile_is_named_and_recorded_as_it_was_copied(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "log").write_bytes(b"x" * (3 * CHUNK))
    told, grown = [], []

    def grow(_moved):
        if not grown:
            grown.append(True)
            with open(source / "log", "ab") as log:
                log.write(b"more")

    record = copied(source, tmp_path / "dest", warn=told.append, moved=grow)["log"]
    assert told == [f"{source / 'log'} changed while it was copied"]
    assert record.size == (tmp_path / "dest" / "log").stat().st_size
    assert record.sha256 == digest(tmp_path / "dest" / "log")


def test_what_is_there_already_is_never_replaced(source, tmp_path):
    (tmp_path / "dest").mkdir()
    (tmp_path / "dest" / "large").write_text("somebody else's")
    with pytest.raises(FileExistsError):
        copied(source, tmp_path / "dest")
    assert (tmp_path / "dest" / "large").read_text() == "somebody else's"


def test_a_source_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FilesError, match="does not exist, or is no folder"):
        copied(tmp_path / "nowhere", tmp_path / "dest")


def test_a_full_disk_is_an_error_of_the_copy(source, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_copy, "write_all", full)
    before = tree(source)
    with pytest.raises(OSError, match="No space left") as caught:
        copied(source, tmp_path / "dest")
    assert caught.value.errno == errno.ENOSPC
    assert tree(source) == before


@pytest.mark.parametrize("files", [3, durable.MANY + 3])
def test_everything_is_durable_before_it_returns(tmp_path, monkeypatch, files):
    """A few files are synced one by one, with all folders; many by their file system."""
    source, synced, whole = tmp_path / "source", set(), []
    (source / "sub").mkdir(parents=True)
    for number in range(files):
        (source / "sub" / str(number)).write_text("text")
    real = durable.sync

    def sync(descriptor, name):
        synced.add(str(name))
        real(descriptor, name)

    monkeypatch.setattr(durable, "sync", sync)
    monkeypatch.setattr("fietsupdate.filesystem.tree_copy.sync_file_system", whole.append)
    dest = tmp_path / "dest"
    copied(source, dest)
    if files < durable.MANY:
        assert synced == {str(path) for path in (tmp_path, dest, *dest.rglob("*"))}
    else:
        assert whole == [str(dest)]


def test_room_is_that_of_the_file_system_even_for_a_folder_that_is_not_there_yet(tmp_path):
    assert 0 < room(tmp_path / "not" / "yet") <= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize


@pytest.fixture
def open_folder():
    """A folder that everybody can enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_copies_what_belongs_to_another(open_folder):
    """The copy belongs to the user, who can go through it; the record names the owner and the mode that it had."""
    source, theirs = open_folder / "source", open_folder / "theirs"
    (source / "shared").mkdir(parents=True)
    theirs.mkdir()
    (source / "shared" / "note").write_text("for the group")
    os.chown(source / "shared", 12345, 54321)
    os.chown(theirs, 23456, 54321)
    os.chmod(source / "shared", 0o070)
    with somebody_else(23456, 54321):
        record = copied(source, theirs / "copy")["shared"]
    assert (record.mode, record.uid, record.gid) == (0o070, 12345, 54321)
    made = (theirs / "copy" / "shared").stat()
    assert (made.st_uid, made.st_mode & 0o777) == (23456, 0o770)
    assert (theirs / "copy" / "shared" / "note").read_text() == "for the group"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_cannot_be_read_is_an_error_that_names_it(open_folder):
    source, theirs = open_folder / "source", open_folder / "theirs"
    source.mkdir()
    theirs.mkdir()
    os.chown(theirs, 23456, 54321)
    (source / "secret").write_text("only root's")
    os.chmod(source / "secret", 0o600)
    with somebody_else(23456, 54321), pytest.raises(FilesError) as caught:
        copied(source, theirs / "copy")
    assert caught.value.message == f"{source / 'secret'} cannot be read: Permission denied."
    assert caught.value.hint == "Run as a user who may read the whole data directory."
