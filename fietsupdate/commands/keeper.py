"""Keeper: the commands that restore single files or put files away, and change no row."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from fietsupdate.commands.author import Author
from fietsupdate.model.listeners import Listener

if TYPE_CHECKING:
    from fietsupdate.backup.policy import Despite
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
