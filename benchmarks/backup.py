"""A backup of 100,000 files beside ``cp -a``, with hashing and syncing; a second one; and the share that the dump has.

    python benchmarks/backup.py [FILES]

All copy the same tree, in turns, and the medians are compared; the disk's cache is warm. A backup is durable when it
returns, which ``cp -a`` is not: so both are measured with and without a sync (``sync -f``), and in processor time, on
which other users of the disk have less effect. A second backup, of a tree in which one file in a hundred has changed,
stands beside ``rsync --link-dest``. With ``FIETSUPDATE_TEST_POSTGRESQL_URL`` or a server on 127.0.0.1, a PostgreSQL
database of 200,000 rows is dumped, too, beside ``pg_dump -Fc``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa

from fietsupdate.backup import file_list
from fietsupdate.backup.file_list import Listing
from fietsupdate.backup.manifest import FILES as FILES_DIR
from fietsupdate.backup.manifest import LISTING, Backup, Manifest, Reason, Scope, Stored
from fietsupdate.backup.unchanged import Unchanged
from fietsupdate.database.dump import open_store
from fietsupdate.filesystem import tree_copy
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.tree_copy import copy_tree

FILES = 100_000
A_FOLDER = 250
ROUNDS = 3
ROWS = 200_000
URL = os.environ.get("FIETSUPDATE_TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")

MANIFEST = Manifest("", Scope.FULL, Reason.MANUAL, "", "", 0, "", (), (), "", "", "sqlite", "", Stored("", 0, ""))


def tree(top: Path, count: int) -> None:
    """Write files of 0 to 16 kB, 250 in a folder: 8 kB on average."""
    block = os.urandom(1 << 15)
    for number in range(count):
        folder = top / f"{number // A_FOLDER:04}"
        if number % A_FOLDER == 0:
            folder.mkdir(parents=True)
        start = number * 7919 % (1 << 14)
        (folder / f"{number:06}.bin").write_bytes(block[start : start + start % (1 << 14)])
    subprocess.run(["sync", "-f", top], check=True)


def ours(source: Path, dest: Path) -> None:
    """Copy as a backup does: with the listing, its hash, and everything durable."""
    sha256 = hashlib.sha256()
    with dest.with_suffix(".jsonl").open("wb", buffering=1 << 16) as listing:

        def told(record: FileRecord) -> None:
            line = f"{record.to_json()}\n".encode("ascii")
            listing.write(line)
            sha256.update(line)

        copy_tree(source, dest, leave_out=(), told=told)


def ours_not_durable(source: Path, dest: Path) -> None:
    """Copy as a backup does, and leave the rest to the system."""
    durable, tree_copy.sync_file_system = tree_copy.sync_file_system, lambda _folder: None
    try:
        ours(source, dest)
    finally:
        tree_copy.sync_file_system = durable


def cp(source: Path, dest: Path) -> None:
    """Copy as an administrator does."""
    subprocess.run(["cp", "-a", source, dest], check=True)


def cp_durable(source: Path, dest: Path) -> None:
    """Copy, and wait until it is on the disk."""
    cp(source, dest)
    subprocess.run(["sync", "-f", dest], check=True)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Measure once, on a disk that has nothing else to write: by the clock, and in processor time."""
    subprocess.run(["sync"], check=True)
    started, used = time.perf_counter(), processor()
    work()
    return time.perf_counter() - started, processor() - used


def processor() -> float:
    """Give the processor time of this process and of those that it has waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in both)


def compare(
    ways: Mapping[str, Callable[[], object]], clean: Callable[[], object], pairs: Sequence[tuple[str, str]]
) -> None:
    """Let the ways take turns; print medians, and the ratios of pairs."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            taken[name].append(seconds(way))
            clean()
    median = {name: [statistics.median(each) for each in zip(*both, strict=True)] for name, both in taken.items()}
    for name, (clock, used) in median.items():
        sys.stdout.write(f"{name:22} {clock:7.2f} s  {used:7.2f} s of the processor\n")
    for ours_, other in pairs:
        clock, used = (mine / theirs for mine, theirs in zip(median[ours_], median[other], strict=True))
        sys.stdout.write(f"{ours_} to {other}: {clock:.2f}, in processor time {used:.2f}\n")


