"""Restores as text: the backups to choose from, what will be replaced, what was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fietsupdate.backup.manifest import Backup, Scope
from fietsupdate.cli.render import backups as copies
from fietsupdate.cli.render.backups import HOLDS, size
from fietsupdate.cli.render.layout import several
from fietsupdate.model import Event
from fietsupdate.model.clock import column_time, shown_time
from fietsupdate.views import MYSQL

if TYPE_CHECKING:
    from fietsupdate.commands.restore import Candidate, Restored

PARTS = {"database": "loading the database beside the live one", "files": "copying the files beside the live ones"}
ENDS_SESSIONS = MYSQL | {"postgresql"}


def choice(backups: Sequence[Backup]) -> str:
    """Return the backups that can be restored, numbered, newest first."""
    rows = [
        (
            str(number),
            one.name,
            column_time(one.manifest.created_at),
            HOLDS[one.manifest.scope],
            one.manifest.versions,
            several(one.manifest.current, "base"),
        )
        for number, one in enumerate(backups, 1)
    ]
    titles = ("", "name", "made (UTC)", "holds", "version", "current updates")
    return "\n".join(copies.versioned_table(titles, rows))


def question(what: Candidate) -> str:
    """Return what will be replaced, and by what."""
    backup, manifest = what.backup, what.backup.manifest
    current = several(manifest.current, "no update")
    keeps = f"; `{what.keeps_by}` would keep it" if what.keeps_by else ", and no backup of it can be made"
    sessions = "; its open sessions are ended" if what.dialect in ENDS_SESSIONS else ""
    if manifest.scope is Scope.FULL:
        files = (
            f"everything in {' and '.join(map(str, what.roots))} is replaced by {manifest.files} files, folders and "
            f"links, {size(manifest.bytes)}"
        )
    else:
        files = f"what the interrupted or last update changed in {' and '.join(map(str, what.roots))} is undone"
    made = shown_time(manifest.created_at)
    version = f", of version {manifest.versions}" if manifest.versions else ""
    cautions = [f"  - {text}" for text in manifest.cautions]
    damaged = [f"Passed over, as it is damaged: backup {name}: {reason}." for name, reason in what.passed_over.items()]
    damaged += [f"Passed over, as it is too new: backup {name}: {reason}" for name, reason in what.too_new.items()]
    return "\n".join(
        [
            *damaged,
            f"Restore the backup {backup.name}, made {made}, when the instance was at {current}{version}:",
            f"  database  {what.database} is replaced{sessions}",
            f"  files     {files}",
            f"What is there now is removed as soon as both halves are in place{keeps}.",
            "The application must not run meanwhile.",
            *(["What is not in the backup, or was to be minded when it was made:", *cautions] if cautions else []),
        ]
    )


def part(event: Event) -> str:
    """Return what a restore is doing at the moment."""
    return PARTS.get(event.text, event.text)


def done(what: Restored) -> str:
    """Return the result of a restore."""
    lines = [f"Restored {what.name}: both halves are at {several(what.current, 'no update')}."]
    if what.found:
        lines.append("What was in the way, or was not known again, is here now:")
        lines += [f"  {path}" for path in what.found]
    return "\n".join(lines)


def document(what: Candidate) -> dict[str, Any]:
    """Return the document of what would be replaced."""
    return {
        "backup": copies.document(what.backup),
        "database": what.database,
        "roots": [str(root) for root in what.roots],
        "passed_over": dict(what.passed_over),
        "too_new": dict(what.too_new),
    }
