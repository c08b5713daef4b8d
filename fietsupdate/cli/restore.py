"""The command that restores a backup: choose, ask, run, report."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fietsupdate.cli.options import AsRoot, Events, LockTimeout, wrong
from fietsupdate.cli.restore_files import FilesRequest
from fietsupdate.cli.session import Session

if TYPE_CHECKING:
    from fietsupdate.backup.policy import Despite
    from fietsupdate.commands.restore import Candidate
    from fietsupdate.updater import Updater

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="BACKUP", help="Name of a backup, or path of its folder; after --only, more paths.", show_default=False
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="PATH",
        help="Bring back only this file, or folder with all that is in it, where it is missing; the database stays as "
        "it is. Below the data directory, NAME:PATH in a further root, or absolute. May be given several times.",
    ),
]
Latest = Annotated[
    bool,
    typer.Option("--latest", help="Take the newest backup that can be restored, and that the installed version fits."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--despite",
        metavar="WHAT",
        help="Restore although the backup is of another instance (instance), is at updates that this code does "
        "not know (version), or is not as it was made (damage); or although the application runs (running), "
        "or other instances have their tables in the same database (tenants).",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be replaced, refuse what would be refused; do nothing.")
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", "--force", "-f", help="Do not ask. Only --despite overrides a refusal.")
]


def restore(
    ctx: typer.Context,
    *,
    backup: Words = None,
    latest: Latest = False,
    only: Only = None,
    despite: Overrides = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Take both halves back to a backup.

    Without BACKUP and --latest, the backup is chosen from a list, on a terminal. Everything is brought beside the live
    halves and checked there; then both halves are exchanged, in steps that any later command finishes after a crash.

    With --only, missing files are brought back; no existing file is replaced.
    """
    from fietsupdate.cli.change import seconds

    session: Session = ctx.obj
    name, paths = _read_words(backup or (), only or (), latest=latest)
    accepted = _accepted(despite or ())
    given = (session, session.updater(), accepted, seconds(lock_timeout), as_root, as_json)
    request = FilesRequest(*given, paths) if paths else _Request(*given)
    if name is None and not latest and not paths:
        name = _chosen(session, request.updater)
        if name is None:
            return _declined(session)
    if dry_run:
        return request.show(name)
    return request.run(name) if session.agreed(yes=yes) else request.ask_and_run(name)


@dataclass(frozen=True)
class _Request:
    """A restore as the command line asks for it; ``None`` in place of a backup is the newest one that fits."""

    session: Session
    updater: Updater
    despite: tuple[Despite, ...]
    lock_timeout: float | None
    as_root: bool
    as_json: bool

    def plan(self, backup: str | None) -> Candidate:
        """Return what would be replaced; raise the errors with which a run would refuse."""
        return self.updater.restore_plan(backup, despite=self.despite, as_root=self.as_root)

    def show(self, backup: str | None) -> int:
        """Print what would be replaced; change nothing."""
        from fietsupdate.cli.render import restores

        plan = self.plan(backup)
        self.session.answer(lambda: restores.question(plan), lambda: restores.document(plan), as_json=self.as_json)
        return 0

    def ask_and_run(self, backup: str | None) -> int:
        """Show what would be replaced, and restore after a yes; only on a terminal."""
        from fietsupdate.cli.render import restores

        plan = self.plan(backup)
        self.session.require_terminal(dry_run=True)
        self.session.err.show(f"{restores.question(plan)}\n")
        return self.run(str(plan.backup.path)) if self.session.ask("Do this now?") else _declined(self.session)

    def run(self, backup: str | None) -> int:
        """Restore, printing what happens."""
        from fietsupdate.cli.render import restores
        from fietsupdate.cli.render.events import listener

        session = self.session
        session.ran = True
        with listener(session.out, as_json=self.as_json, quiet=session.quiet, verbose=session.verbose) as on_event:
            restored = self.updater.restore(
                backup,
                despite=self.despite,
                on_event=on_event,
                lock_timeout=self.lock_timeout,
                as_root=self.as_root,
            )
        if not self.as_json:
            session.say(restores.done(restored))
        return 0


def _read_words(words: Sequence[str], only: Sequence[str], *, latest: bool) -> tuple[str | None, tuple[str, ...]]:
    """Separate the backup from the paths: after ``--only A``, further words are paths, too.

    Raises:
        UsageError: They make no sense.
    """
    named = 0 if latest else 1
    backup = words[0] if words and named else None
    if words[named:] and not only:
        if latest:
            raise wrong("BACKUP and --latest exclude each other.")
        raise wrong(f"One backup is restored at a time, not {' and '.join(words)}.")
    return backup, (*only, *words[named:])


def _accepted(words: Collection[str]) -> tuple[Despite, ...]:
    from fietsupdate.backup.policy import Despite

    known = [str(one) for one in Despite]
    for word in words:
        if word not in known:
            raise wrong(f"--despite takes {', '.join(known)}, not {word!r}.")
    return tuple(Despite(word) for word in words)


def _chosen(session: Session, updater: Updater) -> str | None:
    """Let the administrator choose a backup from a list on the terminal."""
    from fietsupdate.cli.render import restores
    from fietsupdate.errors import UNCHANGED, UsageError

    if not session.can_ask:
        raise UsageError(
            "Which backup? There is no terminal to choose one on.",
            stands=UNCHANGED,
            hint="Name it, or say --latest; `fietsupdate backup list` shows them.",
        )
    backups = updater.restorable()
    if not backups:
        raise UsageError("There is no backup that can be restored here.", hint="Type `fietsupdate backup list`.")
    session.err.show(f"{restores.choice(backups)}\n")
    number = session.choose("Which one?", len(backups))
    return str(backups[number - 1].path) if number else None


def _declined(session: Session) -> int:
    from fietsupdate.errors import UNCHANGED

    session.err.line(UNCHANGED)
    return 1
