"""Backups as text: which one a plan makes, the progress of making one, which ones exist."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fietsupdate.backup.manifest import Backup, Scope, Shelf
from fietsupdate.cli.render.layout import count, duration, several, table
from fietsupdate.model import Event, Plan
from fietsupdate.model.clock import column_time

if TYPE_CHECKING:
    from fietsupdate.commands.backup import Verified

_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000
HOLDS = {Scope.FULL: "both halves", Scope.DATABASE: "the database"}


def size(number: float) -> str:
    """Return a number of bytes in readable units: ``812 B``, ``3.4 MB``, ``120 GB``."""
    unit = 0
    while number >= _STEP - 0.5 and unit < len(_UNITS) - 1:
        number, unit = number / _STEP, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit and number < 9.95 else f"{number:.0f} {_UNITS[unit]}"  # noqa: PLR2004


def pace(details: Mapping[str, Any]) -> str:
    """Return "1.2 GB of 3.4 GB, 120 MB/s, 20 s left", or "1.2 GB so far, 120 MB/s" if the total is unknown."""
    whole = "so far" if details["total"] is None else f"of {size(details['total'])}"
    text = f"{size(details['done'])} {whole}, {size(details['rate'])}/s"
    left = details.get("left", 0)
    return f"{text}, {duration(round(left * 1000))} left" if left else text


def promise(what: Plan) -> str:
    """Return which backup a plan makes first; "" where none is needed."""
    return {
        Scope.FULL: f"first both halves are copied to {what.backup_dir}",
        Scope.DATABASE: f"the database is dumped to {what.backup_dir} before each update that is not atomic",
        "declined": "NONE is made: what is dropped is gone"
        if what.is_below_baseline
        else "NONE is made: an update that is not atomic and fails half-way cannot be taken back",
    }.get(what.backup, "")


def plan(what: Plan) -> dict[str, Any] | None:
    """Return the part of a plan's document about its backup."""
    return {"scope": what.backup, "folder": what.backup_dir or None} if what.backup else None


def begun(event: Event) -> str:
    """Return that a backup is being made."""
    whole = event.details.get("scope") == Scope.FULL
    return f"Copying both halves: backup {event.text}" if whole else f"Dumping the database: backup {event.text}"


def finished(event: Event) -> str:
    """Return that a backup was made."""
    return f"copied {size(event.details.get('bytes', 0))}"


def made(backup: Backup) -> str:
    """Return the summary of a finished backup."""
    manifest = backup.manifest
    return (
        f"Backup {backup.name} is complete: the database, and {manifest.files} files, folders and links; "
        f"{size(backup.size)}.\nIt is in {backup.path}"
    )


def shelf(there: Shelf) -> str:
    """Return the backups as a table, newest first."""
    if not there.backups and not there.broken:
        return f"There is no backup in {there.folder}."
    lines = [f"Backups in {there.folder}, newest first:", ""] if there.backups else []
    if there.backups:
        rows = [_row(backup, spent=backup.name in there.spent) for backup in there.backups]
        titles = ("name", "made (UTC)", "why", "holds", "size", "version", "current updates")
        lines += versioned_table(titles, rows)
    if there.spent:
        lines.append("Spent: its other half, an update's vault, is gone; `fietsupdate backup prune` takes it away.")
    lines += [f"Not a backup: {name}: {reason}." for name, reason in sorted(there.broken.items())]
    return "\n".join(lines)


def _row(backup: Backup, *, spent: bool) -> tuple[str, ...]:
    manifest = backup.manifest
    when = column_time(manifest.created_at)
    current = several(manifest.current, "base")
    holds = f"{HOLDS[manifest.scope]}{', spent' if spent else ''}"
    return backup.name, when, manifest.reason, holds, size(backup.size), manifest.versions, current


def versioned_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table's lines, without the column "version" if no row has one."""
    at = titles.index("version")
    if any(row[at] for row in rows):
        return table(titles, rows)
    return table([*titles[:at], *titles[at + 1 :]], [[*row[:at], *row[at + 1 :]] for row in rows])


def verified(answer: Verified) -> str:
    """Return whether a backup is sound; damaged newer ones come first."""
    lines = [f"Backup {name} is NOT good: {reason}." for name, reason in answer.passed_over.items()]
    older = "An older one, backup" if lines else "Backup"
    wrong = (*answer.wrong, *(answer.proof.wrong if answer.proof else ()))
    if wrong:
        lines += [f"{older} {answer.backup.name} is NOT good:", *(f"  - {text}" for text in wrong)]
    else:
        read = f"{size(answer.backup.size)} were read and compared"
        proved = ", and all of it came back in a trial restore" if answer.proof else ""
        lines.append(f"{older} {answer.backup.name}{',' if len(lines) else ''} is good: {read}{proved}.")
    if answer.proof:
        lines += [f"  - {text[0].upper()}{text[1:]}." for text in answer.proof.notes]
    return "\n".join(lines)


def pruned(names: Sequence[str], *, dry_run: bool) -> str:
    """Return which backups were deleted."""
    if not names:
        return "Nothing to take away."
    verb = "would be taken away" if dry_run else "taken away"
    return "\n".join([f"{count(len(names), 'backup')} {verb}:", *(f"  {name}" for name in names)])


def document(backup: Backup) -> dict[str, Any]:
    """Return the document of one backup."""
    return {**asdict(backup.manifest), "path": backup.path, "size": backup.size}


def finished_line(backup: Backup, time: str) -> str:
    """Return the last line of ``backup --json``; `time` is the end's."""
    event = {"event": "finished", "time": time, "backup": document(backup)}
    return json.dumps(event, default=str)


def shelf_document(there: Shelf) -> dict[str, Any]:
    """Return the document of ``backup list --json``."""
    backups = [{**document(each), "spent": each.name in there.spent} for each in there.backups]
    return {"folder": there.folder, "backups": backups, "broken": there.broken}


def verified_document(answer: Verified) -> dict[str, Any]:
    """Return the document of ``backup verify --json``."""
    return {
        "name": answer.backup.name,
        "path": answer.backup.path,
        "good": answer.is_good,
        "wrong": answer.wrong,
        "passed_over": dict(answer.passed_over),
        "restored": None if answer.proof is None else asdict(answer.proof),
    }
