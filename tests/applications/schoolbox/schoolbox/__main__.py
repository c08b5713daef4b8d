"""The program: it brings its home up to date as it starts, unless it is told not to."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from fietsupdate import FietsupdateError, ensure_current
from schoolbox.home import execute

app = typer.Typer()


@app.callback()
def start(
    *, skip_update: Annotated[bool, typer.Option("--skip-update", help="Start on the data as it is.")] = False
) -> None:
    """Teach without a network."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    if skip_update:
        return
    try:
        ensure_current(Path(__file__).parents[1] / "alembic.ini")
    except FietsupdateError as error:
        typer.echo(f"{error.message}\n{error.stands}\n{error.hint}", err=True)
        raise typer.Exit(error.exit_code) from error


@app.command()
def lessons() -> None:
    """Print the titles of all lessons."""
    for (title,) in execute("SELECT title FROM lesson ORDER BY file"):
        typer.echo(title)


@app.command()
def version() -> None:
    """Print the version of the program."""
    from importlib.metadata import version as installed

    typer.echo(installed("schoolbox"))


if __name__ == "__main__":
    app()
