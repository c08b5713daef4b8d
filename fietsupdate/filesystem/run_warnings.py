"""The warnings of a run that has not reached its end; the run that resumes it repeats them.

An interrupted update does not run its finished phases again, so their warnings would be seen on the terminal of the
first run only. The notes are kept until a run succeeds. They are for information only: a note that cannot be written or
read is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.layout import home
from fietsupdate.filesystem.note import shown
from fietsupdate.filesystem.posix import durable, regular

NAME = "warnings"
LONGEST = 2000
"""The most characters of a warning that are kept."""
MOST_BYTES = 1 << 20
"""The most bytes that are kept: a hook may warn of each row of a table."""


def keep(data_dir: Path, txn: str, text: str) -> None:
    """Record a warning. The caller must hold the lock.

    Args:
        data_dir: The data directory.
        txn: The transaction that it belongs to; "" for none.
        text: The warning.
    """
    line = f"{json.dumps([txn, text[:LONGEST]])}\n".encode()
    with suppress(OSError, FilesError):  # mainly a full disk, which must not fail the update because of this
        descriptor = os.open(_file(data_dir), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(descriptor).st_size + len(line) <= MOST_BYTES:
                durable.write_all(descriptor, line)
        finally:
            os.close(descriptor)


def kept(data_dir: Path) -> tuple[str, ...]:
    """Return the recorded warnings, each once and the oldest first. Changes nothing, and never fails."""
    return tuple(dict.fromkeys(text for _, text in _lines(data_dir)))


def drop(data_dir: Path, txn: str) -> None:
    """Delete the warnings of a transaction that was undone; they will be repeated when it runs again."""
    rest = [[other, text] for other, text in _lines(data_dir) if other != txn]
    with suppress(OSError, FilesError):
        if not rest:
            forget(data_dir)
        else:
            text = "".join(f"{json.dumps(one)}\n" for one in rest)
            durable.atomic_write(_file(data_dir), text.encode(), mode=0o600)


def forget(data_dir: Path) -> None:
    """Delete all warnings, because a run has succeeded and has shown them."""
    with suppress(OSError, FilesError):
        _file(data_dir).unlink()


def _file(data_dir: Path) -> Path:
    return home(data_dir) / NAME


def _lines(data_dir: Path) -> Iterator[tuple[str, str]]:
    """Yield transaction and text of each note; the last one may have been cut off by a crash."""
    try:
        content = regular.read_bytes(_file(data_dir), MOST_BYTES)
    except OSError:
        return
    for line in content.splitlines():
        with suppress(ValueError, TypeError, RecursionError):
            txn, text = json.loads(line)
            yield shown(txn), shown(text)
