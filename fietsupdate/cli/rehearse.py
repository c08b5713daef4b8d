"""The command that tries updates on a clone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fietsupdate.cli.options import Answers, AsRoot, Json, LockTimeout, answers_of
from fietsupdate.cli.session import Session

if TYPE_CHECKING:
    from fietsupdate.commands.rehearsal.report import Rehearsal

Target = Annotated[str | None, typer.Argument(metavar="TARGET", help="Where to go, as for update.", show_default=False)]
RoundTrip = Annotated[
    bool, typer.Option("--round-trip", help="Revert the updates afterwards, compare, and apply them again.")
]


def rehearse(
    ctx: typer.Context,
    *,
    target: Target = None,
    round_trip: RoundTrip = False,
    answer: Answers = None,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Json = False,
) -> int:
    """Run the pending updates on a clone of both halves, and report what they do and how long they take.

    The real instance is locked while it is cloned, and never changed. The clone is removed in the end. Exits with 1
    when an update fails, or when reverting does not restore what was there.
    """
    from fietsupdate.cli.change import seconds
    from fietsupdate.cli.render.events import listener

    session: Session = ctx.obj
    updater = session.updater()
    with listener(session.out, as_json=False, quiet=session.quiet or as_json, verbose=session.verbose) as on_event:
        rehearsal = updater.rehearse(
            target,
            round_trip=round_trip,
            on_event=on_event,
            lock_timeout=seconds(lock_timeout),
            as_root=as_root,
            answers=answers_of(answer),
        )
    return _reported(session, rehearsal, as_json=as_json)


def _reported(session: Session, rehearsal: Rehearsal | None, *, as_json: bool) -> int:
    """Print the report of the rehearsal, and return the exit code."""
    from fietsupdate.cli.render import rehearsal as render

    failure = rehearsal.failure if rehearsal is not None else None
    if session.traceback and failure is not None:
        session.err.write(failure.trace)
    session.answer(
        lambda: "Nothing to rehearse." if rehearsal is None else f"\n{render.report(rehearsal, session.out.width)}",
        lambda: render.document(rehearsal),
        as_json=as_json,
    )
    return 0 if failure is None else 1
