"""One inspection of both halves of an instance: its views, the state, and the plan that follows from them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fietsupdate.config.application import Application
from fietsupdate.database.environment import Environment
from fietsupdate.database.inspect import inspect_database
from fietsupdate.errors import FilesError, RefusedError
from fietsupdate.filesystem import ledger, run_file
from fietsupdate.filesystem.layout import check_home, restore_folder
from fietsupdate.filesystem.ledger import read_entries
from fietsupdate.filesystem.posix.ownership import check_readable
from fietsupdate.model import BASE, Begun, Direction, Plan, Status, fingerprint
from fietsupdate.planning.diagnosis import diagnose, refusal
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.history import compare, is_same_ledger, unknown_of
from fietsupdate.planning.planner import plan_down, plan_up
from fietsupdate.planning.position import locate, settled_entries
from fietsupdate.planning.revisions import RevisionTree
from fietsupdate.planning.run_problems import with_run
from fietsupdate.planning.schema import fits_before, is_past_pending
from fietsupdate.views import DatabaseView, FilesView, OpenRestore

if TYPE_CHECKING:
    from fietsupdate.backup.manifest import Backup
    from fietsupdate.planning.version_hooks import Versions

MOST_LOOKS = 5
"""How often `look` tries again while another process changes what it reads; after that, it returns its last reading."""


@dataclass(frozen=True)
class Inspection:
    """One reading of both halves of an instance."""

    graph: Graph
    files: FilesView
    database: DatabaseView
    versions: Versions | None = None
    """The application's version, if the configuration names its distribution."""

    def status(self, *, locked_by_us: bool = False) -> Status:
        """Diagnose the views."""
        status = diagnose(self.graph, self.database, self.files, locked_by_us=locked_by_us, versions=self.versions)
        run = run_file.read_run(self.files.data_dir) if self.files.holder and not locked_by_us else None
        return with_run(replace(status, last_failure=self.files.failure), run)

    def plan(self, target: str | None, direction: Direction, *, below_baseline: bool = False) -> Plan:
        """Return the plan that follows from the views."""
        if direction is Direction.UP:
            return plan_up(self.graph, self.database, self.files, target, versions=self.versions)
        return plan_down(self.graph, self.database, self.files, target or BASE, below_baseline=below_baseline)

    def refuse(self, *, locked_by_us: bool = False) -> None:
        """Refuse to go on if any problem blocks.

        Raises:
            RefusedError: With the code, the message and the hint of the gravest problem.
        """
        if (problem := refusal(self.status(locked_by_us=locked_by_us))) is not None:
            raise RefusedError.because(problem)

    @property
    def lies_open(self) -> bool:
        """Whether a transaction is open in the data directory."""
        return bool(self.files.transaction or self.files.unreadable_header)

    @property
    def left_something(self) -> bool:
        """Whether a run that was cut off has left something to settle or to remove."""
        left = (self.files.maintenance, self.files.restore, self.files.failure)
        return self.lies_open or bool(self.files.warnings) or any(one is not None for one in left)


def inspect_instance(application: Application, graph: Graph, environment: Environment) -> Inspection:
    """Read both halves; change nothing, and wait for nothing (invariant 10).

    The halves are read one after the other. If the files have changed meanwhile, another process was at work between
    the two readings, so that they do not belong together; then both are read again.

    Raises:
        DatabaseError: The database cannot be read.
        FilesError: This user may not read the files.
    """
    check_readable(application.data_dir)
    check_home(application.data_dir)
    files = inspect_data_dir(application)
    if files.restore is not None and files.restore.is_half:
        return Inspection(graph, files, unseen(files.restore.database))
    for _ in range(MOST_LOOKS):
        database, before = inspect_database(environment), files
        files = inspect_data_dir(application)
        if files == before:
            break
    versions = _versions(application, graph, files, database)
    if database.begun is not None:
        files = replace(files, way_back=_way_back(application, database, database.begun))
    elif not is_same_ledger(files, database):
        files = replace(files, way_back=_nearest(application, graph, files, database))
    else:
        files = replace(files, way_back=_before_pending(application, graph, files, database))
    return Inspection(graph, files, database, versions)


