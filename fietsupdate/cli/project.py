"""The commands for developers, which write files of the project and never touch an instance."""

from __future__ import annotations

from typing import Annotated

import typer

from fietsupdate.cli.options import wrong
from fietsupdate.cli.session import Session

UpdateId = Annotated[
    str | None, typer.Argument(metavar="ID", help="Id of the update; without it, a random one.", show_default=False)
]
Message = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="What the update does.")]
Previous = Annotated[
    list[str] | None, typer.Option("--previous", metavar="ID", help="What it comes after; default: the heads.")
]
Folder = Annotated[
    str | None, typer.Option("--folder", metavar="FOLDER", help="Where to put it, if there are several folders.")
]
Autogenerate = Annotated[
    bool, typer.Option("--autogenerate", help="Let Alembic write a revision for it, from the models.")
]
Release = Annotated[
    str | None, typer.Option("--release", metavar="VERSION", help="Only mark a release: all heads become one.")
]
Merge = Annotated[bool, typer.Option("--merge", help="Join several heads.")]


def init(
    ctx: typer.Context,
    *,
    data_dir: Annotated[
        str,
        typer.Option("--data-dir", metavar="PATH", help="The data directory, as it shall stand in the configuration."),
    ] = "",
    alembic_config: Annotated[
        str,
        typer.Option(
            "--alembic-config",
            metavar="CALLABLE",
            help="Where no file configures Alembic: the package.module:callable that does.",
        ),
    ] = "",
) -> int:
    """Add fietsupdate to an application that has Alembic already.

    Appends a section to its configuration, makes a folder for update scripts and writes the baseline script.
    """
    from fietsupdate.cli.render import text

    session: Session = ctx.obj
    updater = session.updater_class()
    if not data_dir and session.can_ask:
        data_dir = _asked_data_dir(session)
    done = updater.init(
        *session.files, section=session.section, x=session.x, data_dir=data_dir, alembic_config=alembic_config
    )
    session.say(text.initialised(done))
    return 0


def _asked_data_dir(session: Session) -> str:
    """Ask for the data directory if several folders are likely; return "" for the first of them."""
    from fietsupdate.commands.revision import data_dirs

    likely = data_dirs(session.files, section=session.section)
    if len(likely) < 2:  # noqa: PLR2004  # there is nothing to choose from
        return ""
    for number, path in enumerate(likely, start=1):
        session.err.line(f"  {number}. {path}")
    chosen = session.choose("Which folder holds the application's files?", len(likely))
    return likely[(chosen or 1) - 1]


def revision(
    ctx: typer.Context,
    *,
    update_id: UpdateId = None,
    message: Message = "",
    previous: Previous = None,
    folder: Folder = None,
    autogenerate: Autogenerate = False,
    release: Release = None,
    merge: Merge = False,
) -> int:
    """Write a new update script from the template."""
    session: Session = ctx.obj
    if release is not None and update_id is not None:
        raise wrong("--release VERSION is the id already; give one of the two.", hint=f"--release {release}")
    updater = session.updater()
    path = updater.revision(
        release or update_id,
        message=message,
        previous=tuple(previous or ()),
        folder=folder,
        merge=merge,
        release=release is not None,
        autogenerate=autogenerate,
    )
    session.say(str(path))
    if note := updater.ahead_of(path):
        session.err.line(f"Note: {note}")
    return 0
