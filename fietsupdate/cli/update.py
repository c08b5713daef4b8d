"""The commands that change an instance."""

from __future__ import annotations

from typing import Annotated

import typer

from fietsupdate.cli.options import (
    Answers,
    AsRoot,
    BelowBaseline,
    Checks,
    DryRun,
    Events,
    LockTimeout,
    NoBackup,
    Yes,
    change_of,
    move_or_show,
)


def update(
    ctx: typer.Context,
    *,
    target: Annotated[str | None, typer.Argument(metavar="TARGET", help="Where to go.", show_default=False)] = None,
    dry_run: DryRun = False,
    checks: Checks = False,
    yes: Yes = False,
    no_backup: NoBackup = False,
    answer: Answers = None,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Apply the pending updates, up to TARGET or all of them.

    TARGET is the id of an update, the beginning of an id, +2, head or heads;
    PACKAGE:ID or PACKAGE:heads for one package.
    """
    from fietsupdate.model import Direction

    change = change_of(
        ctx, yes=yes, lock_timeout=lock_timeout, as_root=as_root, as_json=as_json, no_backup=no_backup, answers=answer
    )
    return move_or_show(change, target, Direction.UP, dry_run=dry_run, checks=checks)


def downgrade(
    ctx: typer.Context,
    *,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where to go back to.")],
    below_baseline: BelowBaseline = False,
    dry_run: DryRun = False,
    checks: Checks = False,
    yes: Yes = False,
    no_backup: NoBackup = False,
    answer: Answers = None,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Revert the updates that came after TARGET, and nothing else.

    TARGET is the id of an update, the beginning of an id, -1 or base;
    PACKAGE:ID or PACKAGE:base for one package. A baseline is the floor.
    """
    from fietsupdate.model import Direction

    change = change_of(
        ctx, yes=yes, lock_timeout=lock_timeout, as_root=as_root, as_json=as_json, no_backup=no_backup, answers=answer
    )
    change.below_baseline = below_baseline
    return move_or_show(change, target, Direction.DOWN, dry_run=dry_run, checks=checks)


def stamp(
    ctx: typer.Context,
    *,
    update_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The current updates; heads; or base.")],
    with_alembic: Annotated[
        bool,
        typer.Option("--with-alembic", help="Set Alembic's version table, too, to what these updates need."),
    ] = False,
    yes: Yes = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Record the position of the instance, without running anything."""
    change = change_of(ctx, yes=yes, lock_timeout=lock_timeout, as_root=as_root, as_json=as_json)
    return change.stamp(update_ids, with_alembic=with_alembic)


def recover(
    ctx: typer.Context,
    *,
    accept: Annotated[
        bool, typer.Option("--accept", help="The interrupted update was mended by hand: record it as finished.")
    ] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete what recovery has set aside, and saved bytes.")
    ] = False,
    yes: Yes = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Finish or undo what an interrupted run left."""
    change = change_of(ctx, yes=yes, lock_timeout=lock_timeout, as_root=as_root, as_json=as_json)
    return change.recover(accept=accept, purge=purge)
