"""One base error with three texts: what happened, what state both halves are in, what to type next.

An error carries data. Its texts are written where it is raised; the exit code belongs to its class. Only
`fietsupdate.cli.render` prints errors, only `fietsupdate.cli.main` exits.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from fietsupdate.masks import masked
from fietsupdate.model import Problem, Status, UpdateState

EXIT_CODES: Mapping[UpdateState, int] = MappingProxyType(
    {
        UpdateState.OKAY: 0,
        UpdateState.OUTDATED: 3,
        UpdateState.TOO_NEW: 4,
        UpdateState.UNKNOWN: 5,
        UpdateState.DRIFTED: 6,
        UpdateState.INTERRUPTED: 7,
        UpdateState.UPDATING: 8,
    }
)
"""The exit codes of ``fietsupdate check``."""

UNCHANGED = "Nothing was changed."
"""What `FietsupdateError.stands` says of an error that is raised before anything was done."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on; stop where ``raise error from error`` makes a circle."""
    visited: set[int] = set()
    while error is not None and id(error) not in visited:
        yield error
        visited.add(id(error))
        error = error.__cause__ or error.__context__


def clear_frames(error: BaseException | None) -> None:
    """Drop the local variables that an error keeps alive.

    A database connection among them would block our own. SQLite keeps even the lock of a closed connection until its
    last cursor is gone ("zombie", https://sqlite.org/c3ref/close.html), and SQLAlchemy's async engines leave cursors
    open.
    """
    for cause in causes(error):
        traceback.clear_frames(cause.__traceback__)


class FietsupdateError(Exception):
    """The base of every error that this package raises on purpose.

    Args:
        message: What happened, in one sentence, with the names that matter.
        stands: What state both halves of the instance are in now; "" where neither was changed or read.
        hint: The command to type, or the change to make, next.
        details: Data for programs; added to the JSON document.
    """

    code: str = "error"
    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, stands: str = "", hint: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        self.message = masked(message)
        super().__init__(self.message)
        self.stands = stands
        self.hint = hint
        self.warnings: tuple[str, ...] = ()
        """The warnings of the run so far, for a reader who sees only the error."""
        self.details: Mapping[str, Any] = {
            name: masked(value) if isinstance(value, str) else value for name, value in (details or {}).items()
        }


class UsageError(FietsupdateError):
    """The command line asks for something that does not exist or makes no sense."""

    code = "usage"
    exit_code = 2


class ConfigError(FietsupdateError):
    """The configuration is missing, unreadable or wrong."""

    code = "config"


class ScriptError(FietsupdateError):
    """An update script cannot be read, or lacks a required definition; names file and line."""

    code = "script"


class GraphError(FietsupdateError):
    """The updates do not form a DAG: a cycle, an unknown id, a duplicate."""

    code = "graph"


class TargetError(UsageError):
    """A target names no update, several, or an update that cannot be reached."""

    code = "target"


class PlanError(FietsupdateError):
    """The target exists, but no plan leads there."""

    code = "plan"


class UnansweredError(FietsupdateError):
    """An update script asks a question that has no answer and no default."""

    code = "unanswered"


class DatabaseError(FietsupdateError):
    """The database cannot be reached, or env.py does something that cannot work."""

    code = "database"


class DatabaseBusyError(DatabaseError):
    """Another process has exclusive use of the database at this moment (SQLite)."""


class EnvPyError(DatabaseError):
    """The project's env.py did not do what it was called for."""

    code = "env_py"


class FilesError(FietsupdateError):
    """The data directory is missing, read-only, damaged or not ours."""

    code = "files"


class DataDirMissingError(FilesError):
    """The data directory does not exist."""

    code = "data_dir_missing"


class ExtraDirMissingError(FilesError):
    """A folder that `extra_dirs` names does not exist, and rows name files in it."""

    code = "extra_dir_missing"


class OwnershipError(FilesError):
    """Root would work on another user's data directory."""

    code = "ownership"


class LockedError(FietsupdateError):
    """Another process holds the lock, and the time to wait for it is over."""

    code = "locked"
    exit_code = 8


class RefusedError(FietsupdateError):
    """The instance is in a state in which running anything would do harm."""

    code = "refused"

    @classmethod
    def because(cls, problem: Problem, *, stands: str = UNCHANGED) -> RefusedError:
        """Return the error that `update` raises for a blocking problem."""
        error = cls(problem.message, stands=stands, hint=problem.hint)
        error.code = problem.code
        return error


class NotCurrentError(FietsupdateError):
    """An application was started on an instance that is not up to date; `code` is the instance's state.

    Args:
        message: What the instance is at, and what this code has.
        status: The status of the instance.
        stands: As for every error.
        hint: As for every error.
    """

    def __init__(self, message: str, *, status: Status, stands: str = "", hint: str = "") -> None:
        super().__init__(message, stands=stands, hint=hint, details={"state": str(status.state)})
        self.status = status
        self.code = str(status.state)


class UpdateFailedError(FietsupdateError):
    """An update failed; `stands` says what was undone and what was not."""

    code = "update_failed"


class RowsAndFilesError(UpdateFailedError):
    """After an update rows name files that are not there, or files have lost their rows."""

    code = "rows_and_files"


class StoppedError(FietsupdateError):
    """The user or the system ended the run."""

    code = "interrupted"
    exit_code = 130


class TerminatedError(StoppedError):
    """SIGTERM ended the run."""

    exit_code = 143


class RevisionFailedError(DatabaseError):
    """An Alembic revision raised an error."""

    code = "revision_failed"


class InDoubtError(FietsupdateError):
    """The outcome of a transaction cannot be determined; nothing was changed (invariant 8)."""

    code = "in_doubt"


class ChecksFailedError(FietsupdateError):
    """At least one script's own check reports that the script must not run now."""

    code = "checks_failed"


class PostChecksFailedError(FietsupdateError):
    """Every update is complete in both halves, but a check that ran afterwards reports a fault."""

    code = "post_checks_failed"
