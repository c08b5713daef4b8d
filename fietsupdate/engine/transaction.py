"""Take one step through its transaction, from the row ``begun`` to the row ``done``.

All stages of an atomic step happen inside one visit to env.py, and so inside one database transaction (protocol, 3).
Where the database cannot hold all of it together, each phase is committed with its place in the row (protocol, 5);
hooks of scripts that are not atomic run outside of env.py, with no transaction and no lock of ours around them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING

from fietsupdate.database.environment import Visit
from fietsupdate.database.foreign_commits import own_commits_noted
from fietsupdate.database.ledger import BEGUN
from fietsupdate.database.visit import joined_session
from fietsupdate.engine import hooks
from fietsupdate.engine.answers import Answering
from fietsupdate.engine.context import Context, make_entry
from fietsupdate.engine.failure import not_committed
from fietsupdate.engine.recovery import commit_where_needed
from fietsupdate.engine.run_audit import RunAudit
from fietsupdate.engine.tip import Tip
from fietsupdate.errors import EnvPyError, UpdateFailedError
from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.transaction import FileTransaction
from fietsupdate.model import Entry, Phase, Step
from fietsupdate.model.clock import now
from fietsupdate.model.questions import Answer, Question
from fietsupdate.process import process_state_restored, stdout_on_stderr
from fietsupdate.script import Surroundings

if TYPE_CHECKING:
    from alembic.runtime.migration import RevisionStep
    from sqlalchemy import Connection

    from fietsupdate.database.ledger import LedgerTable

NO_CONNECTION = "this update is not atomic: its hooks run outside of the update's transaction"


class PlanChangedError(Exception):
    """Under the lock the instance is not where it was when the plan was made: plan again."""


def take(visit: Visit, tip: Tip) -> None:
    """Lock, and check that the instance is where the plan begins.

    Raises:
        BusyError: Another process holds the lock.
        PlanChangedError: The instance has moved.
    """
    visit.lock()
    with visit.nothing_done():
        visit.make_durable()
        heads, rows = visit.current_heads(), visit.ledger.since(visit.connection, len(tip.entries))
    if not tip.fits(heads, rows):
        raise PlanChangedError


def open_files(context: Context, tip: Tip, txn: str, step: Step | None) -> FileTransaction:
    """Begin the file half; its header is durable before anything else happens."""
    roots, keep_out = context.application.config.extra_dirs, context.keep_out
    return FileTransaction.begin(context.data_dir, tip.header(txn, step), roots=roots, keep_out=keep_out)


def reopen_files(context: Context) -> FileTransaction | None:
    """Open the file half that an interrupted run left; return None if there is none."""
    roots, keep_out = context.application.config.extra_dirs, context.keep_out
    return FileTransaction.reopen(context.data_dir, roots=roots, keep_out=keep_out)


def guard_of(context: Context, tell: Callable[[str, str], None]) -> Guard | None:
    """Return the guard that journals plain Python file calls; ``None`` if the configuration disables it."""
    return Guard(lambda text: tell("warning", text)) if context.application.config.guard else None


@dataclass
class StepTransaction:
    """One step while it runs."""

    context: Context
    tip: Tip
    step: Step
    module: ModuleType
    txn: str
    seq: int
    finished: list[Phase]
    """Phases that are complete, including those of an earlier, interrupted run."""
    resumed: bool
    audit: RunAudit
    """Compares rows with files."""
    started: float = field(default_factory=time.monotonic)
    began_at: str = field(default_factory=now)
    files: FileTransaction | None = None
    phase: str = ""
    final: Entry | None = None
    commits_phases: bool = False
    """Whether the database commits at every schema change, and so phase by phase."""
    guard: Guard | None = field(init=False)
    answering: Answering = field(init=False)

    def __post_init__(self) -> None:
        self.answering = Answering(
            self.step,
            self.context.given,
            note=self._note_answers,
            listener=self._answered,
            warn=self._warn,
        )
        self.guard = guard_of(self.context, self.tell)

    def run(self) -> None:
        """Run all stages; on return env.py reports that it has committed.

        Raises:
            PlanChangedError: The instance has moved; nothing was done.
            FietsupdateError: A stage failed; `fietsupdate.engine.recovery` determines the outcome.
        """
        with self.guard or nullcontext():
            if self.step.update.atomic:
                self._visit(self._joint)
            else:
                self._separate()

    def tell(self, event: str, text: str = "", **details: object) -> None:
        """Emit an event of this step."""
        step = self.step
        names = {"update_id": step.update.update_id, "direction": str(step.direction), "phase": str(self.phase)}
        if event == "warning" and self.files is not None:
            with self.files.changes.at_work():  # not a change of the hook's
                self.context.keep_warning(self.txn, text)
        self.context.tell(event, text, details, txn=self.txn, **names)

    def _warn(self, text: str) -> None:
        self.tell("warning", text)

    def _note_answers(self, answers: Mapping[str, str]) -> None:
        self.open_files.notes.note_answers(answers)

    def tell_answers(self) -> None:
        """Emit an event for each answer of the plan."""
        for answer in self.step.answers:
            question = self.step.asks.find(answer.name) or Question(answer.name, "")
            self._answered(question, answer)

    def _answered(self, question: Question, answer: Answer) -> None:
        details = {"name": answer.name, "value": answer.value, "source": str(answer.source)}
        self.tell("answered", question.text or question.name, **details)

    def _visit(self, work: object) -> None:
        command = "downgrade" if self.step.direction == "down" else "upgrade"
        self.context.visit(work, command=command)  # type: ignore[arg-type]

    def _entry(self) -> Entry:
        return make_entry(
            self.seq,
            self.txn,
            self.step.update.update_id,
            self.step.direction,
            checksum=self.step.update.checksum,
            duration_ms=round((time.monotonic() - self.started) * 1000),
            app_version=self.context.application.app_version,
            answers=self.answering.entry,
        )

    # -- stages

    def _begin(self, visit: Visit) -> None:
        take(visit, self.tip)
        self.commits_phases = bool(visit.not_transactional)
        self.files = reopen_files(self.context) if self.resumed else None
        self.files = self.files or open_files(self.context, self.tip, self.txn, self.step)
        self.answering.known |= self.files.notes.answers
        if not self.resumed:  # after the header: without a header, no row was ever written
            begun = replace(self._entry(), finished_at=self.began_at)
            visit.ledger.insert(visit.connection, [begun], status=BEGUN)
        visit.watch(self.txn, self.files.notes.note_unknown)
        self.finished += [phase for phase in self.files.notes.finished_phases if phase not in self.finished]
        self.audit.before(visit, self.step, self.files.notes, self._warn, resumed=self.resumed)

    def _mine(self, visit: Visit) -> None:
        """Lock, and write the finished phases into our own row, which no other process may have changed."""
        visit.lock()
        visit.make_durable()
        self._note(visit)
        visit.watch(self.txn, self.open_files.notes.note_unknown)

    def _note(self, visit: Visit) -> None:
        if not visit.ledger.note(visit.connection, self.txn, self.finished):
            raise EnvPyError("The ledger row of this update is gone, or finished by another process.")

    def _alembic(self, visit: Visit) -> Iterator[RevisionStep]:
        self.phase = Phase.ALEMBIC
        self.tell("phase_begun")
        if visit.not_transactional:
            visit.ledger.enter(visit.connection, self.txn, Phase.ALEMBIC)
        for revision in visit.steps(self.step.revisions, self.step.direction, self._watched):
            self.tell("revision", revision.short_log, revision=visit.running)
            yield revision
        visit.still_inside()
        if not self.resumed and not self.tip.reached(visit.current_heads(), self.step):
            raise EnvPyError(
                f"After the Alembic revisions of {self.step.update.update_id} the database is at "
                f"{', '.join(visit.current_heads()) or 'no revision'}, which is not where they lead."
            )
        self.finished.append(Phase.ALEMBIC)
        self.tell("phase_finished")

    def _end(self, visit: Visit) -> None:
        """Make the file half durable and finish the row: the last statement before the commit."""
        visit.still_inside()
        visit.refuse_broken_keys()
        self.audit.after(visit, self.step, self._warn)
        self.final = self._entry()
        files, application = self.open_files, self.context.application
        files.record([self.final], self.tip.current_after(self.step), application.config.version_file)
        files.seal()  # invariant 4
        if not visit.ledger.finish(visit.connection, self.final):
            raise EnvPyError(
                "The ledger row of this update vanished from its own transaction.",
                hint="Something in the update ends the transaction: look for ROLLBACK, COMMIT, 'INSERT OR ROLLBACK'.",
            )
        self.context.signals.deferred = True  # from here on only the database knows the outcome (protocol, 3.7)
        commit_where_needed(visit)

    # -- hooks on our connection: one visit for the whole step

    def _joint(self, visit: Visit) -> Iterator[RevisionStep]:
        self._begin(visit)
        if Phase.PRE not in self.finished:
            self._hook(Phase.PRE, visit)
            self._phase_ends(visit, Phase.PRE)
        if Phase.ALEMBIC not in self.finished:
            yield from self._alembic(visit)
            self._phase_ends(visit, Phase.ALEMBIC)
        self._hook(Phase.POST, visit)
        self._end(visit)

    def _phase_ends(self, visit: Visit, phase: Phase) -> None:
        """Write a finished phase into the row, so that any commit in the middle includes it.

        Where revisions would commit the phase anyway, it is committed here; without revisions, one commit is enough.
        """
        commits = visit.not_transactional and self.step.revisions
        if commits:
            self.open_files.end_phase(phase)  # invariant 4, phase by phase
        self._note(visit)
        if commits:
            visit.commit_phase()

    # -- hooks on connections of their own

    def _separate(self) -> None:
        self._visit(self._begin_alone)
        self._check_begun()
        if Phase.PRE not in self.finished:
            self._hook(Phase.PRE, None)
            self.open_files.end_phase(Phase.PRE)  # invariant 4: the revisions may drop what the hook has saved
            if self.commits_phases or self.open_files.notes.foreign_commit:
                self._visit(self._note_alone)  # otherwise a failure from here on undoes the pre hook, too
        if Phase.ALEMBIC not in self.finished and self.step.revisions:
            self._visit(self._alembic_alone)
        self._hook(Phase.POST, None)
        self._visit(self._end_alone)

    def _begin_alone(self, visit: Visit) -> Iterable[RevisionStep]:
        self._begin(visit)
        commit_where_needed(visit)
        return ()

    def _check_begun(self) -> None:
        """Check that the row exists before a hook commits anything on a connection of its own."""

        def is_there(ledger: LedgerTable, connection: Connection) -> bool:
            return any(row.txn == self.txn for row in ledger.since(connection, self.seq))

        if not self.context.environment.sees(is_there):
            raise not_committed("the beginning of the update")

    def _note_alone(self, visit: Visit) -> Iterable[RevisionStep]:
        self._mine(visit)
        commit_where_needed(visit)
        return ()

    def _alembic_alone(self, visit: Visit) -> Iterator[RevisionStep]:
        self._mine(visit)
        yield from self._alembic(visit)
        visit.refuse_broken_keys()
        self.open_files.end_phase(Phase.ALEMBIC)
        self._mine(visit)
        commit_where_needed(visit)

    def _end_alone(self, visit: Visit) -> Iterable[RevisionStep]:
        self._mine(visit)
        self._end(visit)
        return ()

    # -- hooks

    @property
    def open_files(self) -> FileTransaction:
        """The file half, which is open from the first stage on."""
        if self.files is None:
            raise EnvPyError("A hook was to run before its transaction began.")
        return self.files

    def _hook(self, phase: Phase, visit: Visit | None) -> None:
        self.phase = phase
        self.tell("phase_begun")
        if visit is not None and visit.not_transactional:
            visit.ledger.enter(visit.connection, self.txn, phase)
        self._call(hooks.HOOKS[phase], visit)
        if phase is Phase.PRE:
            self.finished.append(phase)
        elif hooks.has(self.module, self.step.direction, "verify"):
            self._call("verify", visit)
        self.tell("phase_finished")

    def _watched(self) -> AbstractContextManager[None]:
        """Journal the plain Python file calls of a hook or revision, unless the configuration says not to."""
        return self.guard.watching(self.open_files) if self.guard is not None else nullcontext()

    def _call(self, hook: str, visit: Visit | None) -> None:
        files, step = self.open_files, self.step
        if hooks.is_empty(self.module, step.direction, hook):
            return
        around = Surroundings(
            data_dir=self.context.data_dir,
            files=files.files,
            dirs=files.dirs,
            connection=visit.connection if visit else None,
            no_connection=NO_CONNECTION,
            session=joined_session,
            emit=lambda event, text, details: self.tell(event, text, **details),
            ask=self.answering,
            unattended=self.context.given.unattended,
        )
        with self._watched():
            if visit is not None:
                files.changes.before_change = visit.still_inside
                try:
                    with visit.hook_runs():
                        self._called(hook, around, visit)
                finally:
                    files.changes.before_change = tuple
                return
            noting = own_commits_noted(lambda: files.notes.note_foreign_commit(self.finished))
            try:
                with process_state_restored(), stdout_on_stderr(), noting:
                    self._called(hook, around, None)
            finally:
                gc.collect()  # a connection that the hook has never closed would block the next schema change

    def _called(self, hook: str, around: Surroundings, visit: Visit | None) -> None:
        """Call a hook; a ``verify`` that only warns has a savepoint of its own, so that the transaction goes on."""
        if hook != "verify" or not hooks.only_warns(self.module, self.step.direction, hook):
            hooks.call(self.module, self.step, hook, around, self.context.settings)
            return
        try:
            with visit.connection.begin_nested() if visit is not None else nullcontext():
                hooks.call(self.module, self.step, hook, around, self.context.settings)
        except UpdateFailedError as error:
            self.tell("warning", error.message, check=f"{hooks.CLASSES[self.step.direction]}.{hook}")
