"""A restore of single files in words: what will come back, what came back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fietsupdate.cli.render import backups
from fietsupdate.cli.render.backups import size
from fietsupdate.cli.render.output import on_one_line

if TYPE_CHECKING:
    from fietsupdate.commands.restore_files import FilesCandidate, RestoredFiles

MOST = 20
"""So many files are named for people; programs are told of all."""


def question(what: FilesCandidate) -> str:
    """Say what will come back, and from where."""
    made = what.backup.manifest.created_at[:19].replace("T", " ")
    lines = [f"From the backup {what.backup.name}, made {made} UTC:"]
    if what.files:
        lines += [f"Comes back, {size(what.bytes)}:", *_named(what.files)]
    lines += _already(what.present)
    lines.append("The database stays as it is, and nothing that is there is replaced.")
    return "\n".join(lines)


def done(what: RestoredFiles) -> str:
    """Say what came back."""
    lines = [f"Brought back from {what.name}:", *_named(what.files)] if what.files else ["Nothing was missing."]
    return "\n".join([*lines, *_already(what.present)])


def document(what: FilesCandidate) -> dict[str, Any]:
    """Describe what would come back, for programs."""
    return {
        "backup": backups.document(what.backup),
        "files": [*what.files],
        "present": [*what.present],
        "bytes": what.bytes,
    }


def _already(present: Sequence[str]) -> list[str]:
    return ["There already, as in the backup:", *_named(present)] if present else []


def _named(files: Sequence[str]) -> list[str]:
    more = len(files) - MOST
    return [*(f"  {on_one_line(name)}" for name in files[:MOST]), *([f"  and {more} more"] if more > 0 else [])]
