"""Sort more names than fit into memory: sorted runs are written to temporary files, and merged."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

MOST = 50_000
"""The most names that are sorted in memory; few folders have more."""


def sorted_names(names: Iterable[bytes], most: int = MOST) -> Iterator[bytes]:
    """Yield names in the order of their bytes. No name contains a NUL byte.

    Args:
        names: The names; all are read before this returns.
        most: The most names in memory.
    """
    parts: list[IO[bytes]] = []
    held: list[bytes] = []
    for name in names:
        held.append(name)
        if len(held) >= most:
            parts.append(_written(sorted(held)))
            held.clear()
    return _merged(sorted(held), parts)


def _merged(held: list[bytes], parts: list[IO[bytes]]) -> Iterator[bytes]:
    try:
        yield from heapq.merge(held, *map(_read, parts))
    finally:
        for part in parts:
            part.close()


def _written(names: list[bytes]) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    file.write(b"\0".join(names) + b"\0")
    file.seek(0)
    return file


def _read(file: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while block := file.read(1 << 16):
        *names, rest = (rest + block).split(b"\0")
        yield from names
