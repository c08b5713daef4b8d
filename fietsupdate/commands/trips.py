"""Run the updates up and down on the clone, and compare, time and count their changes."""

from __future__ import annotations

import difflib
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fietsupdate.commands.rehearsal.clone import ROOM, Clone
from fietsupdate.commands.rehearsal.inventory import Difference, differences
from fietsupdate.commands.rehearsal.leaves import DatabaseContent, sort_out
from fietsupdate.commands.rehearsal.recorder import Recorder
from fietsupdate.commands.rehearsal.report import (
    Database,
    FileChange,
    FileCounts,
    Rehearsal,
    RehearsalFailure,
    RoundTrip,
    Timing,
)
from fietsupdate.commands.run import Run
from fietsupdate.database.dump.digests import definitions, digests, is_ours
from fietsupdate.database.dump.schema_parts import columns, without
from fietsupdate.engine import hooks
from fietsupdate.errors import FietsupdateError, StoppedError
from fietsupdate.filesystem.space import is_full
from fietsupdate.model import Direction, Plan, Report
from fietsupdate.model.leaves import TABLE, Leave

_DEFAULT = re.compile(r"(DEFAULT )\(('(?:[^']|'')*'|[\w.+-]+)\)")


@dataclass(frozen=True)
class _Snapshot:
    """The clone's database at one moment; bookkeeping tables are left out."""

    rows: Mapping[str, int]
    schema: str
    size: int
    digests: Mapping[str, str]
    """A digest of each table; empty if the updates are not reverted."""
    rest: Mapping[str, str]
    """The same without the columns that stay on purpose."""


