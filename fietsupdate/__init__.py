"""Alembic for the other half of your data: database and files change as one.

The public names are imported when they are first used. A script that only subclasses `UpdateScript`, or a program that
only reads the version, does not wait for other imports.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
"""As in `typing`, whose import takes longer than a probe has (`fietsupdate.cli.quick`)."""

__version__ = "0.1.0"

if TYPE_CHECKING:
    from typing import Any

    from fietsupdate.backup.manifest import Backup, Manifest, Shelf
    from fietsupdate.backup.policy import Despite
    from fietsupdate.commands.backup import Verified
    from fietsupdate.commands.init import Initialised
    from fietsupdate.commands.pending import refuse_pending
    from fietsupdate.commands.quarantine import Quarantined, StrayFiles
    from fietsupdate.commands.quarantines import Held, Purged, QuarantineList, ReleasedFiles
    from fietsupdate.commands.rehearsal.report import Outlook, Rehearsal
    from fietsupdate.commands.restore import Candidate, Restored
    from fietsupdate.commands.restore_files import FilesCandidate, RestoredFiles
    from fietsupdate.config.config import Config, Settings
    from fietsupdate.engine.estimates import Estimates
    from fietsupdate.engine.version_hooks import version_upgrade
    from fietsupdate.errors import FietsupdateError, NotCurrentError
    from fietsupdate.filesystem.bulk import BulkFiles
    from fietsupdate.model import (
        Direction,
        Entry,
        Event,
        Failure,
        Plan,
        Problem,
        Report,
        Status,
        Step,
        Update,
        UpdateState,
    )
    from fietsupdate.model.packages import PackageStatus
    from fietsupdate.model.probes import Probe
    from fietsupdate.model.references import AuditReport, AuditSummary, Finding, Reference
    from fietsupdate.model.run_state import RunView
    from fietsupdate.planning.graph import Graph
    from fietsupdate.planning.packages import Applied
    from fietsupdate.script import Estimate, UpdateScript, severity
    from fietsupdate.startup import ensure_current, require_current
    from fietsupdate.testing.instance import TemporaryInstance
    from fietsupdate.updater import Updater

_PLACES = {
    "Applied": "planning.packages",
    "AuditReport": "model.references",
    "AuditSummary": "model.references",
    "Backup": "backup.manifest",
    "BulkFiles": "filesystem.bulk",
    "Candidate": "commands.restore",
    "Config": "config.config",
    "Despite": "backup.policy",
    "Direction": "model",
    "Entry": "model",
    "Estimate": "script",
    "Estimates": "engine.estimates",
    "Event": "model",
    "Failure": "model",
    "FietsupdateError": "errors",
    "FilesCandidate": "commands.restore_files",
    "Finding": "model.references",
    "Graph": "planning.graph",
    "Held": "commands.quarantines",
    "Initialised": "commands.init",
    "Manifest": "backup.manifest",
    "NotCurrentError": "errors",
    "Outlook": "commands.rehearsal.report",
    "PackageStatus": "model.packages",
    "Plan": "model",
    "Probe": "model.probes",
    "Problem": "model",
    "Purged": "commands.quarantines",
    "QuarantineList": "commands.quarantines",
    "Quarantined": "commands.quarantine",
    "Reference": "model.references",
    "Rehearsal": "commands.rehearsal.report",
    "ReleasedFiles": "commands.quarantines",
    "Report": "model",
    "Restored": "commands.restore",
    "RestoredFiles": "commands.restore_files",
    "RunView": "model.run_state",
    "Settings": "config.config",
    "Shelf": "backup.manifest",
    "Status": "model",
    "Step": "model",
    "StrayFiles": "commands.quarantine",
    "TemporaryInstance": "testing.instance",
    "Update": "model",
    "UpdateScript": "script",
    "UpdateState": "model",
    "Updater": "updater",
    "Verified": "commands.backup",
    "ensure_current": "startup",
    "refuse_pending": "commands.pending",
    "require_current": "startup",
    "severity": "script",
    "version_upgrade": "engine.version_hooks",
}

__all__ = [
    "Applied",
    "AuditReport",
    "AuditSummary",
    "Backup",
    "BulkFiles",
    "Candidate",
    "Config",
    "Despite",
    "Direction",
    "Entry",
    "Estimate",
    "Estimates",
    "Event",
    "Failure",
    "FietsupdateError",
    "FilesCandidate",
    "Finding",
    "Graph",
    "Held",
    "Initialised",
    "Manifest",
    "NotCurrentError",
    "Outlook",
    "PackageStatus",
    "Plan",
    "Probe",
    "Problem",
    "Purged",
    "QuarantineList",
    "Quarantined",
    "Reference",
    "Rehearsal",
    "ReleasedFiles",
    "Report",
    "Restored",
    "RestoredFiles",
    "RunView",
    "Settings",
    "Shelf",
    "Status",
    "Step",
    "StrayFiles",
    "TemporaryInstance",
    "Update",
    "UpdateScript",
    "UpdateState",
    "Updater",
    "Verified",
    "__version__",
    "ensure_current",
    "refuse_pending",
    "require_current",
    "severity",
    "version_upgrade",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'fietsupdate' has no attribute {name!r}")
    return getattr(import_module(f"fietsupdate.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
