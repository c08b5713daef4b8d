"""The command that goes back to a backup: choose, ask, run, tell."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from fietsupdate.cli.options import AsRoot, Events, LockTimeout, wrong
from fietsupdate.cli.session import Session

if TYPE_CHECKING:
    from fietsupdate.backup.policy import Despite
    from fietsupdate.updater import Updater

DECLINED = "Nothing was changed."


def restore(
    ctx: typer.Context,
    *,
    backup: Annotated[
        str | None,
        typer.Argument(metavar="BACKUP", help="Name of a backup, or path of its folder.", show_default=False),
    ] = None,
    latest: Annotated[
        bool,
        typer.Option(
            "--latest", help="Take the newest backup that can be restored, and that the installed version fits."
        ),
    ] = False,
    despite: Annotated[
        list[str] | None,
        typer.Option(
            "--despite",
            metavar="WHAT",
            help="Restore although the backup is of another instance (instance), is at updates that this code does "
            "not know (version), or is not as it was made (damage); or although the application runs (running), "
            "or other instances have their tables in the same database (tenants).",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be replaced, refuse what would be refused; do nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", "--force", "-f", help="Do not ask. Only --despite overrides a refusal.")
    ] = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Take both halves back to a backup.

    Without BACKUP and --latest it is chosen from a list, on a terminal. Everything is brought beside what is live and
    looked at there; then both halves are exchanged, in steps that any later command finishes after a crash.
    """
    from fietsupdate.cli.change import seconds
    from fietsupdate.cli.render import restores
    from fietsupdate.cli.render.events import listener

    session: Session = ctx.obj
    if backup is not None and latest:
        raise wrong("BACKUP and --latest exclude each other.")
    accepted = _accepted(despite or ())
    updater = session.updater()
    if backup is None and not latest:
        backup = _chosen(session, updater)
        if backup is None:
            return _declined(session)
    if dry_run:
        what = updater.restore_plan(backup, despite=accepted, as_root=as_root)
        session.answer(lambda: restores.question(what), lambda: restores.document(what), as_json=as_json)
        return 0
    if not session.agreed(yes=yes):
        what = updater.restore_plan(backup, despite=accepted, as_root=as_root)
        if not _is_wanted(session, restores.question(what)):
            return _declined(session)
        backup = str(what.backup.path)
    session.ran = True
    with listener(session.out, as_json=as_json, quiet=session.quiet, verbose=session.verbose) as tell:
        done = updater.restore(
            backup, despite=accepted, on_event=tell, lock_timeout=seconds(lock_timeout), as_root=as_root
        )
    if not as_json:
        session.say(restores.done(done))
    return 0


def _accepted(words: Collection[str]) -> tuple[Despite, ...]:
    from fietsupdate.backup.policy import Despite

    known = [str(one) for one in Despite]
    for word in words:
        if word not in known:
            raise wrong(f"--despite takes {', '.join(known)}, not {word!r}.")
    return tuple(Despite(word) for word in words)


def _chosen(session: Session, updater: Updater) -> str | None:
    """Let somebody on a terminal choose from a list."""
    from fietsupdate.cli.render import restores
    from fietsupdate.errors import UsageError

    if not session.can_ask:
        raise UsageError(
            "Which backup? There is no terminal to choose one on.",
            stands=DECLINED,
            hint="Name it, or say --latest; 'fietsupdate backup list' shows them.",
        )
    backups = updater.restorable()
    if not backups:
        raise UsageError("There is no backup that can be restored here.", hint="fietsupdate backup list")
    session.err.line(f"{restores.choice(backups)}\n")
    number = session.choose("Which one?", len(backups))
    return str(backups[number - 1].path) if number else None


def _is_wanted(session: Session, question: str) -> bool:
    """Show what would be replaced, and ask; only on a terminal."""
    session.require_terminal(dry_run=True)
    session.err.line(f"{question}\n")
    return session.ask("Do this now?")


def _declined(session: Session) -> int:
    session.err.line(DECLINED)
    return 1
