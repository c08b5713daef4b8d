"""Run the updates where they cannot change the real instance, as far as the system supports that.

On Linux they run in a child process with mounts of its own, in which the real folders are read-only for the process and
every program that it starts. On other systems, and inside the child as well, Python's own calls are refused
(`fietsupdate.filesystem.guard.read_only`), and so are connections to the real database. The missing parts of this
isolation are reported before any update runs.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fietsupdate.commands.rehearsal.child import DiedError, run_apart
from fietsupdate.commands.rehearsal.clone import Clone
from fietsupdate.commands.rehearsal.report import Rehearsal, RehearsalFailure
from fietsupdate.commands.run import Run
from fietsupdate.database.redirect import only_the_clone
from fietsupdate.filesystem.guard.read_only import ReadOnly, read_only
from fietsupdate.filesystem.paths import database_files
from fietsupdate.filesystem.posix.namespaces import is_faithful_for, isolate
from fietsupdate.model import Event
from fietsupdate.model.clock import now

Work = Callable[[Callable[[Event], None]], Rehearsal]
"""Runs the updates; called with the listener of events."""


class _NotIsolatedError(Exception):
    """The system provides no separate mounts. The text of the error says why."""


@dataclass
class Apart:
    """The isolated surroundings in which updates are rehearsed.

    Args:
        run: The run on the real instance.
        clone: The clone, made.
        sqlite_files: All SQLite files that the real configuration names.
    """

    run: Run
    clone: Clone
    sqlite_files: Collection[Path]
    read_only: bool = False
    """Whether the system keeps the real files from being changed."""
    gaps: list[str] = field(default_factory=list)
    _at: Event | None = None

    def run_updates(self, work: Work, report: Rehearsal) -> Rehearsal:
        """Run the updates.

        Args:
            work: Runs them.
            report: What is known beforehand, for updates that end their process.

        Raises:
            FietsupdateError: The updates could not be run at all.
        """
        if self.clone.not_confined:
            self.gaps.append(
                "On the server the clone is reached as the real user, who may change other databases and what belongs "
                f"to the server: {self.clone.not_confined}."
            )
        if threading.active_count() > 1:
            self._tell_gap("other threads run in this process, which cannot be divided then")
            return self._fenced(work, self.run.emit)
        try:
            try:
                self.read_only = True
                return self._in_child(work, isolated=True)
            except _NotIsolatedError as error:
                self.read_only = False
                self._tell_gap(str(error))
                return self._in_child(work, isolated=False)
        except DiedError as error:
            return replace(report, failure=self._died(str(error)))

    def _tell_gap(self, why: str) -> None:
        gap = f"Programs and C libraries that the updates use are not kept from the real files: {why}."
        self.gaps.append(gap)
        self.run.emit(Event("warning", now(), text=gap))

    def _in_child(self, work: Work, *, isolated: bool) -> Rehearsal:
        def inside(send: Callable[[object], None]) -> Rehearsal:
            if isolated:
                self._isolate()
            with replace(self.run).interruptible([]):
                return self._fenced(work, send)

        return run_apart(inside, self._heard, self.run.signals)

    def _heard(self, message: object) -> None:
        if isinstance(message, Event):
            if message.event in {"update_begun", "phase_begun"}:
                self._at = message
            self.run.emit(message)

    def _died(self, how: str) -> RehearsalFailure:
        at = self._at or Event("", "")
        return RehearsalFailure(
            "died",
            f"The process that ran the updates ended {how}.",
            "Find out who has ended it: the script, a library that it uses, or the system (memory).",
            at.update_id,
            at.phase,
            at.direction,
        )

    def _isolate(self) -> None:
        if not is_faithful_for(self.clone.owners):
            raise _NotIsolatedError("files of other users or groups are among them, and this user may not mount")
        try:
            isolate(*self._mounts())
        except OSError as error:
            raise _NotIsolatedError(f"the system refuses it ({error.filename or ''}: {error.strerror})") from error

    def _mounts(self) -> tuple[list[Path], list[Path]]:
        """Return the paths that become read-only, and those inside of them that stay writable.

        The folder of a SQLite database is closed as a whole, since SQLite makes further files there; but if it contains
        the temporary files, only the database's own files are closed.
        """
        application, temporary = self.run.application, Path(os.path.realpath(tempfile.gettempdir()))
        closed = [application.data_dir, *application.config.extra_dirs.values()]
        for file in self.sqlite_files:
            folder = Path(os.path.realpath(file.parent))
            if temporary.is_relative_to(folder):
                closed += [Path(name) for name in database_files([file]) if os.path.exists(name)]
            elif folder.is_dir():
                closed.append(folder)
        real = [Path(os.path.realpath(path)) for path in closed]
        place = Path(os.path.realpath(self.clone.place))
        inside = [path for path in (place, temporary) if any(path.is_relative_to(folder) for folder in real)]
        return real, [path for path in inside if not any(folder.is_relative_to(path) for folder in real)]

    def _fenced(self, work: Work, listener: Callable[[Event], None]) -> Rehearsal:
        real = [self.run.application.data_dir, *self.run.application.config.extra_dirs.values()]
        with (
            _elsewhere(self.clone),
            read_only(real, gate=self.clone.place, databases=self.sqlite_files) as region,
            only_the_clone(self.clone.redirect) as refused,
            self.clone.substitution.environment(),
            _no_bytecode(),
        ):
            report = work(listener)
        return report if report.failure else replace(report, failure=_trespass(region, refused))


def _trespass(region: ReadOnly, refused: Sequence[str]) -> RehearsalFailure | None:
    """Return the failure if something tried to change the real instance and the refusal was caught."""
    tried = [*region.refused, *dict.fromkeys(refused)]
    if not tried:
        return None
    return RehearsalFailure(
        "trespass",
        f"The updates tried to change the real instance, and went on when that was refused: {', '.join(tried)}.",
        "Take paths from self.data_dir, self.files or config, and URLs from config, never from elsewhere.",
    )


@contextlib.contextmanager
def _elsewhere(clone: Clone) -> Iterator[None]:
    """Work in the clone's folder if this process works in a real one: child processes inherit it."""
    before = os.getcwd()
    there = clone.substitution.text(before)
    if there == before or not os.path.isdir(there):
        yield
        return
    with contextlib.chdir(there):
        yield


@contextlib.contextmanager
def _no_bytecode() -> Iterator[None]:
    """Write no ``__pycache__``, which may be in the real data directory."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
