"""For an application that starts: bring its instance up to date, or refuse to start on one that is not.

Both functions work in any thread. Where an event loop runs, they use a thread of their own, because env.py may need a
loop for itself. The process belongs to the application: its logging stays as it is, whatever env.py configures, and
signal handlers are installed in the main thread only, while something changes.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from fietsupdate.cli.render import documents
from fietsupdate.cli.render import steps as changes
from fietsupdate.cli.render.events import EventPrinter, Narrator, amount
from fietsupdate.cli.render.layout import several
from fietsupdate.cli.render.output import printable
from fietsupdate.config.application import is_at_work
from fietsupdate.config.config import Config, command_line
from fietsupdate.errors import UNCHANGED, FietsupdateError, NotCurrentError
from fietsupdate.masks import masked_parts
from fietsupdate.model import Direction, Event, Plan, Problem, Report, Status, UpdateState
from fietsupdate.planning.problems import up_to
from fietsupdate.updater import Updater

T = TypeVar("T")
Where = Updater | Config | str | os.PathLike[str]
"""The configuration: the path of an INI file or of a pyproject.toml, or an object that was made from one."""

LOGGER = "fietsupdate"

STARTING = (
    "Stop what runs, then start the application again. If the command takes this process, which only starts, for one "
    "that serves, let `running` ask for what only the latter has (an open port), or set FIETSUPDATE_RUNNING=false here."
)
"""The hint where `running` keeps an application from updating as it starts."""

_LEVELS = {
    **dict.fromkeys(("warning", "update_undone", "recovered"), logging.WARNING),
    **dict.fromkeys(("phase_begun", "phase_finished", "revision", "progress", "backup_part"), logging.DEBUG),
}
_alone = threading.RLock()


def ensure_current(config: Where, *, lock_timeout: float | None = None, as_root: bool = False) -> Report:
    """Apply the pending updates, as ``fietsupdate update --yes`` does; none is pending when this returns.

    Where several processes start at once, one of them updates and the others wait for it. An instance that is up to
    date is read once and not locked. Events go to the logger ``fietsupdate``. Called by `setup`, env.py or a hook,
    which create the application for an update, the function does nothing.

    Args:
        config: Where the configuration is.
        lock_timeout: Seconds to wait for another updater, 0 for none; ``None`` as configured.
        as_root: Whether root may work on another user's data directory.

    Raises:
        FietsupdateError: The instance is not up to date, and why; notes give its state and the command to type.
    """
    if is_at_work():
        return Report(Plan(Direction.UP, (), (), (), ()), (), ())
    return _as_a_guest(lambda: _updater(config).update(on_event=Log(), lock_timeout=lock_timeout, as_root=as_root))


def require_current(config: Where) -> None:
    """Raise an error if the instance is not up to date. Nothing is changed.

    Called by `setup`, env.py or a hook, which create the application for an update, the function does nothing.

    Args:
        config: Where the configuration is.

    Raises:
        NotCurrentError: The instance is not up to date; names its position, this code's updates, and the command to
            type.
        FietsupdateError: The state cannot be determined.
    """
    if not is_at_work():
        _as_a_guest(lambda: _require(_updater(config)))


class Log(EventPrinter):
    """Writes each event to the logger; the attribute ``fietsupdate`` of a log record holds the event's document."""

    def __init__(self) -> None:
        super().__init__()
        self.narrator = Narrator(verbose=True)
        self.logger = logging.getLogger(LOGGER)

    def show(self, event: Event) -> None:
        """Write one event."""
        text = " ".join(part.strip() for part in self.narrator.lines(event)) or _in_short(event)
        line = printable(masked_parts(text))  # a log may be read on a terminal, too
        self.logger.log(
            _LEVELS.get(event.event, logging.INFO), "%s", line, extra={"fietsupdate": documents.event(event)}
        )


def _in_short(event: Event) -> str:
    if event.event == "plan":
        steps = event.details.get("steps", ())
        return f"Planned: {several(steps)}" if steps else "Nothing waits any more"
    if event.event == "finished":
        warned = "".join(f". It has warned: {text}" for text in event.details.get("warnings", ()))
        return f"Finished. Current: {several(event.details.get('current', ()), 'no update')}{warned}"
    if event.event == "progress":
        return amount(event)
    return f"{event.event} {event.update_id} {event.phase}".strip()


def _updater(config: Where) -> Updater:
    if isinstance(config, Updater):
        return config
    return Updater(config) if isinstance(config, Config) else Updater.from_config(Path(config))


def _require(updater: Updater) -> None:
    status = updater.status()
    if status.state is not UpdateState.OKAY:
        raise _not_current(status, updater.config)


def _not_current(status: Status, config: Config) -> NotCurrentError:
    tells = {"updating", "interrupted"}
    problem = next((one for one in status.problems if one.blocks or one.code in tells), None)
    at, has = several(status.current, "no update"), up_to("updates", status.heads)
    parts = [f"The instance is {status.state}: it is at {at}, and this code has {has}."]
    if status.distribution and status.app_version != status.data_version:
        parts.append(f"{changes.version(status)}.")
    parts += [problem.message] if problem else []
    return NotCurrentError(
        " ".join(parts),
        status=status,
        stands=UNCHANGED,
        hint=_hint(config, problem),
    )


def _hint(config: Config, problem: Problem | None) -> str:
    if problem is not None and problem.hint:
        return problem.hint
    return f"Type `{command_line(config, 'update')}`, then start the application again."


def _as_a_guest(work: Callable[[], T]) -> T:
    """Run a function alone in this process, in a separate thread if an event loop runs in this one."""
    try:
        if not _loop_runs():
            return _quietly(work)
        with ThreadPoolExecutor(1, thread_name_prefix="fietsupdate") as thread:
            return thread.submit(contextvars.copy_context().run, _quietly, work).result()
    except FietsupdateError as error:
        if error.code == "application_running":
            error.hint = STARTING
        warned = (f"It has warned: {text}" for text in error.warnings)
        for note in filter(None, (error.stands, error.hint, *warned)):
            error.add_note(note)  # a traceback in a log is all that some administrators will see
        raise


def _loop_runs() -> bool:
    asyncio: Any = sys.modules.get("asyncio")  # a program that has not imported asyncio runs no loop
    try:
        return asyncio is not None and asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


def _quietly(work: Callable[[], T]) -> T:
    # env.py changes what all threads share: import path, working directory, loggers. So only one call runs at a time.
    with _alone, _alembic_is_quiet():
        return work()


@contextlib.contextmanager
def _alembic_is_quiet() -> Iterator[None]:
    """Keep Alembic's own messages out of the application's log: the events report the same."""
    loggers = {logging.getLogger(name): logging.WARNING for name in ("alembic", "alembic.runtime.migration")}
    before = {logger: logger.level for logger in loggers}
    try:
        for logger, level in loggers.items():
            logger.setLevel(max(logger.level, level))
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
