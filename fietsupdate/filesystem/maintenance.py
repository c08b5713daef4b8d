"""The maintenance file: it exists while an instance is being changed, and no longer.

A file that we create is noted in our own folder first, with a token that is written into the file, too. So after a run
was killed, the next holder of the lock can distinguish that file from one of another program, which is never touched.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.layout import home
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.identity import acting_as
from fietsupdate.filesystem.posix.ownership import give_owner
from fietsupdate.filesystem.posix.regular import read_bytes
from fietsupdate.model.readback import parsed
from fietsupdate.views import LockHolder

_TOKEN = re.compile("[0-9a-f]{16}")
NOTE = "maintenance"
"""Name of the note in our own folder."""
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""The errors of file systems without hard links."""


@dataclass(frozen=True, slots=True)
class _Note:
    """Path and token of our file."""

    path: Path
    token: str

    @property
    def draft(self) -> Path:
        """The temporary name of the file."""
        return self.path.with_name(f".{self.path.name}.{self.token}")

    @property
    def is_up(self) -> bool:
        """Whether the file exists, and is the one that we created."""
        try:
            return self.token in read_bytes(self.path, of_anybody=True).decode(errors="replace")
        except OSError:
            return False


def left_behind(data_dir: Path) -> Path | None:
    """Return our maintenance file if it exists; changes nothing, and never fails."""
    note = _noted(data_dir)
    return note.path if note is not None and note.is_up else None


def is_noted(data_dir: Path) -> bool:
    """Return whether a run has created a maintenance file, or was about to, and has not removed it."""
    return bool(_written(data_dir))


def put_up(path: Path, data_dir: Path, who: LockHolder) -> bool:
    """Create the maintenance file, durably; its content names the process at work, as JSON.

    Returns:
        Whether the file is ours; False when another program's file exists there, which is left unchanged.

    Raises:
        FilesError: The file cannot be created.
    """
    try:
        take_down(data_dir, path)
        if os.path.lexists(path):
            return False
        note = _Note(path, os.urandom(8).hex())
        text = json.dumps({"path": str(path), "token": note.token})
        durable.atomic_write(_note_file(data_dir), text.encode(), mode=0o600)
        return _create(note, json.dumps({**asdict(who), "token": note.token}) + "\n")
    except OSError as error:
        raise FilesError(
            f"The maintenance file {path} cannot be created: {error.strerror}.",
            stands=UNCHANGED,
            hint="Let the user who updates write to its folder, or correct `maintenance` in the configuration.",
        ) from error


def take_down(data_dir: Path, configured: Path | None) -> Path | None:
    """Remove the maintenance file that we created, also one of a run that was killed. The caller must hold the lock.

    Args:
        data_dir: The data directory, which has the note.
        configured: The configured path of the file. Another path in the note is removed with the rights of the note's
            owner only, who can have forged it (invariant 12).

    Returns:
        The file that was removed, or None where none of ours existed.

    Raises:
        OSError: The file cannot be removed; the note stays, so that the next run tries again.
    """
    note = _noted(data_dir)
    removed = None
    if note is not None:
        with nullcontext() if note.path == configured else acting_as(os.lstat(_note_file(data_dir))):
            note.draft.unlink(missing_ok=True)
            if note.is_up:
                note.path.unlink()
                removed = note.path
                durable.sync_path(note.path.parent)
    for written in _written(data_dir):
        written.unlink(missing_ok=True)
    return removed


def _create(note: _Note, text: str) -> bool:
    """Create the file with its whole content at once, without ever replacing another file."""
    folder = os.stat(note.path.parent)
    descriptor = os.open(note.draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        durable.write_all(descriptor, text.encode())
        os.fchmod(descriptor, stat.S_IMODE(folder.st_mode) & 0o666)
        give_owner(note.draft, folder)
        durable.sync(descriptor, note.path)
    finally:
        os.close(descriptor)
    is_ours = _name(note)
    note.draft.unlink(missing_ok=True)
    durable.sync_path(note.path.parent)
    return is_ours


def _name(note: _Note) -> bool:
    try:
        os.link(note.draft, note.path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(note.path):
            return False
        os.rename(note.draft, note.path)
    return True


def _noted(data_dir: Path) -> _Note | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        values = parsed(read_bytes(_note_file(data_dir)))
        path, token = Path(values["path"]), str(values["token"])
        return _Note(path, token) if _TOKEN.fullmatch(token) and path.is_absolute() and path.name else None
    return None


def _written(data_dir: Path) -> list[Path]:
    """Return the note, and drafts of it that a killed run has left."""
    return list(home(data_dir).glob(f"*{NOTE}*"))


def _note_file(data_dir: Path) -> Path:
    return home(data_dir) / NOTE
