"""The command line: parse, call `fietsupdate.updater.Updater`, render, exit.

Nothing but typer is imported before a command runs, so that ``--help`` and shell scripts do not wait.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fietsupdate import __version__
from fietsupdate.arguments import Command, Program
from fietsupdate.session import Session

if TYPE_CHECKING:
    from fietsupdate.change import Change
    from fietsupdate.errors import UsageError
    from fietsupdate.render.diagram import Drawing

SYSTEM = os.name
"""What `main` looks at: locks, ownership and durability are POSIX's here."""

app = typer.Typer(
    cls=Program,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    subcommand_metavar="COMMAND ...",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The options above may stand before or after the command.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]
Events = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for each event.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and refuse what would be refused; run nothing.")]
Checks = Annotated[bool, typer.Option("--checks", help="With --dry-run: run the scripts' check hooks, too.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", "--force", "-f", help="Do not ask. Nothing overrides a refusal.")]
LockTimeout = Annotated[
    str | None,
    typer.Option("--lock-timeout", metavar="SECONDS", help="How long to wait for another updater; 0: do not wait."),
]
AsRoot = Annotated[bool, typer.Option("--as-root", help="Let root work on somebody else's data directory.")]


@app.callback(options_metavar="[-c FILE]... [-n SECTION] [-x KEY=VALUE]... [-v|-q] [--traceback]")
def program(
    ctx: typer.Context,
    *,
    config: Annotated[
        list[str] | None, typer.Option("--config", "-c", metavar="FILE", help="An alembic.ini or a pyproject.toml.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", metavar="SECTION", help="Alembic's section in the INI file.")
    ] = None,
    x: Annotated[
        list[str] | None, typer.Option("-x", metavar="KEY=VALUE", help="An argument for env.py, as in Alembic.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Tell of phases and revisions, too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error comes from.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Change the database and the data directory of an application as one."""
    session: Session = ctx.obj
    if version:
        session.out.line(f"fietsupdate {__version__}")
        raise typer.Exit
    if verbose and quiet:
        raise _wrong("-v and -q exclude each other.")
    session.files, session.section, session.x = tuple(config or ()), name, tuple(x or ())
    session.verbose, session.quiet, session.traceback = verbose, quiet, traceback


@app.command(cls=Command)
def init(
    ctx: typer.Context,
    *,
    data_dir: Annotated[
        str,
        typer.Option("--data-dir", metavar="PATH", help="The data directory, as it shall stand in the configuration."),
    ] = "",
) -> int:
    """Add fietsupdate to an application that has Alembic already.

    Appends a section to its configuration, makes a folder for update scripts and writes the baseline script.
    """
    from fietsupdate.render import console

    session: Session = ctx.obj
    done = session.updater_class().init(*session.files, section=session.section, x=session.x, data_dir=data_dir)
    session.say(console.initialised(done))
    return 0


@app.command(cls=Command)
def status(ctx: typer.Context, *, as_json: Json = False) -> int:
    """Show where the instance is, what waits, and what is wrong."""
    from fietsupdate.render import console, documents

    session: Session = ctx.obj
    answer = session.updater().status()
    session.answer(lambda: console.status(answer, session.out.width), lambda: documents.status(answer), as_json=as_json)
    return 0


@app.command(cls=Command)
def update(
    ctx: typer.Context,
    *,
    target: Annotated[str | None, typer.Argument(metavar="TARGET", help="Where to go.", show_default=False)] = None,
    dry_run: DryRun = False,
    checks: Checks = False,
    yes: Yes = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Apply the updates that wait: up to TARGET, or all of them.

    TARGET is the id of an update, the beginning of an id, +2, head or heads.
    """
    from fietsupdate.model import Direction

    change = _change(ctx, yes=yes, lock_timeout=lock_timeout, as_root=as_root, as_json=as_json)
    if _is_dry(dry_run, checks=checks):
        return change.dry_run(target, Direction.UP, checks=checks)
    return change.move(target, Direction.UP)


@app.command(cls=Command)
def downgrade(
    ctx: typer.Context,
    *,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Where to go back to.")],
    dry_run: DryRun = False,
    checks: Checks = False,
    yes: Yes = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Revert the updates that came after TARGET, and nothing else.

    TARGET is the id of an update, the beginning of an id, -1 or base.
    """
    from fietsupdate.model import Direction

    change = _change(ctx, yes=yes, lock_timeout=lock_timeout, as_root=as_root, as_json=as_json)
    if _is_dry(dry_run, checks=checks):
        return change.dry_run(target, Direction.DOWN, checks=checks)
    return change.move(target, Direction.DOWN)


@app.command(cls=Command)
def revision(
    ctx: typer.Context,
    *,
    update_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Id of the update; without it, a random one.", show_default=False)
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="What the update does.")] = "",
    previous: Annotated[
        list[str] | None, typer.Option("--previous", metavar="ID", help="What it comes after; default: the heads.")
    ] = None,
    folder: Annotated[
        str | None, typer.Option("--folder", metavar="FOLDER", help="Where to put it, if there are several folders.")
    ] = None,
    autogenerate: Annotated[
        bool, typer.Option("--autogenerate", help="Let Alembic write a revision for it, from the models.")
    ] = False,
    release: Annotated[
        str | None, typer.Option("--release", metavar="VERSION", help="Only mark a release: all heads become one.")
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Join several heads.")] = False,
) -> int:
    """Write a new update script from the template."""
    session: Session = ctx.obj
    if release is not None and update_id is not None:
        raise _wrong("--release VERSION is the id already; give one of the two.", hint=f"--release {release}")
    path = session.updater().revision(
        release or update_id,
        message=message,
        previous=tuple(previous or ()),
        folder=folder,
        merge=merge,
        release=release is not None,
        autogenerate=autogenerate,
    )
    session.say(str(path))
    return 0


@app.command(cls=Command)
def check(ctx: typer.Context, *, as_json: Json = False) -> int:
    """Say in one line whether the instance is up to date.

    For entry points. Exit code: 0 okay, 3 outdated, 4 too_new, 5 unknown, 6 drifted, 7 interrupted, 8 updating;
    1 when nothing could be found out.
    """
    from fietsupdate.errors import EXIT_CODES
    from fietsupdate.render import console, documents

    session: Session = ctx.obj
    answer = session.updater().status()
    session.answer(lambda: console.check(answer), lambda: documents.check(answer), as_json=as_json)
    return EXIT_CODES[answer.state]


@app.command(cls=Command)
def history(ctx: typer.Context, *, as_json: Json = False) -> int:
    """Show what was done to the instance, oldest first."""
    from fietsupdate.render import console, documents

    session: Session = ctx.obj
    entries = session.updater().history()
    session.answer(
        lambda: console.history(entries, session.out.width), lambda: documents.history(entries), as_json=as_json
    )
    return 0


@app.command(cls=Command)
def heads(ctx: typer.Context, *, as_json: Json = False) -> int:
    """Show the updates that no other update comes after."""
    from fietsupdate.render import console, documents

    session: Session = ctx.obj
    found = session.updater().heads()
    session.answer(lambda: console.heads(found, session.out.width), lambda: documents.heads(found), as_json=as_json)
    return 0


@app.command(cls=Command)
def show(
    ctx: typer.Context,
    *,
    update_id: Annotated[str, typer.Argument(metavar="ID", help="Id of an update, or the beginning of one.")],
    as_json: Json = False,
) -> int:
    """Show one update, and what the ledger says of it."""
    from fietsupdate.render import console, documents

    session: Session = ctx.obj
    found, applied, entries = session.updater().show(update_id)
    session.answer(
        lambda: console.show(found, entries, session.out.width, applied=applied),
        lambda: documents.show(found, entries, applied=applied),
        as_json=as_json,
    )
    return 0


@app.command(cls=Command)
def graph(
    ctx: typer.Context,
    *,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Write a Mermaid flowchart.")] = False,
    as_json: Json = False,
) -> int:
    """Draw how the updates depend on each other."""
    from fietsupdate.render import diagram, documents

    session: Session = ctx.obj
    if mermaid and as_json:
        raise _wrong("--mermaid and --json exclude each other.")
    drawing = _drawing(session)
    session.answer(
        lambda: (
            diagram.mermaid(drawing) if mermaid else diagram.text(drawing, session.out.width, lines=session.out.draws)
        ),
        lambda: documents.graph(drawing.graph, drawing.applied, drawing.unknown),
        as_json=as_json,
    )
    return 0


@app.command(cls=Command)
def stamp(
    ctx: typer.Context,
    *,
    update_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="What the instance is at; or base.")],
    yes: Yes = False,
    lock_timeout: LockTimeout = None,
    as_root: AsRoot = False,
    as_json: Events = False,
) -> int:
    """Record what the instance is at, without running anything."""
    return _change(ctx, yes=yes, lock_timeout=lock_timeout, as_root=as_root, as_json=as_json).stamp(update_ids)


@app.command(cls=Command)
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
    change = _change(ctx, yes=yes, lock_timeout=lock_timeout, as_root=as_root, as_json=as_json)
    return change.recover(accept=accept, purge=purge)


def _wrong(message: str, hint: str = "") -> UsageError:
    from fietsupdate.errors import UsageError

    return UsageError(message, hint=hint)


def _change(ctx: typer.Context, *, yes: bool, lock_timeout: str | None, as_root: bool, as_json: bool) -> Change:
    from fietsupdate.change import Change, seconds

    return Change(ctx.obj, yes=yes, lock_timeout=seconds(lock_timeout), as_root=as_root, as_json=as_json)


def _is_dry(dry_run: bool, *, checks: bool) -> bool:
    if checks and not dry_run:
        raise _wrong("--checks belongs to --dry-run; a real run makes all checks anyway.", hint="--dry-run --checks")
    return dry_run


def _drawing(session: Session) -> Drawing:
    """Look at the instance, too; a graph without its marks is drawn where that fails."""
    from fietsupdate.errors import FietsupdateError
    from fietsupdate.render.diagram import Drawing

    updater = session.updater()
    whole = updater.graph()
    try:
        seen = updater.status()
    except FietsupdateError as error:
        session.err.line(f"Which updates are applied is not known: {error.message}")
        return Drawing(whole)
    return Drawing(whole, frozenset(seen.applied), seen.current, seen.unknown)


def main(arguments: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Run one command line and give its exit code. Nothing is raised.

    Args:
        arguments: The words after the program's name; by default the process's own.
        session: Where the updater comes from and output goes; by default the real ones.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    session = session or Session()
    session.as_json = "--json" in words
    session.traceback = "--traceback" in words
    root: Any = typer.main.get_command(app)
    try:
        if SYSTEM != "posix":
            session.err.line("fietsupdate runs on POSIX systems only: Linux, macOS, the BSDs.")
            return 1
        with root.make_context("fietsupdate", words, obj=session) as ctx:
            return int(root.invoke(ctx) or 0)
    except typer.Exit as end:
        return end.exit_code
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001  # the one place where all ends
        return session.fail(error)
    finally:
        session.close()
