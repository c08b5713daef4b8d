"""One call that looks at an instance or changes it: look, refuse, lock, recover, plan again, run."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from fietsupdate.checks import Checks
from fietsupdate.database.environment import Environment
from fietsupdate.database.view import application_tables
from fietsupdate.engine import Engine
from fietsupdate.errors import (
    ChecksFailedError,
    FietsupdateError,
    FilesError,
    InDoubtError,
    PlanError,
    PostChecksFailedError,
    RefusedError,
    StoppedError,
    TerminatedError,
)
from fietsupdate.filesystem import failure as last_failure
from fietsupdate.filesystem import leftovers, lock, restoration
from fietsupdate.filesystem.layout import check_home, make_home
from fietsupdate.filesystem.ledger import look as look_at_files
from fietsupdate.filesystem.owner import check_writable, refuse_root
from fietsupdate.instance import Instance, now
from fietsupdate.look import Look, look
from fietsupdate.model import Direction, Event, Failure, Plan, Policy, Report, Step
from fietsupdate.planning.graph import Graph
from fietsupdate.process import SIGNALS, Signals, Stop
from fietsupdate.recovery import Outcome, settle, warn_of_rubbish
from fietsupdate.restoring import Restorer
from fietsupdate.safeguard import Safeguard
from fietsupdate.service import check_service, out_of_service, tidied
from fietsupdate.site import Site
from fietsupdate.transaction import PlanChangedError, reopen_files
from fietsupdate.views import DatabaseView, LockHolder

Listener = Callable[[Event], None]

MOST_PLANS = 5
"""How often a plan is made again when the instance moves under it; then somebody else is at work for good."""

HARMLESS = frozenset({"plan", "waiting", "warning"})
"""Events before which nothing was changed."""

COMMANDS = {Direction.UP: "update", Direction.DOWN: "downgrade"}


ENDS_FAILURE = frozenset({*COMMANDS.values(), "stamp", "restore"})
"""Commands after whose success nothing is told any more of a failure before."""


def nobody(_event: Event) -> None:
    """Listen to nothing."""


@dataclass(frozen=True)
class Run:
    """What one call works on.

    Args:
        site: The entered configuration.
        graph: All updates.
        listener: Told of everything that happens.
        lock_timeout: Seconds to wait for another updater.
        as_root: Whether root may work on somebody else's data directory.
        policy: When backups are made; ``None`` as configured.
        below_baseline: Whether a downgrade may revert a baseline.
    """

    site: Site
    graph: Graph
    listener: Listener
    lock_timeout: float
    as_root: bool
    policy: Policy | None = None
    below_baseline: bool = False
    warned: list[str] = field(default_factory=list)
    """The texts of all warnings so far."""
    told: set[str] = field(default_factory=set)
    """The names of all events so far."""
    at_work: list[Event] = field(default_factory=list)
    """The event that says which update is at work, and in which phase; nothing between two of them."""

    def tell(self, event: Event) -> None:
        """Pass an event on; a warning is kept for the report."""
        if event.event == "warning" and event.text not in self.warned:
            self.warned.append(event.text)
        self.told.add(event.event)
        if event.event in {"update_begun", "phase_begun"}:
            self.at_work[:] = [event]
        elif event.event == "update_finished":
            self.at_work.clear()
        self.listener(event)

    @cached_property
    def environment(self) -> Environment:
        """The project's migration environment; its revisions are loaded once a run."""
        return Environment(self.site.config)

    @cached_property
    def signals(self) -> Signals:
        """Our handlers for SIGINT and SIGTERM."""
        return Signals()

    def look(self) -> Look:
        """Look at both halves; change nothing, wait for nothing (invariant 10)."""
        try:
            return look(self.site, self.graph, self.environment)
        except FietsupdateError as error:
            if self.told <= HARMLESS:
                error.stands = error.stands or "Nothing was changed."
            raise

    def plan(self, target: str | None, direction: Direction, *, checks: bool) -> Plan:
        """Make the plan that would run; refuse whatever the run would refuse."""
        seen = self.look()
        seen.refuse()
        plan = self._plan(seen, target, direction)
        if plan:
            self.check_hands()
            check_service(self.site)
            plan = self._safeguard(seen, plan).check(plan)
        if checks:
            Checks(self.site, self.instance(seen.database).settings, self.tell).before(plan)
        return plan

    def move(self, target: str | None, direction: Direction, agreed: Plan | None) -> Report:
        """Take the instance to the target."""
        started = time.monotonic()
        done: list[str] = []
        with self.stoppable(done):
            seen = self.look()
            if not seen.files.is_half_restored:  # no plan begins there; it is settled under the lock
                seen.refuse()
                plan = self._plan(seen, target, direction)
                if not plan and not seen.left_something and seen.files.holder is None:
                    return Report(plan, (), plan.current, _since(started))
            self.check_hands()
            with self.locked(COMMANDS[direction]):
                plan, current = self._planned_under_lock(target, direction, agreed, done)
            details = {"current": list(current), "done": list(done), "warnings": list(self.warned)}
            self.tell(Event("finished", now(), details=details))
        return Report(plan, tuple(done), current, _since(started), tuple(self.warned))

    def _planned_under_lock(
        self, target: str | None, direction: Direction, agreed: Plan | None, done: list[str]
    ) -> tuple[Plan, tuple[str, ...]]:
        """Recover, plan, and run the plan, out of service; plan again when the instance has moved."""
        command = COMMANDS[direction]
        with contextlib.ExitStack() as stack:
            leave = out_of_service(self.site, self.signals, self.tell, command=command)
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
            seen = self.settled(leave_service)
            seen.refuse(locked_by_us=True)
            plan = self._plan(seen, target, direction)
            if plan and agreed is not None and not done:
                _is_agreed(plan, agreed)
            safeguard = self._safeguard(seen, plan)
            if plan:
                plan = safeguard.check(plan)
                leave_service()
            instance = self.instance(seen.database)
            checks = Checks(self.site, instance.settings, self.tell)
            loaded = checks.before(plan)
            engine = Engine(instance, seen.database, self._bytes_needed)
            adoption = asdict(plan.adoption) if plan.adoption else None
            instance.tell("plan", "", {"steps": [step.update.update_id for step in plan.steps], "adoption": adoption})
            try:
                engine.run(plan, loaded, done, safeguard)
            except PlanChangedError:
                continue
            checks.after(plan, done, engine.tip.current)
            return plan, engine.tip.current
        raise _restless(done)

    def recover(self, *, accept: bool, purge: bool) -> Report:
        """Settle what lies open; record a half-done update as finished where `accept` says so."""
        with self.stoppable([]):
            self.check_hands()
            with self.locked("recover"):
                seen = self.settled_for("recover")
                engine = Engine(self.instance(seen.database), seen.database)
                before = engine.tip.current
                if accept:
                    once(engine.accept)
                    last_failure.forget(self.site.data_dir)
                elif seen.database.begun is not None:
                    raise _unfinished(seen)
                if purge:
                    leftovers.purge(self.site.data_dir)
                self._sweep_clones(seen.database)
                self._safeguard(seen).tidy(engine.tip, None)
        return Report(Plan(Direction.UP, (), (), before, engine.tip.current), (), engine.tip.current)

    def _sweep_clones(self, database: DatabaseView) -> None:
        """Remove what rehearsals have left that were killed."""
        from fietsupdate.rehearsing.removal import sweep

        for failure in sweep(self.site.data_dir, database.url, database.file):
            self.tell(Event("warning", now(), text=failure))

    # -- parts

    def check_hands(self) -> None:
        """Refuse the wrong user and a data directory that cannot be written, before anything changes."""
        check_writable(self.site.data_dir)
        refuse_root(self.site.data_dir, as_root=self.as_root)
        for root in (self.site.data_dir, *self.site.config.extra_dirs.values()):
            check_home(root)

    @contextlib.contextmanager
    def locked(self, command: str) -> Iterator[None]:
        """Hold the lock of the data directory."""

        def on_wait(holder: LockHolder | None) -> None:
            who = {"pid": holder.pid, "host": holder.host, "since": holder.since} if holder else {}
            self.tell(Event("waiting", now(), text="for another updater", details=who))

        with self.signals.held():  # a signal must not come between a new entry and the folder's old time
            make_home(self.site.data_dir)
        self.signals.raise_pending()
        with (
            lock.hold(self.site.data_dir, timeout=self.lock_timeout, on_wait=on_wait, command=f"fietsupdate {command}"),
            tidied(self.site, self.signals, self.tell),
        ):
            self._settle_restore()
            with self._failure_noted():
                yield
            if command in ENDS_FAILURE:
                last_failure.forget(self.site.data_dir)

    @contextlib.contextmanager
    def _failure_noted(self) -> Iterator[None]:
        """Keep what an update, or a check of the application, has failed with, for who asks later."""
        try:
            yield
        except InDoubtError:
            raise  # in doubt nothing is touched
        except FietsupdateError as error:
            checks = isinstance(error, ChecksFailedError | PostChecksFailedError)
            if self.at_work or checks:
                at = self.at_work[0] if self.at_work else Event("", "", phase="check")
                what = Failure(now(), at.update_id, at.direction, at.phase, error.message)
                last_failure.note(self.site.data_dir, what)
            raise

    def _settle_restore(self) -> None:
        """Finish a restore that was cut off, or take away what it has left."""
        left = restoration.look(self.site.data_dir)
        guarded = out_of_service(self.site, self.signals, self.tell, command="restore")
        with guarded if left is not None and left.is_half else contextlib.nullcontext():
            Restorer(self.site, self.environment, self.signals, self.tell).settle()

    @contextlib.contextmanager
    def stoppable(self, done: list[str]) -> Iterator[None]:
        """Turn a signal into an error that says how far the run came."""
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
        """Say how far a run came that was stopped between two transactions, or while it settled an old one."""
        open_one = look_at_files(self.site.data_dir, self.site.config.version_file).transaction
        finished = f"Finished by this run: {', '.join(done)}." if done else ""
        if open_one is None and self.at_work and self.at_work[0].event == "phase_begun":
            what = f"What stands of {self.at_work[0].update_id} is not known: its transaction is not to be seen."
            return f"{finished} {what}".lstrip()
        if open_one is None:
            return finished or "Nothing was changed."
        return f"{finished} The transaction of {open_one.update_id} lies open, and is settled by the next run.".lstrip()

    def instance(self, database: DatabaseView) -> Instance:
        """Give what the engine works on."""
        return Instance(
            site=self.site,
            environment=self.environment,
            graph=self.graph,
            settings=self.site.with_url(database.url).settings,
            signals=self.signals,
            emit=self.tell,
            lock_timeout=self.lock_timeout,
            keep_out=_own_files(database),
        )

    def _plan(self, seen: Look, target: str | None, direction: Direction) -> Plan:
        """Plan from what was seen; a plan that drops what was there before the first update names the tables."""
        plan = seen.plan(target, direction, below_baseline=self.below_baseline)
        return replace(plan, tables=application_tables(self.environment)) if plan.is_below_baseline else plan

    def _bytes_needed(self, step: Step) -> int:
        """Return how many bytes a step needed in the last rehearsal; 0 where it had none."""
        from fietsupdate.rehearsing.report import rehearsed_bytes

        return rehearsed_bytes(self.site.data_dir, step)

    def _safeguard(self, seen: Look, plan: Plan | None = None) -> Safeguard:
        policy = self.policy
        if policy is None:
            dropped = plan is not None and plan.is_below_baseline
            policy = Policy.FULL if dropped else self.site.config.backup
        return Safeguard(self.instance(seen.database), seen.database, policy, seen.versions)

    def settled_for(self, command: str) -> Look:
        """Do as `settled` does; what lies open is settled out of service, as `update` does it, and nothing else is."""
        with contextlib.ExitStack() as stack:
            leave = out_of_service(self.site, self.signals, self.tell, command=command)
            return self.settled(lambda: stack.enter_context(leave))

    def settled(self, before: Callable[[], None] = lambda: None) -> Look:
        """Settle what an earlier run left open, then look. Whoever calls this holds the lock.

        Args:
            before: Called if there is something to settle.
        """
        seen = self.look()
        if seen.lies_open:
            before()
        instance = self.instance(seen.database)
        files = reopen_files(instance)  # which also empties what ended transactions left
        warn_of_rubbish(instance)
        if files is None:
            return seen
        settled = settle(instance, files)
        if settled.outcome is not Outcome.BEGUN:
            instance.tell("recovered", settled.outcome.value, settled.details, update_id=files.header.update_id)
        return self.look()


