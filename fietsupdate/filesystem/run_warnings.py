"""The warnings of a run that has not come to its end: whoever goes on with it repeats them.

An update that is interrupted does not run its finished phases again, so what they have warned of would be seen on the
terminal of the first run only. The notes stand until a run succeeds. They decide nothing: one that cannot be written or
read is none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.last_failure import shown
from fietsupdate.filesystem.layout import home
from fietsupdate.filesystem.posix import durable, regular

NAME = "warnings"
LONGEST = 2000
"""Characters of a warning that are kept."""
MOST_BYTES = 1 << 20
"""Bytes that are kept: a hook may warn of each row of a table."""


def keep(data_dir: Path, txn: str, text: str) -> None:
    """Note a warning. Whoever calls holds the lock.

    Args:
        data_dir: The data directory.
        txn: The transaction that it belongs to; "" for none.
        text: What is warned of.
    """
    line = f"{json.dumps([txn, text[:LONGEST]])}\n".encode()
    with suppress(OSError, FilesError):  # a full disk, above all: it must not fail the update
        descriptor = os.open(_file(data_dir), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(descriptor).st_size + len(line) <= MOST_BYTES:
                durable.write_all(descriptor, line)
        finally:
            os.close(descriptor)


def kept(data_dir: Path) -> tuple[str, ...]:
    """Return the warnings that are noted, each once and the oldest first. It changes nothing, and never fails."""
    return tuple(dict.fromkeys(text for _, text in _lines(data_dir)))


def drop(data_dir: Path, txn: str) -> None:
    """Take away the warnings of a transaction that was undone: it warns again when it runs again."""
    rest = [[other, text] for other, text in _lines(data_dir) if other != txn]
    with suppress(OSError, FilesError):
        if not rest:
            forget(data_dir)
        else:
            text = "".join(f"{json.dumps(one)}\n" for one in rest)
            durable.atomic_write(_file(data_dir), text.encode(), mode=0o600)


def forget(data_dir: Path) -> None:
    """Take all away: a run has succeeded, and has told them."""
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
