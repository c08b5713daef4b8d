"""Answer the probes of an orchestrator, from files alone unless the database is requested; change nothing.

Neither Alembic nor SQLAlchemy is imported. `fietsupdate.cli.quick` gives most answers even without this module.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fietsupdate.config.application import Application
from fietsupdate.filesystem import run_file
from fietsupdate.filesystem.layout import restore_folder
from fietsupdate.filesystem.ledger import inspect_files
from fietsupdate.filesystem.lock import holder
from fietsupdate.model import UpdateState
from fietsupdate.model.probes import Probe, ProbeKind
from fietsupdate.planning.from_files import judge
from fietsupdate.planning.graph import Graph
from fietsupdate.views import FilesView

if TYPE_CHECKING:
    from collections.abc import Callable

NOTHING_RUNS = "nothing runs"
UP_TO_DATE = "up to date"
TELLS_NOTHING = "another process holds the lock, and tells nothing of itself"


def liveness(application: Application) -> Probe:
    """Return whether the running command gives signs of life; if none runs, nothing hangs."""
    if holder(application.data_dir) is None:
        return Probe(ProbeKind.LIVENESS, passed=True, reason=NOTHING_RUNS)
    run = run_file.read_run(application.data_dir)
    if run is None:
        return Probe(ProbeKind.LIVENESS, passed=True, reason=TELLS_NOTHING)
    return Probe(ProbeKind.LIVENESS, passed=not run.is_hung, reason="", run=run)


def followed(application: Application, pause: float) -> Iterator[Probe]:
    """Yield `liveness` again and again as long as something runs."""
    while (seen := liveness(application)).reason != NOTHING_RUNS:
        yield seen
        time.sleep(pause)


def readiness(application: Application, graph: Graph, asked: Callable[[], UpdateState] | None = None) -> Probe:
    """Return whether ``check`` would exit with 0, as far as the files say.

    Args:
        application: The entered configuration.
        graph: All updates.
        asked: Returns the state with the database's word; without it the database is not asked.
    """
    files = _files(application)
    state, reason = judge(graph, files, installed=application.app_version)
    run = run_file.read_run(application.data_dir) if files.holder is not None else None
    if state is UpdateState.OKAY and asked is not None:
        state, reason = asked(), "the database says so"
    okay = state is UpdateState.OKAY
    return Probe(ProbeKind.READINESS, passed=okay, reason=UP_TO_DATE if okay else reason, state=state, run=run)


def startup(application: Application, graph: Graph, asked: Callable[[], UpdateState] | None = None) -> Probe:
    """Return whether the instance is up to date, or a live run is updating it; arguments as for `readiness`."""
    ready = readiness(application, graph, asked)
    if ready.state is not UpdateState.UPDATING:
        return replace(ready, kind=ProbeKind.STARTUP)
    alive = liveness(application)
    return replace(alive, kind=ProbeKind.STARTUP, state=ready.state)


def _files(application: Application) -> FilesView:
    files = inspect_files(application.data_dir, application.config.version_file)
    if not os.path.lexists(restore_folder(application.data_dir)):
        return files
    from fietsupdate.backup import restore_journal

    return replace(files, restore=restore_journal.open_restore(application.data_dir))
