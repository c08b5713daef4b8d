"""Run a plan: one transaction across both halves for each step.

The outcome of a step is read back on a fresh connection afterwards, whatever env.py reported (protocol, 3.7); only then
does the next step begin. The caller of an `Executor` holds the OS lock.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from fietsupdate.database.environment import Visit
from fietsupdate.database.ledger import DONE
from fietsupdate.engine.context import Context, make_entry
from fietsupdate.engine.failure import Disk, StepProgress, WayOn, failure_of, not_committed
from fietsupdate.engine.recovery import Outcome, Settled, commit_where_needed, settle
from fietsupdate.engine.run_audit import RunAudit
from fietsupdate.engine.tip import Tip
from fietsupdate.engine.transaction import PlanChangedError, StepTransaction, guard_of, open_files, reopen_files, take
from fietsupdate.errors import UNCHANGED, FietsupdateError, RefusedError
from fietsupdate.filesystem.transaction import FileTransaction
from fietsupdate.masks import masked
from fietsupdate.model import BASE, Adoption, Begun, Direction, Entry, Plan, Step
from fietsupdate.model.clock import now
from fietsupdate.model.questions import sorted_answers
from fietsupdate.planning.planner import resume_command
from fietsupdate.views import DatabaseView

if TYPE_CHECKING:
    from alembic.runtime.migration import RevisionStep


class Backups(Protocol):
    """Makes the backups of one run; implemented by `fietsupdate.backup.automatic.AutomaticBackup`."""

    def before_run(self, plan: Plan, tip: Tip) -> None:
        """Back up both halves before the first step, if the plan requires it."""

    def before_step(self, step: Step, txn: str, tip: Tip) -> str:
        """Return the name of the backup that leads back to before a step; "" for none."""

    def cleaned_up(self, tip: Tip) -> contextlib.AbstractContextManager[None]:
        """Remove backups that have become useless at the end of the run."""


class Executor:
    """Takes an instance from one position to the next.

    Args:
        instance: The instance.
        view: What was found in its database.
        bytes_needed: Returns how many bytes a step needed in its rehearsal, 0 if unknown.
    """

    def __init__(self, context: Context, view: DatabaseView, bytes_needed: Callable[[Step], int] = lambda _: 0) -> None:
        self.instance = context
        self._bytes_needed = bytes_needed
        self.tip = Tip(context.graph, view)
        self._has_ledger = view.has_ledger
        self._audit = RunAudit(context, self.tip)

    def run(self, plan: Plan, modules: Mapping[str, ModuleType], done: list[str], backups: Backups) -> None:
        """Run every step of a plan.

        Args:
            plan: The plan.
            modules: The loaded scripts, by update id.
            done: Extended by the id of each update as soon as it is known that both halves have it.
            backups: Makes the backups.

        Raises:
            PlanChangedError: Another process has updated the instance; nothing of the next step was done.
            FietsupdateError: A step failed; ``stands`` tells its outcome.
        """
        if plan.steps:
            self.instance.environment.target = self.tip.leads_to(plan.steps[0])
        self.prepare(asks=any(step.update.may_ask or step.answers for step in plan.steps))
        with backups.cleaned_up(self.tip), contextlib.closing(self._audit):
            backups.before_run(plan, self.tip)
            if plan.adoption:
                self.adopt(plan.adoption)
            only_updates = all(step.direction is not Direction.VERSION for step in plan.steps)
            for number, step in enumerate(plan.steps):
                self.instance.signals.raise_pending()
                progress = StepProgress(number, len(plan.steps), "updates" if only_updates else "steps")
                self._apply(step, modules[step.update.update_id], progress, done, backups)

    def prepare(self, *, asks: bool = False) -> None:
        """Create the ledger and name the instance, committed before the first transaction begins.

        Args:
            asks: Whether scripts may ask questions: then a ledger of an earlier version gets its column for answers.
        """
        if self._has_ledger:
            if asks and not self.instance.environment.sees(lambda ledger, connection: ledger.keeps_answers(connection)):
                self._add_answers()
            return
        ids: list[str] = []

        def work(visit: Visit) -> Iterable[RevisionStep]:
            visit.lock()
            if not visit.ledger.exists(visit.connection):
                visit.ledger.create(visit.connection, str(uuid.uuid4()), now())
                commit_where_needed(visit)
            ids.append(visit.ledger.instance_id(visit.connection))
            return ()

        self.instance.visit(work, command="upgrade")
        if not self.instance.environment.sees(lambda ledger, connection: ledger.exists(connection)):
            raise not_committed("the ledger", stands=UNCHANGED)
        self.tip.instance_id, self._has_ledger = ids[-1], True

    def _add_answers(self) -> None:
        def work(visit: Visit) -> Iterable[RevisionStep]:
            visit.lock()
            if not visit.ledger.keeps_answers(visit.connection):
                visit.ledger.add_answers(visit.connection)
                commit_where_needed(visit)
            return ()

        self.instance.visit(work, command="upgrade")
        if not self.instance.environment.sees(lambda ledger, connection: ledger.keeps_answers(connection)):
            raise not_committed("the ledger's column for answers", stands=UNCHANGED)

    def adopt(self, adoption: Adoption) -> None:
        """Write the first entries of an instance without a ledger."""
        self.stamp(adoption.update_ids, adoption.revisions)
        details = {"update_ids": list(adoption.update_ids), "revisions": list(adoption.revisions)}
        self.instance.tell("adopted", adoption.reason, details)

    def _apply(self, step: Step, module: ModuleType, progress: StepProgress, done: list[str], backups: Backups) -> None:
        begun = self.tip.begun
        self.instance.environment.target = self.tip.leads_to(step)
        txn = begun.txn if begun else str(uuid.uuid4())
        with _adding(progress):
            way_back = backups.before_step(step, txn, self.tip)
        run = self._transaction(step, module, txn)
        run.tell("update_begun", step.update.summary, revisions=list(step.revisions))
        run.tell_answers()
        with _adding(progress):
            failure, settled = self._settled(run.run, lambda: run.files)
        run.phase = ""
        if settled.outcome is Outcome.DONE and run.final is not None:
            self.tip.advance(step, run.final)
            done.append(step.update.update_id)
            run.tell("update_finished", duration_ms=run.final.duration_ms)
        if settled.outcome is not Outcome.DONE or failure is not None:
            first_failure = _unsettled_failure(begun, settled.begun)
            if settled.begun is not None:
                self._note(settled.begun, failure, first_failure)
            elif settled.outcome is Outcome.UNDONE:
                run.tell("update_undone", settled.outcome.value, **settled.details)
            resume = resume_command(self.instance.graph, step.update.update_id, step.update, step.direction)
            disk = Disk(self.instance.data_dir, self._bytes_needed(step))
            raise failure_of(step, failure, settled, progress, disk=disk, way_on=WayOn(resume, way_back, first_failure))
        self.instance.signals.deferred = False

    def _transaction(self, step: Step, module: ModuleType, txn: str) -> StepTransaction:
        """Return the transaction of a step: a new one, or the one that an earlier run has begun."""
        begun = self.tip.begun
        return StepTransaction(
            self.instance,
            self.tip,
            step,
            module,
            txn=txn,
            seq=begun.seq if begun else len(self.tip.entries) + 1,
            finished=list(begun.finished) if begun else [],
            resumed=begun is not None,
            audit=self._audit,
        )

    def _settled(
        self, work: Callable[[], object], files: Callable[[], FileTransaction | None]
    ) -> tuple[BaseException | None, Settled]:
        """Do the work, then read back its outcome. Signals stay deferred until the caller has reported that, too."""
        failure: BaseException | None = None
        signals = self.instance.signals
        try:
            work()
        except PlanChangedError:
            raise
        except BaseException as error:  # noqa: BLE001  # hooks and env.py may raise anything
            failure = error
        signals.deferred = True
        opened = files() or reopen_files(self.instance)  # the work may have been stopped while the transaction began
        return failure, Settled(Outcome.UNDONE) if opened is None else settle(self.instance, opened)

    def _note(self, begun: Begun, failure: BaseException | None, first_failure: str) -> None:
        """Store the failure of an interrupted update in its row, without changing the rest of the row.

        The error of the first run is kept until its phase is complete: later errors are often its consequence.
        """

        def work(visit: Visit) -> Iterable[RevisionStep]:
            visit.lock()
            words = masked(first_failure or str(failure or "env.py did not commit"))
            visit.ledger.note(visit.connection, begun.txn, begun.finished, failure=words, running=begun.running)
            commit_where_needed(visit)
            return ()

        # the update has failed already, and the row exists without the error, too
        with contextlib.suppress(FietsupdateError):
            self.instance.visit(work, command="upgrade")

    def stamp(
        self,
        update_ids: Sequence[str],
        revisions: Sequence[str] = (),
        *,
        copy: bool = False,
        alembic: Sequence[str] | None = None,
    ) -> None:
        """Set the current updates without running any hook.

        Args:
            update_ids: The updates that are applied from now on, with all that they build on; () for none.
            revisions: Alembic revisions that run first (baseline).
            copy: Whether to copy the database's whole ledger into a data directory that has lost its own.
            alembic: The new content of Alembic's version table, without running any revision; None leaves it unchanged.

        Raises:
            PlanChangedError: Nothing was done.
            FietsupdateError: The stamp failed; ``stands`` tells the state.
        """
        txn, started = str(uuid.uuid4()), time.monotonic()
        entries: list[Entry] = []
        opened: list[FileTransaction] = []

        def work(visit: Visit) -> Iterator[RevisionStep]:
            take(visit, self.tip)
            opened.append(open_files(self.instance, self.tip, txn, None))
            yield from self._revisions(visit, revisions, opened[-1], txn)
            if alembic is not None:
                visit.set_heads(alembic)
            entries.extend(self._stamps(txn, update_ids, round((time.monotonic() - started) * 1000)))
            visit.ledger.insert(visit.connection, entries, status=DONE)
            whole = [*(self.tip.entries if copy else ()), *entries]
            opened[-1].record(whole, self.tip.folded(entries), self.instance.application.config.version_file)
            opened[-1].seal()
            self.instance.signals.deferred = True
            commit_where_needed(visit)

        self._whole(lambda: self.instance.visit(work, command="stamp"), opened)
        self.tip.fold(entries, revisions)

    def _revisions(
        self, visit: Visit, revisions: Sequence[str], files: FileTransaction, txn: str
    ) -> Iterator[RevisionStep]:
        """Let Alembic run the revisions of a baseline, under the guard where they can be undone."""
        guard = None if visit.not_transactional else guard_of(self.instance, self.instance.tell)
        around = partial(guard.watching, files) if guard is not None else contextlib.nullcontext
        visit.watch(txn, files.notes.note_unknown)
        for revision in visit.steps(revisions, Direction.UP, around):
            self.instance.tell("revision", revision.short_log, {"revision": visit.running})
            yield revision
        visit.still_inside()

    def accept(self) -> None:
        """Record the interrupted update as finished, since the administrator has completed both halves by hand.

        Raises:
            RefusedError: No update is interrupted.
            PlanChangedError: Another process has updated the instance; nothing was done.
        """
        begun = self.tip.begun
        if begun is None:
            raise RefusedError(
                "Nothing is interrupted here, so there is nothing to accept.", hint="Type `fietsupdate status`."
            )
        entries: list[Entry] = []
        opened: list[FileTransaction] = []

        def work(visit: Visit) -> Iterable[RevisionStep]:
            take(visit, self.tip)
            files = reopen_files(self.instance) or open_files(self.instance, self.tip, begun.txn, None)
            opened.append(files)
            entry = self._accepted(begun, files)
            entries.append(entry)
            files.record(entries, self.tip.folded(entries), self.instance.application.config.version_file)
            files.seal()
            visit.ledger.finish(visit.connection, entry)
            self.instance.signals.deferred = True
            commit_where_needed(visit)
            return ()

        self._whole(lambda: self.instance.visit(work, command="stamp"), opened)
        self.tip.fold(entries)

    def _accepted(self, begun: Begun, files: FileTransaction) -> Entry:
        """Return the entry of an update that was finished by hand."""
        return make_entry(
            begun.seq,
            begun.txn,
            begun.update_id,
            begun.direction,
            checksum=begun.checksum,
            duration_ms=0,
            app_version=self.instance.application.app_version,
            answers=sorted_answers(dict(begun.answers) | files.notes.answers),
        )

    def _whole(self, work: Callable[[], object], opened: Sequence[FileTransaction]) -> None:
        """Run work that has no steps; raise an error unless it is complete in both halves."""
        failure, settled = self._settled(work, lambda: opened[-1] if opened else None)
        if settled.outcome is not Outcome.DONE or failure is not None:
            raise failure_of(None, failure, settled, StepProgress(0, 0), disk=Disk(self.instance.data_dir))
        self.instance.signals.deferred = False

    def _stamps(self, txn: str, update_ids: Sequence[str], duration_ms: int) -> Iterator[Entry]:
        known = self.instance.graph.updates
        for seq, update_id in enumerate(update_ids or (BASE,), start=len(self.tip.entries) + 1):
            checksum = known[update_id].checksum if update_id in known else ""
            yield make_entry(
                seq,
                txn,
                update_id,
                Direction.STAMP,
                checksum=checksum,
                duration_ms=duration_ms,
                app_version=self.instance.application.app_version,
            )


@contextlib.contextmanager
def _adding(progress: StepProgress) -> Iterator[None]:
    """Add to an error how far the plan had come."""
    try:
        yield
    except FietsupdateError as error:
        error.stands += str(progress)
        raise


def _unsettled_failure(before: Begun | None, after: Begun | None) -> str:
    """Return the error of an earlier run of this update, if this run has come no further; "" otherwise."""
    if before is None or after is None or before.finished != after.finished:
        return ""
    return before.failure
