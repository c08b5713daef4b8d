"""The command line: parse, call `fietsupdate.updater.Updater`, render, exit.

Nothing but typer is imported before a command runs, so that ``--help`` and shell scripts do not wait.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from fietsupdate import __version__
from fietsupdate.arguments import Command, Program
from fietsupdate.commands import changing, copies, reading, rehearsing, restoring, writing
from fietsupdate.commands.options import wrong
from fietsupdate.session import Session

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
        raise wrong("-v and -q exclude each other.")
    session.files, session.section, session.x = tuple(config or ()), name, tuple(x or ())
    session.verbose, session.quiet, session.traceback = verbose, quiet, traceback


for command in (
    writing.init,
    reading.status,
    changing.update,
    changing.downgrade,
    writing.revision,
    reading.check,
    reading.history,
    reading.heads,
    reading.show,
    reading.graph,
    changing.stamp,
    changing.recover,
):
    app.command(cls=Command)(command)

verbs: dict[str, Callable[..., int]] = {
    "rehearse": rehearsing.rehearse,
    "restore": restoring.restore,
    "backup": copies.backup,
    "backup list": copies.backup_list,
    "backup verify": copies.backup_verify,
    "backup prune": copies.backup_prune,
}
for words, verb in verbs.items():
    app.command(words, cls=Command)(verb)


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
        from fietsupdate.process import ignored

        with ignored():
            return session.fail(error)
    finally:
        session.close()
