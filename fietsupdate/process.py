"""The state of this process that the application's code may change, and the signals that end the process.

env.py and hooks run in our process. Their changes to umask, working directory, signal handlers, descriptor 1 or our
loggers are reverted when they end (protocol, 9: all of them were seen in published applications).
"""

from __future__ import annotations

import contextlib
import logging
import logging.config
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType, ModuleType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived. Not an `Exception`, so that hooks that catch every `Exception` do not catch this."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def as_stop(interrupt: KeyboardInterrupt) -> Stop:
    """Return a `KeyboardInterrupt` as a `Stop`; Python raises its own where our handlers are not installed."""
    return interrupt if isinstance(interrupt, Stop) else Stop(signal.SIGINT)


class Signals:
    """Our handlers for SIGINT and SIGTERM, installed before env.py is entered.

    asyncio replaces only Python's own SIGINT handler, so with ours in place it does not swallow Ctrl-C until a hook has
    ended. While `deferred`, a signal is remembered; between two updates `raise_pending` acts on it.
    """

    def __init__(self) -> None:
        self.pending: int | None = None
        self.deferred = False
        self._owner = os.getpid()

    def _receive(self, signum: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            os._exit(128 + signum)  # a forked child must not unwind into its parent's transaction
        self.pending = signum
        if not self.deferred:
            raise Stop(signum)

    def raise_pending(self) -> None:
        """Raise `Stop` if a signal arrived while signals were deferred."""
        if self.pending is not None:
            raise Stop(self.pending)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Defer signals during a short section that must not be interrupted."""
        before, self.deferred = self.deferred, True
        try:
            yield
        finally:
            self.deferred = before

    @contextlib.contextmanager
    def installed(self) -> Iterator[Signals]:
        """Install the handlers in the main thread; in any other thread the signals are left to the application."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {signum: signal.signal(signum, self._receive) for signum in SIGNALS}
        try:
            yield self
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Ignore further signals while a process that was stopped prints its last lines."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler if handler is not None else signal.SIG_DFL)


@contextlib.contextmanager
def forked_children_exit() -> Iterator[None]:
    """End a forked child that returns from the application's code: it must not unwind into its parent's update.

    The child would commit or roll back on the parent's connection, or wait for locks that the parent holds while the
    parent waits for the child. It ends as an independent process would: with the code of its `SystemExit`, or with 1
    and the error on stderr.
    """
    owner = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() == owner:
            raise
        _end(error)
    if os.getpid() != owner:
        _end(SystemExit())


def _end(error: BaseException) -> NoReturn:
    code = 0 if isinstance(error, SystemExit) and error.code is None else 1
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        code = error.code & 0xFF
    try:
        if not isinstance(error, SystemExit):
            traceback.print_exception(error)
        elif isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


@contextlib.contextmanager
def process_state_restored() -> Iterator[None]:
    """Restore umask, working directory, signal handlers and our loggers after the application's code has run."""
    umask, directory = _umask(), os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    in_main = threading.current_thread() is threading.main_thread()
    handlers = {signum: signal.getsignal(signum) for signum in SIGNALS}
    try:
        yield
    finally:
        os.umask(umask)
        os.fchdir(directory)
        os.close(directory)
        for signum, handler in handlers.items():
            if in_main and handler is not None and signal.getsignal(signum) is not handler:
                signal.signal(signum, handler)
        for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "fietsupdate"]:
            logging.getLogger(name).disabled = False
        logging_back()


@contextlib.contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Point descriptor 1 at stderr, so that prints of env.py and hooks cannot break a stream of JSON."""
    sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:  # descriptor 1 is closed, so nothing can be printed there
        yield
        return
    try:
        os.dup2(2, 1)
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


# -- Python's logging belongs to the program: changes that env.py makes to it are reverted.


_CONFIGURING: tuple[tuple[ModuleType, str], ...] = (
    (logging.config, "fileConfig"),
    (logging.config, "dictConfig"),
    (logging, "basicConfig"),
)
_REGISTRY: Any = vars(logging)
"""Python closes `_handlerList` when logging is configured anew, and finds handlers by name in `_handlers`."""

_OF_DATABASES = frozenset(
    {"aiomysql", "aiosqlite", "alembic", "asyncio", "asyncpg", "mysql", "psycopg", "psycopg2", "pymysql", "sqlalchemy"}
)
"""Packages whose loggers env.py configures on purpose: SQLAlchemy's pool logs each lost connection with a traceback."""

