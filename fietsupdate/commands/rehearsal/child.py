"""Run the updates of a rehearsal in a child process, which can give up rights that this process still needs.

The child is a fork: it has the entered configuration and everything that `setup` has made. It sends its events, and in
the end its result or its error, over a pipe. It is killed when its parent ends, however that ends (Linux), and it never
returns to the caller.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import NoReturn, TypeVar

from fietsupdate.errors import FietsupdateError
from fietsupdate.process import Signals

PATIENCE = 10.0
"""Seconds for a child to stop when it is told to: it rolls back, though its clone is thrown away anyway."""
PAUSE = 0.02
_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG."""

T = TypeVar("T")


class DiedError(Exception):
    """The child has ended without a result. The text of the error says how."""


class _Trace(Exception):  # noqa: N818  # never raised: it is the cause of an error, and shows where that comes from
    """The traceback of an error that was raised in a child."""


def run_apart(work: Callable[[Callable[[object], None]], T], heard: Callable[[object], None], signals: Signals) -> T:
    """Run a function in a child process.

    Args:
        work: Runs in the child; called with a function that sends a message.
        heard: Called with each message, in this process.
        signals: The signals of this process, which are held back while the child is ended.

    Returns:
        What `work` returned.

    Raises:
        DiedError: The child has ended without a result.
        BaseException: The error that `work` raised, or that interrupted this process while it waited.
    """
    reader, writer = Pipe(duplex=False)
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about threads that Python did not start in this process
        child = os.fork()
    if child == 0:
        _be_the_child(work, writer, parent)
    writer.close()
    try:
        answer, error = _listen(reader, heard)
    except EOFError:
        raise DiedError(_how(child)) from None
    except BaseException:
        with signals.held():
            _end(child)
        raise
    finally:
        reader.close()
    _wait(child)
    if error is not None:
        raise error
    return answer  # type: ignore[return-value]  # the result of `work`


def _listen(reader: Connection, heard: Callable[[object], None]) -> tuple[object, BaseException | None]:
    """Receive messages until the result or the error comes."""
    while True:
        kind, value = reader.recv()
        if kind == "message":
            heard(value)
        elif kind == "answer":
            return value, None
        else:
            error, trace = value
            error.__cause__ = _Trace(f"\n{trace}")
            return None, error


def _be_the_child(work: Callable[[Callable[[object], None]], object], writer: Connection, parent: int) -> NoReturn:
    """Do the work, send its result or its error, and end the process."""
    try:
        _die_with(parent)
        gc.freeze()  # what the parent left open is not for us to close, such as database sessions
        try:
            writer.send(("answer", work(lambda message: writer.send(("message", message)))))
        except BaseException as error:  # noqa: BLE001  # the parent raises it
            writer.send(("error", (_portable(error), traceback.format_exc())))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)


def _portable(error: BaseException) -> BaseException:
    """Return the error in a form that can be sent over the pipe."""
    with suppress(Exception):
        if type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301  # what was pickled in the same line
            return error
    if isinstance(error, FietsupdateError):
        return FietsupdateError(error.message, stands=error.stands, hint=error.hint)
    return RuntimeError(f"{type(error).__name__}: {error}")


def _die_with(parent: int) -> None:
    """Have this process killed when its parent ends; it would go on with a clone that the next rehearsal removes."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _end(child: int) -> None:
    """Stop a child, by force if it does not end in time."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return
        time.sleep(PAUSE)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _how(child: int) -> str:
    code = _wait(child)
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
