"""Compare rows and files around the updates of one run: earlier damage is reported, new damage fails the update.

Names and sizes are compared before the first change, and inside of the transaction of each update, before its commit. A
reference that an update declares for the first time is compared before the update, too, if its tables exist already: an
application that begins to declare references does not fail because of old damage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from fietsupdate.database.environment import Visit
from fietsupdate.database.visit import streams_rows
from fietsupdate.engine.audit import Comparison, hook_caller, roots_of
from fietsupdate.engine.context import Context
from fietsupdate.engine.expected import Expectation, ReferenceSource
from fietsupdate.engine.known_damage import KnownDamage
from fietsupdate.engine.tip import Tip
from fietsupdate.errors import RowsAndFilesError
from fietsupdate.filesystem.journal.notes import MOST_DAMAGE, Notes
from fietsupdate.model import Direction, Step
from fietsupdate.model.policy import AuditPolicy
from fietsupdate.model.references import Finding, FindingKind
from fietsupdate.planning.references import Declarations, contradiction, valid_at

MOST_NAMED = 5
"""The most findings that a message names."""
MOST_GIVEN = 100
"""The most findings in the details of an error."""
UNKNOWN_BEFORE = " What matched before this update was interrupted is not known, so this fails nothing."

Tell = Callable[[str], object]


@dataclass
class RunAudit:
    """Compares rows with files around the steps of one run.

    Args:
        instance: The instance.
        tip: Its position.
    """

    instance: Context
    tip: Tip
    _known: KnownDamage | None = None
    """The damage before the next step; ``None`` before the first one."""
    _now: Declarations | None = None
    """The declarations that were valid when that damage was found."""
    _only_warns: str = ""
    """Why the running step only warns about findings; "" if they fail it."""
    _is_used: bool = field(init=False)
    """Whether any script declares anything, and the policy requires a comparison."""

    def __post_init__(self) -> None:
        declares = any(update.declares for update in self.instance.graph.updates.values())
        self._is_used = declares and self.policy is not AuditPolicy.OFF

    @property
    def policy(self) -> AuditPolicy:
        """The policy for rows and files that do not match."""
        return self.instance.application.config.audit

    def before(self, visit: Visit, step: Step, notes: Notes, tell: Tell, *, resumed: bool) -> None:
        """Collect the damage that exists before a step changes anything.

        Args:
            visit: The visit in which the step begins.
            step: The step.
            notes: The notes of its open transaction.
            tell: Called with the text of a warning.
            resumed: Whether the step was begun, and changed something, in an earlier run.
        """
        self._only_warns = ""
        then = self._valid_after(step)
        if not self._is_used or then is None:
            return
        if resumed:
            self._recall(notes)
            return
        now, first = self._valid_before(), self._known is None
        known = self._known = self._known or KnownDamage()
        before = known.count
        for finding in self._findings(visit, now, lenient=True) if first else ():
            known.take(finding, self._root(finding))
        for finding in self._of_new(visit, now, then):
            known.take(finding, self._root(finding))
        if known.count > before:
            tell(_before(known.count - before))
        if step.not_atomic or visit.not_transactional:
            notes.note_damage(known.names(MOST_DAMAGE + 1))

    def after(self, visit: Visit, step: Step, tell: Tell) -> None:
        """Compare rows and files after a step, before it is committed.

        If two heads contradict each other between the steps of a plan, nothing is compared until the merge.

        Raises:
            RowsAndFilesError: A row and its file do not match, which did before.
        """
        then = self._valid_after(step)
        if not self._is_used or then is None:
            return
        known, following = self._known or KnownDamage(), KnownDamage()
        news: list[Finding] = []
        count = 0
        for finding in self._findings(visit, then):
            if not known.has(finding, self._root(finding)):
                count += 1
                news += [finding] if len(news) < MOST_GIVEN else []
            following.take(finding, self._root(finding))
        known.close()
        following.count = 0  # they are reported already
        self._known, self._now = following, then
        if not count:
            return
        error = _failed(step, news, count)
        if self.policy is AuditPolicy.STRICT and not self._only_warns:
            raise error
        tell(f"{error.message}{self._only_warns}")

    def close(self) -> None:
        """Remove everything."""
        self._forget()

    # -- parts

    def _valid_before(self) -> Declarations:
        """Return the declarations of the damage in `_known` or, before the first step, those that are valid now."""
        if self._now is None:
            return self._decided(self.tip.applied.ids) or Declarations()
        return self._now

    def _valid_after(self, step: Step) -> Declarations | None:
        """Return the declarations that are valid after a step; ``None`` if two heads contradict each other."""
        applied, own = self.tip.applied.ids, {step.update.update_id}
        if step.direction is not Direction.VERSION:
            applied = applied | own if step.direction is Direction.UP else applied - own
        return self._decided(applied)

    def _decided(self, applied: frozenset[str]) -> Declarations | None:
        graph = self.instance.graph
        if not self._is_used:
            return Declarations()
        return None if contradiction(graph, applied) else valid_at(graph, applied)

    def _findings(
        self,
        visit: Visit,
        declarations: Declarations,
        *,
        lenient: bool = False,
        sources: list[ReferenceSource] | None = None,
    ) -> Iterator[Finding]:
        instance, connection = self.instance, visit.connection
        roots = roots_of(instance.application, instance.keep_out)
        caller = hook_caller(roots, instance.settings, connection, _silent)
        names = tuple(roots.folders)
        expectation = Expectation(connection, caller, names, streams=streams_rows(visit), lenient=lenient)
        with Comparison(declarations, roots) as compared:
            with visit.hook_runs() if declarations.hooks else nullcontext():
                compared.expect(expectation)
            if sources is not None:
                sources += compared.sources
            yield from compared.findings()

    def _of_new(self, visit: Visit, now: Declarations, then: Declarations) -> Iterator[Finding]:
        """Yield the damage before a step according to references that the step is about to declare for the first time.

        A reference that most rows do not fulfil yet is one that the step itself makes true: it excuses no missing file.
        """
        if now.has_all_of(then):
            return
        tables = {rule.name for rule, _ in now.rules}
        sources: list[ReferenceSource] = []
        held: dict[str, list[Finding]] = {}
        for finding in self._findings(visit, then, lenient=True, sources=sources):
            if finding.kind is FindingKind.STRAY:
                if not any(one.covers(finding.root, finding.path) for one in now.owned):
                    yield finding
            elif finding.table not in tables:
                held.setdefault(finding.table, []).append(finding)
        for table, findings in held.items():
            rows = sum(source.rows for source in sources if source.table == table)
            missing = sum(source.wrong[FindingKind.MISSING] for source in sources if source.table == table)
            yield from (one for one in findings if one.kind is not FindingKind.MISSING or missing * 2 <= rows)

    def _recall(self, notes: Notes) -> None:
        """Take over the damage that was recorded by the run that began the step."""
        names = notes.damage
        self._forget()
        self._known = KnownDamage(names or ())
        if names is None:
            self._only_warns = UNKNOWN_BEFORE

    def _root(self, finding: Finding) -> Path:
        application = self.instance.application
        return application.config.extra_dirs[finding.root] if finding.root else application.data_dir

    def _forget(self) -> None:
        if self._known is not None:
            self._known.close()
        self._known = None


def _before(count: int) -> str:
    what = "One file does" if count == 1 else f"{count} files do"
    return f"{what} not match the rows before this run, which fails nothing: `fietsupdate audit` tells more."


def _failed(step: Step, news: list[Finding], count: int) -> RowsAndFilesError:
    """Return the error of a step after which rows and files do not match."""
    update_id = step.update.update_id
    named = [f"{finding.kind} {finding}" for finding in news[:MOST_NAMED]]
    more = f"; and {count - len(named)} more" if count > len(named) else ""
    when = f"After reverting {update_id}" if step.direction is Direction.DOWN else f"After the update {update_id}"
    return RowsAndFilesError(
        f"{when}, rows and files no longer match: {'; '.join(named)}{more}.",
        hint="The script must change rows and files together, or declare what is true after it. With "
        "FIETSUPDATE_AUDIT=warn in the environment, or audit = warn in the configuration, it passes with a warning.",
        details={
            "update_id": update_id,
            "count": count,
            "findings": [
                {"finding": one.kind, "root": one.root, "path": one.path, "table": one.table, "row": dict(one.row)}
                for one in news
            ],
        },
    )


def _silent(*_: object) -> None:
    """Ignore the events of a hook that yields references: it is called several times in a run."""
