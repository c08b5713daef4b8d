"""Text laid out for a width: wrapped lines, labelled rows, tables. A line that is to be typed is never broken."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

NARROWEST = 20
"""The columns that text gets even where an indent leaves fewer."""


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Wrap each line of `text` and indent it; lines that begin with blanks are commands and stay as they are."""
    lines: list[str] = []
    room = max(width - len(indent), NARROWEST)
    for line in text.splitlines():
        whole = line.startswith(" ") or len(line) <= room
        parts = [line] if whole else textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False)
        lines += [f"{indent}{part}".rstrip() for part in parts]
    return lines


def hanging(line: str, width: int, indent: str) -> list[str]:
    """Wrap one line so that all but its beginning is indented by `indent`, or by the line's own indent."""
    own = line[: len(line) - len(line.lstrip())]
    return (
        [line]
        if len(line) <= width
        else textwrap.wrap(
            line, max(width, NARROWEST), subsequent_indent=own or indent, break_long_words=False, break_on_hyphens=False
        )
    )


def labelled(rows: Iterable[tuple[str, str]], width: int) -> list[str]:
    """Lay out rows of a label and a text, the texts under each other. Rows without text are left out."""
    kept = [(label, text) for label, text in rows if text]
    column = max((len(label) for label, _ in kept), default=0) + 2
    lines: list[str] = []
    for label, text in kept:  # a row without a label continues the one above it
        first, *rest = wrapped(text, width, " " * column)
        lines += [f"{label:{column}}{first[column:]}", *rest]
    return lines


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows under their titles; the last column is as wide as it needs to be."""
    widths = [max(len(cell) for cell in column) for column in zip(titles, *rows, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (titles, *rows)
    ]


def several(ids: Iterable[str], none: str = "none") -> str:
    """Join ids to a readable list."""
    return ", ".join(ids) or none


def count(number: int, noun: str) -> str:
    """Return "1 update", "2 updates"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(milliseconds: int) -> str:
    """Return a length of time in readable units: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    seconds = milliseconds / 1000
    if seconds < 9.95:  # noqa: PLR2004  # what rounds to 10 needs no tenths
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def warned(texts: Sequence[str], width: int) -> str:
    """List the warnings of a run once more, at its end."""
    lines = [f"{count(len(texts), 'warning')}:"]
    for text in texts:
        lines += [
            f"  - {line}" if not number else f"    {line}" for number, line in enumerate(wrapped(text, width - 4))
        ]
    return "\n".join(lines)
