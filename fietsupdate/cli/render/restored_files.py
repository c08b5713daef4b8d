"""The restore of single files as text: what will be brought back, and what was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fietsupdate.cli.render import backups
from fietsupdate.cli.render.backups import size
from fietsupdate.cli.render.output import on_one_line
from fietsupdate.model.clock import shown_time

if TYPE_CHECKING:
    from fietsupdate.commands.restore_files import FilesCandidate, RestoredFiles

MOST = 20
"""The most files that are named in text; JSON contains all."""


def question(what: FilesCandidate) -> str:
    """Return what will be brought back, and from which backup."""
    made = shown_time(what.backup.manifest.created_at)
    lines = [f"From the backup {what.backup.name}, made {made}:"]
    if what.files:
        lines += [f"Comes back, {size(what.bytes)}:", *_named(what.files)]
    lines += _already(what.present)
    lines.append("The database stays as it is, and nothing that is there is replaced.")
    return "\n".join(lines)


def done(what: RestoredFiles) -> str:
    """Return what was brought back."""
    lines = [f"Brought back from {what.name}:", *_named(what.files)] if what.files else ["Nothing was missing."]
    return "\n".join([*lines, *_already(what.present)])


def document(what: FilesCandidate) -> dict[str, Any]:
    """Return what will be brought back as JSON values."""
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
