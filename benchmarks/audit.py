"""An audit of 1,000,000 rows and files beside ``find`` and the bare ``SELECT``; its memory; ``--content``.

    python benchmarks/audit.py [FILES [ROUNDS]]

Rows and files are compared by the command itself, in a process of its own. Beside it ``find -printf %s`` lists the same
files with their sizes, sorted, and a bare loop of SQLAlchemy's reads the same columns of the same rows. The medians of
the rounds are compared, by the clock and by the time of the processor; the disk's cache is warm. The peak of the memory
is that of the process, beside the one at 1,000 files. ``--content`` is compared with ``sha256sum`` of the same tree, on
one core and on all, on files of 16 kB.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import sqlalchemy as sa

FILES = 1_000_000
FEW = 1_000
READ = 20_000
"""Files whose content is read."""
LARGE = 1 << 14
A_FOLDER = 1_000
ROUNDS = 3
INI = """\
[alembic]
script_location = {top}/migrations
sqlalchemy.url = sqlite:///{top}/app.sqlite
[fietsupdate]
updates = {top}/updates
data_dir = {top}/data
backup = never
audit = off
"""
ENV = """\
from alembic import context
from sqlalchemy import create_engine
with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
REVISION = """\
from alembic import op
revision, down_revision = "r1", None
def upgrade():
    op.execute("CREATE TABLE files (id INTEGER PRIMARY KEY, shard TEXT, size INTEGER, sha256 TEXT)")
"""
SCRIPT = """\
from fietsupdate import UpdateScript
update_id = "v1"
previous = []
alembic_revision = "r1"
atomic = True
references = [{"table": "files", "path": "files/{shard}/{id}.bin", "size": "size", "sha256": "sha256"}]
owned = ["files/**"]
class Up(UpdateScript): pass
"""


def project(top: Path, count: int, size: int) -> None:
    """Write an application with so many rows and files."""
    for folder in ("migrations/versions", "updates", "data/files"):
        (top / folder).mkdir(parents=True)
    (top / "alembic.ini").write_text(INI.format(top=top))
    (top / "migrations" / "env.py").write_text(ENV)
    (top / "migrations" / "versions" / "r1.py").write_text(REVISION)
    (top / "updates" / "v1.py").write_text(SCRIPT)
    command(top, "update", "--yes")
    block = os.urandom(max(size, 1))
    engine = sa.create_engine(f"sqlite:///{top}/app.sqlite")
    files = sa.table("files", *map(sa.column, ("id", "shard", "size", "sha256")))
    with engine.begin() as connection:
        for start in range(0, count, A_FOLDER):
            folder = top / "data" / "files" / f"{start // A_FOLDER:04}"
            folder.mkdir()
            numbers = range(start, min(start + A_FOLDER, count))
            connection.execute(files.insert(), [written(folder, number, block, size) for number in numbers])
    engine.dispose()


def written(folder: Path, number: int, block: bytes, size: int) -> dict[str, object]:
    """Write a file, and return its row."""
    content = block[: size - number % 7] if size else b""
    descriptor = os.open(folder / f"{number}.bin", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(descriptor, content)
    os.close(descriptor)
    digest = hashlib.sha256(content).hexdigest()
    return {"id": number, "shard": folder.name, "size": len(content), "sha256": digest}


def command(top: Path, *words: str) -> None:
    """Run a command of ours."""
    line = [sys.executable, "-m", "fietsupdate", "-c", top / "alembic.ini", *words]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


def select(top: Path) -> None:
    """Read the same columns of the same rows, and nothing else."""
    code = (
        "import sqlalchemy as sa\n"
        f"with sa.create_engine('sqlite:///{top}/app.sqlite').connect() as connection:\n"
        "    for row in connection.execute(sa.text('SELECT id, shard, size FROM files')):\n"
        "        pass\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def find(top: Path) -> None:
    """List the same files with their sizes, in the order of their paths."""
    line = f"find {top}/data/files -type f -printf '%s %P\\n' | LC_ALL=C sort > /dev/null"
    subprocess.run(line, shell=True, check=True)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that a piece of work takes by the clock, and of the processor."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def medians(*works: Callable[[], object]) -> list[tuple[float, float]]:
    """Do pieces of work in turns, and return the median times of each."""
    times = [[timed(work) for work in works] for _ in range(ROUNDS)]
    return [tuple(map(statistics.median, zip(*those, strict=True))) for those in zip(*times, strict=True)]


def peak(top: Path, *words: str) -> float:
    """Return the peak of an audit's memory in MiB."""
    line = [sys.executable, "-m", "fietsupdate", "-c", top / "alembic.ini", "audit", *words]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, child.returncode
    return usage.ru_maxrss / 1024


def hashed(top: Path, processes: int) -> None:
    """Let sha256sum read the same tree."""
    line = f"find {top}/data/files -type f -print0 | xargs -0 -n 500 -P {processes} sha256sum > /dev/null"
    subprocess.run(line, shell=True, check=True)


def compare_names(many: Path, few: Path, count: int) -> None:
    """Print the times and the memory of an audit of names and sizes."""
    ours, files, rows = medians(lambda: command(many, "audit"), lambda: find(many), lambda: select(many))
    print(f"{count:,} rows and files       by the clock   of the processor")
    for name, (clock, cpu) in (("audit", ours), ("find, sorted", files), ("SELECT", rows)):
        print(f"  {name:25} {clock:8.2f} s {cpu:14.2f} s")
    clock, cpu = (ours[part] / (files[part] + rows[part]) for part in (0, 1))
    print(f"  {'audit to their sum':25} {clock:8.2f}   {cpu:14.2f}")
    print(f"peak of the memory: {peak(few):.0f} MiB at {FEW:,}, {peak(many):.0f} MiB at {count:,}")


def compare_contents(top: Path) -> None:
    """Print the times that reading takes, on one core and on all."""
    for cores in dict.fromkeys((1, len(os.sched_getaffinity(0)))):
        pinned = ["taskset", "-c", ",".join(map(str, range(cores)))]
        line = [*pinned, sys.executable, "-m", "fietsupdate", "-c", top / "alembic.ini", "audit"]
        names, content, theirs = medians(
            partial(subprocess.run, line, check=True, stdout=subprocess.DEVNULL),
            partial(subprocess.run, [*line, "--content"], check=True, stdout=subprocess.DEVNULL),
            partial(hashed, top, cores),
        )
        print(f"--content of {READ:,} files of {LARGE >> 10} kB, {cores} core(s), by the clock:")
        print(f"  {content[0]:.2f} s, {content[0] - names[0]:.2f} s more than names alone; sha256sum {theirs[0]:.2f} s")


def main() -> None:
    global ROUNDS  # noqa: PLW0603  # the second argument
    count = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    top = Path(tempfile.mkdtemp(prefix="audit"))
    try:
        many, few, large = top / "many", top / "few", top / "large"
        project(large, READ, LARGE)
        compare_contents(large)
        project(few, FEW, 0)
        project(many, count, 0)
        compare_names(many, few, count)
    finally:
        shutil.rmtree(top)


if __name__ == "__main__":
    main()
