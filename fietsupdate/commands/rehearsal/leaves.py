"""Distinguish what reverting the updates leaves on purpose from what it leaves by mistake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fietsupdate.commands.rehearsal.inventory import Difference
from fietsupdate.database.dump.schema_parts import holds, part
from fietsupdate.model.leaves import FILES, Leave


@dataclass(frozen=True)
class SortedOut:
    """The declarations of the scripts about what stays, compared with what stayed."""

    left: tuple[Leave, ...]
    """The declared leaves that stayed."""
    not_left: tuple[Leave, ...]
    """The declared leaves that did not stay: they are gone, or never existed."""
    rest: tuple[Difference, ...]
    """Changed paths that no script has declared."""


@dataclass(frozen=True)
class DatabaseContent:
    """A database at one moment: its schema, and a digest of the rows of each table."""

    schema: str
    digests: Mapping[str, str]

    def of(self, leave: Leave) -> object:
        """Return everything known of a table or column; for a column, the rows are those of its whole table."""
        return part(self.schema, leave), self.digests.get(leave.table)


def sort_out(
    leaves: Iterable[Leave], differences: Sequence[Difference], before: DatabaseContent, after: DatabaseContent
) -> SortedOut:
    """Compare what the scripts declare to stay with what stayed.

    A path, table or column that is gone, or is as it was before, was not left, whatever the scripts declare. A folder
    that exists because of a declared file in it counts as declared.

    Args:
        leaves: The declarations.
        differences: The paths that have changed since before the updates.
        before: The database before the updates.
        after: The database after they were reverted.
    """
    names = tuple(leaves)
    covered = [(one, _covering(names, one)) for one in differences]
    above = {(one.record.root, parent) for one, those in covered if those for parent in _above(one.record.path)}
    rest = tuple(
        one
        for one, those in covered
        if not those and not (one.how == "added" and (one.record.root, one.record.path) in above)
    )
    announced = {leave for _, those in covered for leave in those}
    left = tuple(
        leave for leave in names if (leave in announced if leave.kind == FILES else _stays(leave, before, after))
    )
    return SortedOut(left, tuple(leave for leave in names if leave not in left), rest)


def _stays(leave: Leave, before: DatabaseContent, after: DatabaseContent) -> bool:
    return holds(after.schema, leave) and before.of(leave) != after.of(leave)


def _covering(leaves: Iterable[Leave], one: Difference) -> list[Leave]:
    return [] if one.how == "removed" else [leave for leave in leaves if leave.covers(one.record.root, one.record.path)]


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]
