"""Killed at any event, a restore leaves both halves as before, or as in the backup, or says that it is half done.

Then any command that changes something finishes it. Events between which nothing changes (reads, syncs) are struck
once; ``make sweep`` (``FIETSUPDATE_SWEEP=full``) strikes them all, everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import pytest

from support.breaking import FULL
from support.databases import MARIADB, POSTGRESQL, SQLITE
from support.going_back import Bench, broken_off_instance, changed_instance, left_over
from support.injection import FILES, Injection
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


def sample(numbers: Sequence[int], count: int) -> list[int]:
    """Give so many of these, evenly; all of them in a whole sweep."""
    return [*numbers] if FULL else [numbers[len(numbers) * turn // count] for turn in range(count)]


def moves_of(seen: Sequence[str]) -> int:
    """Number the event that moves the first live file away."""
    return next(number for number, event in enumerate(seen, 1) if event == "files: os.rename VERSION")


def survives(bench: Bench, number: int, *ways: str) -> None:
    """Kill the restore before an event; see that status tells the truth; go on, and see that all is whole."""
    killed = bench.break_at(Injection("kill", number))
    assert killed.was_killed, killed.output
    about = f"killed at event {number}, {killed.fired!r}"
    where, problem = bench.where(), bench.problem()
    assert bench.project.database.tables(), f"{about}: the database is empty"
    assert where != "half" or problem in {"restore_interrupted", "interrupted" if bench.breaks_off else ""}, about
    if bench.breaks_off and where == "after":
        ways = ("recover",)  # the dump's other half is used up
    for way in ways:
        bench.run(
            way, *(["--yes"] if way != "recover" else []), *(["--latest"] if way == "restore" else [])
        ).succeeded()
    now = bench.where()
    wanted = {"after"} if where != "before" or "restore" in ways or problem else {"before"}
    assert now in wanted, f"{about}: {where}, then {now}"
    assert now == "before" or bench.is_exact(), about
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
        struck = [*sample(early, 4), *sample(late, 5 if in_data else 18)]
        for turn, number in enumerate(struck):
            survives(bench, number, "restore" if turn % 4 == 3 else "recover")
        assert len(late) >= 30


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_a_restore_killed_on_a_server_never_leaves_an_empty_database(zygote: Zygote, kind: str) -> None:
    """Struck are the exchange of the databases, and what comes before and after it."""
    with changed_instance(zygote, kind) as bench:
        seen = bench.break_at(Injection()).succeeded().seen
        assert bench.where() == "after"
        numbers, commit = changing(seen), commit_of(seen)
        exchange = [number for number in numbers if commit < number < moves_of(seen)]
        others = [number for number in numbers if number not in exchange]
        for number in [*(others if FULL else ()), *sample(exchange, 2)]:
            survives(bench, number, "recover")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [SQLITE, MARIADB])
def test_a_restore_of_an_ordinary_user_can_be_killed_too(zygote: Zygote, kind: str) -> None:
    """He may not write into every folder of his own, and on MariaDB he has no right beyond his databases."""
    with changed_instance(zygote, kind, user=4712) as bench:
        seen = bench.break_at(Injection()).succeeded().seen
        assert bench.where() == "after"
        numbers, commit = changing(seen), commit_of(seen)
        late = [number for number in numbers if number > commit]
        for number in [*(numbers if FULL else ()), *sample(late, 5 if kind == SQLITE else 2)]:
            survives(bench, number, "recover")


@pytest.mark.timeout(3600)
def test_a_transaction_that_is_played_back_can_be_killed_too(zygote: Zygote) -> None:
    """The other half of a dump is the vault of an update that broke off."""
    with broken_off_instance(zygote) as bench:
        seen = bench.break_at(Injection()).succeeded().seen
        assert bench.where() == "after"
        numbers, commit = changing(seen), commit_of(seen)
        for number in [*sample([one for one in numbers if one <= commit], 2), *sample(numbers[-60:], 7)]:
            survives(bench, number, "restore")


@pytest.mark.timeout(3600)
def test_what_finishes_a_restore_can_be_killed_again_and_again(zygote: Zygote) -> None:
    with changed_instance(zygote, SQLITE) as bench:
        seen = bench.break_at(Injection()).succeeded().seen
        assert bench.break_at(Injection("kill", moves_of(seen) + 1)).was_killed
        for number in range(20, 400, 1 if FULL else 13):
            killed = bench.run("recover", injection=Injection("kill", number))
            if not killed.was_killed:
                killed.succeeded()
                break
            assert bench.where() != "half" or bench.problem() == "restore_interrupted", killed.fired
        assert bench.where() == "after"
        assert left_over(bench.project) == []


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["ENOSPC", "EIO"])
def test_a_call_that_fails_leaves_nothing_changed_or_says_what_is_half_done(zygote: Zygote, name: str) -> None:
    with changed_instance(zygote, SQLITE) as bench:
        seen = bench.break_at(Injection(kinds=(FILES,))).succeeded().seen
        for number in sample(range(8 + (name == "EIO") * 5, len(seen)), 5):
            failed = bench.break_at(Injection(name, number, kinds=(FILES,)))
            about = f"{failed.fired}: {failed.told}"
            where = bench.where()
            if failed.code == 0:  # it was the removal of something that need not be there
                assert where == "after", about
                continue
            failed.exited(1)
            assert ("Nothing was changed" in failed.told) <= (where == "before"), about
            assert where != "half" or "The instance is half restored" in failed.told, about
            bench.run("recover").succeeded()
            assert bench.where() == ("before" if "Nothing was changed" in failed.told else "after"), about
            assert left_over(bench.project) == [], about