def inspect_data_dir(application: Application) -> FilesView:
    """Return what the data directory says, with its open restore, if there is one."""
    files = ledger.inspect_files(application.data_dir, application.config.version_file)
    return replace(files, restore=_open_restore(application.data_dir))


def _open_restore(data_dir: Path) -> OpenRestore | None:
    """Return the open restore; without its folder, no module that reads it is imported."""
    try:
        os.lstat(restore_folder(data_dir))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # reading the journal reports what is wrong
    from fietsupdate.backup import restore_journal

    return restore_journal.open_restore(data_dir)


def unseen(shown_url: str, *, dialect: str = "", url: str = "", file: Path | None = None) -> DatabaseView:
    """Return the view of a database that was not read, or cannot be read."""
    return DatabaseView(
        dialect,
        url,
        shown_url,
        alembic_current=(),
        revisions={},
        alembic_heads=(),
        entries=(),
        has_ledger=False,
        file=file,
    )


def _versions(application: Application, graph: Graph, files: FilesView, database: DatabaseView) -> Versions | None:
    """Compare the versions; most applications name no distribution, and spend no time on importing what does it."""
    if not application.config.distribution:
        return None
    from fietsupdate.engine.version_hooks import versions_of

    entries = database.entries or settled_entries(files, database)
    is_new = not (database.has_ledger or database.alembic_current or database.tables)
    versions = versions_of(application.with_url(database.url), entries, database.begun, is_new=is_new)
    if versions is not None and versions.too_new:
        return replace(versions, way_back=_fitting(application, graph, database, versions.installed))
    return versions


def _fitting(application: Application, graph: Graph, database: DatabaseView, installed: str) -> str:
    """Return the name of the newest backup that fits the installed version of the application; "" if none does."""
    from fietsupdate.backup.policy import newest_version
    from fietsupdate.planning.version_hooks import is_older

    for backup in _backups(application):
        what = backup.manifest
        changed_by = newest_version(what, read_entries(backup.ledger)[0])
        ours = what.is_pair and what.instance_id == database.instance_id
        if ours and not is_older(installed, changed_by) and not unknown_of(what.current, graph):
            return backup.name
    return ""


def _nearest(application: Application, graph: Graph, files: FilesView, database: DatabaseView) -> str:
    """Return the name of the backup that makes halves fit each other that do not."""
    from fietsupdate.backup.policy import nearest

    manifests = [backup.manifest for backup in _backups(application)]
    there = nearest(manifests, compare(files, database, graph), files, database)
    return there.name if there is not None else ""


def _way_back(application: Application, database: DatabaseView, begun: Begun) -> str:
    """Return the name of the backup from before an interrupted update."""
    from fietsupdate.backup.policy import backup_before

    back = backup_before(_backups(application), database.instance_id, begun.txn, fingerprint(database.entries))
    return back.name if back is not None else ""


def _before_pending(application: Application, graph: Graph, files: FilesView, database: DatabaseView) -> str:
    """Return the newest backup from before the database went past a pending update; "" if it did not."""
    applied = locate(graph, database, files).applied
    tree = RevisionTree.of(database, graph)
    if not is_past_pending(graph, tree, database, applied):
        return ""
    here = fingerprint(database.entries)
    fits = (
        one.name
        for one in _backups(application)
        if one.manifest.is_pair
        and one.manifest.instance_id == database.instance_id
        and one.manifest.tip_hash == here
        and fits_before(tree, graph, applied, one.manifest.alembic)
    )
    return next(fits, "")


def _backups(application: Application) -> tuple[Backup, ...]:
    """Return the backups; a user who may not read their folder gets none."""
    from fietsupdate.backup.places import found

    try:
        return found(application).backups
    except FilesError:
        return ()
