"""The `running` check and the maintenance file: nothing changes under an application that is at work.

Where the check cannot find out whether the application runs, nothing is changed either. The maintenance file exists as
long as anything changes, and is removed however the command ends.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fietsupdate.commands.shell import exit_code
from fietsupdate.config.application import Application
from fietsupdate.config.config import Config
from fietsupdate.errors import UNCHANGED, ConfigError, FilesError, RefusedError
from fietsupdate.filesystem import maintenance
from fietsupdate.model import Event, Problem
from fietsupdate.model.clock import now
from fietsupdate.model.listeners import Listener
from fietsupdate.process import Signals, Stop
from fietsupdate.views import LockHolder

LONGEST_ANSWER = 30.0
"""The longest time in seconds that the command of `running` may take."""


def check_service(application: Application) -> None:
    """Refuse what `maintenance_mode` would refuse; change nothing.

    Raises:
        RefusedError: The application runs, or that cannot be found out.
        ConfigError: The configured place of the maintenance file is impossible.
        FilesError: The maintenance file could not be created.
    """
    _check_place(application)
    _refuse_while_running(application.config)


@contextmanager
def maintenance_mode(application: Application, signals: Signals, listener: Listener, *, command: str) -> Iterator[None]:
    """Refuse while the application runs; keep its maintenance file in place as long as the block lasts.

    The caller holds the lock of the data directory. A maintenance file that was not created here is never removed.

    Args:
        application: The entered configuration.
        signals: They are held back while the file is created or removed.
        listener: Called with a ``warning`` if the file is not ours, or cannot be removed.
        command: The name of the command, for readers of the file: ``update``, ``downgrade``, ``restore``.

    Raises:
        RefusedError: The application runs, or that cannot be found out. Nothing was changed.
        ConfigError: The configured place of the maintenance file is impossible.
        FilesError: The maintenance file cannot be created.
    """
    check_service(application)
    path = application.config.maintenance
    try:
        if path is not None:
            with signals.held():
                if maintenance.is_noted(application.data_dir):
                    _take_down(application, signals, listener, killed=True)
                _put_up(path, application, listener, command)
            signals.raise_pending()
        yield
    finally:
        _take_down(application, signals, listener)


@contextmanager
def without_stale_file(application: Application, signals: Signals, listener: Listener) -> Iterator[None]:
    """Remove, when the block ends, the maintenance file of a run that was killed; arguments as for `maintenance_mode`.

    The file of a stopped run is removed likewise, if a second signal came while the first one was obeyed.
    """
    left = maintenance.is_noted(application.data_dir)
    try:
        yield
    except Stop:
        if not left and maintenance.is_noted(application.data_dir):
            _take_down(application, signals, listener)
        raise
    finally:
        if left:
            _take_down(application, signals, listener, killed=True)


def _take_down(application: Application, signals: Signals, listener: Listener, *, killed: bool = False) -> None:
    with signals.held():
        try:
            removed = maintenance.take_down(application.data_dir, application.config.maintenance)
        except (OSError, FilesError) as error:
            stays = maintenance.left_behind(application.data_dir) or application.config.maintenance
            _warn(
                listener,
                f"The maintenance file {stays} could not be removed: {str(error).rstrip('.')}. Remove it by hand.",
            )
            return
        if removed is not None and killed:
            _warn(listener, f"A run that was killed had left the maintenance file {removed}; it is removed now.")


def _put_up(path: Path, application: Application, listener: Listener, command: str) -> None:
    who = LockHolder(os.getpid(), socket.gethostname(), now(), f"fietsupdate {command}")
    if not maintenance.put_up(path, application.data_dir, who):
        _warn(listener, f"The maintenance file {path} was there before; it is left as it is, also afterwards.")


def _check_place(application: Application) -> None:
    path = application.config.maintenance
    if path is None:
        return
    for root in (application.data_dir, *application.config.extra_dirs.values()):
        if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
            raise ConfigError(
                f"The maintenance file {path} lies in {root}, where all files belong to updates and backups.",
                stands=UNCHANGED,
                hint="Name a file outside of it: maintenance = /run/myapp/maintenance",
            )
    if path.is_dir():
        raise ConfigError(
            f"The maintenance file {path} is a folder, so no server would see that the application is out of service.",
            stands=UNCHANGED,
            hint=f"Name a file that is not there otherwise: maintenance = {path}/maintenance",
        )
    if not os.path.lexists(path) and not os.access(path.parent, os.W_OK | os.X_OK):
        what = "cannot be written" if path.parent.is_dir() else "does not exist"
        raise FilesError(
            f"The maintenance file {path} cannot be created: its folder {what}.",
            stands=UNCHANGED,
            hint="Create the folder for the user who updates, or correct `maintenance` in the configuration.",
        )


def _refuse_while_running(config: Config) -> None:
    if not config.running:
        return
    code, reason = exit_code(config.running, config.here, LONGEST_ANSWER)
    if reason:
        raise RefusedError.because(
            Problem(
                "running_unknown",
                f"Whether the application runs cannot be told: `{config.running}` gave no answer, {reason}.",
                "Correct `running` in the configuration: exit code 0 says that the application runs, any other "
                "that it does not.",
            )
        )
    if code == 0:
        raise RefusedError.because(
            Problem(
                "application_running",
                f"The application is running: `{config.running}` says so.",
                "Stop it, and type the command again.",
            )
        )


def _warn(listener: Listener, text: str) -> None:
    listener(Event("warning", now(), text=text))
