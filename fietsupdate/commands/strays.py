"""Find the files that no row names, and check afterwards that no row has lost its file by moving them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fietsupdate.commands.audit import Wanted, comparison, declared
from fietsupdate.commands.inspection import Inspection
from fietsupdate.commands.run import Run
from fietsupdate.database.environment import Visit
from fietsupdate.database.references import is_empty
from fietsupdate.engine.audit import Comparison
from fietsupdate.errors import UNCHANGED, FietsupdateError, RefusedError
from fietsupdate.filesystem.place import Place
from fietsupdate.model.patterns import folder_of
from fietsupdate.model.references import Finding, FindingKind, ReferenceRule
from fietsupdate.model.templates import encoded
from fietsupdate.planning.references import Declarations
from fietsupdate.planning.strays import Counted, Shown, refusal, row_appeared

AT_ONCE = 1000


@dataclass
class Strays:
    """The result of one comparison: the strays, and the rows whose file is missing."""

    declarations: Declarations
    places: list[Place] = field(default_factory=list)
    owned: int = 0
    """The number of owned files, including the strays."""
    bare: frozenset[str] = frozenset()
    """The roots without a single owned file."""
    missing: sqlite3.Connection = field(default_factory=lambda: sqlite3.connect("", isolation_level=None))
    """The missing files that rows name: on disk, as there may be many."""
    counted: list[Counted] = field(default_factory=list)

    @property
    def may_go(self) -> Callable[[Place], bool]:
        """A function that tells whether an empty folder may be removed: it must be in the folder of a pattern."""
        folders = {(one.root, folder_of(one.pattern)) for one in self.declarations.owned}
        return lambda place: any(
            place.root == root and place.path.startswith(folder) and place.path != folder.rstrip("/")
            for root, folder in folders
        )


def find(run: Run, seen: Inspection) -> Strays:
    """Compare rows and files by name; change nothing.

    Raises:
        FietsupdateError: The comparison failed: a table cannot be read, or a root does not exist.
    """
    try:
        found = Strays(declared(seen))
        found.missing.execute("CREATE TABLE missing (path BLOB, root TEXT, PRIMARY KEY (path, root)) WITHOUT ROWID")
        with _compared(run, seen, found.declarations) as compared:
            optional = {number for number, source in enumerate(compared.sources) if source.optional}
            _take(found, _all(compared))
            found.owned = sum(compared.files.values())
            found.bare = frozenset(root for root in compared.roots.folders if not compared.files[root])
            found.counted = [*_counted(run, found, compared, optional), *_silent_hooks(found, compared)]
    except FietsupdateError as error:
        error.stands = error.stands or UNCHANGED
        raise
    return found


def refuse(found: Strays, typed: int | None) -> None:
    """Refuse if apparent strays are more likely due to an empty table, or to a volume that is not mounted.

    Args:
        found: The result of the comparison.
        typed: The number of strays as it was typed; ``None`` if it was not.
    """
    shown = Shown(tuple(place.shown for place in found.places), found.owned, found.bare)
    problem = refusal(shown, found.counted, typed)
    if problem is not None:
        raise RefusedError.because(problem, stands=UNCHANGED)


def refuse_lost(run: Run, seen: Inspection, before: Strays) -> None:
    """Refuse to end the transaction if a row names a missing file that existed before.

    Raises:
        RefusedError: The message names the file and the row.
    """
    with _compared(run, seen, before.declarations) as compared:
        for finding in _all(compared):
            if finding.kind is FindingKind.MISSING and not _is_known(before, finding):
                row = " ".join(f"{name}={value}" for name, value in finding.row.items())
                raise RefusedError.because(row_appeared(finding.shown, f"{finding.table} {row}".strip()))


def _compared(run: Run, seen: Inspection, declarations: Declarations) -> Comparison:
    return comparison(run.application, seen, run.environment, declarations, Wanted())


def _all(compared: Comparison) -> Iterator[Finding]:
    """Yield the findings, including optional files that are missing."""
    for source in compared.sources:
        source.optional = False
    return compared.findings()


def _take(found: Strays, findings: Iterator[Finding]) -> None:
    lacking: list[tuple[bytes, str]] = []

    def note() -> None:
        found.missing.executemany("INSERT OR IGNORE INTO missing VALUES (?, ?)", lacking)
        lacking.clear()

    for finding in findings:
        if finding.kind is FindingKind.STRAY:
            found.places.append(Place(finding.root, finding.path))
        elif finding.kind is FindingKind.MISSING:
            lacking.append((encoded(finding.path), finding.root))
            if len(lacking) >= AT_ONCE:
                note()
    note()


def _is_known(before: Strays, finding: Finding) -> bool:
    known = before.missing.execute(
        "SELECT 1 FROM missing WHERE path = ? AND root = ?", (encoded(finding.path), finding.root)
    )
    return known.fetchone() is not None


def _counted(run: Run, found: Strays, compared: Comparison, optional: set[int]) -> Iterator[Counted]:
    """Yield, for each reference, the counts that distinguish an empty table or a missing root from strays."""
    rules = [rule for rule, _ in found.declarations.rules]  # the references of hooks come after these
    empty = _empty_tables(run, [rule for rule, count in zip(rules, compared.counts, strict=False) if not count.rows])
    for number, count in enumerate(compared.counts):
        rule = rules[number] if number < len(rules) else None
        own = _matching(rule, found.places) if rule is not None and rule in empty else ()
        rows, missing = (0, 0) if number in optional else (count.rows, count.missing)
        yield Counted(f"The table {count.table}", count.root, rows, missing, tuple(one.shown for one in own))


def _silent_hooks(found: Strays, compared: Comparison) -> Iterator[Counted]:
    """Yield the hooks that name no file at all: all files that no other reference could name may be theirs."""
    spoke = {count.path.rpartition(" ")[2] for count in compared.counts}
    silent = [update for update in found.declarations.hooks if update.update_id not in spoke]
    if silent:
        others = {place for rule, _ in found.declarations.rules for place in _matching(rule, found.places)}
        own = tuple(place.shown for place in found.places if place not in others)
        for update in silent:
            yield Counted(f"The hook references of {update.update_id}", "", 0, 0, own)


def _empty_tables(run: Run, rules: list[ReferenceRule]) -> set[ReferenceRule]:
    found: set[ReferenceRule] = set()

    def work(visit: Visit) -> tuple[()]:
        found.update(rule for rule in rules if is_empty(visit.connection, rule))
        return ()

    if rules:
        run.environment.visit(work, writes=False, command="current")
    return found


def _matching(rule: ReferenceRule, places: list[Place]) -> list[Place]:
    """Return the files that rows of a reference could name."""
    pieces = (re.escape(piece) if isinstance(piece, str) else ".+" for piece in rule.template.pieces)
    pattern = re.compile("".join(pieces), re.DOTALL)
    return [place for place in places if place.root == rule.root and pattern.fullmatch(place.path)]
