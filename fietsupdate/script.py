"""UpdateScript: the base class of ``Up`` and ``Down`` in an update script.

The hooks of one phase run on a fresh object. The engine binds it to the running transaction before it calls a hook. An
object that is not bound (in the unit test of a script, say) still has `tell` and `progress`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fietsupdate.errors import UpdateFailedError
from fietsupdate.model.questions import Question, derived_name

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from fietsupdate.config.config import Settings
    from fietsupdate.filesystem.bulk import BulkFiles

T = TypeVar("T")

PROGRESS_INTERVAL = 0.1
"""Seconds between two reports of progress, so that a loop over a million rows does not send a million events."""

NOT_RUNNING = "this object was not made by fietsupdate; nothing runs"


def _print(_event: str, text: str, _details: Mapping[str, Any]) -> None:
    if text:
        sys.stdout.write(f"{text}\n")


def _by_default(question: Question) -> str:
    if question.default is None:
        raise UpdateFailedError(f"{question.text or question.name}: the question cannot be asked; {NOT_RUNNING}")
    return question.default


Check = TypeVar("Check", bound=Callable[..., object])

_SEVERITY = "__fietsupdate_severity__"
ERROR, WARNING = "error", "warning"


def severity(level: str) -> Callable[[Check], Check]:
    """Return a decorator that sets the consequence of a failing check.

    It is for ``check`` and ``verify`` of update scripts, and for ``pre_check...`` and ``post_check...`` functions.

    Args:
        level: ``"warning"``: the exception is shown, and repeated at the end, and the run goes on; ``"error"``: the
            run, or the update, fails, as without the decorator.

    Raises:
        ValueError: There is no such level.
    """
    if level not in {ERROR, WARNING}:
        raise ValueError(f"severity is {level!r}; it must be {ERROR!r} or {WARNING!r}")

    def mark(check: Check) -> Check:
        setattr(check, _SEVERITY, level)
        return check

    return mark


def only_warns(check: object) -> bool:
    """Return whether the failure of a check is a warning only."""
    return getattr(check, _SEVERITY, ERROR) == WARNING


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an update will need, as its ``estimate(config)`` returns it.

    Args:
        seconds: How long it will take; ``None`` if unknown.
        bytes: How much space it will need on the data directory's disk while it runs; ``None`` if unknown.
    """

    seconds: float | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Surroundings:
    """What a hook can use while its transaction is open."""

    data_dir: Path | None = None
    files: BulkFiles | None = None
    dirs: Mapping[str, BulkFiles] = field(default_factory=dict)
    connection: Connection | None = None
    no_connection: str = NOT_RUNNING
    """Why there is no connection, in words for the author of the script."""
    session: Callable[[Connection], Session] | None = None
    """Makes an ORM session that joins the connection's transaction by a savepoint."""
    emit: Callable[[str, str, Mapping[str, Any]], None] = _print
    """Called with the event's name, its text and its details."""
    ask: Callable[[Question], str] = _by_default
    """Answers a question."""
    unattended: bool = True
    """Whether the run has no terminal at which questions could be asked."""


class UpdateScript:
    """Base class of ``Up`` and ``Down``; override the hooks that the update needs.

    Every hook receives the application's settings: a `Settings` mapping that always holds ``sqlalchemy.url`` and
    ``fietsupdate.data_dir``. Any exception, also `SystemExit`, fails the update.

    Beside the hooks below there are three optional ones, looked up by name: ``check(config)`` runs before anything
    changes, ``verify(config)`` runs before the commit, and ``estimate(config)`` returns an `Estimate` of what the
    update will need, which is shown when the administrator is asked whether to run it.
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
        """Report something that is wrong but fails nothing; the report repeats it at the end."""
        self._surroundings.emit("warning", str(text), {})

    def ask(self, text: str = "", *, default: str | None = None, choices: Sequence[str] = (), name: str = "") -> str:
        """Return the answer to a question, which was given before the update began.

        The planner finds the question in the script, so write its arguments as literals; or declare it in the metadata
        `questions`, and ask by `name`. The answer is kept in the ledger, so it must not be a password.

        Args:
            text: The question.
            default: The answer where none is given; without a default, an answer must be given.
            choices: All answers that are accepted; any text if empty.
            name: The question's name for ``--answer`` and in the ledger: small letters, digits and ``_``. If omitted,
                it is made of the words of the text.

        Raises:
            UpdateFailedError: The plan did not know the question, and it has neither an answer nor a default.
        """
        question = Question(name or derived_name(text), text, default, tuple(choices))
        return self._surroundings.ask(question)

    @property
    def unattended(self) -> bool:
        """Whether no administrator can be asked: with ``--yes``, without a terminal, when an application starts."""
        return self._surroundings.unattended

    def progress(self, iterable: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
        """Yield the items of ``iterable`` and report the progress.

        Args:
            iterable: The items; the iterable is never copied.
            total: Number of items, if known and not available by ``len()``.
            description: What the items are, in the plural: ``"tracks"``.
        """
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        done, last_shown = 0, -PROGRESS_INTERVAL
        for item in iterable:
            if (now := time.monotonic()) - last_shown >= PROGRESS_INTERVAL:
                self._surroundings.emit("progress", description, {"done": done, "total": total})
                last_shown = now
            yield item
            done += 1  # counted after the item is finished, not when it is yielded
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
            UpdateFailedError: The update is not atomic, so its hooks run outside of any transaction of ours.
        """
        connection = self._surroundings.connection
        if connection is None:
            raise UpdateFailedError(
                f"self.connection was used, but {self._surroundings.no_connection}",
                hint="Say `atomic = True` in the script, or open a connection to config['sqlalchemy.url'].",
            )
        return connection

    def session(self) -> Session:
        """Return an ORM session inside the update's transaction, which it joins by a savepoint.

        Its ``commit()`` keeps the changes since the savepoint, its ``rollback()`` reverts only those; the transaction
        of the update goes on.

        Raises:
            UpdateFailedError: As for `connection`.
        """
        connection = self.connection
        return _there(self._surroundings.session, "session()")(connection)


def _there(value: T | None, name: str) -> T:
    if value is None:
        raise UpdateFailedError(f"self.{name} was used, but {NOT_RUNNING}")
    return value
