"""The command line: parse, call `fietsupdate.updater.Updater`, render, exit.

Only typer is imported before a command runs, so that ``--help`` and shell scripts do not wait.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from fietsupdate import __version__
from fietsupdate.cli import audit, backup, probe, project, quarantine, rehearse, restore, status, update
from fietsupdate.cli.options import wrong
from fietsupdate.cli.parser import Command, Program
from fietsupdate.cli.session import Session

SYSTEM = os.name
"""The system that `main` checks: locks, ownership and durability are implemented for POSIX only."""

COMMANDS: dict[str, Callable[..., int]] = {
    "init": project.init,
    "status": status.status,
    "update": update.update,
    "downgrade": update.downgrade,
    "revision": project.revision,
    "check": status.check,
    "probe": probe.probe,
    "history": status.history,
    "heads": status.heads,
    "show": status.show,
    "graph": status.graph,
    "audit": audit.audit,
    "quarantine": quarantine.quarantine,
    "quarantine list": quarantine.quarantine_list,
    "quarantine release": quarantine.quarantine_release,
    "quarantine purge": quarantine.quarantine_purge,
    "stamp": update.stamp,
    "recover": update.recover,
    "rehearse": rehearse.rehearse,
    "restore": restore.restore,
    "backup": backup.backup,
    "backup list": backup.backup_list,
    "backup verify": backup.backup_verify,
    "backup prune": backup.backup_prune,
}


Completion = Annotated[
    str | None,
    typer.Option("--show-completion", metavar="SHELL", help="Print the completion script for bash, zsh or fish."),
]


def global_options(
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
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Report phases and revisions, too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error comes from.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    completion: Completion = None,
) -> None:
    """Change the database and the data directory of an application as one."""
    session: Session = ctx.obj
    if version:
        session.out.line(f"fietsupdate {__version__}")
        raise typer.Exit
    if completion is not None:
        _show_completion(session, completion)
        raise typer.Exit
    if verbose and quiet:
        raise wrong("-v and -q exclude each other.")
    session.files, session.section, session.x = tuple(config or ()), name, tuple(x or ())
    session.verbose, session.quiet, session.traceback = verbose, quiet, traceback


def _show_completion(session: Session, shell: str) -> None:
    from fietsupdate.cli.shells import SCRIPTS

    if shell not in SCRIPTS:
        raise wrong(f"--show-completion knows {', '.join(SCRIPTS)}, not {shell!r}.")
    session.out.write(SCRIPTS[shell])


def build_app(commands: Mapping[str, Callable[..., int]]) -> typer.Typer:
    """Build the program with these commands."""
    app = typer.Typer(
        cls=Program,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        subcommand_metavar="COMMAND ...",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="The options above may stand before or after the command.",
    )
    app.callback(options_metavar="[-c FILE]... [-n SECTION] [-x KEY=VALUE]... [-v|-q] [--traceback]")(global_options)
    for words, command in commands.items():
        app.command(words, cls=Command)(command)
    return app


app = build_app(COMMANDS)


def process() -> int:
    """Run the command line of this process, and return its exit code.

    If nothing was to be changed, Python's garbage collection at exit is skipped: with everything that Alembic imports,
    it takes a quarter of the time of `status`.
    """
    _open_standard_streams()
    session = Session()
    code = main(session=session)
    if not session.ran:
        gc.freeze()
    return code


def _open_standard_streams() -> None:
    """Open /dev/null where a standard stream is closed, as in ``>&-``.

    Otherwise the next opened file, a database perhaps, would get its number, and output would be written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)  # os.dup2 to the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _check_working_directory() -> None:
    try:
        os.getcwd()  # os.getcwd does not need pathlib
    except FileNotFoundError:
        from fietsupdate.errors import UNCHANGED, ConfigError

        raise ConfigError(
            "The directory in which this command runs does not exist any more.",
            stands=UNCHANGED,
            hint="Go to one that exists ('cd' with its name, also with the same one), then repeat the command.",
        ) from None


def _help_last(words: Sequence[str]) -> list[str]:
    """Turn ``help COMMAND``, as in Fietsboek's updater, into ``COMMAND --help``."""
    return [*words[1:], "--help"] if words and words[0] == "help" else list(words)


def main(arguments: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Run one command line and return its exit code. Nothing is raised.

    Args:
        arguments: The words after the program's name; by default the process's own.
        session: Provides the updater and the output; by default the real ones.
    """
    words = _help_last(sys.argv[1:] if arguments is None else arguments)
    session = session or Session()
    session.as_json = "--json" in words
    session.traceback = "--traceback" in words
    # typer takes time for each command; if the first word names a command, only that one is needed.
    named = {name: command for name, command in COMMANDS.items() if words and name.split()[0] == words[0]}
    root: Any = typer.main.get_command(build_app(named) if named else app)
    try:
        if SYSTEM != "posix":
            session.err.line("fietsupdate runs on POSIX systems only: Linux, macOS, the BSDs.")
            return 1
        _check_working_directory()
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
