"""`audit`: check that every row has its file, and every file its row; change nothing, and wait for nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fietsupdate.commands.inspection import Inspection, inspect_instance
from fietsupdate.commands.whereabouts import MissingFileSearch
from fietsupdate.config.application import Application
from fietsupdate.database.environment import Environment, Visit
from fietsupdate.database.visit import streams_rows
from fietsupdate.engine.audit import Comparison, hook_caller, roots_of
from fietsupdate.engine.expected import Expectation
from fietsupdate.errors import FietsupdateError, RefusedError
from fietsupdate.model import Event, UpdateState
from fietsupdate.model.clock import now
from fietsupdate.model.listeners import ignore
from fietsupdate.model.policy import AuditPolicy
from fietsupdate.model.references import AuditReport, AuditSummary, Finding, FindingKind
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.position import locate
from fietsupdate.planning.references import Declarations, valid_at

if TYPE_CHECKING:
    from fietsupdate.commands.run import Run

NOTHING = (
    "No update that is applied declares `references` or `owned`, so nothing was compared; see 'Rows and files' in the "
    "documentation."
)
AT_WORK = "Another process is updating the instance: what it is changing may be among the findings."
HALF = {
    UpdateState.INTERRUPTED: "An update was interrupted: what it has changed may be among the findings.",
    UpdateState.DRIFTED: "The two halves do not fit together, see `fietsupdate status`: findings may come of that.",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an audit compares besides names and sizes."""

    content: bool = False
    """Whether to read the content of every file whose row contains its digest."""
    sample: int | None = None
    """The number of those files to read, chosen at random; ``None`` for all or none."""
    from_backups: bool = False
    """Whether to compare the copies in backups with the rows."""


def audit(
    application: Application,
    graph: Graph,
    environment: Environment,
    wanted: Wanted,
    on_finding: Callable[[Finding], object] | None = None,
) -> AuditReport:
    """Compare rows with files.

    Args:
        application: The application.
        graph: All updates.
        environment: Its migration environment.
        wanted: What is compared.
        on_finding: Called with each finding; without it, the findings are in the report.

    Raises:
        FietsupdateError: The instance cannot be inspected, or a declaration does not fit the database.
    """
    inspection = inspect_instance(application, graph, environment)
    declarations = declared(inspection)
    findings: list[Finding] = []
    with comparison(application, inspection, environment, declarations, wanted) as compared:
        for finding in located(application, compared.findings(), from_backups=wanted.from_backups):
            (on_finding or findings.append)(finding)
        return AuditReport(_summary(inspection, declarations, compared), tuple(findings))


def tell_mismatch(run: Run) -> None:
    """Warn where rows and files do not match at the end of a command that has changed both; it fails nothing."""
    if run.application.config.audit is AuditPolicy.OFF or not any(one.declares for one in run.graph.updates.values()):
        return
    try:
        found = audit(run.application, run.graph, run.environment, Wanted(), lambda _: None).summary.total
    except FietsupdateError as error:
        run.emit(Event("warning", now(), text=f"Rows and files were not compared: {error.message}"))
        return
    if found:
        what = "One file does" if found == 1 else f"{found} files do"
        run.emit(Event("warning", now(), text=f"{what} not match the rows now: `fietsupdate audit` tells more."))


def declared(inspection: Inspection) -> Declarations:
    """Return the declarations that are valid at the position of an instance.

    Raises:
        RefusedError: The database is missing, or the instance is half restored.
        PlanError: Two heads contradict each other.
    """
    status = inspection.status()
    if inspection.files.is_half_restored or not inspection.database.exists:
        problem = next((one for one in status.problems if one.blocks), None)
        if problem is not None:
            raise RefusedError.because(problem, stands="")
    return valid_at(inspection.graph, locate(inspection.graph, inspection.database, inspection.files).applied)


def comparison(
    application: Application,
    inspection: Inspection,
    environment: Environment,
    declarations: Declarations,
    wanted: Wanted,
) -> Comparison:
    """Read what the rows name; return the comparison of that with the files."""
    application = application.with_url(inspection.database.url)
    roots = roots_of(application, [inspection.database.file] if inspection.database.file else [])
    compared = Comparison(
        declarations,
        roots,
        content=wanted.content,
        sample=wanted.sample,
        digests=wanted.from_backups,
        since=time.time(),
    )

    def work(visit: Visit) -> tuple[()]:
        caller = hook_caller(roots, application.settings, visit.connection, ignore)
        expectation = Expectation(visit.connection, caller, tuple(roots.folders), streams=streams_rows(visit))
        compared.expect(expectation)
        return ()

    if declarations:
        environment.visit(work, writes=False, command="current")
    return compared


def located(application: Application, findings: Iterator[Finding], *, from_backups: bool) -> Iterator[Finding]:
    """Yield the findings, each with the possible places of the file and the backups with a copy that fits."""
    places: MissingFileSearch | None = None
    for finding in findings:
        if finding.kind is FindingKind.STRAY:
            yield finding
            continue
        places = places or MissingFileSearch(application)
        found = places.of(finding) if finding.kind is FindingKind.MISSING else ()
        yield replace(finding, places=found, fits=places.fitting(finding) if from_backups else ())


def _summary(inspection: Inspection, declarations: Declarations, compared: Comparison) -> AuditSummary:
    status = inspection.status()
    notes = [] if declarations else [NOTHING]
    if status.state is UpdateState.UPDATING:
        notes.append(AT_WORK)
    elif status.state in HALF:
        notes.append(HALF[status.state])
    return AuditSummary(
        counts={kind: compared.found[kind] for kind in FindingKind},
        references=compared.counts,
        files=dict(compared.files),
        read=compared.read,
        arrived=compared.arrived,
        current=status.current,
        notes=tuple(notes),
    )
