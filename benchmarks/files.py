"""Changes of files, journaled, against the same changes made bare with as many syncs.

Run it with ``python benchmarks/files.py``; a number of files may follow (100,000 otherwise), and ``--folder`` for the
disk that is to be measured. Every measurement works in new folders, in a process of its own, at a tenth of the number
and at the whole. Ours and bare take turns, a hundred files at a time, so that a busy disk hits both, and bare syncs as
often as ours just did. Memory is what the peak has grown by.

move, write
    ``files.move`` and ``files.write`` one by one, sealed and finished; bare: rename, or write to a new file, sync it
    and rename it, and the rest of the syncs of the verb as fdatasync of a log that gets a line as long as a record.
move_many, write_many, remove_many, overwriting
    The verbs for many, five thousand files a turn; bare: rename, write to a new file and rename it, or rename into
    another folder, with as many syncs of a log and of the file system. A second row for ``move_many`` has it against
    the renames alone, without a log and without a sync. ``overwriting`` is ``write_many`` where files are already.
transform, transform by paths, transform by workers
    Compressing files of 20 kB; bare: read, convert and write to a new file and rename it, in one process. The
    workers are as many as there are cores; their processor time is not counted.
guard
    ``os.rename`` in a watched hook, sealed and finished; bare: the same renames, with as many syncs of a log.
rollback, rollback of move_many, rollback of write_many
    Playing back the moves, or new files; bare: as many renames, or unlinks, with as many syncs, all after ours.

Both are measured in wall time and in processor time; the latter says more on a machine with other work to do.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.transaction import FileTransaction
from fietsupdate.model import Direction
from fietsupdate.views import OpenTransaction

FORK = multiprocessing.get_context("fork")
FOLDERS = 100
TURN = 100
BULK = 5000
CONTENT = b"x" * 100
LINE = b"x" * 170 + b"\n"
"""As long as a record with its mark."""


Pair = tuple[Callable[[range], None], Callable[[], object]]
Bare = Callable[[Path, range, int, int], None]
"""Given the folder, the files, the number of syncs, and how many of these are of the whole file system."""


def names(data_dir: Path, count: int, kind: str) -> list[str]:
    return [f"{data_dir}/{number % FOLDERS}/{kind}{number}" for number in range(count)]


def plant(data_dir: Path, count: int, *, files: bool) -> None:
    for number in range(min(FOLDERS, count)):
        (data_dir / str(number)).mkdir(parents=True)
    if files:
        for name in names(data_dir, count, "a"):
            with open(name, "wb") as file:
                file.write(CONTENT)
    durable.sync_file_system(data_dir)


def begin(data_dir: Path) -> FileTransaction:
    header = OpenTransaction(str(uuid.uuid4()), "1", 0, "", "u1", Direction.UP, atomic=True)
    return FileTransaction.begin(data_dir, header)


# -- ours: each gives what changes some files, and what ends the transaction


def move(data_dir: Path, _count: int) -> Pair:
    transaction = begin(data_dir)
    return (lambda numbers: _move(transaction, numbers)), (lambda: _end(transaction))


def _move(transaction: FileTransaction, numbers: range) -> None:
    for number in numbers:
        transaction.files.move(f"{number % FOLDERS}/a{number}", f"{number % FOLDERS}/b{number}")


def write(data_dir: Path, _count: int) -> Pair:
    transaction = begin(data_dir)

    def work(numbers: range) -> None:
        for number in numbers:
            transaction.files.write(f"{number % FOLDERS}/a{number}", CONTENT)

    return work, lambda: _end(transaction)


def move_many(data_dir: Path, _count: int) -> Pair:
    transaction = begin(data_dir)

    def work(numbers: range) -> None:
        transaction.files.move_many((f"{n % FOLDERS}/a{n}", f"{n % FOLDERS}/b{n}") for n in numbers)

    return work, lambda: _end(transaction)


def write_many(data_dir: Path, _count: int) -> Pair:
    transaction = begin(data_dir)

    def work(numbers: range) -> None:
        transaction.files.write_many((f"{n % FOLDERS}/a{n}", CONTENT) for n in numbers)

    return work, lambda: _end(transaction)


def remove_many(data_dir: Path, _count: int) -> Pair:
    transaction = begin(data_dir)

    def work(numbers: range) -> None:
        transaction.files.remove_many(f"{n % FOLDERS}/a{n}" for n in numbers)

    return work, lambda: _seal(transaction)


convert = partial(zlib.compress, level=9)
"""What the contents are converted by, which workers can import."""


def convert_paths(source: Path, target: Path) -> None:
    """Do as `convert` with files."""
    target.write_bytes(convert(source.read_bytes()))


def transform(data_dir: Path, count: int, **options: Any) -> Pair:
    plant_text(data_dir, count)
    transaction = begin(data_dir)
    function = convert_paths if options.get("as_paths") else convert

    def work(numbers: range) -> None:
        transaction.files.transform((f"{n % FOLDERS}/a{n}" for n in numbers), function, **options)

    return work, lambda: _end(transaction)


def plant_text(data_dir: Path, count: int) -> None:
    for number, name in enumerate(names(data_dir, count, "a")):
        with open(name, "wb") as file:
            file.write(b"".join(b"%d,%d;" % (number, n * n * 7919 % 1000003) for n in range(2000)))
    durable.sync_file_system(data_dir)


def guard(data_dir: Path, _count: int) -> Pair:
    transaction = begin(data_dir)
    watched = contextlib.ExitStack()
    watched.enter_context(Guard(print).watching(transaction))

    def work(numbers: range) -> None:
        for number in numbers:
            os.rename(f"{data_dir}/{number % FOLDERS}/a{number}", f"{data_dir}/{number % FOLDERS}/b{number}")

    def end() -> None:
        watched.close()
        _end(transaction)

    return work, end


def rollback(data_dir: Path, count: int) -> Pair:
    transaction = begin(data_dir)
    _move(transaction, range(count))
    return (lambda _numbers: None), transaction.play_back


def rollback_moves(data_dir: Path, count: int) -> Pair:
    transaction = begin(data_dir)
    transaction.files.move_many((f"{n % FOLDERS}/a{n}", f"{n % FOLDERS}/b{n}") for n in range(count))
    return (lambda _numbers: None), transaction.play_back


def rollback_writes(data_dir: Path, count: int) -> Pair:
    transaction = begin(data_dir)
    transaction.files.write_many((f"{n % FOLDERS}/b{n}", CONTENT) for n in range(count))
    return (lambda _numbers: None), transaction.play_back


def _seal(transaction: FileTransaction) -> None:
    """Seal a transaction; what it has removed stays in its vault, as bare leaves it, too."""
    transaction.seal()
    transaction.changes.journal.close()


def _end(transaction: FileTransaction) -> None:
    transaction.seal()
    transaction.finish()


# -- bare: some files, and so many syncs


def bare_rename(data_dir: Path, numbers: range, syncs: int, whole: int) -> None:
    with log_of(data_dir, len(numbers), syncs, whole) as log:
        for number in numbers:
            log()
            os.rename(f"{data_dir}/{number % FOLDERS}/a{number}", f"{data_dir}/{number % FOLDERS}/b{number}")


def bare_remove(data_dir: Path, numbers: range, syncs: int, whole: int) -> None:
    (data_dir / "vault").mkdir(exist_ok=True)
    with log_of(data_dir, len(numbers), syncs, whole) as log:
        for number in numbers:
            log()
            os.rename(f"{data_dir}/{number % FOLDERS}/a{number}", f"{data_dir}/vault/{number:x}")


def bare_unlink(data_dir: Path, numbers: range, syncs: int, whole: int) -> None:
    with log_of(data_dir, len(numbers), syncs, whole) as log:
        for number in numbers:
            log()
            os.unlink(f"{data_dir}/{number % FOLDERS}/a{number}")


def only_rename(data_dir: Path, numbers: range, _syncs: int, _whole: int) -> None:
    for number in numbers:
        os.rename(f"{data_dir}/{number % FOLDERS}/a{number}", f"{data_dir}/{number % FOLDERS}/b{number}")


def bare_write_many(data_dir: Path, numbers: range, syncs: int, whole: int) -> None:
    with log_of(data_dir, len(numbers), syncs, whole) as log:
        for number in numbers:
            name = f"{data_dir}/{number % FOLDERS}/a{number}"
            with open(f"{name}.new", "wb") as file:
                file.write(CONTENT)
            log()
            os.rename(f"{name}.new", name)


def bare_transform(data_dir: Path, numbers: range, syncs: int, whole: int) -> None:
    with log_of(data_dir, len(numbers), syncs, whole) as log:
        for number in numbers:
            name = f"{data_dir}/{number % FOLDERS}/a{number}"
            with open(name, "rb") as file:
                content = convert(file.read())
            with open(f"{name}.new", "wb") as file:
                file.write(content)
            log()
            os.rename(f"{name}.new", name)


def bare_write(data_dir: Path, numbers: range, syncs: int, whole: int) -> None:
    with log_of(data_dir, len(numbers), syncs - len(numbers), whole) as log:
        for number in numbers:
            name = f"{data_dir}/{number % FOLDERS}/a{number}"
            with open(f"{name}.new", "wb") as file:
                file.write(CONTENT)
                file.flush()
                os.fsync(file.fileno())
            log()
            os.rename(f"{name}.new", name)


@contextlib.contextmanager
def log_of(data_dir: Path, count: int, syncs: int, whole: int) -> Iterator[Callable[[], None]]:
    """Give what is called before each change: it appends a line, and syncs so often that there are `syncs` in all.

    So many of them as `whole` says are of the whole file system.
    """
    descriptor = os.open(data_dir / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    done = due = 0.0

    def log() -> None:
        nonlocal done, due
        os.write(descriptor, LINE)
        due += syncs / count
        while done + 1 <= due + 1e-6:
            if (done + 1) * whole // syncs > done * whole // syncs:
                durable.sync_file_system(data_dir)
            else:
                os.fdatasync(descriptor)
            done += 1

    try:
        yield log
    finally:
        os.close(descriptor)


# -- measuring


@dataclass(frozen=True)
class Row:
    """What is compared: ours and bare, whether files are there before, and how many a turn takes; 0 for all."""

    name: str
    ours: Callable[..., Pair]
    bare: Bare
    files: bool = False
    turn: int = TURN
    plant: Callable[[Path, int], None] | None = None
    """Makes the files of bare, where ours makes its own."""


@dataclass
class Cost:
    """What ours and bare took, in seconds; the syncs of ours, and the kilobytes by which the peak of memory grew."""

    ours: float = 0.0
    bare: float = 0.0
    ours_processor: float = 0.0
    bare_processor: float = 0.0
    syncs: int = 0
    kilobytes: int = 0


def measured(folder: Path, row: Row, count: int) -> Cost:
    """Let ours and bare take turns, bare in a process of its own: the guard looks at every call in ours."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as one,
        tempfile.TemporaryDirectory(dir=folder) as two,
        ProcessPoolExecutor(1, mp_context=FORK) as other,
    ):
        other.submit(_peak).result()  # it is forked before anything is watched
        cost, calls = Cost(), Syncs()
        for name in (one, two):
            plant(Path(name), count, files=row.files)
        if row.plant is not None:
            row.plant(Path(two), count)
        work, end = row.ours(Path(one), count)
        memory = _peak()
        turn = row.turn or count
        for first in range(0, count, turn):
            numbers = range(first, min(first + turn, count))
            last = end if numbers.stop == count else None
            start, before, whole_before, processor = time.perf_counter(), calls.count, calls.whole, time.process_time()
            work(numbers)
            if last is not None:
                last()
            middle, syncs, whole = time.perf_counter(), calls.count - before, calls.whole - whole_before
            cost.ours += middle - start
            cost.ours_processor += time.process_time() - processor
            wall, processor = other.submit(_timed, row.bare, Path(two), numbers, syncs, whole).result()
            cost.bare += wall
            cost.bare_processor += processor
            cost.syncs += syncs
        cost.kilobytes = _peak() - memory
    return cost


