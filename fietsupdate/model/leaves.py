"""What a script declares that its `Down` leaves on purpose: a column, a table, files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fietsupdate.model.patterns import compiled, divided, is_below_root

COLUMN, TABLE, FILES = "column", "table", "files"
FORMS = (
    "Write `column TABLE.COLUMN`, `table TABLE` or `files PATTERN`; a pattern is a path below the data directory "
    "(`NAME:path` below a further root), in which `*` stands for a part of a name and `**` for any folders."
)


@dataclass(frozen=True, slots=True, order=True)
class Leave:
    """One object that stays when an update is reverted."""

    kind: str
    """``column``, ``table`` or ``files``."""
    what: str
    """``tracks.feature``, ``schema.tracks.feature``; ``tracks``; ``tracks/**``, ``media:previews/*.png``."""

    def __str__(self) -> str:
        """Return the object as the script declares it."""
        return f"{self.kind} {self.what}"

    @property
    def table(self) -> str:
        """The name of the table; for a column, the table that it belongs to."""
        return self.what.rpartition(".")[0] if self.kind == COLUMN else self.what

    @property
    def column(self) -> str:
        """The name of the column."""
        return self.what.rpartition(".")[2] if self.kind == COLUMN else ""

    def covers(self, root: str, path: str) -> bool:
        """Return whether a path is among the files that stay.

        Args:
            root: The name of a further root; "" for the data directory.
            path: The path relative to the root.
        """
        wanted, pattern = divided(self.what)
        return self.kind == FILES and root == wanted and compiled(pattern).fullmatch(path) is not None


def leave(text: str) -> Leave:
    """Read one declaration of a script.

    Raises:
        ValueError: The text declares nothing; the message says why.
    """
    kind, _, what = text.partition(" ")
    what = what.strip()
    if kind not in {COLUMN, TABLE, FILES} or not what:
        raise ValueError("it does not say what stays")
    if kind == FILES:
        if not is_below_root(divided(what)[1]):
            raise ValueError("it is no path below the data directory")
    elif not all(part and part == part.strip() for part in what.split(".")) or (kind == COLUMN and "." not in what):
        raise ValueError("it names no column of a table" if kind == COLUMN else "it names no table")
    return Leave(kind, what)


def listed(leaves: Iterable[Leave]) -> str:
    """Return the objects as a list for a sentence."""
    return ", ".join(map(str, leaves))
