"""Kill an update at every file-changing call and SQL statement: each time it must be complete, or have left no trace.

A real child process runs the real command, and is ended by SIGKILL right before its k-th event, for every k until a run
ends by itself. After each kill the instance is recovered, alternately by ``recover`` and by ``update`` itself, and
compared.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fietsupdate.errors import EXIT_CODES
from fietsupdate.model import Event, UpdateState
from fietsupdate.testing.forkserver import Result, Zygote
from fietsupdate.testing.injection import Injection
from fietsupdate.testing.instance import TemporaryInstance
from fietsupdate.testing.states import InstanceSnapshot, State, differences, listed, state_of

INTERRUPTED = EXIT_CODES[UpdateState.INTERRUPTED]


@dataclass(frozen=True)
class Swept:
    """The result of a sweep."""

    kills: int
    """How often the update was killed."""
    undone: int
    """How often the update was undone by recovery."""
    done: int
    """How often the update was complete after recovery, or after it was run again."""
    half: int
    """How often a half-done revision could not be resumed: on databases that commit each schema change (MariaDB)."""


class Sweep:
    """One update of one instance, killed repeatedly. The instance must be right before the update.

    Args:
        instance: The instance; afterwards it is as it was.
        update_id: The update.
        zygote: Runs the commands.
        folder: An empty folder for a copy of the instance.
    """

    def __init__(self, instance: TemporaryInstance, update_id: str, zygote: Zygote, folder: Path) -> None:
        self._instance, self._update_id, self._zygote = instance, update_id, zygote
        self._before = state_of(instance)
        self._loses = instance.status().not_transactional
        self._snapshot = InstanceSnapshot(instance, folder)
        self._declares = any(update.declares for update in instance.graph().updates.values())
        self._audits = {self._audit()}
        self._after, self._unsteady = self._whole()
        self._audits.add(self._audit())
        self._between = self._steps()

    def close(self) -> None:
        """Restore the instance to the state before the update."""
        self._snapshot.restore()
        self._snapshot.drop()

    def run(self, every: int) -> Swept:
        """Kill the update before its first event and every `every`-th one after that.

        Raises:
            AssertionError: The instance was neither as before nor as after; the message names the event and the
                differences.
        """
        ends: dict[str, int] = {"undone": 0, "done": 0, "half": 0}
        turn = 0
        for turn, number in enumerate(count(1, every)):
            self._snapshot.restore()
            killed = self._command(*self._args, injection=Injection("kill", number))
            if not killed.was_killed:
                self._succeeded(killed)
                break
            about = f"Killed before event {number} ({killed.fired})"
            end = self._end(about, recovers=turn % 2 == 0)
            ends[end] += 1
            self._compare(about, end)
        return Swept(turn, **ends)

    @property
    def _args(self) -> tuple[str, ...]:
        return "update", self._update_id, "--yes"

    def _steps(self) -> Sequence[State]:
        """Return the states in which a run may end between two transactions; a single update has none."""
        return ()

    def _whole(self) -> tuple[State, frozenset[str]]:
        """Run the update twice, without a fault; return its result, and the parts that differed between the runs."""
        states = []
        for _ in range(2):
            self._snapshot.restore()
            self._succeeded(self._command(*self._args))
            states.append(state_of(self._instance))
        first, second = states
        if first.keys() != second.keys():
            lines = differences(second, first, first.keys())
            raise AssertionError(
                f"{self._update_id} leads somewhere else each time it runs; the second time, against the first:\n"
                f"{listed(lines)}\n"
                "A sweep can only tell 'after' from 'half' when names do not depend on chance or on the clock."
            )
        if first == self._before:
            raise AssertionError(f"{self._update_id} changes nothing: is it applied already?")
        return first, frozenset(key for key in first if first[key] != second[key])

    def _end(self, about: str, *, recovers: bool) -> str:
        if recovers:
            self._command("recover", "--yes")
            if end := self._end_after_recovery(about):
                return end
        done = self._command(*self._args, "--json")
        if done.code != 0 and self._loses and _error(done) == "revision_failed":
            return "half"
        if done.code != 0:
            raise AssertionError(f"{about}, {self._update_id} cannot be run again:\n{_shown(done)}")
        if lines := self._from_after():
            raise AssertionError(
                f"{about} and run again, {self._update_id} is not what it is without a kill:\n{listed(lines)}\n"
                f"{self._why()}"
            )
        return "done"

    def _end_after_recovery(self, about: str) -> str:
        now = state_of(self._instance)
        to_before = differences(now, self._before)
        to_after = differences(now, self._after, self._unsteady)
        if to_before and to_after:
            if any(not differences(now, step, self._unsteady) for step in self._between):
                return ""  # each transaction is complete; another run applies the rest
            if self._command("check").code == INTERRUPTED:
                return ""  # an update that cannot be atomic here is resumed when it is run again
            nearer = "before" if len(to_before) <= len(to_after) else "after"
            raise AssertionError(
                f"{about} and recovered, the instance is neither as before {self._update_id} nor as after it. "
                f"Against {nearer}:\n{listed(min(to_before, to_after, key=len))}\n{self._why()}"
            )
        return "done" if to_before else "undone"

    def _audit(self) -> str:
        """Compare rows with files, where anything is declared of them; return what was found."""
        if not self._declares:
            return ""
        found = self._command("audit")
        return "" if found.code == 0 else _shown(found)

    def _compare(self, about: str, end: str) -> None:
        """Check that rows and files match, unless they do not even in an unbroken run, or the update is half done."""
        if end != "half" and (found := self._audit()) not in self._audits:
            raise AssertionError(f"{about}, rows and files do not match in the end:\n{found}")

    def _from_after(self) -> list[str]:
        return differences(state_of(self._instance), self._after, self._unsteady)

    def _why(self) -> str:
        update = self._instance.graph().updates[self._update_id]
        if not update.atomic:
            return (
                f"{update.path} does not say `atomic = True`: its hooks must look what is done already, "
                "as they may run again after half of their work."
            )
        if self._loses:
            return f"Here {self._loses}: hooks may run again after half of their work, and must look what is done."
        return (
            "Change files with self.files and rows with self.connection: what other programs and C libraries write, "
            "and what is committed on other connections, cannot be undone."
        )

    def _command(self, *args: str, injection: Injection | None = None) -> Result:
        instance = self._instance
        environ = instance.whole_environ()
        return self._zygote.command(
            args, folder=instance.top, environ=environ, injection=injection, config=instance.config
        )

    def _succeeded(self, run: Result) -> None:
        if run.code != 0:
            raise AssertionError(f"{self._update_id} fails even without a kill:\n{_shown(run)}")


def sweep(instance: TemporaryInstance, update_id: str, *, every: int = 1) -> Swept:
    """Kill an update at every event, recover, and check that it is complete, or has left no trace.

    Args:
        instance: Must be right before the update, with data in it; afterwards it is as it was.
        update_id: The update's exact id.
        every: The step from one struck event to the next: for a quick look.

    Raises:
        AssertionError: The instance was neither as before nor as after; the message names the event and the
            differences.
    """
    with _bench(instance, update_id) as bench:
        return bench.run(every)


class VersionSweep(Sweep):
    """A change of version of one instance: its updates, each version hook, and the entry that ends it.

    Each of them is a transaction of its own; the instance must be right before the first.
    """

    @property
    def _args(self) -> tuple[str, ...]:
        return "update", "--yes"

    def _steps(self) -> Sequence[State]:
        self._snapshot.restore()
        states: list[State] = []

        def note_state(event: Event) -> None:
            if event.event == "update_begun":
                states.append(state_of(self._instance))

        self._instance.run(lambda: self._instance.updater.update(on_event=note_state))
        return states[1:]

    def _why(self) -> str:
        self._snapshot.restore()
        steps = self._instance.run(self._instance.updater.plan).steps
        if names := [step.update.update_id for step in steps if step.not_atomic]:
            return (
                f"Not atomic here: {', '.join(names)}. Such a function must look what is done already, as it may run "
                "again after half of its work. One that takes (script, config) can be atomic."
            )
        return (
            "Change files with script.files and rows with script.connection: what other programs and C libraries "
            "write, and what is committed on other connections, cannot be undone."
        )


def sweep_version(instance: TemporaryInstance, version: str, *, every: int = 1) -> Swept:
    """Kill a change of version at every event; in the end, each update and hook of it must have run exactly once.

    Args:
        instance: Sees the newer release, and must be right before its update, with data in it; afterwards it is as it
            was.
        version: The id of the entry that ends the change, ``distribution==version``.
        every: The step from one struck event to the next: for a quick look.

    Raises:
        AssertionError: The instance was neither as before nor as after; the message names the event and the
            differences.
    """
    with _bench(instance, version, VersionSweep) as bench:
        return bench.run(every)


@contextmanager
def _bench(instance: TemporaryInstance, update_id: str, kind: type[Sweep] = Sweep) -> Iterator[Sweep]:
    with tempfile.TemporaryDirectory() as folder, Zygote(folder=Path(folder)) as zygote:
        bench = kind(instance, update_id, zygote, Path(folder))
        try:
            yield bench
        finally:
            bench.close()


def _error(run: Result) -> str:
    lines: Sequence[str] = run.stdout.splitlines() or ["{}"]
    return str(json.loads(lines[-1]).get("error", {}).get("code", ""))


def _shown(run: Result) -> str:
    return f"$ fietsupdate {' '.join(run.args)}\n{run.stdout}{run.stderr}"
