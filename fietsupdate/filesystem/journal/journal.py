"""The journal of one transaction: a file of JSON lines, read backwards to undo it.

Records are written in batches. A batch ends with a mark: where it began, how many records it has, and the checksum of
everything up to there. Appending ends with one fdatasync, and only then is any change of the batch made (invariant 1).

So at most the last batch can be incomplete, and then none of its changes was made: it is the tail, and is skipped.
Damage anywhere before it is doubt, and in doubt nothing is changed (invariant 8).

Space for more batches is written ahead, as empty lines, which are no part of the journal: a batch that overwrites them
changes neither the length of the file nor its place on the disk, so that syncing it is one write to the disk, and needs
no commit of the file system's own journal. PostgreSQL does the same with its log (wal_init_zero).
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.journal.columns import KINDS, START, Columns
from fietsupdate.filesystem.journal.header import JOURNAL, way_out
from fietsupdate.filesystem.journal.record import Do, Record, to_lines
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.regular import opened, read_bytes

PROGRESS = "progress"
_MARK = b'{"at":'
_MARK_LINE = re.compile(rb'\{"at":(\d+),"n":(\d+),"crc":"([0-9a-f]{8})"\} *\n')
_MARK_LENGTH = 72
"""All marks have one length, so that the last one is found from the end of its batch."""
_LONGEST = 1 << 26
"""The most bytes of a line; a record with a dozen long paths and all attributes of a file is shorter."""
_LARGEST = 1 << 28
"""The most bytes of a batch, which has a few thousand records at most."""
_LEAST_AHEAD, _MOST_AHEAD = 1 << 12, 1 << 18
"""The bounds of the bytes that are written ahead, which are as many as the journal has."""


class _Mark(NamedTuple):
    at: int
    records: int
    crc: int

    def line(self) -> bytes:
        text = f'{{"at":{self.at},"n":{self.records},"crc":"{self.crc:08x}"}}'
        return text.ljust(_MARK_LENGTH - 1).encode() + b"\n"


class JournalPosition(NamedTuple):
    """A place in the journal: the end of a batch, and how many of its last records are undone already."""

    end: int
    undone: int = 0


class Journal:
    """The journal of one transaction, open for appending and for reading backwards.

    Opening it checks all of it.

    Raises:
        FilesError: The journal is damaged before its last batch.
        OSError: It cannot be opened, or is no file of ours.
    """

    def __init__(self, folder: Path, roots: Collection[str] | None = None) -> None:
        self.path = folder / JOURNAL
        self._roots = roots
        self._descriptor = opened(self.path, os.O_RDWR | os.O_CREAT)
        with self._reader() as file:
            length = _length(file)
            self.end, self._crc = _check(file, length, self.path)
        self._has_tail = length > self.end
        self._ahead = os.fstat(self._descriptor).st_size
        """The length of the file."""
        self._failed = False

    def close(self) -> None:
        """Close the file; appended records are durable already. Closing again does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def append(self, records: Sequence[Record | Columns]) -> None:
        """Append a batch, durably. None of its changes may be made before this returns (invariant 1).

        Raises:
            FilesError: The batch could not be made durable; nothing can be appended any more.
            OSError: The batch could not be written, because the disk is full; the journal is unchanged.
        """
        if self._failed:
            raise FilesError(
                f"{self.path} could not be made durable before; nothing more can be done in this transaction."
            )
        lines = to_lines(records)
        crc = zlib.crc32(lines, self._crc)
        mark = _Mark(self.end, len(records), crc)
        if self._has_tail:
            os.ftruncate(self._descriptor, self.end)
            self._sync()  # otherwise parts of both could be there after a power cut
            self._ahead = self.end
        self._has_tail = True
        batch = lines + mark.line()
        end = self.end + len(batch)
        os.lseek(self._descriptor, self.end, os.SEEK_SET)
        durable.write_all(self._descriptor, batch)
        if end > self._ahead:
            self._write_ahead(end)
        self._sync()
        self.end, self._crc = end, crc
        self._has_tail = False

    def _sync(self) -> None:
        try:
            durable.sync_data(self._descriptor, self.path)
        except FilesError:
            self._failed = True  # the kernel forgets what it could not write, so a second attempt would prove nothing
            raise

    def _write_ahead(self, end: int) -> None:
        """Reserve space behind the last batch for the next ones, as far as the disk has space."""
        self._ahead = end
        try:
            self._ahead += os.write(self._descriptor, b"\n" * min(max(end, _LEAST_AHEAD), _MOST_AHEAD))
        except OSError as error:
            if error.errno not in durable.NO_SPACE:
                raise

    def forwards(self, *kinds: Do) -> Iterator[Record]:
        """Yield the records, first to last: all, or only those of some kinds, which is much faster.

        Those in columns are yielded one by one.
        """
        for line in self.lines_of(*kinds):
            if isinstance(line, Record):
                yield line
            else:
                yield from (record for record in line if not kinds or record.do in kinds)

    def lines_of(self, *kinds: Do) -> Iterator[Record | Columns]:
        """Do as `forwards`, but yield columns as they are, where they may hold a record of one of the kinds."""
        begin = [f'{{"do":"{kind}",'.encode() for kind in kinds or Do]
        begin += [START] if not kinds or not KINDS.isdisjoint(kinds) else []
        wanted = tuple(begin)
        with self._reader() as file:
            at = 0
            while at < self.end and (line := file.readline(_LONGEST)):
                at += len(line)
                if line.startswith(wanted):
                    yield self._record(line)

    def _reader(self) -> BinaryIO:
        return os.fdopen(opened(self.path), "rb")

    def _record(self, line: bytes) -> Record | Columns:
        """Read a record, and check that its paths belong to this transaction (invariant 12).

        Raises:
            FilesError: The line is no record, or names other paths.
        """
        try:
            record = Columns.from_json(line) if line.startswith(START) else Record.from_json(line)
            record.check_paths(self.path.parent.name)
            if self._roots is not None and record.root not in self._roots:
                raise ValueError(f"it names the root {record.root!r}, which its header does not")
        except ValueError as error:
            raise FilesError(
                f"A record in the journal {self.path} cannot be followed: {error}.", hint=way_out(self.path.parent)
            ) from error
        return record

    def forget(self, end: int) -> None:
        """Cut off, durably, everything behind the end of a batch, since it has been undone."""
        descriptor = opened(self.path, os.O_RDWR)
        try:
            os.ftruncate(descriptor, end)
            durable.sync_data(descriptor, self.path)
        finally:
            os.close(descriptor)

    def backwards(
        self, start: JournalPosition | None = None, floor: int = 0
    ) -> Iterator[tuple[Record | Columns, JournalPosition]]:
        """Yield the records, last to first, each with the position after undoing it; `floor` is the end of a batch."""
        end, undone = start or JournalPosition(self.end)
        while end > floor:
            mark = _read_mark(os.pread(self._descriptor, _MARK_LENGTH, end - _MARK_LENGTH))
            if mark is None or not 0 <= end - _MARK_LENGTH - mark.at <= _LARGEST:
                raise FilesError(f"{self.path} has no mark before byte {end}.", hint=way_out(self.path.parent))
            batch = os.pread(self._descriptor, end - _MARK_LENGTH - mark.at, mark.at)
            lines = batch.splitlines()
            for number in range(undone, len(lines)):
                last = number + 1 == len(lines)
                position = JournalPosition(mark.at) if last else JournalPosition(end, number + 1)
                yield self._record(lines[len(lines) - 1 - number]), position
            end, undone = mark.at, 0


