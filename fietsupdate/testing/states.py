"""The state of both halves of an instance as one flat value, and a description of the differences between two."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from fietsupdate.filesystem.ledger import inspect_files
from fietsupdate.testing import databases
from fietsupdate.testing.content import dump, ledger
from fietsupdate.testing.instance import TemporaryInstance

State = Mapping[str, object]
"""Every part of an instance by its name, with its properties. Times are left out: they differ from run to run."""
MOST_LINES = 12


def state_of(instance: TemporaryInstance) -> State:
    """Return the state of an instance; an empty ledger equals a missing one."""
    content = dump(instance.url, bookkeeping=False)
    with instance.connect() as connection:
        rows = ledger(connection)
    files = inspect_files(instance.data_dir, instance.config.version_file)
    return {
        **{f"file {path}": replace(node, mtime_ns=0) for path, node in instance.tree().items()},
        **{f"schema: {line}": True for line in content["schema"] or []},
        **{f"rows of {table}": tuple(rows) for table, rows in content["rows"].items()},
        "VERSION": files.version,
        "ledger in the database": rows,
        "ledger in the data directory": tuple(entry.update_id for entry in files.entries),
    }


def differences(now: State, wanted: State, unsteady: Collection[str] = ()) -> list[str]:
    """Return a line for each difference between `now` and `wanted`; parts in `unsteady` need only exist in both."""
    lines = []
    for key in sorted(now.keys() | wanted.keys()):
        if key not in now:
            lines.append(f"{key} is missing")
        elif key not in wanted:
            lines.append(f"{key} is there, and should not be")
        elif now[key] != wanted[key] and key not in unsteady:
            lines.append(f"{key} differs")
    return lines


def listed(lines: Collection[str]) -> str:
    """Return lines for a message; if there are many, only the first ones."""
    printed = [f"  {line[:200]}" for line in lines][:MOST_LINES]
    more = [f"  and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return "\n".join([*printed, *more])


class InstanceSnapshot:
    """A copy of an instance, which can be restored repeatedly.

    Args:
        instance: The instance.
        folder: An empty folder for the copy.
    """

    def __init__(self, instance: TemporaryInstance, folder: Path) -> None:
        self._folders = [instance.data_dir, *instance.extra_dirs.values()]
        self._copies = [folder / str(number) for number, _ in enumerate(self._folders)]
        for source, copied in zip(self._folders, self._copies, strict=True):
            copy_folder(source, copied)
        self._database = databases.Copy(instance.url, folder)

    def restore(self) -> None:
        """Restore both halves."""
        for source, copied in zip(self._folders, self._copies, strict=True):
            shutil.rmtree(source)
            copy_folder(copied, source)
        self._database.restore()

    def drop(self) -> None:
        """Remove the parts of the copy that are not files."""
        self._database.drop()


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder with hard links, times and attributes; `target` must not exist."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)