_kept: ContextVar[_Kept | None] = ContextVar("fietsupdate_logging", default=None)


@contextmanager
def logging_kept() -> Iterator[None]:
    """Save the state of all loggers, and restore it at the end.

    Configuration by a module that is imported for the first time belongs to the program, happens only once, and stays.
    Loggers that are created meanwhile keep their configuration.
    """
    kept = _Kept()
    token = _kept.set(kept)
    real = {(module, name): getattr(module, name) for module, name in _CONFIGURING}
    try:
        for (module, name), configure in real.items():
            setattr(module, name, kept.noticing(configure))
        yield
    finally:
        for (module, name), configure in real.items():
            setattr(module, name, configure)
        _kept.reset(token)
        kept.end()


def logging_back() -> None:
    """Restore a logging program's configuration in the middle of `logging_kept`; otherwise enable new loggers only."""
    kept = _kept.get()
    if kept is not None and kept.logs:
        kept.put_back()
    elif kept is not None:
        kept.enable_new()


class _Kept:
    """The state of Python's logging at one moment."""

    def __init__(self) -> None:
        self._importing = _importing()
        self._is_over = False
        self._references: list[Any] = []
        self._take()

    def _take(self) -> None:
        # Emptied, so that configuring logging anew closes none of the handlers.
        self._references += _REGISTRY["_handlerList"]
        _REGISTRY["_handlerList"].clear()
        self._names = dict(_REGISTRY["_handlers"])
        self._disable = logging.root.manager.disable
        self._loggers = {
            logger: (logger.level, list(logger.handlers), list(logger.filters), logger.propagate, logger.disabled)
            for logger in _loggers()
        }
        handlers = {handler for logger in self._loggers for handler in logger.handlers}
        self._handlers = {handler: (handler.level, handler.formatter, list(handler.filters)) for handler in handlers}
        self.logs = any(not isinstance(handler, logging.NullHandler) for handler in handlers)

    def noticing(self, configure: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap one of Python's functions that configure logging: configuration during an import is kept."""

        def stand_in(*args: Any, **options: Any) -> Any:
            if options.get("force"):  # basicConfig closes the handlers of the root logger
                logging.root.handlers[:] = [one for one in logging.root.handlers if one not in self._handlers]
            result = configure(*args, **options)
            if not self._is_over and _importing() - self._importing:
                self._take()
            return result

        return stand_in

    def put_back(self) -> None:
        """Restore the saved state; handlers that env.py has added to loggers of the program are closed."""
        for logger in _loggers():
            if logger not in self._loggers:
                logger.disabled = False
                continue
            level, handlers, filters, logger.propagate, logger.disabled = self._loggers[logger]
            added = [handler for handler in logger.handlers if handler not in handlers]
            logger.handlers[:], logger.filters[:] = handlers, filters
            logger.setLevel(level)
            for handler in added:
                handler.close()
        for handler, (level, formatter, filters) in self._handlers.items():
            handler.setLevel(level)
            handler.setFormatter(formatter)
            handler.filters[:] = filters
        logging.disable(self._disable)

    def enable_new(self) -> None:
        """Enable the application's loggers that are new since: `fileConfig` disables those of hook modules.

        Changes that env.py makes to the loggers of Alembic, SQLAlchemy and the drivers are intended, and stay.
        """
        for logger in _loggers():
            if logger not in self._loggers and logger.name.partition(".")[0] not in _OF_DATABASES:
                logger.disabled = False

    def end(self) -> None:
        """Restore the saved state for good."""
        self._is_over = True
        self.put_back()
        _REGISTRY["_handlers"].clear()
        _REGISTRY["_handlers"].update(self._names)
        _REGISTRY["_handlerList"][:0] = self._references


def _loggers() -> list[logging.Logger]:
    named = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(logger for logger in named if isinstance(logger, logging.Logger))]


def _importing() -> frozenset[str]:
    """Return the modules that are being imported now; env.py, which Alembic runs by its path, is not among them."""
    modules = [(name, getattr(module, "__dict__", {}).get("__spec__")) for name, module in list(sys.modules.items())]
    return frozenset(name for name, spec in modules if getattr(spec, "_initializing", False))
