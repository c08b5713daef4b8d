"""The state of this process that strangers' code may change, and the signals that end it.

env.py and hooks run in our process. Whatever they do to umask, working directory, signal handlers, descriptor 1 or
our loggers is put back when they are left (protocol, 9: all of it was seen in published applications).
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
    """SIGINT or SIGTERM arrived. Not an `Exception`: hooks that catch everything do not catch this."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def as_stop(interrupt: KeyboardInterrupt) -> Stop:
    """Return a Ctrl-C that came as Python's own, where none of our handlers was installed, as the `Stop` that it is."""
    return interrupt if isinstance(interrupt, Stop) else Stop(signal.SIGINT)


class Signals:
    """Our handlers for SIGINT and SIGTERM, installed before env.py is entered.

    asyncio replaces only Python's own SIGINT handler, so with ours in place it does not swallow Ctrl-C until a
    hook has ended. While `deferred`, a signal is remembered; between two updates `raise_pending` obeys it.
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
        """Stop now, if a signal arrived while it was deferred."""
        if self.pending is not None:
            raise Stop(self.pending)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let signals wait while something short must not be cut off."""
        before, self.deferred = self.deferred, True
        try:
            yield
        finally:
            self.deferred = before

    @contextlib.contextmanager
    def installed(self) -> Iterator[Signals]:
        """Install the handlers, in the main thread; elsewhere signals belong to somebody else."""
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
    """Let no further signal cut off the last words of a process that was stopped."""
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
def children_end_here() -> Iterator[None]:
    """End a forked child that comes out of strangers' code: it must not unwind into the update of its parent.

    It would commit or roll back on the parent's connection, or wait for locks that the parent holds while that waits
    for it. It ends as a process of its own would: by its `SystemExit`, or with 1 and the error on stderr.
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
def put_back() -> Iterator[None]:
    """Restore umask, working directory, signal handlers and our loggers after strangers' code has run."""
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
    except OSError:  # descriptor 1 is closed: nothing can be printed there
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


# -- Python's logging belongs to the program: what env.py does to it is put back.


_CONFIGURING: tuple[tuple[ModuleType, str], ...] = (
    (logging.config, "fileConfig"),
    (logging.config, "dictConfig"),
    (logging, "basicConfig"),
)
_REGISTRY: Any = vars(logging)
"""`_handlerList` is what Python closes when logging is configured anew, `_handlers` finds handlers by name."""

_OF_DATABASES = frozenset(
    {"aiomysql", "aiosqlite", "alembic", "asyncio", "asyncpg", "mysql", "psycopg", "psycopg2", "pymysql", "sqlalchemy"}
)
"""Packages whose loggers env.py configures on purpose: SQLAlchemy's pool logs each lost connection with a traceback."""

_kept: ContextVar[_Kept | None] = ContextVar("fietsupdate_logging", default=None)


@contextmanager
def logging_kept() -> Iterator[None]:
    """Save the state of all loggers, and put it back at the end.

    What a module configures while it is imported for the first time is the program's own, comes only once, and stays.
    Loggers that are made meanwhile keep what was configured for them.
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
    """Give a program that logs its own logging back, in the middle of `logging_kept`; else let new loggers speak."""
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
        # Emptied, so that whoever configures logging anew closes none of the handlers.
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
        """Wrap one of Python's functions that configure logging: what an import configures is taken over."""

        def stand_in(*args: Any, **options: Any) -> Any:
            if options.get("force"):  # basicConfig closes what the root logger has
                logging.root.handlers[:] = [one for one in logging.root.handlers if one not in self._handlers]
            result = configure(*args, **options)
            if not self._is_over and _importing() - self._importing:
                self._take()
            return result

        return stand_in

    def put_back(self) -> None:
        """Put everything back; handlers that env.py has made for loggers of the program are closed."""
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
        """Enable the application's loggers made since: `fileConfig` silences those of hook modules.

        What env.py has done to the loggers of Alembic, SQLAlchemy and the drivers is meant, and stays.
        """
        for logger in _loggers():
            if logger not in self._loggers and logger.name.partition(".")[0] not in _OF_DATABASES:
                logger.disabled = False

    def end(self) -> None:
        """Put everything back for good."""
        self._is_over = True
        self.put_back()
        _REGISTRY["_handlers"].clear()
        _REGISTRY["_handlers"].update(self._names)
        _REGISTRY["_handlerList"][:0] = self._references


def _loggers() -> list[logging.Logger]:
    named = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(logger for logger in named if isinstance(logger, logging.Logger))]


def _importing() -> frozenset[str]:
    """Name the modules that are being imported at this moment; env.py, which Alembic runs by its path, is none."""
    modules = [(name, getattr(module, "__dict__", {}).get("__spec__")) for name, module in list(sys.modules.items())]
    return frozenset(name for name, spec in modules if getattr(spec, "_initializing", False))
