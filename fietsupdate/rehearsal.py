"""Rehearses a plan: runs it, with the real scripts and the project's own env.py, on a clone of both halves.

The real instance is locked while it is cloned, and looked at no more afterwards; nothing of it changes but the folder
of rehearsals in ``.fietsupdate``. While the scripts run, this process is kept from opening the real database and from
changing the real files (protocol, 8). What came of it is a value, which is stored as well.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from fietsupdate import __version__, hooks
from fietsupdate.database.digests import definitions, digests, is_ours, version_tables
from fietsupdate.database.pointing import environment_pointed, only_the_clone
from fietsupdate.errors import FietsupdateError, FilesError, PlanError, RefusedError, StoppedError
from fietsupdate.filesystem.durable import atomic_write, sync_path
from fietsupdate.filesystem.fence import Fence, fenced
from fietsupdate.filesystem.inventory import Difference, differences
from fietsupdate.filesystem.space import is_full
from fietsupdate.instance import now
from fietsupdate.look import Look
from fietsupdate.model import Direction, Event, Plan, Report, Step
from fietsupdate.rehearsing import removal
from fietsupdate.rehearsing.clone import Clone, cloned
from fietsupdate.rehearsing.recording import Recorder
from fietsupdate.rehearsing.report import (
    Change,
    Database,
    Failure,
    Files,
    Rehearsal,
    RoundTrip,
    rehearsed,
)
from fietsupdate.run import Run

UNTOUCHED = "The real instance was not touched; the clone is gone."
NOTHING = "Nothing was changed, and nothing was cloned."
ROOM = "free some space there, or name a folder on a larger disk: rehearsal_dir in the configuration."
LAST = "last.json"
"""The report of the last rehearsal, in the folder of all rehearsals."""

_DEFAULT = re.compile(r"(DEFAULT )\(('(?:[^']|'')*'|[\w.+-]+)\)")


def last(data_dir: Path) -> Rehearsal | None:
    """Read the report of the last rehearsal; ``None`` where there is none that can be read."""
    try:
        return Rehearsal.from_json((removal.folder_of(data_dir) / LAST).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def rehearse(run: Run, target: str | None, *, round_trip: bool) -> Rehearsal | None:
    """Run the plan that leads to a target on a clone.

    Args:
        run: A run on the real instance; it is never moved.
        target: As for `Run.move`; ``None`` for everything.
        round_trip: Whether the updates are reverted and applied again afterwards.

    Returns:
        What was found out, also where an update failed; ``None`` where there is nothing to rehearse.

    Raises:
        StoppedError: a signal ended it.
        FietsupdateError: it could not be rehearsed at all.
    """
    work = _Rehearsing(run, target, round_trip=round_trip)
    try:
        with run.stoppable([]):
            return work.all()
    except FietsupdateError as error:
        if isinstance(error, StoppedError):
            error.hint = ""
        error.stands = UNTOUCHED if work.has_begun else NOTHING
        raise


@dataclass
class _Rehearsing:
    """One rehearsal, from its first look to its report."""

    run: Run
    target: str | None
    round_trip: bool
    plan: Plan = field(init=False)
    has_begun: bool = False
    """Whether anything of a clone may have been there."""

    def all(self) -> Rehearsal | None:
        """Do everything."""
        if not self._agreed(self.run.look()):
            return None
        self.run.check_hands()
        began = time.monotonic()
        with ExitStack() as stack:
            stack.callback(self._end_in_peace)
            with self.run.locked("rehearse"):
                seen = self.run.look()
                self.plan = self._agreed(seen)
                if not self.plan:
                    return None
                clone = stack.enter_context(cloned(self.run.site, seen.database, self._tell))
                stack.callback(self._begin_to_end)
                self.has_begun = True
                self._make(clone)
            made = round((time.monotonic() - began) * 1000)
            report = replace(self._report(clone), clone_ms=made)
            store(clone.folder, report)
        return report

    def _make(self, clone: Clone) -> None:
        try:
            clone.make(self._tell)
        except OSError as error:
            if not is_full(error):
                raise
            place = os.path.realpath(clone.place)
            raise FilesError(
                f"The disk is full: the clone in {place} could not be finished ({error.strerror}).",
                hint=f"{ROOM[0].upper()}{ROOM[1:]}",
            ) from error

    def _begin_to_end(self) -> None:
        """Let a signal wait while the clone is removed."""
        self.run.signals.deferred = True

    def _end_in_peace(self) -> None:
        self.run.signals.deferred = False
        self.run.signals.raise_pending()

    def _tell(self, event: str, text: str, details: object) -> None:
        self.run.tell(Event(event, now(), text=text, details=details if isinstance(details, dict) else {}))

    def _agreed(self, seen: Look) -> Plan:
        """Make the plan, and refuse what cannot be rehearsed.

        Raises:
            RefusedError: what `update` would refuse, or an interrupted run lies open.
            PlanError: there is no way back for the round trip.
        """
        if seen.lies_open or seen.database.begun is not None:
            raise RefusedError(
                "An interrupted update lies open: there is nothing to begin a rehearsal from.",
                hint="Type `fietsupdate recover` or `fietsupdate update` first.",
            )
        seen.refuse()
        plan = seen.plan(self.target, Direction.UP)
        lacking = list(filter(None, map(_no_way_back, plan.steps)))
        if self.round_trip and lacking:
            raise PlanError(
                "\n".join(lacking),
                hint="Rehearse without --round-trip.",
            )
        return plan

    def _report(self, clone: Clone) -> Rehearsal:
        """Run everything behind a fence, and say what came of it."""
        real = [self.run.site.data_dir, *self.run.site.config.extra_dirs.values()]
        databases = [clone.database.file] if clone.database.file else []
        on_clone = replace(self.run, site=clone.site, policy=None)
        report = Rehearsal(now(), __version__, self.plan.current, self.plan.result, rehearsed(self.plan))
        with (
            fenced(real, gate=clone.place, databases=databases) as fence,
            only_the_clone(clone.pointed) as refused,
            environment_pointed(clone.pointed),
            _no_bytecode(),
        ):
            clone.rename_instance()  # an env.py that ignores where it is pointed to is no failure of the updates
            bookkeeping = frozenset(version_tables(on_clone.environment))
            legs = _Legs(clone, on_clone, self.plan, self.target, bookkeeping)
            report = legs.go(report, round_trip=self.round_trip)
        return report if report.failure else replace(report, failure=_trespass(fence, refused))


@dataclass(frozen=True)
class _Moment:
    """The clone's database at one moment; bookkeeping is left out."""

    rows: Mapping[str, int]
    schema: str
    size: int
    digests: Mapping[str, str]


