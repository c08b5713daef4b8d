"""Prove that a backup can be restored: restore it to a temporary place by the steps of a restore, and compare.

Nothing live is touched. The database is loaded beside the live one, with the rights that a restore would have; the
files go to the folder of the backups. The next proof replaces what a killed one has left there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from fietsupdate.backup import directory, swap
from fietsupdate.backup.manifest import PARTIAL, Backup, Scope
from fietsupdate.backup.meter import ByteMeter
from fietsupdate.backup.places import folder_of, instance_tag
from fietsupdate.backup.restorer import Restorer
from fietsupdate.backup.staging import stage
from fietsupdate.backup.verify import arrived
from fietsupdate.commands.backup import Proof
from fietsupdate.commands.restore import refuse_barred
from fietsupdate.commands.run import Run
from fietsupdate.database.dump.store import NEW
from fietsupdate.errors import FilesError
from fietsupdate.filesystem.posix.rename import erase
from fietsupdate.filesystem.space import BLOCK, RESERVE, mib, refuse_few_inodes, room
from fietsupdate.model import Event
from fietsupdate.model.clock import now

UNTOUCHED = "Nothing live was touched."
MOST = 100
"""The most differences that a proof lists; more would not be read."""


def prove(run: Run, backup: Backup) -> Proof:
    """Restore a backup into a temporary place, and compare what arrived with what was copied.

    Raises:
        FietsupdateError: The backup cannot be brought there; a restore would fail in the same way.
    """
    folder = folder_of(run.application)
    directory.make_shelf(folder, run.application.data_dir)
    with run.interruptible([]), _alone(folder):
        notes, wrong = _database(run, backup)
        if backup.manifest.scope is Scope.FULL:
            wrong += _files(run, backup, folder)
    return Proof(tuple(wrong[:MOST]), notes)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise FilesError(
            f"Another trial restore is at work in {folder}.", stands=UNTOUCHED, hint="Wait until it is done."
        ) from error
    finally:
        os.close(descriptor)


def _database(run: Run, backup: Backup) -> tuple[tuple[str, ...], list[str]]:
    restorer = Restorer(run.application, run.environment, run.signals, run.emit)
    refuse_barred(restorer.destination.place)
    store, tag = restorer.store, f"proof{backup.manifest.instance_id[:8]}"
    run.emit(Event("restore_part", now(), text="database"))
    pace = _pace(run, "loaded", backup.manifest.dump.size)
    try:
        beside = store.load_beside(backup.dump, tag, pace, backup.manifest.settings)
        pace.finish()
        wrong = list(beside.differences(backup.dump))
        if not restorer.is_of(beside, backup.manifest):
            wrong.insert(0, "the ledger in the database is not the one that the manifest tells of")
    finally:
        store.sibling(NEW, tag).drop()
    return beside.notes, wrong


def _files(run: Run, backup: Backup, folder: Path) -> list[str]:
    place = folder / f"{PARTIAL}{instance_tag(run.application, backup.manifest.instance_id)}-proof"
    _refuse_narrow(backup, folder)
    run.emit(Event("restore_part", now(), text="files"))
    pace = _pace(run, "restored", backup.manifest.bytes)
    erase(str(place))
    try:
        place.mkdir(mode=0o700)
        roots = {name: place / str(number) for number, name in enumerate(("", *backup.manifest.extra_dirs))}
        for root in roots.values():
            root.mkdir()
        units = [unit for name, root in roots.items() for unit in swap.units_of(name, root, ())]
        warned: list[str] = []
        staged = stage(backup, roots, units, warn=warned.append, moved=pace)
        for name, root in roots.items():
            swap.move_in(root, [unit for unit in staged if unit.root == name], "proof")
        pace.finish()
        return [*warned, *arrived(backup, roots)]
    finally:
        erase(str(place))


def _refuse_narrow(backup: Backup, folder: Path) -> None:
    refuse_few_inodes(
        f"Restoring {backup.name} into a throw-away place", folder, backup.manifest.files, stands=UNTOUCHED
    )
    need = backup.manifest.bytes + backup.manifest.files * BLOCK
    if (free := room(folder)) < need + RESERVE:
        raise FilesError(
            f"To restore {backup.name} into a throw-away place needs {mib(need)} MiB in {folder}, and "
            f"{mib(RESERVE)} MiB more are to stay free; there are {mib(free)} MiB.",
            stands=UNTOUCHED,
            hint="Free some space, or name a folder on a larger disk: backup_dir in the configuration.",
        )


def _pace(run: Run, verb: str, expected: int) -> ByteMeter:
    return ByteMeter(lambda details: run.emit(Event("progress", now(), text=verb, details=details)), expected)
