"""Decide whether apparent strays are real ones: more often a table is empty, or a volume is not mounted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fietsupdate.model import Problem

SHARE = 10
"""More than one in this many owned files is moved only if the number is typed."""
ENOUGH = 10
"""With fewer rows, it says nothing about a volume that most of their files are missing."""
FEW = 2
"""With no more rows, not even that all are missing, as long as other files are there."""
MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Counted:
    """The counts of one reference."""

    what: str
    """The name of the reference as the beginning of a sentence: ``The table tracks``."""
    root: str
    """The root of its files; "" is the data directory."""
    rows: int
    """The number of rows that name a file."""
    missing: int
    """The number of rows whose file is missing, although it must exist."""
    orphans: tuple[str, ...] = ()
    """Strays that its rows could name, if it has no rows at all."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The strays."""

    files: tuple[str, ...]
    owned: int
    """The number of owned files."""
    bare: frozenset[str] = frozenset()
    """The roots without a single owned file."""


def refusal(strays: Shown, references: Sequence[Counted], typed: int | None) -> Problem | None:
    """Return why these files are not put into quarantine, or ``None``.

    Args:
        strays: The strays.
        references: What was counted.
        typed: The number of strays as it was typed; ``None`` where none was.
    """
    if not strays.files:
        return None
    problem = _empty_table(references) or _absent_root(references, strays.bare)
    if problem is not None:
        return problem
    number = len(strays.files)
    if typed is not None and typed != number:
        return Problem("strays_differ", f"There are {_files(number)} without a row, not {typed}.", _look_first(number))
    if typed is None and number * SHARE > strays.owned:
        return Problem(
            "many_strays",
            f"{_files(number)} of {strays.owned} would go, which is more than a tenth: {_named(strays.files)}.",
            _look_first(number),
        )
    return None


def row_appeared(file: str, row: str) -> Problem:
    """Return the problem that a row names a file in quarantine which it did not miss before."""
    return Problem(
        "row_appeared",
        f"{file} is no stray: {row} names it.",
        "The row may have come meanwhile: repeat the command. If that says the same, the row names the file by another "
        "path than its own.",
    )


def _empty_table(references: Sequence[Counted]) -> Problem | None:
    for one in references:
        if one.orphans:
            return Problem(
                "empty_table",
                f"{one.what} names no file at all, and {_files(len(one.orphans))} of its kind are there: "
                f"{_named(one.orphans)}.",
                "Is this the right database? `fietsupdate status` says which one it is. Where the rows are really gone "
                "for good, move their files away by hand.",
            )
    return None


def _absent_root(references: Sequence[Counted], bare: Collection[str]) -> Problem | None:
    """Return the problem of a root in which all or most of the files that rows name are missing."""
    for root in dict.fromkeys(one.root for one in references):
        rows = sum(one.rows for one in references if one.root == root)
        missing = sum(one.missing for one in references if one.root == root)
        is_bare = rows == missing > (0 if root in bare else FEW)
        if is_bare or (rows >= ENOUGH and missing * 2 > rows):
            where = f"the root {root}" if root else "the data directory"
            return Problem(
                "root_unmounted",
                f"{missing} of the {rows} files that rows name in {where} are not there.",
                "Is the volume mounted, and the right one? `fietsupdate audit` names the files.",
            )
    return None


def _look_first(number: int) -> str:
    return f"Look at them with `fietsupdate audit`; to move these, type `fietsupdate quarantine --strays {number}`."


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _named(files: Sequence[str]) -> str:
    more = len(files) - MOST_NAMED
    return ", ".join(files[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
