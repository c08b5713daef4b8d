"""Updates listed package by package, where an instance has several folders of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fietsupdate.cli.render.layout import count, several, table
from fietsupdate.model import Direction, Status, Update
from fietsupdate.model.clock import column_time
from fietsupdate.model.packages import PackageStatus
from fietsupdate.planning.packages import Applied

GHOSTS = "without a script"
"""Heading of applied updates that are in no folder."""


def facts(answer: Status) -> list[tuple[str, str]]:
    """Return a row for each package; an empty list if there is only one."""
    if len(answer.packages) < 2:  # noqa: PLR2004  # then the rows above say it all
        return []
    column = max(len(package.name) for package in answer.packages)
    lines = [f"{package.name:{column}}  {_place(package)}" for package in answer.packages]
    return [("Packages" if not number else "", line) for number, line in enumerate(lines)]


def _place(package: PackageStatus) -> str:
    at = f"at {several(package.current)}" if package.current else "no update yet"
    if not package.pending:
        return f"{at}; nothing waits" if package.heads else "has no updates"
    return f"{at}; {count(len(package.pending), 'update')} waiting, up to {several(package.heads)}"


def name(update: Update, *, qualified: bool) -> str:
    """Return the id, prefixed by its package if there are several: a target that can be typed."""
    return f"{update.folder}:{update.update_id}" if qualified else update.update_id


def applied(done: Sequence[Applied], folders: Sequence[str]) -> str:
    """Return the applied updates in the order in which they were applied, package by package."""
    if not done:
        return "No update is applied."
    return _grouped(((one.folder, _applied_cells(one)) for one in done), folders, ("update", "applied (UTC)", "what"))


def _applied_cells(one: Applied) -> tuple[str, ...]:
    if one.entry is None:
        when = "recorded"
    else:
        stamped = " (recorded)" if one.entry.direction is Direction.STAMP else ""
        when = column_time(one.entry.finished_at) + stamped
    summary = one.update.summary if one.update else "applied, but there is no such script"
    return one.update_id, when, summary


def pending(waiting: Sequence[Update], folders: Sequence[str]) -> str:
    """Return the pending updates in the order in which they will run, package by package."""
    if not waiting:
        return "No update is waiting."
    numbered = enumerate(waiting, start=1)
    cells = ((update.folder, (str(number), update.update_id, update.summary)) for number, update in numbered)
    return _grouped(cells, folders, ("nr", "update", "what"))


def _grouped(rows: Iterable[tuple[str, tuple[str, ...]]], folders: Sequence[str], titles: tuple[str, ...]) -> str:
    """Lay rows out under their packages; without headings if there is only one."""
    groups: dict[str, list[tuple[str, ...]]] = {folder: [] for folder in folders}
    for folder, cells in rows:
        groups.setdefault(folder or GHOSTS, []).append(cells)
    everything = [cells for group in groups.values() for cells in group]
    head, *lines = table(titles, everything)
    if sum(map(bool, groups.values())) < 2 and len(folders) < 2:  # noqa: PLR2004  # one needs no heading
        return "\n".join([head, *lines])
    left = iter(lines)
    parts = [head]
    for folder, group in groups.items():
        if group:
            parts += ["", f"{folder}:", *(next(left) for _ in group)]
    return "\n".join(parts)


def status_documents(packages: Iterable[PackageStatus]) -> dict[str, Any]:
    """Return the packages of ``status --json``, by name."""
    return {
        package.name: {
            "current": package.current,
            "heads": package.heads,
            "pending": package.pending,
            "applied": package.applied,
        }
        for package in packages
    }


def applied_document(done: Iterable[Applied]) -> Mapping[str, Any]:
    """Return the document of ``history --applied --json``."""
    return {
        "applied": [
            {
                "update_id": one.update_id,
                "package": one.folder or None,
                "summary": one.update.summary if one.update else "",
                "known": one.update is not None,
                "direction": one.entry.direction if one.entry else None,
                "finished_at": one.entry.finished_at if one.entry else None,
                "actor": one.entry.actor if one.entry else None,
            }
            for one in done
        ]
    }


def pending_document(waiting: Iterable[Update]) -> Mapping[str, Any]:
    """Return the document of ``history --pending --json``."""
    return {"pending": [{"update_id": one.update_id, "package": one.folder, "summary": one.summary} for one in waiting]}
