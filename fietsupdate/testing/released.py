"""The checksums of released update scripts, in a file beside them: instances have run them, so they must not change.

``released.json`` in each folder of update scripts contains the SHA-256 of each script by id, one a line, so that merges
seldom conflict. The file belongs under version control.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from fietsupdate.filesystem.posix.durable import atomic_write
from fietsupdate.model import Update
from fietsupdate.planning.graph import Graph

NAME = "released.json"


def record(graph: Graph) -> tuple[Path, ...]:
    """Write the checksums of all scripts of all folders; return the files that were written."""
    written = []
    for folder in _folders(graph):
        sums = {update.update_id: update.checksum for update in graph.ordered if update.path.parent == folder}
        text = json.dumps(sums, indent=0, ensure_ascii=False) + "\n"
        path = folder / NAME
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            atomic_write(path, text.encode())
            written.append(path)
    return tuple(written)


def faults(graph: Graph) -> tuple[str, ...] | None:
    """Return a sentence about each released script that has changed; None if no folder has a ``released.json``."""
    files = [folder / NAME for folder in _folders(graph) if (folder / NAME).exists()]
    if not files:
        return None
    return tuple(line for file in files for line in _faults(file, graph.updates))


def _faults(file: Path, updates: Mapping[str, Update]) -> Iterator[str]:
    for update_id, checksum in read(file).items():
        update = updates.get(update_id)
        if update is None:
            yield f"{update_id} is gone: instances that have had it could not be updated any more."
        elif not update.is_script_of(checksum):
            yield f"{update.path} ({update_id}) has changed: instances that have had it will not run it again."


def read(file: Path) -> dict[str, str]:
    """Return the content of a ``released.json``.

    Raises:
        AssertionError: The file was not written by `record`.
    """
    try:
        sums = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AssertionError(f"{file} is not JSON ({error}): was it merged? Write it anew.") from error
    if not isinstance(sums, dict):
        raise AssertionError(f"{file} holds no ids and checksums. Write it anew.")  # noqa: TRY004
    return sums


def _folders(graph: Graph) -> list[Path]:
    return list(dict.fromkeys(update.path.parent for update in graph.ordered))
