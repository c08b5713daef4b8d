"""Processes that nobody is the parent of any more: the janitors of rehearsals."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path

LONGEST = 60
"""Seconds after which a janitor is taken to hang."""


def janitors(data_dir: str | Path) -> list[int]:
    """Give the ids of the processes that wait to remove a clone of an instance."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0") if process.name.isdigit() else []
            is_one = b"fietsupdate.rehearsing.janitor" in words
            if is_one and any(word.startswith(os.fsencode(data_dir)) for word in words):
                found.append(int(process.name))
    return found


def wait_for_janitors(data_dir: str | Path) -> None:
    """Come back when there is none any more."""
    for pid in janitors(data_dir):
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            assert select.select([descriptor], [], [], LONGEST)[0], f"janitor {pid} hangs"
            os.close(descriptor)
