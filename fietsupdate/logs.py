"""Python's logging belongs to the program: what env.py does to it is put back.

env.py files call `fileConfig` or `dictConfig`, which close the handlers of the program and silence its loggers. They
may: the program's own logging is saved before and comes back, with handlers that nobody has closed. In a program that
logs, it comes back as soon as env.py has connected, so that hooks and our own events reach the program's log; where
nobody has configured anything, what env.py wants stays until the end, but the loggers of hooks are not silenced.
"""

from __future__ import annotations

import logging
import logging.config
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

_CONFIGURING: tuple[tuple[ModuleType, str], ...] = (
    (logging.config, "fileConfig"),
    (logging.config, "dictConfig"),
    (logging, "basicConfig"),
)
_REGISTRY: Any = vars(logging)
"""`_handlerList` is what Python closes when logging is configured anew, `_handlers` finds handlers by name."""

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
        """Enable the loggers made since: `fileConfig` silences those of hook modules, which env.py does not know."""
        for logger in _loggers():
            if logger not in self._loggers:
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
