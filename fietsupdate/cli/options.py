"""The options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fietsupdate.cli.change import Change
    from fietsupdate.errors import UsageError
    from fietsupdate.model import Direction

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
Events = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for each event.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and refuse what would be refused; run nothing.")]
Checks = Annotated[
    bool, typer.Option("--checks", help="With --dry-run: make the checks of scripts and application, too.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", "--force", "-f", help="Do not ask. Nothing overrides a refusal.")]
LockTimeout = Annotated[
    str | None,
    typer.Option("--lock-timeout", metavar="SECONDS", help="How long to wait for another updater; 0: do not wait."),
]
NoBackup = Annotated[
    bool, typer.Option("--no-backup", help="Make no backup first, not even where an update is not atomic.")
]
BelowBaseline = Annotated[
    bool,
    typer.Option(
        "--below-baseline",
        help="Revert the baseline, too: Alembic drops what the database held before the first update.",
    ),
]
Answers = Annotated[
    list[str] | None,
    typer.Option(
        "--answer",
        metavar="NAME=VALUE",
        help="Answer a question of an update script; ID:NAME=VALUE for one update alone. May be given several times.",
    ),
]
AsRoot = Annotated[bool, typer.Option("--as-root", help="Let root work on another user's data directory.")]


def wrong(message: str, hint: str = "") -> UsageError:
    """Return the error of a command line that makes no sense."""
    from fietsupdate.errors import UsageError

    return UsageError(message, hint=hint)


def answers_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """Return the values of ``--answer``.

    Raises:
        UsageError: A value is no ``NAME=VALUE``, or a name is answered twice.
    """
    answers: dict[str, str] = {}
    for pair in pairs or ():
        name, has_value, value = pair.partition("=")
        if not has_value or not name:
            raise wrong(f"--answer needs NAME=VALUE, not {pair!r}.", hint="--answer language=en")
        if answers.setdefault(name, value) != value:
            raise wrong(f"--answer {name} is given twice, as {answers[name]!r} and as {value!r}.")
    return answers


def change_of(  # the options that several commands share
    ctx: typer.Context,
    *,
    yes: bool,
    lock_timeout: str | None,
    as_root: bool,
    as_json: bool,
    no_backup: bool = False,
    answers: Sequence[str] | None = None,
) -> Change:
    """Return the options of a command that changes an instance."""
    from fietsupdate.cli.change import Change, seconds

    return Change(
        ctx.obj,
        yes=yes,
        lock_timeout=seconds(lock_timeout),
        as_root=as_root,
        as_json=as_json,
        backup="never" if no_backup else None,
        answers=answers_of(answers),
    )


def move_or_show(change: Change, target: str | None, direction: Direction, *, dry_run: bool, checks: bool) -> int:
    """Move the instance to a target, or with ``--dry-run`` only show the plan.

    Raises:
        UsageError: ``--checks`` stands without ``--dry-run``.
    """
    if dry_run:
        return change.dry_run(target, direction, checks=checks)
    if checks:
        raise wrong("--checks belongs to --dry-run; a real run makes all checks anyway.", hint="--dry-run --checks")
    return change.move(target, direction)
