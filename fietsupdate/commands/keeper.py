"""Keeper: the commands that restore single files or put files away, and change no row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from fietsupdate.commands.author import Author
from fietsupdate.config.application import activated
from fietsupdate.model.listeners import Listener

if TYPE_CHECKING:
    from fietsupdate.backup.policy import Despite
    from fietsupdate.commands.quarantine import Quarantined, StrayFiles
    from fietsupdate.commands.quarantines import Purged, QuarantineList, ReleasedFiles
    from fietsupdate.commands.restore_files import FilesCandidate, RestoredFiles


class Keeper(Author):
    """The commands that change files alone."""

    def restore_files_plan(
        self,
        paths: Sequence[str],
        name: str | None = None,
        *,
        despite: Collection[Despite] = (),
        as_root: bool = True,
    ) -> FilesCandidate:
        """Return what `restore_files` would bring back, and raise its refusals.

        The files in the backup are not read.
        """
        from fietsupdate.commands.restore_files import check

        with self._run(as_root=as_root) as run:
            return check(run, name, paths, despite)

    def restore_files(
        self,
        paths: Sequence[str],
        name: str | None = None,
        *,
        despite: Collection[Despite] = (),
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
    ) -> RestoredFiles:
        """Bring single files back from a backup; no row changes, and no existing file is replaced.

        Args:
            paths: Files, or folders with everything in them: relative to the data directory, ``NAME:PATH`` in a
                further root, or absolute.
            name: Name of a backup, or path of its folder; ``None`` for the newest that contains all of the paths.
            despite: The obstacles that the user overrides.
            on_event: Called with every event.
            lock_timeout: Seconds to wait for another updater; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.

        Raises:
            FietsupdateError: The restore failed; nothing was changed.
        """
        from fietsupdate.commands.restore_files import restore_files

        with self._run(on_event, lock_timeout, as_root=as_root) as run:
            return restore_files(run, name, paths, despite)

    # -- quarantine

    def quarantine_plan(self, strays: int | None = None, *, as_root: bool = True) -> StrayFiles:
        """Return the files that `quarantine` would move, and raise its refusals. Changes nothing."""
        from fietsupdate.commands.quarantine import check

        with self._run(as_root=as_root) as run:
            return check(run, strays)

    def quarantine(
        self,
        strays: int | None = None,
        *,
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
    ) -> Quarantined:
        """Put the owned files that no row names into quarantine.

        Args:
            strays: The exact number of those files; required if more than a tenth of the owned files would be moved.
            on_event: Called with every event.
            lock_timeout: Seconds to wait for another updater; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.

        Raises:
            RefusedError: A table that names files is empty, a root looks unmounted, or the number differs.
            FietsupdateError: The command failed; nothing was changed.
        """
        from fietsupdate.commands.quarantine import quarantine

        with self._run(on_event, lock_timeout, as_root=as_root) as run:
            return quarantine(run, strays)

    def quarantines(self, name: str | None = None) -> QuarantineList:
        """Return the quarantines, newest first; with a name, that one with its files. No database is needed.

        Raises:
            UsageError: No quarantine has this name.
        """
        from fietsupdate.commands.quarantines import listed

        with activated(self.config) as site:
            return listed(site, name)

    def release(
        self,
        words: Sequence[str] = (),
        *,
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
    ) -> ReleasedFiles:
        """Release files from quarantine; a file whose path is taken stays there, and is reported.

        Args:
            words: Names of quarantines, and paths as for `restore_files`; none for everything.
            on_event: Called with every event.
            lock_timeout: Seconds to wait for another updater; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.

        Raises:
            FietsupdateError: The release failed; nothing was changed.
        """
        from fietsupdate.commands.quarantines import release

        with self._run(on_event, lock_timeout, as_root=as_root) as run:
            return release(run, words)

    def purge_plan(self, older_than: timedelta | None = None, names: Sequence[str] = ()) -> Purged:
        """Return the quarantines that `purge` would delete. Changes nothing; no database is needed."""
        from fietsupdate.commands.quarantines import purgeable

        with activated(self.config) as site:
            return purgeable(site, older_than, names)

    def purge(
        self,
        older_than: timedelta | None = None,
        names: Sequence[str] = (),
        *,
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
    ) -> Purged:
        """Delete quarantines for good.

        Args:
            older_than: Delete quarantines of at least this age; ``None`` for the named ones only.
            names: Delete these; with `older_than`, only the old ones among them.
            on_event: Called with every event.
            lock_timeout: Seconds to wait for another updater; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.

        Raises:
            FietsupdateError: The deletion failed; every quarantine that was not deleted is complete.
        """
        from fietsupdate.commands.quarantines import purge

        with self._run(on_event, lock_timeout, as_root=as_root) as run:
            return purge(run, older_than, names)
