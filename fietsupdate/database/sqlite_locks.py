"""The processes that use a SQLite file, found in the system's list of locks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PENDING, RESERVED, SHARED = 0x40000000, 0x40000001, 0x40000002
"""The bytes of a database file that SQLite locks on POSIX systems (https://sqlite.org/lockingv3.html, os_unix.c)."""

LOCKS = Path("/proc/locks")
OURSELVES = "no other process, so probably this one: a connection that env.py or a hook has left open"


def readers(file: str) -> str:
    """Return the processes that read a database file.

    Returns:
        "process 4711 (python worker.py)", several separated by commas; "" where the system does not list locks.
    """
    return _users(file, "READ", {SHARED})


def writer(file: str) -> str:
    """Return the process that writes to a database file, as `readers` does."""
    return _users(file, "WRITE", {PENDING, RESERVED, SHARED})


def _users(file: str, kind: str, places: set[int]) -> str:
    with suppress(OSError, ValueError, IndexError):  # a system without /proc; the message then names no process
        pids = sorted(set(_lockers(os.stat(file), kind, places)))
        others = [pid for pid in pids if pid != os.getpid()]  # a process that writes also reads
        return ", ".join(dict.fromkeys(map(_named, others))) or (OURSELVES if pids else "")
    return ""


def _lockers(file: os.stat_result, kind: str, places: set[int]) -> Iterator[int]:
    """Yield the pids of the processes that hold one of SQLite's locks on a file."""
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:"
    # an arrow marks a process that waits
    rows = [line.split() for line in LOCKS.read_text().splitlines() if "->" not in line]
    of_file = [row for row in rows if row[5].rpartition(":")[2] == str(file.st_ino)]
    # A layered file system has another device number than the kernel lists here; the bytes identify SQLite.
    for row in [row for row in of_file if row[5].startswith(device)] or of_file:
        if row[3] == kind and int(row[6]) in places:
            yield int(row[4])


def _named(pid: int) -> str:
    if pid <= 0:
        return "a process outside of this container"
    words: list[str] = []
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes()[:4096].decode(errors="replace").split("\0")
    # The program and what it runs; further arguments may hold secrets.
    shown = " ".join(os.path.basename(word) for word in words[:2] if word and not word.startswith("-"))
    shown = "".join(char if char.isprintable() else "?" for char in shown)
    return f"process {pid} ({shown})" if shown else f"process {pid}"
