"""The commands for files that no row names: put away, list, release, delete for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fietsupdate.cli.options import AsRoot, Events, Json, LockTimeout, Yes, wrong
from fietsupdate.cli.session import Session

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from fietsupdate.cli.render.events import EventPrinter

Strays = Annotated[
    str | None,
    typer.Option(
        "--strays",
        metavar="N",
        help="How many files without a row there are, exactly; needed where they are more than a tenth of all.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Name what would be moved, refuse what would be refused; move nothing.")
]
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="WHAT",
        help="Name of a quarantine; or a file or folder, as for restore --only. Default: everything.",
        show_default=False,
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Delete this one only; may be several.", show_default=False),
]
Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Show the files that are in this one.", show_default=False)
]
OlderThan = Annotated[
    str | None,
    typer.Option("--older-than", metavar="AGE", help="Delete those that were made before so much time: 30d, 12h."),
]
Unasked = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Accepted, as by all commands that change something; releasing asks nothing."),
]
PurgeDryRun = Annotated[bool, typer.Option("--dry-run", help="Name what would be deleted; delete nothing.")]


def quarantine(
    ctx: typer.Context,
    *,
    strays: Strays = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Move the files that no row names out of the way, to .fietsupdate/quarantine; no row changes.

    It is refused where a table that names files is empty, where a volume looks unmounted, and where more than a tenth
    of the owned files would go and their number is not typed. `fietsupdate quarantine release` brings them back.
    """
    from fietsupdate.cli.change import seconds
    from fietsupdate.cli.render import quarantines as render

    session: Session = ctx.obj
    number, updater = _number(strays), session.updater()
    if dry_run or not session.agreed(yes=yes):
        plan = updater.quarantine_plan(number, as_root=as_root)
        if dry_run:
            session.answer(lambda: render.plan(plan), lambda: render.plan_document(plan), as_json=as_json)
            return 0
        if plan.files and not _is_wanted(session, render.plan(plan)):
            return 1
        number = len(plan.files) or None
    with _listener(session, as_json=as_json) as on_event:
        done = updater.quarantine(number, on_event=on_event, lock_timeout=seconds(lock_timeout), as_root=as_root)
    return _said(session, render.moved(done), as_json=as_json)


def quarantine_list(ctx: typer.Context, *, name: Name = None, as_json: Json = False) -> int:
    """Show what is in quarantine, newest first."""
    from fietsupdate.cli.render import quarantines as render

    session: Session = ctx.obj
    there = session.updater().quarantines(name)
    session.answer(lambda: render.shown(there), lambda: render.document(there), as_json=as_json)
    return 0


def quarantine_release(
    ctx: typer.Context,
    *,
    words: Words = None,
    yes: Unasked = False,  # noqa: ARG001  # nothing is asked
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Bring files back from quarantine, with the former modes and times of files and folders.

    No existing file is replaced: a file whose path is taken stays in quarantine, and is reported.
    """
    from fietsupdate.cli.change import seconds
    from fietsupdate.cli.render import quarantines as render

    session: Session = ctx.obj
    with _listener(session, as_json=as_json) as on_event:
        done = session.updater().release(
            words or (), on_event=on_event, lock_timeout=seconds(lock_timeout), as_root=as_root
        )
    _said(session, render.released(done), as_json=as_json)
    return 1 if done.occupied else 0


def quarantine_purge(
    ctx: typer.Context,
    *,
    names: Names = None,
    older_than: OlderThan = None,
    dry_run: PurgeDryRun = False,
    yes: Yes = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Delete the content of quarantines for good: those older than an age, or named ones."""
    from fietsupdate.cli.change import seconds
    from fietsupdate.cli.render import quarantines as render
    from fietsupdate.commands.quarantines import age

    session: Session = ctx.obj
    if older_than is None and not names:
        raise wrong("What is to be deleted? Say --older-than AGE, or name it.", hint="--older-than 30d")
    before, updater = age(older_than) if older_than is not None else None, session.updater()
    plan = updater.purge_plan(before, names or ())
    if dry_run:
        session.answer(lambda: render.purgeable(plan), lambda: render.purge_document(plan), as_json=as_json)
        return 0
    if not session.agreed(yes=yes) and plan.quarantines and not _is_wanted(session, render.purgeable(plan)):
        return 1
    chosen, timeout = [one.name for one in plan.quarantines] or names or (), seconds(lock_timeout)
    with _listener(session, as_json=as_json) as on_event:
        done = updater.purge(before, chosen, on_event=on_event, lock_timeout=timeout, as_root=as_root)
    return _said(session, render.purged(done), as_json=as_json)


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise wrong(f"--strays needs a number of files, not {text!r}.", hint="--strays 3")
    return int(text)


def _is_wanted(session: Session, question: str) -> bool:
    """Show what would be done, and ask; only on a terminal."""
    from fietsupdate.errors import UNCHANGED

    session.require_terminal(dry_run=True)
    session.err.line(f"{question}\n")
    if session.ask("Do this now?"):
        return True
    session.err.line(UNCHANGED)
    return False


def _listener(session: Session, *, as_json: bool) -> AbstractContextManager[EventPrinter]:
    from fietsupdate.cli.render.events import listener

    session.ran = True
    return listener(session.out, as_json=as_json, quiet=session.quiet, verbose=session.verbose)


def _said(session: Session, text: str, *, as_json: bool) -> int:
    if not as_json:
        session.say(text)
    return 0
