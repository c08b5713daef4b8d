"""Translate exceptions from env.py into messages for the person who must mend them."""

from __future__ import annotations

import traceback
from pathlib import Path

from alembic.util.exc import CommandError
from sqlalchemy import exc
from sqlalchemy.exc import DBAPIError

from fietsupdate.database.lock import LONGEST_WAIT
from fietsupdate.errors import DatabaseError, EnvPyError, FietsupdateError, RevisionFailedError

SEVERAL_RUNS = (
    "env.py calls run_migrations() more than once (several databases or schemas); they cannot change as one.",
    "Give each database a configuration of its own, or run the loop around fietsupdate with `-x`.",
)
NEVER_RAN = "env.py returned without calling context.run_migrations()."
SWALLOWED = "env.py swallowed an error and returned as if all were well"
RAISE_IT = "Let env.py raise what it catches."
TRY_ALEMBIC = "See that `alembic current` works here."
LIBRARIES = ("site-packages", "dist-packages", "/lib/python", "<frozen", "<string>")


def first_line(error: BaseException) -> str:
    """Return an exception in one line; for SQLAlchemy's exceptions, the text of the driver."""
    origin = getattr(error, "orig", None) or error
    text = " ".join(str(origin).split("\n")[0].split()).rstrip(".:")
    return f"{type(origin).__name__}: {text}" if text else type(origin).__name__


def place(error: BaseException) -> str:
    """Return ``file:line`` of the innermost frame in the project's own code, or ""."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _is_theirs(filename: str) -> bool:
    ours = str(Path(__file__).resolve().parents[1])
    return not filename.startswith(ours) and not any(part in filename for part in LIBRARIES)


def explain(error: BaseException | None, *, running: str, calls: int) -> FietsupdateError:
    """Return the error for an exception from env.py, or for a missing result.

    Args:
        error: The exception, wherever it was raised; None when env.py returned normally.
        running: The Alembic revision that was running, or "".
        calls: How often run_migrations() was called.
    """
    if isinstance(error, FietsupdateError):
        return error
    if running:
        return _revision_failed(error, running)
    if error is None:
        if calls:
            return EnvPyError(f"{SWALLOWED}.", hint=RAISE_IT)
        return EnvPyError(NEVER_RAN, hint="See that `alembic current` works here, and how env.py decides what to run.")
    if isinstance(error, SystemExit):
        return EnvPyError(f"env.py called sys.exit({error.code!r}){_at(error)}.", hint=TRY_ALEMBIC)
    if driver := _missing_driver(error):
        return DatabaseError(f"The database driver is not installed: {driver}.", hint="Install it beside fietsupdate.")
    if calls == 0 and isinstance(error, exc.DBAPIError | exc.ArgumentError | OSError):
        return DatabaseError(f"The database cannot be reached: {first_line(error)}.", hint=TRY_ALEMBIC)
    if isinstance(error, CommandError):
        return EnvPyError(f"Alembic refuses: {error}", hint=TRY_ALEMBIC)
    return EnvPyError(f"env.py failed{_at(error)}: {first_line(error)}.", hint=_env_hint(error))


def alembic_refusal(message: str) -> CommandError:
    """Return the error that Alembic's own command line prints as a refusal."""
    return CommandError(message)


def statement_failed(error: BaseException) -> DatabaseError:
    """Return the error of a statement of ours that failed: the connection broke, or a right is missing."""
    return DatabaseError(
        f"The database failed: {first_line(error)}.",
        hint="See that the database is well and this user may change it, then run the same command again.",
    )


def blocked(error: BaseException | None, revision: str, sessions: str) -> RevisionFailedError:
    """Return the error of a schema change that waited in vain for another session."""
    who = f" Idle in a transaction: {sessions}." if sessions else ""
    return RevisionFailedError(
        f"Alembic revision {revision} waited for {LONGEST_WAIT} s for another session's lock, and gave up.{who}",
        hint="Stop what uses the database (the application, a forgotten session), and run the same command again.",
        details={"revision": revision, "error": first_line(error) if error else ""},
    )


def _revision_failed(error: BaseException | None, revision: str) -> RevisionFailedError:
    if error is None:
        return RevisionFailedError(f"Alembic revision {revision} failed, and {SWALLOWED}.", hint=RAISE_IT)
    statement = " ".join(str(getattr(error, "statement", "") or "").split())
    return RevisionFailedError(
        f"Alembic revision {revision} failed{_at(error)}: {first_line(error)}.",
        hint="Mend the revision, or what it met in the database, and run the same command again.",
        details={"revision": revision, "statement": statement},
    )


def _at(error: BaseException) -> str:
    where = place(error)
    return f" ({where})" if where else ""


def _missing_driver(error: BaseException) -> str:
    if isinstance(error, exc.NoSuchModuleError):
        return str(error)
    functions = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, ImportError) and "import_dbapi" in functions:
        return first_line(error)
    return ""


def _env_hint(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return (
            "Is fietsupdate installed in the application's environment? 'prepend_sys_path' adds folders to import from."
        )
    if isinstance(error, RuntimeError) and "event loop" in str(error):
        return "An async env.py starts its own event loop; call fietsupdate from a thread that has none."
    return "See that `alembic current` works here; `--traceback` shows where it happened."


# -- Transient errors: another process changed the same tables; retrying in a fresh transaction succeeds.


MYSQL_NUMBERS = frozenset({1020, 1146, 1213, 1412})
"""Record changed since it was read, no such table, deadlock, table definition has changed."""

SQLSTATES = frozenset({"40001", "40P01", "42P01"})
"""PostgreSQL: serialization failure, deadlock, undefined table."""

MESSAGES = ("could not open relation with OID", "cache lookup failed", "database schema has changed")
"""PostgreSQL's internal errors for an object that was dropped between two looks at its catalog; SQLite's for the same.
"""


def is_transient(error: BaseException | None) -> bool:
    """Return whether an error was caused by another process that worked at the same moment."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    origin = error.orig
    number = getattr(origin, "errno", None) or next(iter(origin.args), None)
    state = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
    return number in MYSQL_NUMBERS or state in SQLSTATES or any(words in str(origin) for words in MESSAGES)
