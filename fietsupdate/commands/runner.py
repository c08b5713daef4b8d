"""Runner: how each call that works on an instance begins: the configuration is entered, the arguments are gathered."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from fietsupdate.commands.observer import Observer
from fietsupdate.model import Policy
from fietsupdate.model.listeners import Listener, ignore
from fietsupdate.model.questions import NONE_GIVEN, GivenAnswers, from_environment

if TYPE_CHECKING:
    from fietsupdate.commands.run import Run


class Runner(Observer):
    """The base of the commands: it makes the `Run` of each call."""

    @contextlib.contextmanager
    def _run(
        self,
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        *,
        as_root: bool = True,
        backup: str | None = None,
        below_baseline: bool = False,
        given: GivenAnswers = NONE_GIVEN,
    ) -> Iterator[Run]:
        from fietsupdate.commands.run import Run

        seconds = self.config.lock_timeout if lock_timeout is None else lock_timeout
        with self._entered() as (application, graph):
            policy = Policy(backup) if backup else None
            yield Run(application, graph, on_event or ignore, seconds, as_root, policy, below_baseline, given)

    @staticmethod
    def _given(answers: Mapping[str, str] | None, *, unattended: bool = True) -> GivenAnswers:
        return GivenAnswers(dict(answers or {}), from_environment(os.environ), unattended)
