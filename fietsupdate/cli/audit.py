"""The command that compares rows with files."""

from __future__ import annotations

from typing import Annotated

import typer

from fietsupdate.cli.options import wrong
from fietsupdate.cli.session import Session

FOUND = 9
"""The exit code if there are findings."""


def audit(
    ctx: typer.Context,
    *,
    content: Annotated[
        bool, typer.Option("--content", help="Read the content of every file whose row contains its digest.")
    ] = False,
    sample: Annotated[
        str | None, typer.Option("--sample", metavar="N", help="Read the content of N of these files at random.")
    ] = None,
    from_backups: Annotated[
        bool, typer.Option("--from-backups", help="Name the backups with a copy that fits, by size and digest.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line, for each finding; the last is the summary.")
    ] = False,
) -> int:
    """Compare rows with files: which files are missing, have no row, or are not what their row says.

    It changes nothing and takes no lock. The update scripts declare which rows name which files. Exit code: 0 when all
    rows and files match, 9 when something was found.
    """
    from fietsupdate.cli.render import audit as render

    if content and sample is not None:
        raise wrong("--content reads every file, --sample some of them: they exclude each other.")
    if sample is not None and not (sample.isascii() and sample.isdigit() and int(sample)):
        raise wrong(f"--sample needs a number of files, 1 or more, not {sample!r}.", hint="--sample 100")
    session: Session = ctx.obj
    shown = render.Findings(session.out, as_json=as_json, quiet=session.quiet)
    report = session.updater().audit(
        content=content, sample=int(sample) if sample else None, from_backups=from_backups, on_finding=shown.finding
    )
    shown.summary(report.summary)
    session.check_output()
    return FOUND if report.summary.total else 0
