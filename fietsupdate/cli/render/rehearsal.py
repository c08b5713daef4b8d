"""The report of a rehearsal, and the estimates for a plan, as text and as documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fietsupdate.cli.render import steps as changes
from fietsupdate.cli.render.backups import size
from fietsupdate.cli.render.layout import count, duration, labelled, several, table, wrapped
from fietsupdate.model import BASE, Phase
from fietsupdate.model.clock import shown_time

if TYPE_CHECKING:
    from fietsupdate.commands.rehearsal.report import (
        Database,
        FileChange,
        FileCounts,
        Outlook,
        Rehearsal,
        RehearsalFailure,
        RoundTrip,
        Seclusion,
        Timing,
    )
    from fietsupdate.engine.estimates import Estimates

MOST_FILES = 10
"""The most files that are named; ``--json`` names all."""
MOST_LINES = 40
"""The most lines of a schema's difference that are shown."""
_MINUTE, _HOUR = 60, 3600


def report(answer: Rehearsal, width: int) -> str:
    """Return the report of a rehearsal."""
    lines = [*_changed(answer, width), _heading(answer), ""]
    lines += labelled(_facts(answer), width)
    lines += _timings(answer.timings)
    if answer.files is not None and answer.files.changes:
        lines += ["", "Files:", *_changes(answer.files.changes)]
    if answer.database is not None:
        lines += [*_rows(answer.database), *_schema("Schema:", answer.database.schema)]
    for warning in answer.warnings:
        lines += ["", *labelled([("Warning", warning)], width)]
    if answer.round_trip is not None:
        lines += ["", *_round_trip(answer.round_trip, width)]
    if answer.failure is not None:
        lines += ["", *_failure(answer.failure, width)]
    lines += ["", *_kept_apart(answer.seclusion, width), *wrapped(answer.clone_left or "The clone is gone.", width)]
    return "\n".join(lines)


def _changed(answer: Rehearsal, width: int) -> list[str]:
    """Return, as the first lines, what has changed in the real instance."""
    if answer.seclusion is None or not answer.seclusion.changed:
        return []
    text = f"The real instance is NOT as it was before the updates: {', '.join(answer.seclusion.changed)}."
    return [*wrapped(text, width), ""]


def _kept_apart(seclusion: Seclusion | None, width: int) -> list[str]:
    """Return what kept the updates from the real instance, what did not, and what was compared; no more is claimed."""
    if seclusion is None:
        return []
    facts = [
        ("Kept apart", "The system kept the real files from being changed." if seclusion.read_only else ""),
        ("", f"On the server, {seclusion.account} had no rights outside the clone." if seclusion.account else ""),
        *(("Not kept", gap) for gap in seclusion.gaps),
        ("Compared", f"{'; '.join(seclusion.compared)}: {'NOT ' if seclusion.changed else ''}as before."),
    ]
    return [*labelled([(name, text) for name, text in facts if text], width), ""]


def document(answer: Rehearsal | None) -> dict[str, Any]:
    """Return the document of ``rehearse --json``."""
    if answer is None:
        return {"rehearsal": None}
    found: dict[str, Any] = {"rehearsal": answer.to_document()}
    if (failure := answer.failure) is not None:
        found["error"] = {"code": failure.code, "message": failure.message, "hint": failure.hint}
    return found


def outlook(known: Outlook, width: int) -> str:
    """Return the estimates for a plan; "" for none."""
    lines: list[str] = []
    if (rehearsal := known.rehearsal) is not None:
        lines += wrapped(_rehearsed(rehearsal), width)
    if known.estimates is not None:
        lines += wrapped(estimated(known.estimates), width)
        for update_id, why in known.estimates.failures.items():
            lines += wrapped(f"The estimate of {update_id} could not be had: {why}", width)
    return "\n".join(lines)


def outlook_document(known: Outlook) -> dict[str, Any]:
    """Return the document of the estimates for a plan."""
    rehearsal, estimates = known.rehearsal, known.estimates
    return {
        "rehearsal": rehearsal.to_document() if rehearsal is not None else None,
        "estimates": None
        if estimates is None
        else {
            "seconds": estimates.seconds,
            "bytes": estimates.bytes,
            "updates": {update_id: asdict(one) for update_id, one in estimates.given.items()},
            "silent": estimates.silent,
            "failures": dict(estimates.failures),
        },
    }


def estimated(estimates: Estimates) -> str:
    """Return the scripts' estimates in words and figures."""
    amounts = []
    if estimates.seconds is not None:
        amounts.append(in_words(estimates.seconds))
    if estimates.bytes is not None:
        amounts.append(size(estimates.bytes))
    if not amounts:
        return "How long this takes is not known: no script gives an estimate. `fietsupdate rehearse` finds out."
    silent = ""
    if estimates.silent:
        verb = "gives" if estimates.silent == 1 else "give"
        silent = f"; {estimates.silent} of {count(estimates.steps, 'update')} {verb} none"
    return f"This takes {' and '.join(amounts)}, by the scripts' own estimates{silent}."


def in_words(seconds: float) -> str:
    """Return a length of time in words: "about 3 minutes"."""
    if seconds < 1:
        return "less than a second"
    if seconds < _MINUTE:
        return f"about {count(round(seconds), 'second')}"
    if seconds < _HOUR:
        return f"about {count(round(seconds / _MINUTE), 'minute')}"
    hours, rest = divmod(round(seconds / _MINUTE), 60)
    return f"about {count(hours, 'hour')}" + (f" and {count(rest, 'minute')}" if rest else "")


