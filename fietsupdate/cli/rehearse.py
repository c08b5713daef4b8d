"""The command that tries updates on a clone."""

from __future__ import annotations

from typing import Annotated

import typer

from fietsupdate.cli.options import Answers, AsRoot, Json, LockTimeout, answers_of
from fietsupdate.cli.session import Session


def rehearse(
    ctx: typer.Context,
    *,
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="Where to go, as for update.", show_default=False)
    ] = None,
    round_trip: Annotated[
        bool, typer.Option("--round-trip", help="Revert the updates afterwards, compare, and apply them again.")
    ] = False,
    answer: Answers = None,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Json = False,
) -> int:
    """Run the updates that wait on a clone of both halves, and report what they do and how long they take.

    The real instance is locked while it is cloned, and never changed. The clone is removed in the end. Exits with 1
    when an update fails, or when reverting does not restore what was there.
    """
    from fietsupdate.cli.change import seconds
    from fietsupdate.cli.render import rehearsal
    from fietsupdate.cli.render.events import listener

    session: Session = ctx.obj
    updater = session.updater()
    with listener(session.out, as_json=False, quiet=session.quiet or as_json, verbose=session.verbose) as tell:
        found = updater.rehearse(
            target,
            round_trip=round_trip,
            on_event=tell,
            lock_timeout=seconds(lock_timeout),
            as_root=as_root,
            answers=answers_of(answer),
        )
    if session.traceback and found is not None and found.failure is not None:
        session.err.write(found.failure.trace)
    session.answer(
        lambda: "Nothing to rehearse." if found is None else f"\n{rehearsal.report(found, session.out.width)}",
        lambda: rehearsal.document(found),
        as_json=as_json,
    )
    return 1 if found is not None and found.failure is not None else 0