class PlaybackProgress:
    """How far playback has come: written in place, 40 bytes, so that it needs no space on a full disk."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS

    def prepare(self) -> None:
        """Create the file durably with its full length; its name becomes durable before the header is written."""
        self._put(_progress_line(JournalPosition(0), begun=False))

    def read(self) -> JournalPosition | None:
        """Return the position that playback has reached durably, or ``None`` when it has not begun.

        Raises:
            FilesError: The position is unknown. Starting again would take restored files for those of another program.
        """
        try:
            line = read_bytes(self._path)
        except FileNotFoundError:
            line = b""
        try:
            end, undone, begun, _ = line.split()
            position = JournalPosition(int(end), int(undone))
        except ValueError:
            begun, position = b"", JournalPosition(0)
        if line != _progress_line(position, begun=begun == b"1"):
            raise FilesError(
                f"{self._path} is damaged: it says how many of the changes are undone already.",
                stands="Nothing was changed by this command.",
                hint=f"Look into {self._path.parent}: its vault holds what the transaction replaced or removed.",
            )
        return position if begun == b"1" else None

    def write(self, position: JournalPosition) -> None:
        """Record a position, durably."""
        self._put(_progress_line(position, begun=True))

    def _put(self, line: bytes) -> None:
        descriptor = opened(self._path, os.O_WRONLY | os.O_CREAT)
        try:
            durable.write_all(descriptor, line)
            durable.sync_data(descriptor, self._path)
        finally:
            os.close(descriptor)


def _progress_line(position: JournalPosition, *, begun: bool) -> bytes:
    text = f"{position.end:016d} {position.undone:08d} {begun:d}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def _length(file: BinaryIO) -> int:
    """Return where the empty lines at the end of a journal begin, or the zero bytes that a power cut can leave."""
    size = end = file.seek(0, os.SEEK_END)
    # we never write a longer tail; the batches end before it, or the journal is damaged
    while end and size - end <= _LARGEST:
        start = max(end - _MOST_AHEAD, 0)
        file.seek(start)
        if rest := file.read(end - start).rstrip(b"\n\0"):
            return start + len(rest) + 1  # a batch ends with a newline
        end = start
    return end


def _check(file: BinaryIO, length: int, path: Path) -> tuple[int, int]:
    """Check a journal; return where its last complete batch ends, and the checksum up to there."""
    file.seek(0)
    end = crc = at = 0
    lines = 0
    running = 0
    while at < length and (line := file.readline(_LONGEST)):
        at += len(line)
        if not line.startswith(_MARK):
            running = zlib.crc32(line, running)
            lines += 1
        elif line == _Mark(end, lines, running).line():
            end, crc, lines = at, running, 0
        else:
            break
    file.seek(end)
    _check_tail(file, end, length, path)
    return end, crc


def _check_tail(file: BinaryIO, start: int, length: int, path: Path) -> None:
    """Check that the last complete batch is followed by at most one more batch, and by nothing after that."""
    at = start
    while at < length and (line := file.readline(_LONGEST)):
        at += len(line)
        if at - start > _LARGEST:
            raise _damaged(path, start, at)
        mark = _read_mark(line)
        if mark is not None and (mark.at != start or at != length):
            raise _damaged(path, start, at)


def _damaged(path: Path, start: int, at: int) -> FilesError:
    return FilesError(
        f"The journal {path} is damaged between bytes {start} and {at}.",
        stands=UNCHANGED,
        hint=way_out(path.parent),
    )


def _read_mark(line: bytes) -> _Mark | None:
    found = _MARK_LINE.fullmatch(line)
    return _Mark(int(found[1]), int(found[2]), int(found[3], 16)) if found and len(line) == _MARK_LENGTH else None
