"""Determine the version of the application that the data belongs to, including the record of an earlier upgrader."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fietsupdate.config.application import Application
from fietsupdate.errors import ConfigError
from fietsupdate.filesystem.posix.regular import read_bytes
from fietsupdate.model import Entry
from fietsupdate.planning.version_hooks import Recorded, is_mark, is_version, recorded


def recorded_in(application: Application, entries: Sequence[Entry]) -> Recorded:
    """Return what is recorded about the application's version.

    Until the ledger holds a change of version of its own, the file of an earlier upgrader gives the first version.

    Raises:
        ConfigError: That file cannot be read, or holds no version.
    """
    name = application.config.data_version_file
    return recorded(
        entries, "" if not name or any(map(is_mark, entries)) else _earlier(name, application.data_dir / name)
    )


def _earlier(name: str, path: Path) -> str:
    hint = "Correct the file or the setting: without the version no hook knows whether it is needed."
    try:
        text = read_bytes(path, of_anybody=True).decode(errors="replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise ConfigError(f"data_version_file = {name}: it cannot be read: {error.strerror}.", hint=hint) from error
    if text and not is_version(text):
        raise ConfigError(f"data_version_file = {name}: {text[:40]!r} in it is no version.", hint=hint)
    return text