@dataclass
class _Legs:
    """The ways up and down on the clone."""

    clone: Clone
    run: Run
    plan: Plan
    target: str | None
    bookkeeping: frozenset[str]
    """Tables that are Alembic's or ours."""

    def go(self, report: Rehearsal, *, round_trip: bool) -> Rehearsal:
        """Apply the updates and see what has changed; then, if that is wanted, revert them and apply them again."""
        before = self._moment(digested=round_trip)
        report = self._up(report, before)
        if report.failure is None and round_trip and any(step.direction is Direction.UP for step in self.plan.steps):
            report = self._there_and_back(report, before)
        return report

    def _up(self, report: Rehearsal, before: _Moment) -> Rehearsal:
        recorder = self._recorder()
        at_first, looked_ms = recorder.measure().occupied, recorder.looked_ms
        done, failure = self._move(recorder, self.target, Direction.UP, self.plan)
        report = replace(report, timings=tuple(recorder.timings), warnings=tuple(recorder.warnings), failure=failure)
        if done is None:
            return report
        looked_ms = recorder.looked_ms - looked_ms
        recorder.measure()
        after = self._moment(digested=False)
        return replace(
            report,
            duration_ms=max(done.duration_ms - looked_ms, 0),
            files=self._files(),
            database=Database(before.rows, after.rows, _diff(before.schema, after.schema), before.size, after.size),
            peak_bytes=recorder.most - at_first + max(after.size - before.size, 0),
            verified=self._verified(),
        )

    def _there_and_back(self, report: Rehearsal, before: _Moment) -> Rehearsal:
        down = self._recorder()
        applied = sum(step.direction is Direction.UP for step in self.plan.steps)
        _, failure = self._move(down, f"-{applied}", Direction.DOWN, None)
        if failure is not None:
            return replace(report, failure=failure)
        after, found = self._moment(digested=True), list(self._differences())
        tables = before.digests.keys() | after.digests.keys()
        trip = RoundTrip(
            files=tuple(_change(one) for one in found if one.how != "time"),
            times=sum(one.how == "time" for one in found),
            tables=tuple(sorted(name for name in tables if before.digests.get(name) != after.digests.get(name))),
            schema=_diff_of_lines(before.schema, after.schema),
            down=tuple(down.timings),
        )
        _, failure = self._move(self._recorder(), self.target, Direction.UP, None)
        if failure is not None:
            failure = replace(failure, message=f"After they were reverted, they cannot be applied: {failure.message}")
        return replace(report, round_trip=trip, failure=failure or _not_restored(trip))

    def _recorder(self) -> Recorder:
        return Recorder(self.run.tell, tuple(self.clone.roots.values()), self.clone.place / "moment")

    def _move(
        self, recorder: Recorder, target: str | None, direction: Direction, agreed: Plan | None
    ) -> tuple[Report | None, Failure | None]:
        """Run one leg; what fails in it is part of the report."""
        try:
            run = replace(self.run, listener=recorder, warned=[], below_baseline=True)
            return run.move(target, direction, agreed), None
        except StoppedError:
            raise
        except FietsupdateError as error:
            where = {"update_id": recorder.update_id, "phase": recorder.phase, "direction": recorder.direction}
            trace = "".join(traceback.format_exception(error))
            hint = f"The clone is in {os.path.realpath(self.clone.place)}: {ROOM}" if is_full(error) else error.hint
            return None, Failure(error.code, error.message, hint, **where, trace=trace)

    def _moment(self, *, digested: bool) -> _Moment:
        database = self.clone.store
        rows = {table: count for table, count in database.row_counts().items() if not self._is_bookkeeping(table)}
        sums = digests(database) if digested else {}
        return _Moment(
            rows,
            "".join(text for text in definitions(database.schema_text()) if not self._is_about_bookkeeping(text)),
            database.size(),
            {table: digest for table, digest in sums.items() if not self._is_bookkeeping(table)},
        )

    def _is_bookkeeping(self, table: str) -> bool:
        return is_ours(table) or table.rpartition(".")[2] in self.bookkeeping

    def _is_about_bookkeeping(self, definition: str) -> bool:
        return any(self._is_bookkeeping(name) for name in re.findall(r"\w+", definition))

    def _files(self) -> Files:
        found = [one for one in self._differences() if one.how != "time"]
        written = [one.record for one in found if one.how != "removed"]
        return Files(
            **{how: sum(one.how == how for one in found) for how in ("added", "changed", "removed")},
            bytes_written=sum(record.size for record in written),
            inodes_written=len(written),
            changes=tuple(_change(one) for one in found),
        )

    def _differences(self) -> Iterator[Difference]:
        roots, version_file = self.clone.roots, self.run.site.config.version_file
        ignored = [roots[""] / version_file] if version_file else []
        return differences(self.clone.inventory, roots, self.clone.since_ns, leave_out=ignored)

    def _verified(self) -> tuple[str, ...]:
        steps = [(step, hooks.loaded(step.update)) for step in self.plan.steps]
        return tuple(
            step.update.update_id for step, module in steps if module and hooks.has(module, step.direction, "verify")
        )