def _timed(bare: Bare, folder: Path, numbers: range, syncs: int, whole: int) -> tuple[float, float]:
    start, processor = time.perf_counter(), time.process_time()
    bare(folder, numbers, syncs, whole)
    return time.perf_counter() - start, time.process_time() - processor


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Syncs:
    """Count the syncs of this process from now on, and among them those of a whole file system."""

    def __init__(self) -> None:
        self.count = self.whole = 0
        durable.sync_file_system = self._counted_whole(durable.sync_file_system)
        for name in ("fsync", "fdatasync"):
            setattr(os, name, self._counted(getattr(os, name)))

    def _counted_whole(self, real: Callable[[Path | str], None]) -> Callable[[Path | str], None]:
        def call(folder: Path | str) -> None:
            self.count += 1
            self.whole += 1
            real(folder)

        return call

    def _counted(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            self.count += 1
            real(descriptor)

        return call


ROWS = (
    Row("move", move, bare_rename, files=True),
    Row("write", write, bare_write),
    Row("move_many", move_many, bare_rename, files=True, turn=BULK),
    Row("move_many, bare without syncs", move_many, only_rename, files=True, turn=BULK),
    Row("write_many", write_many, bare_write_many, turn=BULK),
    Row("overwriting", write_many, bare_write_many, files=True, turn=BULK),
    Row("remove_many", remove_many, bare_remove, files=True, turn=BULK),
    Row("transform", transform, bare_transform, turn=BULK, plant=plant_text),
    Row("transform by paths", partial(transform, as_paths=True), bare_transform, turn=BULK, plant=plant_text),
    Row("transform by workers", partial(transform, workers=0), bare_transform, turn=0, plant=plant_text),
    Row("guard", guard, bare_rename, files=True),
    Row("rollback", rollback, bare_rename, files=True, turn=0),
    Row("rollback of move_many", rollback_moves, bare_rename, files=True, turn=0),
    Row("rollback of write_many", rollback_writes, bare_unlink, files=True, turn=0),
)


def compare(folder: Path, row: Row, count: int) -> None:
    """Print one line of the table."""
    with ProcessPoolExecutor(1, mp_context=FORK) as pool:
        cost = pool.submit(measured, folder, row, count).result()
    wall, processor = (cost.ours, cost.bare), (cost.ours_processor, cost.bare_processor)
    times = " | ".join(f"{ours:.2f} s | {bare:.2f} s | {ours / bare:.2f}" for ours, bare in (wall, processor))
    more = (cost.ours_processor - cost.bare_processor) / count * 1e6
    rest = f"{more:.0f} | {cost.syncs / count:.2f} | {cost.kilobytes / 1024:.1f} MiB"
    print(f"| {row.name} | {count:,} | {times} | {rest} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("count", nargs="?", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to be measured")
    parser.add_argument("--only", default="", help="the row to be measured, and no other")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}\n")
    print("| what | files | fietsupdate | bare | ratio | processor | bare | ratio | µs more | syncs a file | memory |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for row in ROWS:
        if options.only in {"", row.name}:
            for count in (options.count // 10, options.count):
                compare(options.folder, row, count)


if __name__ == "__main__":
    main()
