"""What the tests of the filesystem room share: a picture of a tree, and a transaction on it."""

import json
import os
import shutil
import signal
import stat
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.journal.columns import START
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.transaction import FileTransaction
from fietsupdate.model import Direction
from fietsupdate.views import OpenTransaction

STRIDE = 1 if os.environ.get("FIETSUPDATE_SWEEP") else 5
"""Error sweeps take every fifth call, or every one with FIETSUPDATE_SWEEP=1."""

HEADER = OpenTransaction(
    txn="0c5ff6b4-6d0a-4f3a-9a51-0d1f3e1f0001",
    instance_id="1",
    tip_seq=0,
    tip_hash="",
    update_id="u1",
    direction=Direction.UP,
    atomic=True,
)


def begin(data_dir, **options):
    return FileTransaction.begin(data_dir, HEADER, **options)


def picture(root, *, inodes=True):
    """Return what a rollback must restore: type, content, mode, owner, time, attributes, links; without our folder."""
    seen = {}
    groups = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name != ".fietsupdate"]
        for path in [folder, *(os.path.join(folder, name) for name in names + folders)]:
            status = os.lstat(path)
            name = os.path.relpath(path, root)
            entry = [stat.S_IFMT(status.st_mode), status.st_mode & 0o7777, status.st_uid, status.st_gid]
            entry.append(status.st_mtime_ns)
            entry.append({key: os.getxattr(path, key, follow_symlinks=False) for key in _xattrs(path)})
            if stat.S_ISLNK(status.st_mode):
                entry.append(os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    entry.append(file.read())
                groups.setdefault((status.st_dev, status.st_ino), set()).add(name)
                entry.append(status.st_ino if inodes else 0)
            seen[name] = tuple(entry[:5]), entry[5:]
    return seen, sorted(sorted(group) for group in groups.values())


NOTES = {"failure", "interruptions"}


def ours(root):
    """Return the paths in our own folder without the notes of failures and interruptions, which decide nothing."""
    home = root / ".fietsupdate"
    return sorted(
        str(path.relative_to(home)) for path in home.rglob("*") if path.name not in NOTES or path.parent != home
    )


def plant(root):
    """Make a tree with one of each: modes, times, attributes, symlinks, hard links, empty folders."""
    (root / "tracks" / "1").mkdir(parents=True)
    (root / "tracks" / "2").mkdir()
    (root / "empty").mkdir(mode=0o710)
    (root / "tracks" / "1" / "track.gpx").write_text("<gpx/>")
    (root / "tracks" / "1" / "track.gpx").chmod(0o640)
    (root / "tracks" / "2" / "big").write_bytes(bytes(range(256)) * 100)
    (root / "one").write_text("two names")
    os.link(root / "one", root / "tracks" / "other")
    (root / "link").symlink_to("tracks/1/track.gpx")
    (root / "way").symlink_to("tracks")
    (root / "VERSION").write_text("v1")
    try:
        os.setxattr(root / "one", "user.colour", b"red")
        os.setxattr(root / "tracks", "user.colour", b"blue")
    except OSError:
        pass  # a file system without them has nothing to lose
    for number, (folder, _, names) in enumerate(os.walk(root, topdown=False)):
        for name in sorted(names):
            os.utime(os.path.join(folder, name), ns=(10**18, 10**18 + number * 1_000_001), follow_symlinks=False)
        os.utime(folder, ns=(10**18, 10**18 + 7 * number))


def every_verb(files):
    """Use each verb, on new and old names, on files, symlinks and folders, and uses names again."""
    files.write("tracks/3/x/new.gpx", b"new")
    files.write("one", "another inode")
    files.write_many([("tracks/1/track.gpx", "changed"), ("many/a", b"a"), ("many/b", b"b")])
    files.remove("tracks/1/track.gpx")
    files.write("tracks/1/track.gpx", "written again")
    files.move("tracks", "moved/tracks")
    files.write("tracks", "a file now")
    files.remove("empty")
    files.mkdir("empty/a")
    files.symlink("empty/a/link", "../../one")
    files.chmod("one", 0o600)
    files.copy("moved/tracks", "copied")
    files.remove("moved")
    files.move_many([("many/a", "sorted/a"), ("many/b", "sorted/b"), ("link", "renamed")])
    files.transform("sorted/*", bytes.upper)
    files.remove_many(["sorted/a", "sorted/b"])
    with files.open("log", "a") as log:
        log.write("one line")


def every_batch(files):
    """Uses each verb for many on what fits into columns: new folders and old ones, new files and such as are there."""
    files.write_many(
        [("a", b"a"), ("new/x/b", b"b"), ("VERSION", b"v2"), ("tracks/1/track.gpx", "text"), ("new/c", "")]
    )
    files.move_many(
        [("a", "tracks/2/a"), ("new/x/b", "b"), ("tracks/2/big", "far/away/big"), ("VERSION", "new/VERSION")]
    )
    files.write_many([("VERSION", b"again"), ("new/VERSION", b"v3"), ("tracks/2/a", b"other")])
    files.remove_many(["new/VERSION", "far/away/big", "tracks/1/track.gpx", "b"])
    files.write_many([("b", b"once more"), ("new/c", b"c")])
    files.transform(["new/c", "tracks/2/a"], bytes.upper, rename=lambda path: path.with_suffix(".up"))
    files.transform(["b"], double, as_paths=True)
    files.copy_many([("b", "copy/b"), ("tracks/2/a.up", "copy/a")])


def double(source, target):
    """Write what a file holds twice, as a function for `transform`."""
    with open(target, "wb") as file:
        file.write(source.read_bytes() * 2)


def columns_in(data_dir):
    """The kinds of change that stand in columns in the journal of the open transaction."""
    journal = data_dir / ".fietsupdate" / "txn" / HEADER.txn / "journal"
    lines = [json.loads(line) for line in journal.read_bytes().splitlines() if line.startswith(START)]
    return {group[0] for line in lines for group in line["groups"]}


def recover(data_dir, **options):
    """Do what the next start does with a transaction that was not committed."""
    transaction = FileTransaction.reopen(data_dir)
    return () if transaction is None else transaction.play_back(**options)


CHANGES = frozenset(
    f"os.{name}"
    for name in (
        *("rename", "link", "remove", "mkdir", "rmdir", "symlink", "truncate"),
        *("chmod", "chown", "utime", "setxattr", "removexattr"),
    )
)


def is_change(event, arguments):
    """Return whether an audit event announces a call that changes files."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    return event in CHANGES or (event == "open" and bool(arguments[2] & writing))


def run_killed(work, at):
    """Run ``work`` in a forked child that is killed right before its ``at``-th file-changing call.

    Returns whether it was killed; any other failure of the child fails the test.
    """
    child = os.fork()
    if child == 0:
        status = 70
        try:
            _kill_before(at)
            work()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def _kill_before(at):
    _before_each_change(at, lambda: os.kill(os.getpid(), signal.SIGKILL))


def run_failing(work, number, at):
    """Run ``work`` in a forked child whose ``at``-th file-changing call fails with an error number, once.

    ``work`` can ask a function whether that has happened. A failure of the child fails the test.
    """
    child = os.fork()
    if child == 0:
        status = 70
        failed = []

        def fail():
            failed.append(True)
            raise OSError(number, os.strerror(number))

        try:
            _before_each_change(at, fail)
            work()
            status = 0 if failed else 1
        finally:
            if status == 70:
                traceback.print_exc()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, 1}
    return status == 0


def run_struck(work, at, strike):
    """Run ``work`` in a forked child that does something else right before its ``at``-th file-changing call.

    Returns whether it came to that. ``work`` may fail as file calls and verbs do.
    """
    child = os.fork()
    if child == 0:
        status = 70
        struck = []
        try:
            _before_each_change(at, lambda: (struck.append(True), strike()))
            with suppress(OSError, FilesError):
                work()
            status = 0 if struck else 1
        finally:
            if status == 70:
                traceback.print_exc()
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, 1}
    return status == 0


def _before_each_change(at, act):
    """Act once, right before the ``at``-th file-changing call of this process."""
    calls = 0

    def count():
        nonlocal calls
        calls += 1
        if calls == at:
            act()

    def hook(event, arguments):
        if is_change(event, arguments):
            count()

    def counted(real):
        def call(*arguments):
            count()
            return real(*arguments)

        return call

    for name in ("write", "fsync", "fdatasync"):
        setattr(os, name, counted(getattr(os, name)))
    durable._syncfs = counted(durable._syncfs)
    sys.addaudithook(hook)


def _xattrs(path):
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError:
        return []


def every_plain_call(root):
    """Change files like a script that does not use our verbs: pathlib, shutil, os."""
    tracks = root / "tracks"
    (tracks / "3").mkdir()
    (tracks / "3" / "new.gpx").write_bytes(b"new")
    with (tracks / "3" / "new.gpx").open("a") as file:
        file.write(" and more")
    (tracks / "1" / "track.gpx").write_text("changed")
    with (root / "tracks" / "2" / "big").open("r+b") as file:
        file.seek(10)
        file.write(b"in the middle")
    (root / "one").write_text("in place, by both names")
    os.truncate(tracks / "2" / "big", 100)
    (root / "draft").write_text("atomic")
    (root / "draft").replace(tracks / "1" / "track.gpx")
    shutil.move(tracks / "2", root / "moved")
    shutil.copytree(root / "moved", root / "copied")
    os.rename(root / "one", root / "uno")
    os.link(root / "uno", root / "duo")
    os.symlink("uno", root / "sign")
    os.chmod(root / "uno", 0o600)
    os.chown(root / "uno", *((1, 1) if os.geteuid() == 0 else (-1, -1)))
    os.utime(root / "uno", ns=(5, 5))
    os.utime(tracks)
    with suppress(OSError):
        os.setxattr(root / "uno", "user.colour", b"green")
        os.removexattr(tracks, "user.colour")
    (root / "VERSION").unlink()
    (root / "link").unlink()
    (root / "empty").rmdir()
    (root / "empty").write_text("a file now")
    (root / "temporary").touch()
    (root / "temporary").unlink()
    shutil.rmtree(tracks)
    tracks.mkdir()
    (tracks / "again").touch()


def fill(folder):
    """Make a data directory with files of every kind."""
    data_dir = Path(folder, "data")
    data_dir.mkdir()
    plant(data_dir)
    (data_dir / ".fietsupdate").mkdir(mode=0o700)
    os.utime(data_dir, ns=(10**18, 10**18))
    return data_dir


@contextmanager
def somebody_else(uid, gid):
    """Act as an ordinary user within the block."""
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
