"""Killed at any event, a restore leaves both halves as before, or as in the backup, or says that it is half done.

Then any command that changes something finishes it. Events between which nothing changes (reads, syncs) are struck
once; ``make sweep`` (``FIETSUPDATE_SWEEP=full``) strikes them all, everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from support.breaking import FULL
from support.databases import SQLITE
from support.going_back import Bench, changed_instance, left_over
from support.injection import Injection
from support.zygote import Zygote

IDLE = ("files: fsync", "files: syncfs", "sql: SELECT", "sql: PRAGMA", "sql: ROLLBACK", "sql: SHOW", "sql: BEGIN")
"""Events after which everything is as before them."""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


def changing(seen: Sequence[str]) -> list[int]:
    """Number the events before which something has changed since the one before them."""
    return [number for number in range(2, len(seen) + 1) if FULL or not seen[number - 2].startswith(IDLE)]


def commit_of(seen: Sequence[str]) -> int:
    """Number the event with which the journal says for the second time what is restored: from there it goes on."""
    journals = [number for number, event in enumerate(seen, 1) if event.startswith("files: os.rename .journal.")]
    return journals[1]


def survives(bench: Bench, number: int, *ways: str) -> None:
    """Kill the restore before an event; see that status tells the truth; go on, and see that all is whole."""
    killed = bench.break_at(Injection("kill", number))
    assert killed.was_killed, killed.output
    about = f"killed at event {number}, {killed.fired!r}"
    where, problem = bench.where(), bench.problem()
    assert bench.project.database.tables(), f"{about}: the database is empty"
    assert where != "half" or problem == "restore_interrupted", about
    for way in ways:
        bench.run(
            way, *(["--yes"] if way != "recover" else []), *(["--latest"] if way == "restore" else [])
        ).succeeded()
    now = bench.where()
    wanted = {"after"} if where != "before" or "restore" in ways or problem else {"before"}
    assert now in wanted, f"{about}: {where}, then {now}"
    assert left_over(bench.project) == [], about


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("in_data", [False, True], ids=["beside", "in-data-dir"])
def test_a_restore_killed_before_any_event_is_finished_or_has_not_begun(zygote: Zygote, in_data: bool) -> None:
    with changed_instance(zygote, SQLITE, in_data=in_data) as bench:
        seen = bench.break_at(Injection()).succeeded().seen
        assert bench.where() == "after"
        numbers = changing(seen)
        commit = commit_of(seen)
        early = [number for number in numbers if number <= commit]
        late = [number for number in numbers if number > commit]
        struck = [*early[:: 1 if FULL else 9], *late[1 :: 1 if FULL else 3]] if in_data else [*early[::6], *late[:: 1 if FULL else 2]]
        for turn, number in enumerate(struck):
            survives(bench, number, "restore" if turn % 4 == 3 else "recover")
        assert len(struck) > 20
