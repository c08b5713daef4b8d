"""The quarantine as text: what would be put there, what is there, what came back, what was deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fietsupdate.cli.render.backups import size
from fietsupdate.cli.render.layout import count
from fietsupdate.cli.render.output import on_one_line
from fietsupdate.model.clock import shown_time

if TYPE_CHECKING:
    from fietsupdate.commands.quarantine import Quarantined, StrayFiles
    from fietsupdate.commands.quarantines import Held, Purged, QuarantineList, ReleasedFiles

MOST = 20
"""The most files that are named in text; JSON contains all."""
NONE = "No strays: no owned file is without a row."
EMPTY = "Nothing is in quarantine."


def plan(what: StrayFiles) -> str:
    """Return the files that would be moved."""
    if not what.files:
        return NONE
    lines = [f"{count(len(what.files), 'file')} without a row, of {what.owned}:", *_named(what.files)]
    return "\n".join([*lines, "They would be moved to .fietsupdate/quarantine. No row changes."])


def plan_document(what: StrayFiles) -> dict[str, Any]:
    """Return the same as JSON values."""
    return {"strays": len(what.files), "owned": what.owned, "files": [*what.files]}


def moved(done: Quarantined) -> str:
    """Return what was moved."""
    gone = [f"Not there any more when it was to be moved: {on_one_line(name)}" for name in done.gone]
    if not done.name:
        return "\n".join([NONE, *gone] if not done.gone else gone)
    text = f"{count(done.files, 'file')}, {size(done.bytes)}, in quarantine {done.name} now."
    return "\n".join([text, "`fietsupdate quarantine release` brings them back.", *gone])


def shown(there: QuarantineList) -> str:
    """Return the content of the quarantine."""
    lines = [line for one in there.quarantines for line in _held(one)]
    lines += [f"{folder}: cannot be read as a quarantine, {reason}." for folder, reason in there.damaged.items()]
    return "\n".join(lines) or EMPTY


def document(there: QuarantineList) -> dict[str, Any]:
    """Return the same as JSON values."""
    return {"quarantines": [_document(one) for one in there.quarantines], "damaged": dict(there.damaged)}


def released(done: ReleasedFiles) -> str:
    """Return what came back, and what stays."""
    lines = [f"{count(done.files, 'file')}, {size(done.bytes)}, brought back."]
    if done.occupied:
        lines += ["Stays in quarantine, as something else is at its path:", *_named(done.occupied)]
    return "\n".join(lines) if done.files or done.occupied else EMPTY


def purgeable(what: Purged) -> str:
    """Return what would be deleted for good."""
    if not what.quarantines:
        return "Nothing in quarantine is that old."
    lines = [line for one in what.quarantines for line in _held(one)]
    return "\n".join([*lines, f"{count(what.files, 'file')}, {size(what.bytes)}, would be deleted for good."])


def purge_document(what: Purged) -> dict[str, Any]:
    """Return the same as JSON values."""
    return {
        "quarantines": [_document(one) for one in what.quarantines],
        "files": what.files,
        "bytes": what.bytes,
    }


def purged(done: Purged) -> str:
    """Return what was deleted."""
    if not done.quarantines:
        return "Nothing in quarantine is that old."
    names = ", ".join(one.name for one in done.quarantines)
    return f"{count(done.files, 'file')}, {size(done.bytes)}, deleted for good: {names}."


def _held(one: Held) -> list[str]:
    made = shown_time(one.created_at)
    roots = ", ".join(root or "the data directory" for root in one.roots)
    lines = [f"{one.name}  {made}  {count(one.files, 'file')}, {size(one.bytes)}, from {roots or 'nowhere'}"]
    lines[0] += f"  by `{one.command}`"
    lines += [f"  {on_one_line(path)}" for path in one.paths]
    lines += [f"  its part in {root} is not there: is it mounted, and configured?" for root in one.absent]
    return [*lines, *([f"  damaged: {one.damaged}"] if one.damaged else [])]


def _document(one: Held) -> dict[str, Any]:
    return {
        "name": one.name,
        "created_at": one.created_at,
        "command": one.command,
        "files": one.files,
        "bytes": one.bytes,
        "roots": dict(one.roots),
        "paths": [*one.paths],
        "absent": [*one.absent],
        "damaged": one.damaged,
    }


def _named(files: Sequence[str]) -> list[str]:
    more = len(files) - MOST
    return [*(f"  {on_one_line(name)}" for name in files[:MOST]), *([f"  and {more} more"] if more > 0 else [])]
