"""UpdateScript: what ``Up`` and ``Down`` of an update script subclass.

The hooks of one phase run on a fresh object. The engine binds it to the running transaction before it calls a hook;
an object that nobody bound (in the unit test of a script, say) still has `tell` and `progress`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fietsupdate.errors import UpdateFailedError

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from fietsupdate.config import Settings
    from fietsupdate.filesystem.bulk import BulkFiles

T = TypeVar("T")

PROGRESS_INTERVAL = 0.1
"""Seconds between two reports of progress: a loop over a million rows must not pay for a million events."""

NOT_RUNNING = "this object was not made by fietsupdate; nothing runs"


def _print(_event: str, text: str, _details: Mapping[str, Any]) -> None:
    if text:
        sys.stdout.write(f"{text}\n")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an update will need, as its ``estimate(config)`` says.

    Args:
        seconds: How long it will take; ``None`` where that is not known.
        bytes: How much space it will need on the data directory's disk while it runs; ``None`` where not known.
    """

    seconds: float | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a hook can reach while its transaction is open."""

    data_dir: Path | None = None
    files: BulkFiles | None = None
    dirs: Mapping[str, BulkFiles] = field(default_factory=dict)
    connection: Connection | None = None
    no_connection: str = NOT_RUNNING
    """Why there is no connection, in words for the author of the script."""
    session: Callable[[Connection], Session] | None = None
    """Makes an ORM session that joins the connection's transaction by a savepoint."""
    emit: Callable[[str, str, Mapping[str, Any]], None] = _print
    """Takes the event's name, its text and its details."""


class UpdateScript:
    """Base class of ``Up`` and ``Down``; override the hooks that the update needs.

    Every hook gets the application's settings: a `Settings` mapping that always holds ``sqlalchemy.url`` and
    ``fietsupdate.data_dir``. Raising anything, also `SystemExit`, fails the update.

    Beside the hooks below three optional ones exist, looked up by name: ``check(config)`` runs before anything changes,
    ``verify(config)`` runs before the commit, and ``estimate(config)`` gives an `Estimate` of what the update will need
    when somebody is asked whether to run it.
    """

    _surroundings: Surroundings = Surroundings()

    def pre_alembic(self, config: Settings) -> None:
        """Run before the Alembic revisions of this update."""

    def post_alembic(self, config: Settings) -> None:
        """Run after the Alembic revisions of this update."""

    def tell(self, text: str) -> None:
        """Show one line to the administrator; with ``--json`` it becomes a ``tell`` event."""
        self._surroundings.emit("tell", str(text), {})

    def warn(self, text: str) -> None:
        """Tell of something that is not as it should be and fails nothing; the report repeats it at the end."""
        self._surroundings.emit("warning", str(text), {})

    def progress(self, iterable: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
        """Yield the items of ``iterable`` and report how far it is.

        Args:
            iterable: What to go through; it is never copied.
            total: Number of items, where it is known and ``len()`` cannot tell.
            description: What the items are, in the plural: ``"tracks"``.
        """
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        done, shown = 0, -PROGRESS_INTERVAL
        for item in iterable:
            if (now := time.monotonic()) - shown >= PROGRESS_INTERVAL:
                self._surroundings.emit("progress", description, {"done": done, "total": total})
                shown = now
            yield item
            done += 1  # counted after the item is finished, not when it is handed out
        self._surroundings.emit("progress", description, {"done": done, "total": total or done})

    @property
    def data_dir(self) -> Path:
        """The data directory of the instance, absolute."""
        return _there(self._surroundings.data_dir, "data_dir")

    @property
    def files(self) -> BulkFiles:
        """Journaled file verbs on the data directory."""
        return _there(self._surroundings.files, "files")

    @property
    def dirs(self) -> Mapping[str, BulkFiles]:
        """Journaled file verbs on each of the declared ``extra_dirs``."""
        return self._surroundings.dirs

    @property
    def connection(self) -> Connection:
        """The connection inside the update's transaction.

        Raises:
            UpdateFailedError: the update is not atomic, so its hooks run outside of any transaction of ours.
        """
        connection = self._surroundings.connection
        if connection is None:
            raise UpdateFailedError(
                f"self.connection was used, but {self._surroundings.no_connection}",
                hint="Say 'atomic = True' in the script, or open a connection to config['sqlalchemy.url'].",
            )
        return connection

    def session(self) -> Session:
        """Return an ORM session inside the update's transaction, which it joins by a savepoint.

        Its ``commit()`` keeps what was done since the savepoint, its ``rollback()`` takes back that alone; the
        transaction of the update goes on.

        Raises:
            UpdateFailedError: as for `connection`.
        """
        connection = self.connection
        return _there(self._surroundings.session, "session()")(connection)


def _there(value: T | None, name: str) -> T:
    if value is None:
        raise UpdateFailedError(f"self.{name} was used, but {NOT_RUNNING}")
    return value
