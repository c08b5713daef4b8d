"""The commands for backups of both halves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from fietsupdate.cli.options import AsRoot, Events, Json, LockTimeout, wrong
from fietsupdate.cli.session import Session

if TYPE_CHECKING:
    from fietsupdate.cli.render.events import EventPrinter

Dest = Annotated[
    str | None, typer.Argument(metavar="DEST", help="Folder to make it in; default: backup_dir.", show_default=False)
]
AsIs = Annotated[
    bool, typer.Option("--as-is", help="Copy halves that do not fit together, too: to keep them before a restore.")
]
Name = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="Name of a backup, or path of its folder; default: the newest of both halves."),
]


def backup(
    ctx: typer.Context,
    *,
    dest: Dest = None,
    as_is: AsIs = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Copy both halves of the instance, as they are at this moment.

    The database is dumped first, then the files are copied. The application may run meanwhile; files that change
    while they are copied are named.
    """
    from fietsupdate.cli.change import seconds
    from fietsupdate.cli.render import backups
    from fietsupdate.model.clock import now

    session: Session = ctx.obj
    if dest is not None:
        _check_folder(dest)
    with _listener(session, as_json=as_json) as on_event:
        created = session.updater().backup(
            dest, as_is=as_is, on_event=on_event, lock_timeout=seconds(lock_timeout), as_root=as_root
        )
    if as_json:
        session.out.line(backups.finished_line(created, now()))
    else:
        session.say(backups.made(created))
    return 0


def backup_list(ctx: typer.Context, *, as_json: Json = False) -> int:
    """Show the backups, newest first."""
    from fietsupdate.cli.render import backups

    session: Session = ctx.obj
    there = session.updater().backups()
    session.answer(lambda: backups.shelf(there), lambda: backups.shelf_document(there), as_json=as_json)
    return 0


def backup_verify(
    ctx: typer.Context,
    *,
    name: Name = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="Restore it into a temporary place, too, and compare the result.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Read a backup from end to end, and compare it with what was copied.

    With --restore its dump is loaded beside the live database, and its files are brought to the folder of the backups,
    as a restore does it; both are removed again. That needs the room, and the rights, that a restore needs.

    Exits with 1 when the backup is damaged, or a newer one is.
    """
    from fietsupdate.cli.render import backups

    session: Session = ctx.obj
    with _listener(session, as_json=False, quiet=as_json) as on_event:
        answer = session.updater().verify_backup(name, restore=restore, on_event=on_event)
    session.answer(lambda: backups.verified(answer), lambda: backups.verified_document(answer), as_json=as_json)
    return 0 if answer.is_good else 1


def backup_prune(
    ctx: typer.Context,
    *,
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="N", help="How many to keep, at least 1; default: as configured.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Json = False,
) -> int:
    """Remove old backups, and the remains of killed ones.

    Complete backups of both halves are counted, by their time. Attempts at one update count as one.
    """
    from fietsupdate.cli.change import seconds
    from fietsupdate.cli.render import backups

    session: Session = ctx.obj
    if keep is not None and not (keep.isascii() and keep.isdigit() and int(keep)):
        raise wrong(f"--keep needs a number of backups, 1 or more, not {keep!r}.", hint="--keep 3")
    names = session.updater().prune_backups(
        int(keep) if keep else None, dry_run=dry_run, lock_timeout=seconds(lock_timeout), as_root=as_root
    )
    session.answer(lambda: backups.pruned(names, dry_run=dry_run), lambda: {"pruned": list(names)}, as_json=as_json)
    return 0


def _listener(session: Session, *, as_json: bool, quiet: bool = False) -> EventPrinter:
    from fietsupdate.cli.render.events import listener

    return listener(session.out, as_json=as_json, quiet=quiet or session.quiet, verbose=session.verbose)


def _check_folder(dest: str) -> None:
    if not dest.strip():
        raise wrong("DEST is empty.")  # an unset variable of a shell must not mean the working directory
    if verb := _meant(dest):
        raise wrong(f"There is no 'backup {dest}', did you mean {verb!r}?", hint=f"For a folder, type ./{dest}")


def _meant(dest: str) -> str:
    """Return the verb that a word which is no folder was probably meant to be; "" for none."""
    from fietsupdate.planning.graph import closest

    if os.sep in dest or os.path.isdir(dest):
        return ""
    return closest(dest, ("list", "prune", "verify"))
