"""Read update scripts from disk into `Update` values. No script is run, so imports that fail do no harm.

All faults in all folders are reported at once. The cost is one read for each script, and one parse for each content:
a command that looks several times parses once.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fietsupdate.model import Folder, Update
from fietsupdate.planning.broken import read_broken
from fietsupdate.planning.metadata import Fault, FaultsError, NotPythonError, read_script

_ONE_AT_A_TIME = threading.Lock()
"""Two threads that leave `warnings.catch_warnings` in the wrong order would silence the application for good."""
_READ: dict[tuple[Path, str], tuple[bytes, Update]] = {}
"""What was read last of each script, by path and name of the folder: the same content is the same update."""


def load(folders: Sequence[Folder]) -> tuple[Update, ...]:
    """Read the scripts of all folders.

    A script is a file whose name ends in ``.py`` and starts with neither an underscore, a dot nor ``#``. This excludes
    files that editors leave behind, ``__init__.py`` and compiled files. Folders inside of a folder are not read.

    Returns:
        The updates, by folder, then by id. `fietsupdate.planning.graph.build` checks whether they fit together.

    Raises:
        ScriptError: A folder or a script cannot be read, or a script lacks required metadata. The message
            has a line ``path:line: what`` for each fault in any of them.
    """
    updates: list[Update] = []
    faults: list[Fault] = _folders_named_twice(folders)
    with unwarned():
        for folder in folders:
            try:
                updates += sorted(_updates(folder, faults), key=lambda update: update.update_id)
            except OSError as error:
                hint = "`updates` in the configuration names the folders of update scripts."
                faults.append(Fault(folder.path, 0, f"the folder cannot be read: {error.strerror}.", hint))
    if faults:
        raise FaultsError(faults)
    return tuple(updates)


@contextmanager
def unwarned() -> Iterator[None]:
    """Suppress Python's warnings while scripts are read; their authors see the warnings when the scripts run."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _updates(folder: Folder, faults: list[Fault]) -> Iterator[Update]:
    for name in sorted(filter(_is_script, os.listdir(folder.path))):
        path = folder.path / name
        try:
            yield _read(path, folder.name)
        except IsADirectoryError:
            continue
        except OSError as error:
            faults.append(Fault(path, 0, f"the script cannot be read: {error.strerror}."))
        except FaultsError as error:
            faults.extend(error.faults)


def _read(path: Path, folder: str) -> Update:
    source = _content(path)
    known = _READ.get((path, folder))
    if known is None or known[0] != source:
        known = _READ[path, folder] = source, _parse(source, path, folder)
    return known[1]


def _parse(source: bytes, path: Path, folder: str) -> Update:
    """Read a script; one that is not valid Python counts as long as its metadata can be read."""
    try:
        return read_script(source, path, folder)
    except NotPythonError as error:
        update = read_broken(source, path, folder, error.faults[0])
        if update is None:
            raise
        return update


def _is_script(name: str) -> bool:
    return name.endswith(".py") and not name.startswith(("_", ".", "#"))


def _content(path: Path) -> bytes:
    with open(path, "rb", buffering=0, opener=_opened_at_once) as file:
        return file.read()


def _opened_at_once(path: str, flags: int) -> int:
    # Opening a named pipe in the folder must not block.
    return os.open(path, flags | os.O_NONBLOCK)


def _folders_named_twice(folders: Sequence[Folder]) -> list[Fault]:
    """Return folders that are the same on disk: each of their scripts would be a duplicate of itself."""
    folders_by_name: dict[str, Folder] = {}
    faults = []
    for folder in folders:
        first = folders_by_name.setdefault(os.path.realpath(folder.path), folder)
        if first is not folder:
            what = f"the folder is configured twice, as {first.name!r} and as {folder.name!r}."
            faults.append(Fault(folder.path, 0, what, "Name it once in `updates`."))
    return faults