def _trespass(fence: Fence, refused: Sequence[str]) -> Failure | None:
    """Say that something tried to change the real instance, and that the error was swallowed."""
    tried = [*fence.refused, *dict.fromkeys(refused)]
    if not tried:
        return None
    return Failure(
        "trespass",
        f"The updates tried to change the real instance, and went on when that was refused: {', '.join(tried)}.",
        "Take paths from self.data_dir, self.files or config, and URLs from config, never from elsewhere.",
    )


def _no_way_back(step: Step) -> str:
    """Say why a step cannot be reverted; "" where it can, or where it only records a version."""
    update = step.update
    if step.direction is Direction.VERSION:
        return "" if step.only_records else f"Version hook {update.update_id} cannot be reverted: none can."
    return "" if update.has_down else f"Update {update.update_id} cannot be reverted: {update.path} has no class Down."


def _not_restored(trip: RoundTrip) -> Failure | None:
    if trip.restored:
        return None
    parts = [
        _so_many(len(trip.files)) if trip.files else "",
        f"other rows are in {', '.join(trip.tables)}" if trip.tables else "",
        "the schema is another one" if trip.schema else "",
    ]
    return Failure(
        "not_restored",
        f"Reverting the updates does not restore what was there: {'; '.join(part for part in parts if part)}.",
        "Mend the scripts' Down, or count on a backup for the way back.",
        direction=str(Direction.DOWN),
    )


def _so_many(files: int) -> str:
    return "1 file is not what it was" if files == 1 else f"{files} files are not what they were"


def store(folder: Path, report: Rehearsal) -> None:
    """Keep a report, in place of the one before.

    Args:
        folder: The rehearsal's own, which is swept whatever happens: a draft goes with it.
        report: What is kept.
    """
    draft, place = folder / LAST, folder.parent / LAST
    atomic_write(draft, report.to_json().encode("ascii"), mode=0o600)
    os.replace(draft, place)
    sync_path(place.parent)


def _change(difference: Difference) -> Change:
    record = difference.record
    return Change(difference.how, record.path, record.kind, record.size, record.root)


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="", n=1)
    return "\n".join(lines)


def _diff_of_lines(before: str, after: str) -> str:
    """Give a diff, unless only the order is another one: a column that was dropped and added again comes last.

    Parentheses around a default, which a batch migration on SQLite adds, mean nothing either.
    """
    texts = [_DEFAULT.sub(r"\1\2", text) for text in (before, after)]
    lines = [sorted(line.strip().rstrip(",;") for line in text.splitlines()) for text in texts]
    return "" if lines[0] == lines[1] else _diff(*texts)


@contextlib.contextmanager
def _no_bytecode() -> Iterator[None]:
    """Write no ``__pycache__``, which may lie in the real data directory."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
