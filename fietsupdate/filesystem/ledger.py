"""The data directory's copy of the ledger, and the VERSION file: one look at what is there.

Looking needs no lock, waits for nothing, creates nothing, and never fails on what it finds: damage is part of the
answer (invariant 10).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from fietsupdate.filesystem import header
from fietsupdate.filesystem.layout import ledger_file, restore_folder
from fietsupdate.filesystem.lock import holder
from fietsupdate.filesystem.maintenance import left_behind
from fietsupdate.model import Entry
from fietsupdate.views import FilesView, OpenRestore


def look(data_dir: Path, version_file: str) -> FilesView:
    """Read what the data directory says about its instance.

    Args:
        data_dir: The data directory; it may be missing.
        version_file: Name of the VERSION file in it; "" for none.
    """
    entries, has_ledger, damaged = read_entries(ledger_file(data_dir))
    version_path = data_dir / version_file if version_file else None
    version, unreadable = read_version(version_path)
    transaction, unreadable_header = header.look(data_dir)
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
        restore=_restore(data_dir),
        maintenance=left_behind(data_dir),
    )


def _restore(data_dir: Path) -> OpenRestore | None:
    """Look at a restore that lies open; without its folder, nothing is imported that could read it."""
    try:
        os.lstat(restore_folder(data_dir))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # reading the journal says what is wrong
    from fietsupdate.filesystem import restoration

    return restoration.look(data_dir)


def read_entries(path: Path) -> tuple[tuple[Entry, ...], bool, str]:
    """Read a ledger: the entries up to the first damage, whether the file exists, and what is wrong with it."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return (), False, ""
    except NotADirectoryError:
        return (), False, ""
    except OSError as error:
        return (), True, f"{path} cannot be read: {error.strerror}."
    entries: list[Entry] = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            entry = Entry.from_json(line.decode())
        except ValueError:
            return tuple(entries), True, f"Line {number} of {path} is not a ledger entry."
        if entry.seq != number:
            return tuple(entries), True, f"Line {number} of {path} has the number {entry.seq}."
        entries.append(entry)
    if lines[-1]:
        return tuple(entries), True, f"The last line of {path} is incomplete."
    return tuple(entries), True, ""


def read_version(path: Path | None) -> tuple[tuple[str, ...] | None, str]:
    """Read a VERSION file: its ids, each once and in their order, or ``None``; and why it cannot be read."""
    if path is None:
        return None, ""
    try:
        text = path.read_bytes().decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except OSError as error:
        return None, f"{path} cannot be read: {error.strerror}."
    return tuple(dict.fromkeys(text.split())), ""


def version_text(current: Iterable[str]) -> str:
    """Give the content of a VERSION file: one id a line, no newline at the end (Fietsboek's format)."""
    return "\n".join(current)
