"""The findings of an audit, as text and as JSON: one line each, printed as soon as it is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fietsupdate.cli.render.documents import line
from fietsupdate.cli.render.layout import count, wrapped
from fietsupdate.cli.render.output import Output, on_one_line
from fietsupdate.model.references import AuditSummary, Finding, FindingKind, ReferenceCount

WRONG = {
    FindingKind.MISSING: "missing",
    FindingKind.STRAY: "stray",
    FindingKind.SIZE: "of the wrong size",
    FindingKind.DIGEST: "with other content",
}
MOST_PLACES = 3
"""The most places of a missing file that are shown; JSON contains all."""


class Findings:
    """Prints findings as they come."""

    def __init__(self, out: Output, *, as_json: bool, quiet: bool) -> None:
        self._out = out
        self._as_json = as_json
        self._quiet = quiet

    def finding(self, finding: Finding) -> None:
        """Print a finding."""
        if self._as_json:
            self._out.draw(f"{line(document(finding))}\n")  # the line is ASCII; names in it must not be masked
        elif not self._quiet:
            for text in _lines(finding):
                self._out.line(text)

    def summary(self, summary: AuditSummary) -> None:
        """Print the counts."""
        if self._as_json:
            self._out.draw(f"{line({'summary': summary_document(summary)})}\n")
        elif not self._quiet:
            self._out.line(_summary(summary, self._out.width))


def document(finding: Finding) -> dict[str, Any]:
    """Return a finding for JSON, without the keys that do not apply to its kind."""
    always = {"finding": finding.kind, "root": finding.root, "path": finding.path}
    of_rows: dict[str, Any] = {"table": finding.table, "row": dict(finding.row)}
    if finding.kind is FindingKind.STRAY:
        of_rows = {"table": None, "row": None}
    more = {
        "size": finding.size,
        "sha256": finding.sha256,
        "found": finding.found,
        "reason": finding.reason,
        "places": list(finding.places),
        "fits": list(finding.fits),
    }
    return {**always, **of_rows, **{name: value for name, value in more.items() if value not in (None, "", [])}}


def summary_document(summary: AuditSummary) -> dict[str, Any]:
    """Return the counts for JSON."""
    return {
        **{str(kind): summary.counts.get(kind, 0) for kind in FindingKind},
        "rows": summary.rows,
        "files": dict(summary.files),
        "read": summary.read,
        "arrived": summary.arrived,
        "references": [
            {
                "table": one.table,
                "path": one.path,
                "root": one.root,
                "rows": one.rows,
                "missing": one.missing,
                "size": one.size,
                "digest": one.digest,
            }
            for one in summary.references
        ],
        "current": list(summary.current),
        "notes": list(summary.notes),
    }


def _lines(finding: Finding) -> list[str]:
    lines = [f"{finding.kind:8} {finding}"]
    lines += [f"         may be {place}" for place in finding.places[:MOST_PLACES]]
    if len(finding.places) > MOST_PLACES:
        lines.append(f"         and in {count(len(finding.places) - MOST_PLACES, 'further place')}")
    if finding.fits:
        lines.append(f"         fits in the backup{'s' if len(finding.fits) > 1 else ''} {', '.join(finding.fits)}")
    return [on_one_line(text) for text in lines]


def _summary(summary: AuditSummary, width: int) -> str:
    lines = [""] if summary.total else []
    lines += [f"{_shown(one)}  {count(one.rows, 'row')}{_wrong_of(one)}" for one in summary.references]
    for root, files in summary.files.items():
        lines.append(f"{f'owned files in {root}' if root else 'owned files'}  {files}")
    if summary.read:
        lines.append(f"{count(summary.read, 'file')} read")
    if summary.arrived:
        came = f"{count(summary.arrived, 'file')} without a row came while this ran, and may get one: not counted."
        lines += wrapped(came, width)
    for note in summary.notes:
        lines += wrapped(note, width)
    if summary.total:
        wrong = ", ".join(f"{summary.counts[kind]} {WRONG[kind]}" for kind in FindingKind if summary.counts[kind])
        lines.append(f"Found {wrong}.")
        if summary.counts[FindingKind.STRAY]:
            lines.append("`fietsupdate quarantine` takes strays out of the way, and deletes nothing.")
    elif summary.references or summary.files:
        lines.append("Rows and files match.")
    return "\n".join(lines)


def _shown(one: ReferenceCount) -> str:
    return f"{one.table}{': ' if one.table else ''}{one.root}{':' if one.root else ''}{one.path}"


def _wrong_of(one: ReferenceCount) -> str:
    counts: Mapping[FindingKind, int] = {
        FindingKind.MISSING: one.missing,
        FindingKind.SIZE: one.size,
        FindingKind.DIGEST: one.digest,
    }
    return "".join(f", {number} {WRONG[kind]}" for kind, number in counts.items() if number)
