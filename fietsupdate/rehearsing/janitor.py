"""A process that waits for our death, and removes the clone then: nobody can defer a SIGKILL.

It reads a pipe whose other end is ours alone. The system closes that end when we die, however we die.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fietsupdate.filesystem.durable import write_all

DONE = b"done\n"
LONGEST = 30.0
"""Seconds that a janitor who is not needed any more may take to end."""

_pipes: set[int] = set()


@contextmanager
def waiting(folder: Path, url: str, file: Path | None) -> Iterator[None]:
    """Have the clone of a rehearsal removed if this process dies before the context is left.

    Args:
        folder: The rehearsal's own folder.
        url: The real database.
        file: Its file, on SQLite.
    """
    theirs, ours = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "fietsupdate.rehearsing.janitor", os.fspath(folder)],
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join([_import_path(), os.environ.get("PYTHONPATH", "")])},
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends our group of processes leaves it alone
    )
    os.close(theirs)
    _pipes.add(ours)
    try:
        _say(ours, json.dumps([url, os.fspath(file) if file else None]).encode() + b"\n")
        yield
    finally:
        if ours in _pipes:  # not in a child
            _pipes.remove(ours)
            if not folder.exists():
                _say(ours, DONE)
            os.close(ours)
            with suppress(subprocess.TimeoutExpired):
                process.wait(LONGEST)


def _say(pipe: int, words: bytes) -> None:
    with suppress(BrokenPipeError):  # it has died: the next rehearsal sweeps
        write_all(pipe, words)


def main() -> None:
    """Wait, and remove."""
    line = sys.stdin.buffer.readline()
    if sys.stdin.buffer.read() == DONE or not line:
        return
    from fietsupdate.rehearsing.removal import remove

    url, file = json.loads(line)
    remove(Path(sys.argv[1]), url, Path(file) if file else None)


def _import_path() -> str:
    return str(Path(__file__).parents[2])


def _let_go_in_child() -> None:
    """Close the pipe after a fork: a child that lives on must not keep the janitor waiting."""
    for pipe in _pipes:
        os.close(pipe)
    _pipes.clear()


os.register_at_fork(after_in_child=_let_go_in_child)

if __name__ == "__main__":
    main()
