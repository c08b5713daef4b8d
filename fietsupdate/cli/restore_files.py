"""``restore --only``: bring single files back, as requested on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fietsupdate.cli.session import Session

if TYPE_CHECKING:
    from fietsupdate.backup.policy import Despite
    from fietsupdate.commands.restore_files import FilesCandidate
    from fietsupdate.updater import Updater


@dataclass(frozen=True)
class FilesRequest:
    """A request to restore single files; without a name, the backup is the newest one that contains all of them."""

    session: Session
    updater: Updater
    despite: tuple[Despite, ...]
    lock_timeout: float | None
    as_root: bool
    as_json: bool
    paths: tuple[str, ...]

    def plan(self, backup: str | None) -> FilesCandidate:
        """Return what would be brought back; refuse what a run would refuse."""
        return self.updater.restore_files_plan(self.paths, backup, despite=self.despite, as_root=self.as_root)

    def show(self, backup: str | None) -> int:
        """Print what would be brought back; change nothing."""
        from fietsupdate.cli.render import restored_files

        plan = self.plan(backup)
        self.session.answer(
            lambda: restored_files.question(plan), lambda: restored_files.document(plan), as_json=self.as_json
        )
        return 0

    def ask_and_run(self, backup: str | None) -> int:
        """Show what would be brought back, and do it after a confirmation; only on a terminal."""
        from fietsupdate.cli.render import restored_files
        from fietsupdate.errors import UNCHANGED

        plan = self.plan(backup)
        self.session.require_terminal(dry_run=True)
        self.session.err.show(f"{restored_files.question(plan)}\n")
        if self.session.ask("Do this now?"):
            return self.run(str(plan.backup.path))
        self.session.err.line(UNCHANGED)
        return 1

    def run(self, backup: str | None) -> int:
        """Bring the files back, and print the progress."""
        from fietsupdate.cli.render import restored_files
        from fietsupdate.cli.render.events import listener

        session = self.session
        session.ran = True
        with listener(session.out, as_json=self.as_json, quiet=session.quiet, verbose=session.verbose) as on_event:
            restored = self.updater.restore_files(
                self.paths,
                backup,
                despite=self.despite,
                on_event=on_event,
                lock_timeout=self.lock_timeout,
                as_root=self.as_root,
            )
        if not self.as_json:
            session.say(restored_files.done(restored))
        return 0
