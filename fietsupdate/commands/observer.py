"""Observer: every question that the reading commands ask; an observer changes nothing and waits for nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fietsupdate.config.application import Application, activated
from fietsupdate.config.config import Config, load_config
from fietsupdate.filesystem.last_failure import noted
from fietsupdate.filesystem.ledger import inspect_files
from fietsupdate.model import Entry, Failure, Status, Update, UpdateState
from fietsupdate.planning.graph import Graph, build
from fietsupdate.planning.history import applied_set
from fietsupdate.planning.loader import load
from fietsupdate.planning.packages import Applied, applied_of
from fietsupdate.planning.target import find

if TYPE_CHECKING:
    from fietsupdate.commands.inspection import Inspection
    from fietsupdate.model.probes import Probe
    from fietsupdate.model.references import AuditReport, Finding


class Observer:
    """The questions about an instance and its update scripts.

    Args:
        config: The configuration; `from_config` reads one.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    @classmethod
    def from_config(
        cls,
        *files: str | Path,
        section: str | None = None,
        x: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
    ) -> Self:
        """Read the configuration from files, or from where the commands look for it.

        Args:
            files: An INI file, a pyproject.toml, or one of each.
            section: Alembic's section in the INI file, as ``-n``.
            x: ``key=value`` pairs for env.py, as ``-x``.
            options: Values that outrank the files', by key.

        Raises:
            ConfigError: A file is missing or wrong.
        """
        return cls(load_config(files, section=section, x=x, options=options))

    def status(self, *, imports: bool = False) -> Status:
        """Return the instance's position, its pending updates and its problems. Changes nothing, waits for nothing.

        Args:
            imports: Whether to check that the modules which the scripts import exist; that runs no code of the scripts.

        Raises:
            FietsupdateError: The configuration, a script, the graph or the database cannot be read.
        """
        with self._entered() as (application, graph):
            status = self._seen(application, graph).status()
            return _with_imports(status, graph) if imports else status

    def state(self) -> UpdateState:
        """Return the state in one word."""
        return self.status().state

    def probe(self, kind: str, *, database: bool = False) -> Probe:
        """Return the answer for an orchestrator. Changes nothing, waits for nothing.

        Args:
            kind: ``liveness``: does what runs still live; ``readiness``: would `check` exit with 0; ``startup``: is the
                instance up to date, or a run on the way there.
            database: Whether the database is asked as well; otherwise the files alone are.

        Raises:
            FietsupdateError: The configuration, a script or the graph cannot be read.
        """
        from fietsupdate.commands import probe
        from fietsupdate.model.probes import ProbeKind

        asked = self.state if database else None
        if ProbeKind(kind) is ProbeKind.LIVENESS:
            with activated(self.config) as application:
                return probe.liveness(application)
        with self._entered() as (application, graph):
            look = probe.readiness if ProbeKind(kind) is ProbeKind.READINESS else probe.startup
            return look(application, graph, asked)

    def watch(self, pause: float = 0.5) -> Iterator[Probe]:
        """Yield what the run that is at work does, again and again until it ends; nothing where none is at work.

        Args:
            pause: Seconds between two looks.

        Raises:
            FietsupdateError: The configuration cannot be read.
        """
        from fietsupdate.commands import probe

        with activated(self.config) as application:
            yield from probe.followed(application, pause)

    def graph(self) -> Graph:
        """Read all update scripts. No database is needed."""
        with self._entered() as (_site, graph):
            return graph

    def heads(self) -> tuple[Update, ...]:
        """Return the updates that no other update names in ``previous``."""
        graph = self.graph()
        return tuple(graph.updates[update_id] for update_id in graph.dag.heads())

    def history(self) -> tuple[Entry, ...]:
        """Return the ledger, oldest entry first: the data directory's copy or, without one, the database's."""
        with self._entered() as (application, _graph):
            return self._entries(application)

    def last_failure(self) -> Failure | None:
        """Return the last run that failed, if none has succeeded since. No database is needed."""
        with self._entered() as (application, _graph):
            return noted(application.data_dir)

    def applied(self) -> tuple[Applied, ...]:
        """Return the applied updates in the order in which they were applied, including those without a script."""
        with self._entered() as (application, graph):
            inspection = self._seen(application, graph)
            return applied_of(graph, inspection.status().applied, inspection.database.entries)

    def show(self, update_id: str) -> tuple[Update, bool, tuple[Entry, ...]]:
        """Return an update, whether it is applied, and its own ledger entries.

        Args:
            update_id: The id, or a prefix of it that fits no other.

        Raises:
            TargetError: No update fits, or several do.
        """
        with self._entered() as (application, graph):
            entries = self._entries(application)
            applied = applied_set(entries, graph)
            update = graph.updates[find(graph, update_id, applied)]
            own = tuple(entry for entry in entries if entry.update_id == update.update_id)
            return update, update.update_id in applied, own

    def audit(
        self,
        *,
        content: bool = False,
        sample: int | None = None,
        from_backups: bool = False,
        on_finding: Callable[[Finding], object] | None = None,
    ) -> AuditReport:
        """Compare rows with files, as the update scripts declare them. Changes nothing, waits for nothing.

        Args:
            content: Whether to read the content of every file whose row contains its digest.
            sample: The number of these files to read instead, chosen at random.
            from_backups: Whether to report the backups with a copy that fits.
            on_finding: Called with each finding as soon as it is found; without it, the findings are in the report.

        Raises:
            FietsupdateError: The instance cannot be inspected, or a declaration does not fit the database.
        """
        from fietsupdate.commands.audit import Wanted, audit
        from fietsupdate.database.environment import Environment

        wanted = Wanted(content, sample, from_backups)
        with self._entered() as (application, graph):
            return audit(application, graph, Environment(self.config), wanted, on_finding)

    @contextlib.contextmanager
    def _entered(self) -> Iterator[tuple[Application, Graph]]:
        with activated(self.config) as application:
            release, updates = self.config.release, load(application.folders)
            if release is not None:
                updates = tuple(update for update in updates if release.brings(update.update_id))
            yield application, build(updates, [folder.name for folder in application.folders])

    def _inspect(self) -> Inspection:
        with self._entered() as (application, graph):
            return self._seen(application, graph)

    def _seen(self, application: Application, graph: Graph) -> Inspection:
        from fietsupdate.commands.inspection import inspect_instance
        from fietsupdate.database.environment import Environment

        return inspect_instance(application, graph, Environment(self.config))

    def _entries(self, application: Application) -> tuple[Entry, ...]:
        files = inspect_files(application.data_dir, application.config.version_file)
        if files.has_ledger and not files.damaged and not files.transaction and not files.unreadable_header:
            return files.entries
        return self._inspect().database.entries


def _with_imports(status: Status, graph: Graph) -> Status:
    """Add the missing imports of the scripts as a note: they stop only a run of such a script."""
    from fietsupdate.engine.imports import failing_imports
    from fietsupdate.planning.script_problems import import_missing

    failing = failing_imports(graph.ordered, status.applied)
    if not failing:
        return status
    return replace(status, failing_imports=failing, problems=(*status.problems, import_missing(failing)))