@dataclass
class Trial:
    """The runs up and down on the clone."""

    clone: Clone
    run: Run
    plan: Plan
    target: str | None
    bookkeeping: frozenset[str]
    """The tables that are Alembic's or ours."""

    def go(self, report: Rehearsal, *, round_trip: bool) -> Rehearsal:
        """Apply the updates and record the changes; with `round_trip`, revert them and apply them again."""
        before = self._snapshot(digested=round_trip)
        report = self._up(report, before)
        if report.failure is None and round_trip and any(step.direction is Direction.UP for step in self.plan.steps):
            report = self._round_trip(report, before)
        return report

    def _up(self, report: Rehearsal, before: _Snapshot) -> Rehearsal:
        recorder = self._recorder()
        at_first, looked_ms = recorder.measure().occupied, recorder.looked_ms
        done, failure = self._move(recorder, self.target, Direction.UP, self.plan)
        report = replace(report, timings=tuple(recorder.timings), warnings=tuple(recorder.warnings), failure=failure)
        if done is None:
            return report
        looked_ms = recorder.looked_ms - looked_ms
        recorder.measure()
        after = self._snapshot(digested=False)
        return replace(
            report,
            duration_ms=max(done.duration_ms - looked_ms, 0),
            files=self._files(),
            database=Database(before.rows, after.rows, _diff(before.schema, after.schema), before.size, after.size),
            peak_bytes=recorder.most - at_first + max(after.size - before.size, 0),
            verified=self._verified(),
        )

    def _round_trip(self, report: Rehearsal, before: _Snapshot) -> Rehearsal:
        down = self._recorder()
        applied = sum(step.direction is Direction.UP for step in self.plan.steps)
        _, failure = self._move(down, f"-{applied}", Direction.DOWN, None)
        if failure is not None:
            return replace(report, failure=failure)
        trip = self._way_back(before, tuple(down.timings))
        _, failure = self._move(self._recorder(), self.target, Direction.UP, None)
        if failure is not None:
            failure = replace(failure, message=f"After they were reverted, they cannot be applied: {failure.message}")
        return replace(report, round_trip=trip, failure=failure or _not_restored(trip))

    def _way_back(self, before: _Snapshot, timings: tuple[Timing, ...]) -> RoundTrip:
        """Compare the state after reverting with the state before; what stays on purpose does not count."""
        after, differences = self._snapshot(digested=True), list(self._differences())
        contents = (DatabaseContent(one.schema, one.digests) for one in (before, after))
        sorted_out = sort_out(self._leaves, [one for one in differences if one.how != "time"], *contents)
        gone = {leave.what for leave in sorted_out.left if leave.kind == TABLE}
        tables = (before.rest.keys() | after.rest.keys()) - gone
        return RoundTrip(
            files=tuple(_change(one) for one in sorted_out.rest),
            times=sum(one.how == "time" for one in differences),
            tables=tuple(sorted(name for name in tables if before.rest.get(name) != after.rest.get(name))),
            schema=_diff_of_lines(*(without(one.schema, sorted_out.left) for one in (before, after))),
            down=timings,
            left=tuple(map(str, sorted_out.left)),
            not_left=tuple(map(str, sorted_out.not_left)),
        )

    @property
    def _leaves(self) -> tuple[Leave, ...]:
        """What stays on purpose when the updates of the plan are reverted."""
        return tuple(dict.fromkeys(leave for step in self.plan.steps for leave in step.update.leaves))

    def _recorder(self) -> Recorder:
        return Recorder(self.run.emit, tuple(self.clone.roots.values()), self.clone.place / "moment")

    def _move(
        self, recorder: Recorder, target: str | None, direction: Direction, agreed: Plan | None
    ) -> tuple[Report | None, RehearsalFailure | None]:
        """Run one leg; a failure is part of the report."""
        try:
            run = replace(self.run, listener=recorder, warned=[], below_baseline=True)
            return run.move(target, direction, agreed), None
        except StoppedError:
            raise
        except FietsupdateError as error:
            where = {"update_id": recorder.update_id, "phase": recorder.phase, "direction": recorder.direction}
            trace = "".join(traceback.format_exception(error))
            hint = f"The clone is in {os.path.realpath(self.clone.place)}: {ROOM}" if is_full(error) else error.hint
            return None, RehearsalFailure(error.code, error.message, hint, **where, trace=trace)

    def _snapshot(self, *, digested: bool) -> _Snapshot:
        database = self.clone.store
        rows = {table: count for table, count in database.row_counts().items() if not self._is_bookkeeping(table)}
        sums = digests(database) if digested else {}
        without_columns = columns(self._leaves)
        rest = digests(database, without_columns) if digested and without_columns else sums
        return _Snapshot(
            rows,
            "".join(text for text in definitions(database.schema_text()) if not self._is_about_bookkeeping(text)),
            database.size(),
            *(
                {table: digest for table, digest in tables.items() if not self._is_bookkeeping(table)}
                for tables in (sums, rest)
            ),
        )

    def _is_bookkeeping(self, table: str) -> bool:
        return is_ours(table) or table.rpartition(".")[2] in self.bookkeeping

    def _is_about_bookkeeping(self, definition: str) -> bool:
        return any(self._is_bookkeeping(name) for name in re.findall(r"\w+", definition))

    def _files(self) -> FileCounts:
        differences = [one for one in self._differences() if one.how != "time"]
        written = [one.record for one in differences if one.how != "removed"]
        return FileCounts(
            **{how: sum(one.how == how for one in differences) for how in ("added", "changed", "removed")},
            bytes_written=sum(record.size for record in written),
            inodes_written=len(written),
            changes=tuple(_change(one) for one in differences),
        )

    def _differences(self) -> Iterator[Difference]:
        roots, version_file = self.clone.roots, self.run.application.config.version_file
        ignored = [roots[""] / version_file] if version_file else []
        return differences(self.clone.inventory, roots, self.clone.since_ns, leave_out=ignored)

    def _verified(self) -> tuple[str, ...]:
        steps = [(step, hooks.loaded(step.update)) for step in self.plan.steps]
        return tuple(
            step.update.update_id for step, module in steps if module and hooks.has(module, step.direction, "verify")
        )


def _not_restored(trip: RoundTrip) -> RehearsalFailure | None:
    if trip.restored:
        return None
    parts = [
        _so_many(len(trip.files)) if trip.files else "",
        f"other rows are in {', '.join(trip.tables)}" if trip.tables else "",
        "the schema is another one" if trip.schema else "",
    ]
    return RehearsalFailure(
        "not_restored",
        f"Reverting the updates does not restore what was there: {'; '.join(part for part in parts if part)}.",
        "Mend the scripts' Down, or count on a backup for the way back.",
        direction=str(Direction.DOWN),
    )


def _so_many(files: int) -> str:
    return "1 file is not what it was" if files == 1 else f"{files} files are not what they were"


def _change(difference: Difference) -> FileChange:
    record = difference.record
    return FileChange(difference.how, record.path, record.kind, record.size, record.root)


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="", n=1)
    return "\n".join(lines)


def _diff_of_lines(before: str, after: str) -> str:
    """Return a diff, unless only the order differs: a column that was dropped and added again comes last.

    Parentheses around a default, which a batch migration on SQLite adds, are no difference either.
    """
    texts = [_DEFAULT.sub(r"\1\2", text) for text in (before, after)]
    lines = [sorted(line.strip().rstrip(",;") for line in text.splitlines()) for text in texts]
    return "" if lines[0] == lines[1] else _diff(*texts)
