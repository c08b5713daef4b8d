"""Errors as text: what happened, the state of both halves, what to type next."""

from __future__ import annotations

import signal
import traceback
from pathlib import Path

import fietsupdate
from fietsupdate.cli.render.layout import labelled, warned
from fietsupdate.errors import UNCHANGED, FietsupdateError, StoppedError, TerminatedError
from fietsupdate.masks import masked


def text(error: FietsupdateError, width: int) -> str:
    """Return the message of an error for a terminal."""
    rows = [("Error:", error.message), ("Now:", error.stands), ("Next:", error.hint)]
    lines = labelled(rows, width)
    return "\n".join([*lines, "", warned(error.warnings, width)] if error.warnings else lines)


def known(error: BaseException, *, ran: bool = False) -> FietsupdateError:
    """Return an error of ours for any exception; `ran` tells whether a run that changes things had begun before it."""
    if isinstance(error, FietsupdateError):
        return error
    if not isinstance(error, KeyboardInterrupt):
        return unexpected(error)
    stands = "The run had come to its end; `fietsupdate status` tells where." if ran else UNCHANGED
    if getattr(error, "signum", signal.SIGINT) == signal.SIGTERM:
        return TerminatedError("Stopped by SIGTERM.", stands=stands)
    return StoppedError("Interrupted by the user.", stands=stands)


def unexpected(error: BaseException) -> FietsupdateError:
    """Turn an unexpected exception into an error that names its origin."""
    where, line = _origin(error)
    ours = where.is_relative_to(Path(fietsupdate.__file__).parent)
    cause = "this is a bug in fietsupdate" if ours else f"it was raised in {where}, line {line}"
    wrong = FietsupdateError(
        f"{type(error).__name__}: {str(error).strip() or 'no message'} - {cause}",
        stands="Not known; `fietsupdate status` looks.",
        hint="Repeat the command with --traceback to see where it happened, and report that.",
        details={"exception": type(error).__name__},
    )
    wrong.code = "unexpected"
    return wrong


def _origin(error: BaseException) -> tuple[Path, int]:
    """Return file and line of the innermost frame of a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return (Path(frames[-1].filename), frames[-1].lineno or 0) if frames else (Path(), 0)


def trace(error: BaseException) -> str:
    """Return the full traceback, for ``--traceback``."""
    return "".join(map(masked, traceback.format_exception(error)))
