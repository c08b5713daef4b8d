"""The commands that read, and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fietsupdate.cli.options import Json, wrong
from fietsupdate.cli.session import Session

if TYPE_CHECKING:
    from fietsupdate.cli.render.diagram import Drawing


def status(
    ctx: typer.Context,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the run that another process is at until it ends, then show this.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show the position of the instance, its pending updates, and its problems."""
    from fietsupdate.cli.render import documents, text

    session: Session = ctx.obj
    updater = session.updater()
    if watch:
        from fietsupdate.cli.watch import Watcher

        Watcher(session.out, as_json=as_json).follow(updater.watch())
    answer = updater.status(imports=True)
    session.answer(lambda: text.status(answer, session.out.width), lambda: documents.status(answer), as_json=as_json)
    return 0


def check(ctx: typer.Context, *, as_json: Json = False) -> int:
    """Print in one line whether the instance is up to date.

    For entry points. Exit code: 0 okay, 3 outdated, 4 too_new, 5 unknown, 6 drifted, 7 interrupted, 8 updating;
    1 when nothing could be found out.
    """
    from fietsupdate.cli.render import documents, text
    from fietsupdate.errors import EXIT_CODES

    session: Session = ctx.obj
    answer = session.updater().status()
    session.answer(lambda: text.check(answer), lambda: documents.check(answer), as_json=as_json)
    return EXIT_CODES[answer.state]


def history(
    ctx: typer.Context,
    *,
    applied: Annotated[
        bool, typer.Option("--applied", help="The updates that are applied now, package by package.")
    ] = False,
    pending: Annotated[bool, typer.Option("--pending", help="The pending updates, package by package.")] = False,
    as_json: Json = False,
) -> int:
    """Show what was done to the instance, oldest first."""
    from fietsupdate.cli.render import documents, text

    if applied and pending:
        raise wrong("--applied and --pending exclude each other.")
    session: Session = ctx.obj
    if applied or pending:
        return _standing(session, applied=applied, as_json=as_json)
    updater = session.updater()
    entries, failure = updater.history(), updater.last_failure()
    session.answer(
        lambda: text.history(entries, session.out.width, failure),
        lambda: documents.history(entries, failure),
        as_json=as_json,
    )
    return 0


def _standing(session: Session, *, applied: bool, as_json: bool) -> int:
    """Show the updates that are applied, or those that are pending."""
    from fietsupdate.cli.render import packages

    updater = session.updater()
    folders = updater.graph().folders
    if applied:
        done = updater.applied()
        session.answer(
            lambda: packages.applied(done, folders), lambda: packages.applied_document(done), as_json=as_json
        )
    else:
        waiting = updater.status().pending
        session.answer(
            lambda: packages.pending(waiting, folders), lambda: packages.pending_document(waiting), as_json=as_json
        )
    return 0


GRAPH_FORMATS = ("text", "mermaid", "dot")
"""The forms in which `graph` draws."""


def heads(ctx: typer.Context, *, as_json: Json = False) -> int:
    """Show the updates that no other update comes after."""
    from fietsupdate.cli.render import documents, text

    session: Session = ctx.obj
    heads = session.updater().heads()
    session.answer(lambda: text.heads(heads, session.out.width), lambda: documents.heads(heads), as_json=as_json)
    return 0


def show(
    ctx: typer.Context,
    *,
    update_id: Annotated[str, typer.Argument(metavar="ID", help="Id of an update, or the beginning of one.")],
    as_json: Json = False,
) -> int:
    """Show one update, and its entries in the ledger."""
    from fietsupdate.cli.render import documents, text

    session: Session = ctx.obj
    update, applied, entries = session.updater().show(update_id)
    session.answer(
        lambda: text.show(update, entries, session.out.width, applied=applied),
        lambda: documents.show(update, entries, applied=applied),
        as_json=as_json,
    )
    return 0


def graph(
    ctx: typer.Context,
    *,
    form: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="text, mermaid, or dot for Graphviz; by default text.")
    ] = "",
    mermaid: Annotated[bool, typer.Option("--mermaid", help="The same as --format mermaid.")] = False,
    as_json: Json = False,
) -> int:
    """Draw how the updates depend on each other."""
    from fietsupdate.cli.render import documents

    session: Session = ctx.obj
    if sum([mermaid, bool(form), as_json]) > 1:
        raise wrong("--format, --mermaid and --json exclude each other.")
    if form not in {"", *GRAPH_FORMATS}:
        raise wrong(f"--format is {', '.join(GRAPH_FORMATS[:-1])} or {GRAPH_FORMATS[-1]}, not {form!r}.")
    drawing = _drawing(session)
    session.answer(
        lambda: _drawn(drawing, "mermaid" if mermaid else form, session),
        lambda: documents.graph(drawing.graph, drawing.applied, drawing.unknown),
        as_json=as_json,
    )
    return 0


def _drawn(drawing: Drawing, form: str, session: Session) -> str:
    from fietsupdate.cli.render import diagram, dot

    if form == "mermaid":
        return diagram.mermaid(drawing)
    if form == "dot":
        return dot.dot(drawing)
    return diagram.text(drawing, session.out.width, lines=session.out.draws)


def _drawing(session: Session) -> Drawing:
    """Return the drawing with the position of the instance; without it, if the instance cannot be read."""
    from fietsupdate.cli.render.diagram import Drawing
    from fietsupdate.errors import FietsupdateError

    updater = session.updater()
    whole = updater.graph()
    try:
        status = updater.status()
    except FietsupdateError as error:
        session.err.line(f"Which updates are applied is not known: {error.message}")
        return Drawing(whole)
    return Drawing(whole, frozenset(status.applied), status.current, status.unknown)
