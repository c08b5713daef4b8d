"""What is known about a plan before it runs: the figures of its last rehearsal, or else the scripts' estimates."""

from __future__ import annotations

from fietsupdate.commands.rehearsal.report import Outlook, last
from fietsupdate.commands.run import Run
from fietsupdate.engine import estimates
from fietsupdate.engine.checks import modules
from fietsupdate.model import Plan


def outlook(run: Run, plan: Plan, *, ask: bool) -> Outlook:
    """Return what is known about a plan.

    Args:
        run: A run on the instance; it changes nothing.
        plan: The plan.
        ask: Whether the scripts may be asked if no rehearsal was completed: asking runs their code.

    Raises:
        ScriptError: A script that is to be asked cannot be loaded.
    """
    rehearsal = last(run.application.data_dir)
    if rehearsal is not None and not rehearsal.is_for(plan):
        rehearsal = None
    if not ask or not plan.steps or (rehearsal is not None and rehearsal.failure is None):
        return Outlook(rehearsal)
    application = run.application.with_url(run.inspect().database.url)
    asked = estimates.ask(
        plan,
        modules(plan),
        application.settings,
        application.data_dir,
        application.config.extra_dirs,
        answers=run.given,
    )
    return Outlook(rehearsal, asked)
