"""The commands that change an instance: plan, ask, run, report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fietsupdate.cli.render import text as console
from fietsupdate.cli.render.events import EventPrinter, listener
from fietsupdate.cli.render.layout import warned
from fietsupdate.cli.session import Session
from fietsupdate.errors import UNCHANGED, UsageError
from fietsupdate.model import BASE, Direction, Event, Plan, Report
from fietsupdate.model.clock import now

if TYPE_CHECKING:
    from fietsupdate.updater import Updater


def seconds(text: str | None) -> float | None:
    """Return the value of ``--lock-timeout``.

    Raises:
        UsageError: The text is no number of seconds.
    """
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not number >= 0:  # also false for "nan"
        raise UsageError(f"--lock-timeout needs a number of seconds, not {text!r}.", hint="--lock-timeout 60")
    return number


@dataclass
class Change:
    """The options of one command that changes an instance."""

    session: Session
    yes: bool = False
    lock_timeout: float | None = None
    as_root: bool = False
    as_json: bool = False
    backup: str | None = None
    """``never`` if no backup is wanted; ``None`` as configured."""
    below_baseline: bool = False
    """Whether a downgrade may revert a baseline."""
    answers: Mapping[str, str] = field(default_factory=dict)
    """The answers on the command line to the scripts' questions."""

    def dry_run(self, target: str | None, direction: Direction, *, checks: bool) -> int:
        """Show the plan; raise the errors with which the real run would refuse."""
        from fietsupdate.cli.render import documents, rehearsal

        session, updater = self.session, self.session.updater()
        said: list[str] = []
        plan = updater.plan(
            target,
            direction=direction,
            checks=checks,
            **self._plan_options,
            unattended=not self._will_ask,
            on_event=lambda event: said.append(event.text) if event.event == "warning" else None,
        )
        left, known = console.unchecked(checks_ran=checks), updater.outlook(plan, ask=checks, answers=self.answers)
        if self.as_json:
            document = {**documents.plan(plan, left), "warnings": said, "outlook": rehearsal.outlook_document(known)}
            session.out.line(documents.line(document))
        else:
            outlook = rehearsal.outlook(known, session.out.width)
            session.say(
                console.dry_run(plan, left, session.out.width, outlook) if plan else console.nothing_to_do(plan)
            )
            if said:
                session.say("\n" + warned(said, session.out.width))
        return 0

    def move(self, target: str | None, direction: Direction) -> int:
        """Apply or revert updates, once the administrator has agreed."""
        agreed: Plan | None = None
        updater = self.session.updater()
        if not self.session.agreed(yes=self.yes):
            unattended = not self.session.can_ask
            agreed = updater.plan(target, direction=direction, **self._plan_options, unattended=unattended)
            if agreed and not self._agreed_to(updater, agreed):
                return self._declined()
        report = self._reported(lambda on_event: self._run(updater, target, direction, agreed, on_event))
        self._summarize(report)
        return 0

    @property
    def _will_ask(self) -> bool:
        return self.session.can_ask and not self.session.agreed(yes=self.yes)

    def _agreed_to(self, updater: Updater, plan: Plan) -> bool:
        """Show a plan, ask the questions of its scripts, and ask whether to run it."""
        self.session.require_terminal(dry_run=True)
        self.session.err.show(f"{self._described(updater, plan)}\n")
        answers = dict(self.answers)
        for step in plan.steps:
            for question in step.open_questions:
                answer = self.session.ask_question(step.update.update_id, question)
                if answer is None:
                    return False
                answers[f"{step.update.update_id}:{question.name}"] = answer
        self.answers = answers
        return self.session.ask("Do this now?")

    def _described(self, updater: Updater, plan: Plan) -> str:
        """Return the plan with its estimates, as text."""
        from fietsupdate.cli.render import rehearsal

        width = self.session.err.width
        outlook = rehearsal.outlook(updater.outlook(plan, ask=True, answers=self.answers), width)
        return "\n\n".join(text for text in (console.plan(plan, width), outlook) if text)

    def _run(
        self, updater: Updater, target: str | None, direction: Direction, agreed: Plan | None, on_event: EventPrinter
    ) -> Report:
        options = {"agreed": agreed, "on_event": on_event, "backup": self.backup, **self._options}
        options |= {"answers": self.answers, "unattended": agreed is None}
        if direction is Direction.UP:
            return updater.update(target, **options)
        return updater.downgrade(target or BASE, below_baseline=self.below_baseline, **options)

    def stamp(self, update_ids: Sequence[str], *, with_alembic: bool = False) -> int:
        """Record the position of the instance, once the administrator has agreed."""
        ask = not self.session.agreed(yes=self.yes)
        updater = self.session.updater()
        if ask:
            ids = updater.stampable(update_ids)
            if not self._asked(lambda: _recorded(ids, with_alembic=with_alembic), "Record this?"):
                return self._declined()
        options = {**self._options, "with_alembic": with_alembic}
        report = self._reported(lambda on_event: updater.stamp(update_ids, on_event=on_event, **options))
        self._summarize(report)
        return 0

    def recover(self, *, accept: bool, purge: bool) -> int:
        """Finish or undo what an interrupted run left; options that lose data are confirmed first."""
        ask = (accept or purge) and not self.session.agreed(yes=self.yes)
        updater = self.session.updater()
        if ask and not self._asked(lambda: _consequences(accept=accept, purge=purge), "Do this now?"):
            return self._declined()
        report = self._reported(
            lambda on_event: updater.recover(accept=accept, purge=purge, on_event=on_event, **self._options)
        )
        if not self.as_json:
            self.session.say(f"The instance is {console.check(updater.status())}")
            self._repeat(report.warnings)
        return 0

    @property
    def _plan_options(self) -> dict[str, Any]:
        options = {"as_root": self.as_root, "backup": self.backup, "below_baseline": self.below_baseline}
        return {**options, "answers": self.answers}

    @property
    def _options(self) -> dict[str, Any]:
        return {"lock_timeout": self.lock_timeout, "as_root": self.as_root}

    def _asked(self, what: Callable[[], str], question: str) -> bool:
        self.session.require_terminal(dry_run=False)
        self.session.err.show(f"{what()}\n")
        return self.session.ask(question)

    def _declined(self) -> int:
        self.session.err.line(UNCHANGED)
        return 1

    def _reported(self, run: Callable[[EventPrinter], Report]) -> Report:
        """Run something and show its events; a stream of JSON always ends with ``finished`` or an error."""
        session = self.session
        session.ran = True
        with listener(session.out, as_json=self.as_json, quiet=session.quiet, verbose=session.verbose) as on_event:
            report = run(on_event)
        if on_event.failure is not None:
            session.err.line(f"Warning: the progress could not be shown: {on_event.failure!r}")
        if not on_event.finished:
            on_event(Event("finished", now(), details={"current": report.current, "done": report.done}))
        return report

    def _summarize(self, report: Report) -> None:
        if self.as_json:
            return
        if report.plan:
            text = console.report(report.done, report.plan.direction, report.current, report.duration_ms)
        else:
            text = console.nothing_to_do(report.plan)
        self.session.say(text)
        self._repeat(report.warnings)

    def _repeat(self, warnings: Sequence[str]) -> None:
        """List the warnings of a run once more, at its end."""
        if warnings:
            self.session.say(warned(warnings, self.session.out.width))


def _recorded(update_ids: Sequence[str], *, with_alembic: bool) -> str:
    """Return what ``stamp`` will record, as text."""
    ids = ", ".join(update_ids) or f"{BASE} (no update)"
    what = f"The instance will be recorded to be at {ids}. No script and no Alembic revision runs."
    if with_alembic:
        what += " Alembic's version table will say that the database has the revisions that these updates need."
    return what


def _consequences(*, accept: bool, purge: bool) -> str:
    """Return what ``recover`` will not be able to undo, as text."""
    lines = []
    if accept:
        lines.append("The interrupted update will be recorded as finished, as you have mended it by hand.")
    if purge:
        lines.append("Files that recovery has set aside, and the saved bytes of finished updates, will be deleted.")
    return "\n".join(lines)