def _is_agreed(plan: Plan, agreed: Plan) -> None:
    """See that nothing runs but what somebody said yes to, or the rest of it."""
    rest = agreed.steps[len(agreed.steps) - len(plan.steps) :]
    same = [(step.update, step.direction) for step in plan.steps] == [(step.update, step.direction) for step in rest]
    if not same or plan.adoption not in {None, agreed.adoption}:
        raise PlanError(
            "The plan has changed since it was shown.",
            stands="Nothing was changed.",
            hint="Run the same command again, and look at the new plan.",
        )


def _own_files(database: DatabaseView) -> tuple[Path, ...]:
    """Name the application's own SQLite database, which no script may touch."""
    if database.file is None:
        return ()
    return (database.file,)


def _unfinished(seen: Look) -> FietsupdateError:
    """Make the error of a recovery that cannot end an update: only the update itself, or a hand, can."""
    for problem in seen.status(locked_by_us=True).problems:
        if problem.code == "interrupted":
            return RefusedError.because(problem, stands="Nothing was changed: a part of it is committed already.")
    return _restless(())


def once(action: Callable[[], None]) -> None:
    """Do something for which no new plan can be made."""
    try:
        action()
    except PlanChangedError as error:
        raise _restless(()) from error


def _restless(done: Sequence[str]) -> RefusedError:
    return RefusedError(
        "The instance moves while it is to be changed: somebody else is at work on its database.",
        stands=f"Finished by this run: {', '.join(done) or 'nothing'}.",
        hint="Find out who else runs migrations here, then run the same command again.",
    )


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