def _rehearsed(answer: Rehearsal) -> str:
    when = shown_time(answer.made_at)
    if (failure := answer.failure) is not None:
        where = f" ({_where(failure)})" if failure.update_id else ""
        return f"The last rehearsal of these updates, on {when}, failed{where}: {failure.message}"
    text = f"Rehearsed on {when}: {in_words(answer.duration_ms / 1000)} ({duration(answer.duration_ms)})"
    if answer.files is not None:
        text += f", {_written(answer.files)}"
    text += f", {size(answer.peak_bytes)} of extra space at the most"
    if answer.warnings:
        text += f", {count(len(answer.warnings), 'warning')}"
    if answer.round_trip is not None:
        but = f" but what stays on purpose ({', '.join(left)})" if (left := answer.round_trip.left) else ""
        text += f"; reverting them restored everything{but}"
    return f"{text}."


def _heading(answer: Rehearsal) -> str:
    what = changes.amount([update.update_id for update in answer.updates])
    if answer.failure is None:
        return f"Rehearsed {what}: all went well."
    return f"Rehearsed {what}: it FAILED."


def _facts(answer: Rehearsal) -> list[tuple[str, str]]:
    failed_on_the_way = answer.files is None
    facts = [("From", several(answer.current, BASE)), ("To", several(answer.result, BASE))]
    if failed_on_the_way:
        return facts
    real = in_words(answer.duration_ms / 1000)
    database = answer.database
    return [
        *facts,
        ("Real run", f"will take {real} ({duration(answer.duration_ms)})"),
        ("Clone", f"made in {duration(answer.clone_ms)}"),
        ("Written", _written(answer.files) if answer.files else ""),
        ("Files", _counts(answer.files) if answer.files else ""),
        ("Database", f"{size(database.bytes_before)} before, {size(database.bytes_after)} after" if database else ""),
        ("Extra", f"{size(answer.peak_bytes)} of space at the most"),
        ("Verified", several(answer.verified, "no script has a verify hook")),
        ("Way back", "" if answer.round_trip else "not tried; --round-trip does"),
    ]


def _written(files: FileCounts) -> str:
    return f"{size(files.bytes_written)} and {count(files.inodes_written, 'inode')} written"


def _counts(files: FileCounts) -> str:
    return f"{files.added} added, {files.changed} changed, {files.removed} removed"


def _timings(timings: Sequence[Timing]) -> list[str]:
    if not timings:
        return []
    rows = [(one.update_id, duration(one.duration_ms), *(_phase(one, phase) for phase in Phase)) for one in timings]
    written = [
        (one.update_id, phase, size(one.bytes_written.get(phase, 0)), str(inodes))
        for one in timings
        for phase, inodes in one.inodes_written.items()
        if inodes
    ]
    lines = ["", *table(("update", "took", *map(str, Phase)), rows)]
    return [*lines, "", *table(("update", "phase", "written", "inodes"), written)] if written else lines


def _phase(timing: Timing, phase: Phase) -> str:
    return duration(timing.phases[phase]) if phase in timing.phases else "-"


def _changes(changes: Sequence[FileChange]) -> list[str]:
    signs = {"added": "+", "changed": "~", "removed": "-"}
    lines = [f"  {signs[one.how]} {_name(one)}" for one in changes[:MOST_FILES]]
    if more := len(changes) - len(lines):
        lines.append(f"  ... and {more} more; --json names all")
    return lines


def _name(change: FileChange) -> str:
    name = f"[{change.root}] {change.path}" if change.root else change.path or "."
    shown = name.encode("utf-8", "backslashreplace").decode()
    text = shown if shown.isprintable() else repr(shown)
    return f"{text}/" if change.kind == "folder" else f"{text}  {size(change.size)}" if change.kind == "file" else text


def _rows(database: Database) -> list[str]:
    """Return the tables whose number of rows has changed, or that were created or dropped."""
    before, after = database.rows_before, database.rows_after
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if not names:
        return []
    rows = [(name, str(before.get(name, "-")), str(after.get(name, "-"))) for name in names]
    return ["", *table(("table", "rows before", "after"), rows)]


def _schema(title: str, difference: str) -> list[str]:
    if not difference:
        return []
    lines = [f"  {line}" for line in difference.splitlines()[2:]]
    more = [f"  ... and {len(lines) - MOST_LINES} lines more; --json has all"] if len(lines) > MOST_LINES else []
    return ["", title, *lines[:MOST_LINES], *more]


def _round_trip(trip: RoundTrip, width: int) -> list[str]:
    total = duration(sum(one.duration_ms for one in trip.down))
    purpose = [("", f"On purpose stays: {', '.join(trip.left)}.")] if trip.left else []
    if trip.not_left:
        purpose.append(("Note", f"The scripts say that this stays, and it does not: {', '.join(trip.not_left)}."))
    if trip.restored:
        times = f" But for the times of {count(trip.times, 'file')}." if trip.times else ""
        all_ = "everything else" if trip.left else "everything"
        return labelled([("Way back", f"Reverting restored {all_}, in {total}.{times}"), *purpose], width)
    lines = labelled([*purpose, ("Way back", "Reverting did NOT restore what was there:")], width)
    lines += _changes(trip.files)
    lines += [f"  other rows in {name}" for name in trip.tables]
    return lines + _schema("Schema after reverting:", trip.schema)


def _failure(failure: RehearsalFailure, width: int) -> list[str]:
    return labelled([("Failed", _where(failure)), ("Why", failure.message), ("Next", failure.hint)], width)


def _where(failure: RehearsalFailure) -> str:
    if not failure.update_id:
        return ""
    way = "reverting" if failure.direction == "down" else "applying"
    phase = f", in phase {failure.phase}" if failure.phase else ""
    return f"{way} {failure.update_id}{phase}"
