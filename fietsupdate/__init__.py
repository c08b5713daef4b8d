"""Alembic for the other half of your data: database and files change as one.

The public names are imported when they are first used, so that a script which only subclasses `UpdateScript`, or a
program that only asks for the version, waits for nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fietsupdate.config import Config, Settings
    from fietsupdate.errors import FietsupdateError, NotCurrentError
    from fietsupdate.habit import refuse_pending
    from fietsupdate.model import Entry, Event, Plan, Problem, Report, Status, Step, Update, UpdateState
    from fietsupdate.script import Estimate, UpdateScript, severity
    from fietsupdate.startup import ensure_current, require_current
    from fietsupdate.updater import Updater
    from fietsupdate.versions import version_upgrade

_PLACES = {
    "Config": "config",
    "Entry": "model",
    "Estimate": "script",
    "Event": "model",
    "FietsupdateError": "errors",
    "NotCurrentError": "errors",
    "Plan": "model",
    "Problem": "model",
    "Report": "model",
    "Settings": "config",
    "Status": "model",
    "Step": "model",
    "Update": "model",
    "UpdateScript": "script",
    "UpdateState": "model",
    "Updater": "updater",
    "ensure_current": "startup",
    "refuse_pending": "habit",
    "require_current": "startup",
    "severity": "script",
    "version_upgrade": "versions",
}

__all__ = [
    "Config",
    "Entry",
    "Estimate",
    "Event",
    "FietsupdateError",
    "NotCurrentError",
    "Plan",
    "Problem",
    "Report",
    "Settings",
    "Status",
    "Step",
    "Update",
    "UpdateScript",
    "UpdateState",
    "Updater",
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
