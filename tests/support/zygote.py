"""The pytest plugin's warm process, for the projects of these tests and with their ways to break it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from fietsupdate.testing import forkserver
from support.databases import ASYNC_DRIVERS, SERVERS
from support.injection import Injection
from support.paths import TESTS
from support.projects import Project, Result

STRUCK: Counter[str] = Counter()
"""How many events this process has struck, by database and by what was done there."""


@dataclass(frozen=True)
class Run(Result):
    """The result of a run."""

    fired: str
    """The event that was struck, or "" when there was none with its number."""
    seen: tuple[str, ...]
    """Every event up to the end, or up to the kill."""

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -9


class Zygote(forkserver.Zygote):
    """A warm process; close it in the end."""

    def __init__(self) -> None:
        super().__init__("support.zygote", TESTS)

    def run(self, project: Project, args: Sequence[str], injection: Injection | None = None) -> Run:
        """Run ``fietsupdate`` in a project's folder, as `Project.run` does, and break it on the way."""
        servers = {name: value for name, value in os.environ.items() if name.startswith("FIETSUPDATE_TEST_")}
        environ = {**project._environment(None), **servers}
        done = self.command([*project.options, *args], folder=project.root, environ=environ, injection=injection)
        if injection is not None and done.fired:
            STRUCK[f"{project.database.kind}, {injection.action}"] += 1
        return Run(done.args, done.code, done.stdout, done.stderr, done.fired, done.seen)


if __name__ == "__main__":
    for url in (*SERVERS.values(), *(f"{driver}://" for driver in ASYNC_DRIVERS.values()), "sqlite://"):
        sa.create_engine(url)
    forkserver.serve(Injection)
