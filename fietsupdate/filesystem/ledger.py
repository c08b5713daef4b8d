"""The data directory's copy of the ledger, and the VERSION file: how they are read.

Reading needs no lock, waits for nothing, creates nothing, and does not fail on damaged files: damage is part of the
result (invariant 10).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fietsupdate.filesystem import interruptions, last_failure, run_warnings
from fietsupdate.filesystem.journal import header
from fietsupdate.filesystem.layout import ledger_file
from fietsupdate.filesystem.lock import holder
from fietsupdate.filesystem.maintenance import left_behind
from fietsupdate.filesystem.posix.regular import opened, read_bytes
from fietsupdate.model import Entry
from fietsupdate.views import FilesView

LARGEST = 1 << 28
"""The most bytes of a ledger."""
_LONGEST = 1 << 16
"""The most bytes of a line; an entry has a few hundred."""
_MOST = 1 << 18
"""The most entries that are read: one a day for seven hundred years."""
_PIECE = 1 << 20
"""Bytes that are hashed at a time."""


def inspect_files(data_dir: Path, version_file: str) -> FilesView:
    """Read the data directory's facts about its instance; an interrupted restore is not among them.

    Args:
        data_dir: The data directory; it may be missing.
        version_file: Name of the VERSION file in it; "" for none.
    """
    entries, has_ledger, damaged = read_entries(ledger_file(data_dir))
    version_path = data_dir / version_file if version_file else None
    version, unreadable = read_version(version_path)
    transaction, unreadable_header = header.open_transaction(data_dir)
    return FilesView(
        data_dir=data_dir,
        exists=os.path.isdir(data_dir),  # unlike Path.is_dir, it never raises
        version=version,
        version_path=version_path,
        entries=entries,
        has_ledger=has_ledger,
        transaction=transaction,
        holder=holder(data_dir),
        damaged=damaged or unreadable,
        unreadable_header=unreadable_header,
        maintenance=left_behind(data_dir),
        failure=last_failure.noted(data_dir),
        interruptions=interruptions.noted(data_dir),
        warnings=run_warnings.kept(data_dir),
    )


def read_entries(path: Path) -> tuple[tuple[Entry, ...], bool, str]:
    """Read a ledger: the entries up to the first damage, whether the file exists, and what is wrong with it."""
    try:
        with os.fdopen(opened(path), "rb") as file:
            return _read_lines(file, path)
    except (FileNotFoundError, NotADirectoryError):
        return (), False, ""
    except OSError as error:
        return (), True, f"{path} cannot be read: {error.strerror}."


@dataclass(frozen=True)
class _Beginning:
    """The beginning of a ledger, whole lines, as it was read last: a command looks several times."""

    length: int
    digest: bytes
    """SHA-256 of those bytes."""
    entries: tuple[Entry, ...]


_NOTHING = _Beginning(0, hashlib.sha256().digest(), ())
_READ: dict[Path, _Beginning] = {}


def _read_lines(file: BinaryIO, path: Path) -> tuple[tuple[Entry, ...], bool, str]:
    """Read entry by entry, up to the first invalid line, so that no more of a file is read than it has entries.

    A beginning that is byte for byte as it was read last is not parsed again.
    """
    known, content = _known_beginning(file, _READ.get(path, _NOTHING))
    entries, length = list(known.entries), known.length
    damage = ""
    for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), start=len(entries) + 1):
        entry, damage = _entry(line, number, path)
        if entry is None:
            break
        entries.append(entry)
        content.update(line)
        length += len(line)
    read = _READ[path] = _Beginning(length, content.digest(), tuple(entries))
    return read.entries, True, damage


def _known_beginning(file: BinaryIO, known: _Beginning) -> tuple[_Beginning, hashlib._Hash]:
    """Go past the beginning that is known, with the hash of what was passed; stay at the start if it has changed."""
    content, left = hashlib.sha256(), known.length
    while left and (piece := file.read(min(left, _PIECE))):
        content.update(piece)
        left -= len(piece)
    if not left and content.digest() == known.digest:
        return known, content
    file.seek(0)
    return _NOTHING, hashlib.sha256()


def _entry(line: bytes, number: int, path: Path) -> tuple[Entry | None, str]:
    """Read a line of the ledger; return ``None`` and the reason for a line that is no entry."""
    if not line.endswith(b"\n"):
        what = "longer than any entry is" if len(line) == _LONGEST else "incomplete"
        where = f"Line {number} of {path}" if len(line) == _LONGEST else f"The last line of {path}"
        return None, f"{where} is {what}."
    try:
        entry = Entry.from_json(line.decode())
    except ValueError:
        return None, f"Line {number} of {path} is not a ledger entry."
    if entry.seq != number:
        return None, f"Line {number} of {path} has the number {entry.seq}."
    if number > _MOST:
        return None, f"{path} has more than {_MOST} entries."
    return entry, ""


def read_version(path: Path | None) -> tuple[tuple[str, ...] | None, str]:
    """Read a VERSION file: its ids, each once and in their order, or ``None``; and why it cannot be read."""
    if path is None:
        return None, ""
    try:
        text = read_bytes(_real_version(path), of_anybody=True).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except OSError as error:
        return None, f"{path} cannot be read: {error.strerror}."
    return tuple(dict.fromkeys(text.split())), ""


def _real_version(path: Path) -> Path:
    """Return the target of a VERSION file that is a symlink within its folder, as the verb that writes it does.

    Raises:
        OSError: The symlink leads out of the folder.
    """
    if not path.is_symlink():
        return path
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(os.path.realpath(path.parent)):
        raise OSError(errno.ELOOP, f"it is a symbolic link that leads out of {path.parent}", str(path))
    return real


def version_text(current: Iterable[str]) -> str:
    """Return the content of a VERSION file: one id a line, no newline at the end (Fietsboek's format)."""
    return "\n".join(current)
