"""Notes on the command line, with typer; migrations as ``alembic init`` writes them."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from fietsupdate import FietsupdateError, ensure_current

HERE = Path(__file__).parent
app = typer.Typer()


@app.callback()
def start(
    *,
    skip_update: Annotated[
        bool, typer.Option("--skip-update", envvar="NOTES_SKIP_UPDATE", help="Start on the data as it is.")
    ] = False,
) -> None:
    """Keep notes."""
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    if skip_update:
        return
    try:
        ensure_current(HERE / "alembic.ini")
    except FietsupdateError as error:
        typer.echo(f"{error.message}\n{error.stands}\n{error.hint}", err=True)
        raise typer.Exit(error.exit_code) from error


@app.command()
def show(number: int) -> None:
    """Print a note."""
    typer.echo((HERE / "data" / f"{number}.txt").read_text())


@app.command()
def count() -> None:
    """Say how many notes there are."""
    with closing(sqlite3.connect(HERE / "notes.db")) as connection:
        typer.echo(connection.execute("SELECT count(*) FROM note").fetchone()[0])


if __name__ == "__main__":
    app()
