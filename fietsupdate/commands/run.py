"""One call that reads an instance or changes it: look, refuse, lock, recover, plan again, run."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from fietsupdate.backup import restore_journal
from fietsupdate.backup.automatic import AutomaticBackup
from fietsupdate.backup.restorer import Restorer
from fietsupdate.commands import notes
from fietsupdate.commands.inspection import Inspection, inspect_instance
from fietsupdate.commands.maintenance import check_service, maintenance_mode, without_stale_file
from fietsupdate.commands.replan import concurrent_change, refuse_another
from fietsupdate.commands.working import run_reported
from fietsupdate.config.application import Application
from fietsupdate.database.environment import Environment
from fietsupdate.database.inspect import application_tables
from fietsupdate.engine.checks import Checks
from fietsupdate.engine.context import Context
from fietsupdate.engine.executor import Executor
from fietsupdate.engine.files_only import settle_files
from fietsupdate.engine.recovery import Outcome, settle, warn_of_rubbish
from fietsupdate.engine.transaction import PlanChangedError, reopen_files
from fietsupdate.errors import (
    UNCHANGED,
    ChecksFailedError,
    FietsupdateError,
    FilesError,
    InDoubtError,
    PostChecksFailedError,
    StoppedError,
    TerminatedError,
)
from fietsupdate.filesystem import last_failure, lock
from fietsupdate.filesystem import run_warnings as warned
from fietsupdate.filesystem.layout import check_home, make_home
from fietsupdate.filesystem.ledger import inspect_files
from fietsupdate.filesystem.posix.ownership import check_writable, refuse_root
from fietsupdate.model import Begun, Direction, Event, Failure, Plan, Policy, Report, Step
from fietsupdate.model.clock import now
from fietsupdate.model.listeners import Listener
from fietsupdate.model.questions import NONE_GIVEN, GivenAnswers, sorted_answers
from fietsupdate.planning.answers import answered, doubts
from fietsupdate.planning.graph import Graph
from fietsupdate.process import SIGNALS, Signals, Stop
from fietsupdate.views import DatabaseView, LockHolder

MOST_PLANS = 5
"""How often a plan is made again if the instance changes under it; after that, another process keeps changing it."""

HARMLESS = frozenset({"plan", "waiting", "warning"})
"""The events that are emitted before anything is changed."""

COMMANDS = {Direction.UP: "update", Direction.DOWN: "downgrade"}

ENDS_FAILURE = frozenset({*COMMANDS.values(), "stamp", "restore"})
"""The commands whose success ends the report about an earlier failure."""


@dataclass(frozen=True)
class Run:
    """The values that one call works with.

    Args:
        application: The entered configuration.
        graph: All updates.
        listener: Called with every event.
        lock_timeout: Seconds to wait for another updater.
        as_root: Whether root may work on another user's data directory.
        policy: When backups are made; ``None`` as configured.
        below_baseline: Whether a downgrade may revert a baseline.
        given: The given answers to the scripts' questions.
    """

    application: Application
    graph: Graph
    listener: Listener
    lock_timeout: float
    as_root: bool
    policy: Policy | None = None
    below_baseline: bool = False
    given: GivenAnswers = NONE_GIVEN
    warned: list[str] = field(default_factory=list)
    """The texts of all warnings so far."""
    event_names: set[str] = field(default_factory=set)
    """The names of all events so far."""
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    """The answers to the questions of the scripts so far, by update and name."""
    undone: list[Begun] = field(default_factory=list)
    """The interrupted update that this run has undone before applying it again with the same answers; at most one."""
    warns_in: list[Path] = field(default_factory=list)
    """The data directory that stores warnings while this run changes the instance; otherwise empty."""
    watchers: list[Listener] = field(default_factory=list)
    """Told of everything that happens while this run holds the lock."""
    at_work: list[Event] = field(default_factory=list)
    """The event that names the update at work and its phase; empty between two updates."""

    def emit(self, event: Event) -> None:
        """Pass an event on; a warning is also kept for the report."""
        if event.event == "warning" and event.text not in self.warned:
            self.warned.append(event.text)
            if not event.txn and "update_finished" in self.event_names:
                self._keep("", event.text)
        self.event_names.add(event.event)
        if self.warns_in and event.txn and event.details.get("outcome") == Outcome.UNDONE.value:
            warned.drop(self.warns_in[0], event.txn)
        if event.event == "answered":
            self.answers.setdefault(event.update_id, {})[event.details["name"]] = event.details["value"]
        if event.event in {"update_begun", "phase_begun"}:
            self.at_work[:] = [event]
        elif event.event == "update_finished":
            self.at_work.clear()
        for watcher in self.watchers:
            watcher(event)
        self.listener(event)

    def _keep(self, txn: str, text: str) -> None:
        """Store a warning for the run that continues, in case this one is cut off."""
        for data_dir in self.warns_in:
            warned.keep(data_dir, txn, text)

    def _recall(self) -> None:
        """Take over the warnings of the run that this one continues."""
        self.warned[:0] = [text for text in warned.kept(self.application.data_dir) if text not in self.warned]

    @cached_property
    def environment(self) -> Environment:
        """The project's migration environment; its revisions are loaded once per run."""
        return Environment(self.application.config)

    @cached_property
    def signals(self) -> Signals:
        """Our handlers for SIGINT and SIGTERM."""
        return Signals()

    def inspect(self) -> Inspection:
        """Return the view of both halves; change nothing, wait for nothing (invariant 10)."""
        try:
            return inspect_instance(self.application, self.graph, self.environment)
        except FietsupdateError as error:
            if self.event_names <= HARMLESS:
                error.stands = error.stands or UNCHANGED
            raise

    def plan(self, target: str | None, direction: Direction, *, checks: bool) -> Plan:
        """Return the plan that would run; refuse whatever the run would refuse."""
        inspection = self.inspect()
        inspection.refuse()
        plan = self._plan(inspection, target, direction, may_wait=not self.given.unattended)
        if plan:
            self.check_hands()
            check_service(self.application)
            plan = self.automatic_backup(inspection, plan).check(plan)
        if checks:
            Checks(self.application, self.context(inspection.database).settings, self.emit, self.given).before(plan)
        return plan

    def move(self, target: str | None, direction: Direction, agreed: Plan | None) -> Report:
        """Take the instance to the target."""
        started = time.monotonic()
        done: list[str] = []
        with self.interruptible(done):
            inspection = self.inspect()
            if not inspection.files.is_half_restored:  # no plan can begin there; the restore is finished under the lock
                inspection.refuse()
                plan = self._plan(inspection, target, direction)
                if not plan and not inspection.left_something and inspection.files.holder is None:
                    return Report(plan, (), plan.current, _since(started))
            self.check_hands()
            with self.locked(COMMANDS[direction]):
                plan, current = self._planned_under_lock(target, direction, agreed, done)
            details = {"current": list(current), "done": list(done), "warnings": list(self.warned)}
            self.emit(Event("finished", now(), details={**details, "answers": self.answers}))
        return Report(plan, tuple(done), current, _since(started), tuple(self.warned), self.answers)

    def _planned_under_lock(
        self, target: str | None, direction: Direction, agreed: Plan | None, done: list[str]
    ) -> tuple[Plan, tuple[str, ...]]:
        """Recover, plan, and run the plan, out of service; plan again if the instance has changed."""
        command = COMMANDS[direction]
        with contextlib.ExitStack() as stack:
            self.warns_in.append(self.application.data_dir)
            stack.callback(self.warns_in.clear)
            leave = maintenance_mode(self.application, self.signals, self.emit, command=command)
            leave_service = functools.cache(lambda: stack.enter_context(leave))
            return self._moved(target, direction, agreed, done, leave_service)

    def _moved(
        self,
        target: str | None,
        direction: Direction,
        agreed: Plan | None,
        done: list[str],
        leave_service: Callable[[], None],
    ) -> tuple[Plan, tuple[str, ...]]:
        for _ in range(MOST_PLANS):
            inspection = self.settled(leave_service)
            self._recall()
            inspection.refuse(locked_by_us=True)
            plan = self._plan(inspection, target, direction)
            if plan and agreed is not None and not done:
                refuse_another(plan, agreed)
            automatic = self.automatic_backup(inspection, plan)
            if plan:
                plan = automatic.check(plan)
                leave_service()
            try:
                return plan, self._executed(plan, inspection, automatic, done)
            except PlanChangedError:
                continue
        raise concurrent_change(done)

    def _executed(
        self, plan: Plan, inspection: Inspection, automatic: AutomaticBackup, done: list[str]
    ) -> tuple[str, ...]:
        """Execute a plan between the application's checks, and return the current updates afterwards."""
        context = self.context(inspection.database)
        checks = Checks(self.application, context.settings, self.emit, self.given)
        for text in doubts(plan, self.given):
            context.tell("warning", text)
        loaded = checks.before(plan)
        executor = Executor(context, inspection.database, self._bytes_needed)
        adoption = asdict(plan.adoption) if plan.adoption else None
        context.tell("plan", "", {"steps": [step.update.update_id for step in plan.steps], "adoption": adoption})
        executor.run(plan, loaded, done, automatic)
        checks.after(plan, done, executor.tip.current)
        return executor.tip.current

    # -- parts

    def check_hands(self) -> None:
        """Refuse the wrong user and a data directory that cannot be written, before anything changes."""
        check_writable(self.application.data_dir)
        refuse_root(self.application.data_dir, as_root=self.as_root)
        for root in (self.application.data_dir, *self.application.config.extra_dirs.values()):
            check_home(root)

    @contextlib.contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Hold the lock of the data directory."""

        def on_wait(holder: LockHolder | None) -> None:
            who = {"pid": holder.pid, "host": holder.host, "since": holder.since} if holder else {}
            self.emit(Event("waiting", now(), text="for another updater", details=who))

        with self.signals.held():  # a signal must not come between making an entry and restoring the folder's time
            make_home(self.application.data_dir)
        self.signals.raise_pending()
        with (
            lock.hold(
                self.application.data_dir, timeout=self.lock_timeout, on_wait=on_wait, command=f"fietsupdate {command}"
            ),
            run_reported(self.application, command, self.watchers, self.signals, self.emit),
            without_stale_file(self.application, self.signals, self.emit),
        ):
            settle_files(self.application, self.emit)
            self._settle_restore()
            with self._failure_noted():
                yield
            if command in ENDS_FAILURE:
                notes.forget(self.application.data_dir)

    @contextlib.contextmanager
    def _failure_noted(self) -> Iterator[None]:
        """Record the failure of an update, or of a check of the application, for later commands."""
        try:
            yield
        except InDoubtError:
            raise  # in doubt nothing is touched
        except FietsupdateError as error:
            checks = isinstance(error, ChecksFailedError | PostChecksFailedError)
            if self.at_work or checks:
                at = self.at_work[0] if self.at_work else Event("", "", phase="check")
                what = Failure(now(), at.update_id, at.direction, at.phase, error.message)
                last_failure.note(self.application.data_dir, what)
            raise

    def _settle_restore(self) -> None:
        """Finish an interrupted restore, or remove what it has left."""
        left = restore_journal.open_restore(self.application.data_dir)
        guarded = maintenance_mode(self.application, self.signals, self.emit, command="restore")
        with guarded if left is not None and left.is_half else contextlib.nullcontext():
            Restorer(self.application, self.environment, self.signals, self.emit).settle()

    @contextlib.contextmanager
    def interruptible(self, done: list[str]) -> Iterator[None]:
        """Turn a signal into an error that says how far the run came."""
        try:
            with self._stops_told(done):
                yield
        except FietsupdateError as error:
            error.warnings = tuple(self.warned)
            raise

    @contextlib.contextmanager
    def _stops_told(self, done: list[str]) -> Iterator[None]:
        try:
            with self.signals.installed():
                yield
        except Stop as stop:
            kind = StoppedError if stop.signum == SIGNALS[0] else TerminatedError
            hint = "Run the same command again to go on."
            raise kind(f"Stopped by {stop}.", stands=self._stands(done), hint=hint) from stop
        except OSError as error:
            hint = "Mend the cause, then run the same command again."
            raise FilesError(f"The system refused: {error}.", stands=self._stands(done), hint=hint) from error

    def _stands(self, done: Sequence[str]) -> str:
        """Return how far a run came that was stopped between two transactions, or while it settled an old one."""
        open_one = inspect_files(self.application.data_dir, self.application.config.version_file).transaction
        finished = f"Finished by this run: {', '.join(done)}." if done else ""
        if open_one is None and self.at_work and self.at_work[0].event == "phase_begun":
            what = f"What stands of {self.at_work[0].update_id} is not known: its transaction is not to be seen."
            return f"{finished} {what}".lstrip()
        if open_one is None:
            return finished or UNCHANGED
        return f"{finished} The transaction of {open_one.update_id} lies open, and is settled by the next run.".lstrip()

    def context(self, database: DatabaseView) -> Context:
        """Return the context for the engine."""
        return Context(
            application=self.application,
            environment=self.environment,
            graph=self.graph,
            settings=self.application.with_url(database.url).settings,
            signals=self.signals,
            emit=self.emit,
            lock_timeout=self.lock_timeout,
            keep_out=() if database.file is None else (database.file,),  # the SQLite database: no script may touch it
            given=self.given,
            keep_warning=self._keep,
        )

    def answered(self, inspection: Inspection, plan: Plan, *, may_wait: bool = False) -> Plan:
        """Return a plan with the answers to its scripts' questions; see `fietsupdate.planning.answers.answered`."""
        begun = inspection.database.begun or next(iter(self.undone), None)
        return answered(plan, self.given, self.graph, begun, may_wait=may_wait)

    def _plan(
        self, inspection: Inspection, target: str | None, direction: Direction, *, may_wait: bool = False
    ) -> Plan:
        """Return the plan for a view; a plan that drops tables from before the first update names them."""
        plan = inspection.plan(target, direction, below_baseline=self.below_baseline)
        plan = self.answered(inspection, plan, may_wait=may_wait)
        return replace(plan, tables=application_tables(self.environment)) if plan.is_below_baseline else plan

    def _bytes_needed(self, step: Step) -> int:
        """Return how many bytes a step needed in the last rehearsal; 0 if it was not rehearsed."""
        from fietsupdate.commands.rehearsal.report import rehearsed_bytes

        return rehearsed_bytes(self.application.data_dir, step)

    def automatic_backup(self, inspection: Inspection, plan: Plan | None = None) -> AutomaticBackup:
        """Return the maker of the backups of a plan, or of no plan."""
        policy = self.policy
        if policy is None:
            dropped = plan is not None and plan.is_below_baseline
            policy = Policy.FULL if dropped else self.application.config.backup
        return AutomaticBackup(self.context(inspection.database), inspection.database, policy, inspection.versions)

    def settled_out_of_service(self, command: str) -> Inspection:
        """Settle like `settled`; meanwhile the application is out of service, as in `update`."""
        with contextlib.ExitStack() as stack:
            leave = maintenance_mode(self.application, self.signals, self.emit, command=command)
            return self.settled(lambda: stack.enter_context(leave))

    def settled(self, before: Callable[[], None] = lambda: None) -> Inspection:
        """Settle an open transaction, then return the view. The caller holds the lock.

        Args:
            before: Called if there is something to settle.
        """
        inspection = self.inspect()
        if inspection.lies_open:
            before()
        context = self.context(inspection.database)
        files = reopen_files(context)  # this also removes what finished transactions left
        warn_of_rubbish(context)
        if files is None:
            return inspection
        learnt = files.notes.answers
        settled = settle(context, files)
        if inspection.database.begun is not None:
            answers = sorted_answers(dict(inspection.database.begun.answers) | learnt)
            self.undone[:] = [replace(inspection.database.begun, answers=answers)]
        if settled.outcome is not Outcome.BEGUN:
            names = {"update_id": files.header.update_id, "txn": files.header.txn}
            context.tell("recovered", settled.outcome.value, settled.details, **names)
            notes.count_interruption(context, files.header, settled.outcome)
        return self.inspect()


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
