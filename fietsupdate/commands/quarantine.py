"""Put the files that no row names into quarantine. No row changes, and every file can be brought back.

Rows and files are compared twice under the lock: before any file moves, and again after all have moved, before the
transaction ends. If a row then misses a file that it did not miss before, everything moves back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fietsupdate.commands import strays
from fietsupdate.commands.inspection import Inspection
from fietsupdate.commands.quarantines import roots_of, settled
from fietsupdate.commands.run import Run
from fietsupdate.commands.strays import Strays
from fietsupdate.engine.files_only import files_only
from fietsupdate.errors import UNCHANGED, RefusedError
from fietsupdate.filesystem.quarantine import store
from fietsupdate.filesystem.quarantine.manifest import QuarantineOrigin
from fietsupdate.filesystem.quarantine.put_away import PutAway, put_away
from fietsupdate.model import Event
from fietsupdate.model.clock import now

COMMAND = "fietsupdate quarantine"


@dataclass(frozen=True, slots=True)
class StrayFiles:
    """The files that `quarantine` would move."""

    files: tuple[str, ...]
    """The files, in further roots as ``NAME:PATH``."""
    owned: int
    """The number of owned files, including these."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """The files that were put into quarantine."""

    name: str
    """The name of the quarantine; "" if there was nothing to move."""
    files: int
    bytes: int
    gone: tuple[str, ...]
    """The strays that were found, but did not exist any more when they were to be moved."""


def check(run: Run, typed: int | None) -> StrayFiles:
    """Return what `quarantine` would move, and refuse what it would refuse; change nothing.

    Args:
        run: The instance.
        typed: The number of strays, if it was typed: it lets more than a tenth of the owned files go.

    Raises:
        FietsupdateError: The obstacle.
    """
    run.check_hands()
    seen = run.inspect()
    transaction = seen.files.transaction
    if transaction is None or not transaction.files_only:  # under the lock it is settled first
        _refuse_state(seen)
    found = strays.find(run, seen)
    strays.refuse(found, typed)
    return StrayFiles(tuple(place.shown for place in found.places), found.owned)


def quarantine(run: Run, typed: int | None) -> Quarantined:
    """Put the strays into quarantine.

    Args:
        run: The instance.
        typed: As for `check`.

    Raises:
        FietsupdateError: The command failed; nothing was changed.
    """
    with run.interruptible([]):
        run.check_hands()
        with run.locked("quarantine"):
            seen = settled(run, "quarantine")
            found = strays.find(run, seen)
            strays.refuse(found, typed)
            done = _moved(run, seen, found) if found.places else Quarantined("", 0, 0, ())
    details = {"quarantine": done.name, "files": done.files, "bytes": done.bytes, "gone": [*done.gone]}
    run.emit(Event("finished", now(), details=details))
    return done


def _moved(run: Run, seen: Inspection, found: Strays) -> Quarantined:
    origin = _origin(run, seen)
    try:
        with files_only(run.context(seen.database), seen.database, COMMAND) as files:
            moved = put_away(files.changes, found.places, origin, may_go=found.may_go)
            if not moved.files:
                raise _NothingError(moved)
            run.signals.raise_pending()
            strays.refuse_lost(run, seen, found)
    except _NothingError as nothing:
        return Quarantined("", 0, 0, tuple(place.shown for place in nothing.moved.gone))
    return Quarantined(origin.name, moved.files, moved.bytes, tuple(place.shown for place in moved.gone))


class _NothingError(Exception):
    """All strays were removed meanwhile: there is nothing to end."""

    def __init__(self, moved: PutAway) -> None:
        super().__init__("nothing is left to move")
        self.moved = moved


def _origin(run: Run, seen: Inspection) -> QuarantineOrigin:
    roots, made = roots_of(run.application), now()
    stem = datetime.fromisoformat(made).strftime("%Y%m%d-%H%M%S")
    serial = store.next_serial(store.look(roots))
    return QuarantineOrigin(store.free_name(stem, roots), made, serial, seen.database.instance_id, "", (), COMMAND)


def _refuse_state(seen: Inspection) -> None:
    for problem in seen.status().problems:
        if problem.blocks or problem.code in {"interrupted", "transaction_doubt"}:
            raise RefusedError.because(problem, stands=UNCHANGED)
