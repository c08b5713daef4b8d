"""Author: the commands for developers, which write new scripts and set a project up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fietsupdate.commands.runner import Runner

if TYPE_CHECKING:
    from fietsupdate.commands.init import Initialised


class Author(Runner):
    """The commands that write files of a project, and change no instance."""

    def revision(  # the arguments are the command's options
        self, update_id: str | None = None, **options: Any
    ) -> Path:
        """Write a new update script; see `fietsupdate.commands.revision.draft` for the options.

        Raises:
            FietsupdateError: Nothing was written.
        """
        from fietsupdate.commands.revision import draft

        with self._entered() as (application, graph):
            return draft(self.config, graph, application.folders, update_id, **options)

    def ahead_of(self, path: Path) -> str:
        """Return what to do if the database already has the Alembic revision of a new script; "" if it does not.

        Args:
            path: A script that `revision` has written.
        """
        from fietsupdate.commands.revision import ahead_of

        with self._run() as run:
            return ahead_of(run, path)

    @staticmethod
    def init(
        *files: str | Path,
        section: str | None = None,
        x: Sequence[str] = (),
        data_dir: str = "",
        alembic_config: str = "",
    ) -> Initialised:
        """Add fietsupdate to an existing Alembic setup; see `fietsupdate.commands.init.init`."""
        from fietsupdate.commands.revision import initialise

        return initialise(files, section=section, x=x, data_dir=data_dir, alembic_config=alembic_config)
