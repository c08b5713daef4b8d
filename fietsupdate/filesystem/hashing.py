"""Compute the SHA-256 of many files, in several processes if there are several cores."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import IO

BATCH = 64
"""Files that are passed to a worker at a time; their names fit into a pipe, so that neither side waits for the other.
"""
IN_FLIGHT = 3
"""Batches that a worker has at a time."""
BLOCK = 1 << 18
"""Bytes that are read at a time."""
LONGEST = 512
"""The most bytes of a name for the pipe; a file with a longer name is read in this process."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def digests(paths: Iterable[bytes], workers: int) -> Iterator[bytes]:
    """Yield the digest of each file, in order; an empty one if the file cannot be read.

    Args:
        paths: Absolute paths of ordinary files; a symbolic link at the end of a path is not followed.
        workers: The number of processes that read at a time; with 1, this process reads.
    """
    if workers < 2:  # noqa: PLR2004  # one would be as quick as this process, and has to be started
        yield from map(digest, paths)
        return
    children = [_Worker() for _ in range(workers)]
    try:
        source, flying = iter(paths), deque[tuple[_Worker, list[bytes]]]()
        while True:
            while len(flying) < IN_FLIGHT * workers and (batch := list(islice(source, BATCH))):
                worker = children[0]
                children.append(children.pop(0))
                worker.send(batch)
                flying.append((worker, batch))
            if not flying:
                return
            worker, batch = flying.popleft()
            yield from worker.answers(batch)
    finally:
        for child in children:
            child.end()


def digest(path: bytes) -> bytes:
    """Return the digest of an ordinary file; an empty one if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        block = os.read(descriptor, BLOCK)
        found = hashlib.sha256(block)
        while len(block) == BLOCK:
            block = os.read(descriptor, BLOCK)
            found.update(block)
        while block:  # on some file systems a short read is not the end
            block = os.read(descriptor, BLOCK)
            found.update(block)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return found.digest()


class _Worker:
    """A Python process that imports only the source of this module, reads names and answers with digests."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def send(self, batch: list[bytes]) -> None:
        """Send names; the answers must be read in the same order."""
        names = [name for name in batch if len(name) <= LONGEST]
        pipe = _pipe(self._child.stdin)
        pipe.write(len(names).to_bytes(2) + b"".join(len(name).to_bytes(2) + name for name in names))
        pipe.flush()

    def answers(self, batch: list[bytes]) -> Iterator[bytes]:
        """Yield the digests of a batch."""
        pipe = _pipe(self._child.stdout)
        for name in batch:
            if len(name) > LONGEST:
                yield digest(name)
            else:
                yield pipe.read(pipe.read(1)[0])

    def end(self) -> None:
        """End the child, even if it is at work."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            _close(pipe)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise OSError("a worker without a pipe")
    return pipe


def _close(pipe: IO[bytes] | None) -> None:
    with suppress(BrokenPipeError):  # names that were buffered for a child that has ended
        _pipe(pipe).close()


def _work(source: IO[bytes], target: IO[bytes]) -> None:
    while count := source.read(2):
        for _ in range(int.from_bytes(count)):
            found = digest(source.read(int.from_bytes(source.read(2))))
            target.write(bytes([len(found)]) + found)
        target.flush()


if __name__ == "__main__":
    _work(sys.stdin.buffer, sys.stdout.buffer)
