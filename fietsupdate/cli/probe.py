"""The command that answers orchestrators; `fietsupdate.cli.quick` gives most answers before this module is imported."""

from __future__ import annotations

from typing import Annotated

import typer

from fietsupdate.cli.options import wrong
from fietsupdate.cli.session import Session

KINDS = ("liveness", "readiness", "startup")


def probe(
    ctx: typer.Context,
    *,
    kind: Annotated[str, typer.Argument(metavar="PROBE", help="liveness, readiness or startup.")],
    database: Annotated[
        bool,
        typer.Option("--database", help="Ask the database, too; otherwise readiness and startup use the files alone."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on one line, nothing else.")] = False,
) -> int:
    """Answer an orchestrator in one line, quickly: exit code 0 for yes, 1 for no.

    liveness: a run gives signs of life, or nothing runs. readiness: the instance is up to date, by its files. startup:
    it is, or a run is on the way there.
    """
    from fietsupdate.cli.render import documents, probes

    if kind not in KINDS:
        raise wrong(
            f"There is no probe {kind!r}; there are {', '.join(KINDS)}.", hint="Type `fietsupdate probe liveness`."
        )
    session: Session = ctx.obj
    answer = session.updater().probe(kind, database=database)
    session.out.line(documents.line(probes.document(answer)) if as_json else probes.line(answer))
    return 0 if answer.passed else 1
