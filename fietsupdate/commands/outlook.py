"""What can be said of a plan before it runs: the figures of its last rehearsal, else what the scripts expect."""

from __future__ import annotations

from fietsupdate.commands.rehearsal.report import Outlook, last
from fietsupdate.commands.run import Run
from fietsupdate.engine import estimates
from fietsupdate.engine.checks import modules
from fietsupdate.model import Plan


def outlook(run: Run, plan: Plan, *, ask: bool) -> Outlook:
    """Say what is known of a plan.

    Args:
        run: A run on the instance; it is not moved.
        plan: What will be done.
        ask: Whether the scripts may be asked, where no rehearsal has come to its end: that runs their code.

    Raises:
        ScriptError: a script that is to be asked cannot be loaded.
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
