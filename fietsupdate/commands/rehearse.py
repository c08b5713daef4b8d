"""Rehearse a plan: run it, with the real scripts and the project's own env.py, on a clone of both halves.

The real instance is locked while it is cloned, and not read any more afterwards; nothing of it changes but the folder
of rehearsals in ``.fietsupdate``. While the scripts run, this process is kept from opening the real database and from
changing the real files (protocol, 8). The result is a value, which is stored as well.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fietsupdate import __version__
from fietsupdate.commands.inspection import Inspection
from fietsupdate.commands.rehearsal.clone import ROOM, Clone, cloned, left_out
from fietsupdate.commands.rehearsal.comparison import Watch
from fietsupdate.commands.rehearsal.report import Rehearsal, RehearsalFailure, Seclusion, rehearsed, store
from fietsupdate.commands.run import Run
from fietsupdate.commands.sandbox import Apart
from fietsupdate.commands.trips import Trial
from fietsupdate.database.dump.digests import version_tables
from fietsupdate.database.redirect import configured_texts, sqlite_files
from fietsupdate.errors import FietsupdateError, FilesError, PlanError, RefusedError, StoppedError
from fietsupdate.filesystem.space import is_full
from fietsupdate.model import Direction, Event, Plan, Step
from fietsupdate.model.clock import now

NOT_RUN = "No update ran."
NOT_COMPARED = "Whether the real instance is as it was, was not looked at."
GONE = "The clone is gone."
NOTHING = "Nothing was changed, and nothing was cloned."

_ABOUT_RIGHTS = re.compile(
    r"permission denied|must be (owner|superuser|a? ?member)|denied (to|for) user", re.IGNORECASE
)

_ABOUT_WRITING = re.compile(r"Read-only file system|readonly database|unable to open database file")


def rehearse(run: Run, target: str | None, *, round_trip: bool) -> Rehearsal | None:
    """Run the plan that leads to a target on a clone.

    Args:
        run: A run on the real instance, which it never changes.
        target: As for `Run.move`; ``None`` for everything.
        round_trip: Whether the updates are reverted and applied again afterwards.

    Returns:
        The report, also if an update failed; ``None`` if there is nothing to rehearse.

    Raises:
        StoppedError: A signal ended the rehearsal.
        FietsupdateError: The rehearsal could not be run at all.
    """
    work = _Rehearsing(run, target, round_trip=round_trip)
    try:
        with run.interruptible([]):
            return work.all()
    except FietsupdateError as error:
        if isinstance(error, StoppedError):
            error.hint = ""
        gone = f" {work.left or GONE}" if work.stands != NOTHING else ""
        error.stands = f"{work.stands}{gone}"
        raise


@dataclass
class _Rehearsing:
    """One rehearsal, from its first look to its report."""

    run: Run
    target: str | None
    round_trip: bool
    plan: Plan = field(init=False)
    stands: str = NOTHING
    """What an error says about the real instance."""
    left: str = ""
    """The path of the clone, if it could not be removed."""

    def all(self) -> Rehearsal | None:
        """Run the rehearsal."""
        inspection = self.run.inspect()
        if inspection.files.holder is None and not self._agreed(
            inspection
        ):  # if another process holds the lock, wait for it first
            return None
        self.run.check_hands()
        began = time.monotonic()
        with ExitStack() as stack:
            stack.callback(self._raise_deferred)
            with self.run.locked("rehearse"):
                inspection = self.run.inspect()
                self.plan = self._agreed(inspection)
                if not self.plan:
                    return None
                clone = stack.enter_context(cloned(self.run.application, inspection.database, self._tell, self._left))
                stack.callback(self._defer_signals)
                self.stands = NOT_RUN
                self._make(clone)
            cloning_ms = round((time.monotonic() - began) * 1000)
            report = replace(self._report(clone), clone_ms=cloning_ms)
            store(clone.folder, report)
        return replace(report, clone_left=self.left)

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

    def _left(self, where: str) -> None:
        self.left = where

    def _defer_signals(self) -> None:
        """Hold signals back while the clone is removed."""
        self.run.signals.deferred = True

    def _raise_deferred(self) -> None:
        self.run.signals.deferred = False
        self.run.signals.raise_pending()

    def _tell(self, event: str, text: str, details: object) -> None:
        self.run.emit(Event(event, now(), text=text, details=details if isinstance(details, dict) else {}))

    def _agreed(self, inspection: Inspection) -> Plan:
        """Make the plan, and refuse what cannot be rehearsed.

        Raises:
            RefusedError: `update` would refuse, too, or an interrupted run is open.
            PlanError: The updates cannot be reverted, but a round trip was requested.
        """
        if inspection.lies_open or inspection.database.begun is not None:
            raise RefusedError(
                "An interrupted update lies open: there is nothing to begin a rehearsal from.",
                hint="Type `fietsupdate recover` or `fietsupdate update` first.",
            )
        inspection.refuse()
        plan = self.run.answered(inspection, inspection.plan(self.target, Direction.UP))
        lacking = list(filter(None, map(_no_way_back, plan.steps)))
        if self.round_trip:
            self.run.answered(inspection, _reverted(plan))
        if self.round_trip and lacking:
            raise PlanError(
                "\n".join(lacking),
                hint="Rehearse without --round-trip.",
            )
        return plan

    def _report(self, clone: Clone) -> Rehearsal:
        """Run the updates isolated from the real instance, compare the real instance, and return the report."""
        report = Rehearsal(now(), __version__, self.plan.current, self.plan.result, rehearsed(self.plan))
        files = self._sqlite_files(clone)
        apart = Apart(self.run, clone, files)
        watch = Watch.begin(
            [self.run.application.data_dir, *self.run.application.config.extra_dirs.values()],
            files,
            left_out(self.run.application, None),
            clone.real_store if clone.database.exists and clone.store.file is None else None,
            all_roles=clone.account is None,
        )

        def work(listener: Callable[[Event], None]) -> Rehearsal:
            on_clone = replace(self.run, application=clone.application, policy=None, listener=listener)
            clone.rename_instance()  # an env.py that ignores the given URL is no failure of the updates
            bookkeeping = frozenset(version_tables(on_clone.environment))
            trial = Trial(clone, on_clone, self.plan, self.target, bookkeeping)
            return trial.go(report, round_trip=self.round_trip)

        self.stands = NOT_COMPARED
        try:
            done = apart.run_updates(work, report)
        except StoppedError:
            raise
        except FietsupdateError:
            self.stands = _compared(_seclusion(apart, watch))
            raise
        return explained(judged(replace(done, seclusion=_seclusion(apart, watch))))

    def _sqlite_files(self, clone: Clone) -> set[Path]:
        """Return the SQLite files of the real instance: its database, and any others that the configuration names."""
        application = self.run.application
        texts = [
            *configured_texts(self.run.environment.alembic),
            *_texts(dict(application.settings)),
            *os.environ.values(),
        ]
        texts += [argument.partition("=")[2] for argument in application.config.x]
        return sqlite_files(texts) | ({clone.database.file} if clone.database.file else set())


def judged(report: Rehearsal) -> Rehearsal:
    """Mark a rehearsal as failed if the real instance has changed meanwhile, whichever program has changed it."""
    seclusion = report.seclusion
    if seclusion is None or not seclusion.changed or report.failure is not None:
        return report
    hint = "Find out what changed it, and rehearse again while nothing else does (stop the application)."
    if not seclusion.read_only:
        hint += " If it was a script, it must take its paths and URLs from config."
    return replace(report, failure=RehearsalFailure("real_changed", _compared(seclusion), hint))


def explained(report: Rehearsal) -> Rehearsal:
    """Add to a failure that the isolation of the updates may have caused a hint that says so."""
    failure, seclusion = report.failure, report.seclusion
    if failure is None or seclusion is None:
        return report
    hints = []
    if seclusion.account and _ABOUT_RIGHTS.search(failure.message):
        hints.append(
            f"A rehearsal reaches the database as {seclusion.account}, whose rights end at the clone. What needs more, "
            "or names the real database, cannot be rehearsed on a server."
        )
    if seclusion.read_only and _ABOUT_WRITING.search(failure.message):
        hints.append(
            "In a rehearsal the real folders, and those that hold a SQLite database of the application, are read-only. "
            "Take paths from self.data_dir, self.files or config."
        )
    return replace(report, failure=replace(failure, hint=" ".join([*hints, failure.hint]).rstrip()))


def _seclusion(apart: Apart, watch: Watch) -> Seclusion:
    changed, compared, blind = watch.end()
    account = apart.clone.account
    gaps = [*apart.gaps, *([f"The real database could not be compared: {blind}"] if blind else [])]
    return Seclusion(apart.read_only, account.name if account else "", tuple(gaps), compared, changed)


def _compared(seclusion: Seclusion) -> str:
    if not seclusion.changed:
        return f"The real instance is as it was before the updates: {'; '.join(seclusion.compared)}."
    return (
        f"The real instance is NOT as it was before the updates: {', '.join(seclusion.changed)}. They have changed it, "
        "or the application, which went on working."
    )


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts in a setting of any type."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _reverted(plan: Plan) -> Plan:
    """Return the way back, whose scripts may have questions, too."""
    steps = [replace(step, direction=Direction.DOWN) for step in plan.steps if step.direction is Direction.UP]
    return replace(plan, steps=tuple(steps))


def _no_way_back(step: Step) -> str:
    """Return why a step cannot be reverted; "" if it can, or if it only records a version."""
    update = step.update
    if step.direction is Direction.VERSION:
        return "" if step.only_records else f"Version hook {update.update_id} cannot be reverted: none can."
    return "" if update.has_down else f"Update {update.update_id} cannot be reverted: {update.path} has no class Down."