def files(count: int) -> None:
    """Compare the copies of a tree."""
    with tempfile.TemporaryDirectory(prefix="backup-", dir=os.environ.get("TMPDIR", "/tmp")) as folder:
        source, dest = Path(folder, "source"), Path(folder, "dest")
        tree(source, count)
        ways = {
            "cp -a": lambda: cp(source, dest),
            "ours, not synced": lambda: ours_not_durable(source, dest),
            "cp -a; sync -f": lambda: cp_durable(source, dest),
            "fietsupdate": lambda: ours(source, dest),
        }
        pairs = [("ours, not synced", "cp -a"), ("fietsupdate", "cp -a; sync -f"), ("fietsupdate", "cp -a")]
        compare(ways, lambda: shutil.rmtree(dest), pairs)


def again(count: int) -> None:
    """Compare second copies, of a tree in which one file in a hundred has changed."""
    with tempfile.TemporaryDirectory(prefix="backup-", dir=os.environ.get("TMPDIR", "/tmp")) as folder:
        source, first, dest = (Path(folder, name) for name in ("source", "first", "dest"))
        tree(source, count)
        file_list.SETTLED = 0  # all of the tree was written just now
        listed(source, first, None)
        cp(source, Path(folder, "by hand"))
        for number in range(0, count, 100):
            (source / f"{number // A_FOLDER:04}" / f"{number:06}.bin").write_bytes(b"changed")
        earlier = Backup(first, MANIFEST)
        ways = {
            "cp -a; sync -f": lambda: cp_durable(source, dest),
            "rsync; sync -f": lambda: rsync_durable(source, dest, Path(folder, "by hand")),
            "fietsupdate, again": lambda: listed(source, dest, Unchanged(earlier)),
        }
        if shutil.which("rsync") is None:
            del ways["rsync; sync -f"]
        compare(ways, lambda: shutil.rmtree(dest), [("fietsupdate, again", other) for other in list(ways)[:-1]])


def listed(source: Path, dest: Path, earlier: Unchanged | None) -> None:
    """Copy as a backup does, with what a next one needs to know."""
    dest.mkdir()
    with Listing.written(dest / LISTING) as listing:
        copy_tree(source, dest / FILES_DIR, leave_out=(), told=listing.add, earlier=earlier, note=listing.note)


def rsync_durable(source: Path, dest: Path, before: Path) -> None:
    """Copy what has changed, link to the rest, and wait until it is on the disk."""
    subprocess.run(["rsync", "-a", f"--link-dest={before}", f"{source}/", f"{dest}/"], check=True)
    subprocess.run(["sync", "-f", dest], check=True)


@contextlib.contextmanager
def postgresql() -> Iterator[sa.URL | None]:
    """Give a database with rows, or None where there is no server."""
    url = sa.make_url(URL)
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    name = f"fietsupdate_benchmark_{os.getpid()}"
    try:
        with server.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template0")
    except sa.exc.OperationalError:
        yield None
        return
    try:
        made = url.set(database=name)
        engine = sa.create_engine(made, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE tracks AS SELECT n AS id, md5(n::text) AS name, repeat(md5((n * 7)::text), 20) AS gpx "
                f"FROM generate_series(1, {ROWS}) AS n"
            )
        yield made
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name}")


def dumps() -> None:
    """Compare the dump with pg_dump called by hand."""
    with postgresql() as url, tempfile.TemporaryDirectory() as folder:
        if url is None:
            sys.stdout.write("No PostgreSQL server: the dump was not measured.\n")
            return
        dest = Path(folder, "dump")
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        by_hand = ["pg_dump", "-Fc", "-f", str(dest), plain]
        store = open_store(url.render_as_string(hide_password=False), file=None)
        ways = {
            "pg_dump -Fc": lambda: subprocess.run(by_hand, check=True),
            "dump of fietsupdate": lambda: store.dump(dest),
        }
        compare(ways, dest.unlink, [("dump of fietsupdate", "pg_dump -Fc")])


if __name__ == "__main__":
    files(int(sys.argv[1]) if len(sys.argv) > 1 else FILES)
    again(int(sys.argv[1]) if len(sys.argv) > 1 else FILES)
    dumps()
