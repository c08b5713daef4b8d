"""Colors for a terminal: they set apart what the words already say, and no meaning hangs on them alone.

The text is finished and safe before it is painted: laid out for its width, without control characters of others. Only
the sixteen colors are used, whose shades the terminal's own theme chooses, so that they can be read on dark and light.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

GOOD, WAITS, BAD = "32", "33", "1;31"
QUIET, STRONG, COMMAND = "2", "1", "1;36"
"""Styles, as the parameters of SGR (ECMA-48)."""

_PROGRAMS = "fietsupdate|alembic|kill|runuser|setpriv|su|docker|chmod|chown|mv|rm|ls|pip|export|systemctl|df"
_LABELS = (
    "Run|Current|Heads|Packages|Unknown|Version|Alembic|Database|Data|From|To|Summary|Previous|Reverts|Leaves|Baseline|"
    "Script|Asks|Answers|Checksum|Update|Applied|Atomic"
)

_RULES: tuple[tuple[str, str], ...] = (
    (rf"[`'](?P<a>(?:{_PROGRAMS})(?: [^`']*)?)[`']", COMMAND),
    (rf"^Next:? +(?P<a>(?:{_PROGRAMS}) .*)$", COMMAND),
    (r"^ +(?P<a>fietsupdate .*)$", COMMAND),
    (r"^(?:State +)?(?P<a>okay)(?= - |: )", GOOD),
    (r"^(?:State +)?(?P<a>outdated|updating)(?= - |: )", WAITS),
    (r"^(?:State +)?(?P<a>too_new|unknown|drifted|interrupted)(?= - |: )", BAD),
    (r"^(?P<a>Error:|Problem|Failed|Broken|Drops)(?= )", BAD),
    (r"^(?P<a>Now:|Note|Warning:)(?= )", WAITS),
    (r"^(?P<a>Next:?)(?= )", GOOD),
    (rf"^(?P<a>State|{_LABELS})(?= {{2}})", QUIET),
    (r"^(?P<a>Backup)(?= {2})", QUIET),
    (r"\b(?P<a>NONE is made:[^\n]*)", BAD),
    (r"^ {6}(?P<a>NOT atomic here|not atomic)(?=:)", WAITS),
    (r"^ {6}(?P<a>atomic)(?=;|$)", GOOD),
    (r"^Run +(?P<a>no sign of life[^;\n]*)", BAD),
    (r"^ *\d+\. (?:(?:apply|revert|record|run) )?(?P<a>\S+)", STRONG),
    (r"^(?P<a>\[\d+/\d+\])", QUIET),
    (r"^(?:\[\d+/\d+\] )?(?:Applying|Reverting|Recording|Running version hook) (?P<a>\S+)", STRONG),
    (r"^ {6}(?P<a>done(?: in [^\n]+)?)$", GOOD),
    (r"^ {6}(?P<a>rolled back in the database[^\n]*)", BAD),
    (r"^(?P<a>\d+ (?:updates?|version hooks?) (?:applied|reverted|run)[^\n.]*(?:\.\d[^\n.]*)?)\.", GOOD),
    (r"^(?P<a>\d+ warnings?:)$", WAITS),
    (r"^(?P<a>seq +finished .*)$", QUIET),
    (r"^\d+ +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +(?P<a>up)\b", GOOD),
    (r"^\d+ +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +(?P<a>down)\b", WAITS),
    (r"(?P<a>●)", GOOD),
    (r"(?P<a>○)", WAITS),
    (r"(?P<a>\(current\))", STRONG),
    (r"^(?P<a>Usage|Arguments|Options|Commands|Examples)(?=:)", STRONG),
    (r"^ {2}(?P<a>-{1,2}[\w-]+(?:, -{1,2}[\w-]+)*)", COMMAND),
)
"""What is set apart, and how. What an earlier rule has painted, a later one leaves alone."""

_COMPILED = tuple((re.compile(pattern, re.MULTILINE), style) for pattern, style in _RULES)


def painted(text: str) -> str:
    """Return a text with its colors, line by line the same otherwise."""
    parts, at = [], 0
    for start, end, style in sorted(_spans(text)):
        parts += [text[at:start], _styled(text[start:end], style)]
        at = end
    return "".join([*parts, text[at:]])


def _spans(text: str) -> Iterator[tuple[int, int, str]]:
    taken: list[tuple[int, int]] = []
    for pattern, style in _COMPILED:
        for found in pattern.finditer(text):
            start, end = found.span("a")
            if all(end <= other or start >= last for other, last in taken):
                taken.append((start, end))
                yield start, end, style


def _styled(text: str, style: str) -> str:
    """Paint each line by itself: a pager, or the line that moves, may take one without the others."""
    return "\n".join(_line(line, style) for line in text.split("\n"))


def _line(line: str, style: str) -> str:
    blanks = len(line) - len(line.lstrip())
    return f"{line[:blanks]}\x1b[{style}m{line[blanks:]}\x1b[0m" if line.strip() else line
