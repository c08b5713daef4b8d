"""Killed before any file-changing call or SQL statement, an instance comes to a state of before or after, whole.

``make sweep`` (``FIETSUPDATE_SWEEP=full``) strikes every event everywhere, and prints what it did; otherwise each event
of the small application on SQLite, and a stride of them elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from support.breaking import CALLS, FULL, VERBS, Bench, every, example_application, small_application
from support.databases import MARIADB, POSTGRESQL, SQLITE
from support.injection import COMMIT, COMMITTED, Injection
from support.zygote import Zygote

SMALL = [
    pytest.param((SQLITE, "async", VERBS, 43), id="sqlite-async-verbs"),
    pytest.param((SQLITE, "stock", CALLS, 23), id="sqlite-stock-calls"),
    pytest.param((POSTGRESQL, "stock", VERBS, 61), id="postgresql-stock-verbs"),
    pytest.param((POSTGRESQL, "async", CALLS, 83), id="postgresql-async-calls"),
    pytest.param((MARIADB, "stock", VERBS, 83), id="mariadb-stock-verbs"),
    pytest.param((MARIADB, "stock", CALLS, 97), id="mariadb-stock-calls"),
]
AGAIN = [
    pytest.param((SQLITE, VERBS, 29), id="sqlite-verbs"),
    pytest.param((SQLITE, CALLS, 37), id="sqlite-calls"),
    pytest.param((POSTGRESQL, VERBS, 61), id="postgresql-verbs"),
]
SHARDS = 4
"""In so many tests the sweep that takes every event is divided; several processes share them."""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


def survives(bench: Bench, number: int, *, recovers: bool) -> bool:
    """Kill the command before an event, and go on from there: False when it has fewer events.

    Args:
        bench: What is killed.
        number: The event.
        recovers: Whether `recover` comes first (sometimes twice, sometimes followed by `update`), or `update` alone.
    """
    killed = bench.break_at(Injection("kill", number))
    if not killed.was_killed:
        killed.succeeded()
        return False
    if bench.is_untouched:
        return True
    last = len(bench.states) - 1
    about = f"killed at event {number}, {killed.fired!r}"
    if recovers:
        for _ in range(1 + (number % 3 == 0)):
            if not bench.recovered():
                break
            assert bench.position() >= 0, f"{about}\n{bench.difference()}"
            assert bench.leftovers() == [], about
    if not recovers or not bench.is_atomic or (number % 5 == 0 and bench.position() < last):
        done = bench.mended_update()
        assert done.code == 0, f"{about}\n{done.output}"
        assert bench.position() == last, f"{about}\n{bench.difference()}"
    return True


def tell(request: pytest.FixtureRequest, number: int) -> None:
    """Print what a whole sweep came to: the docs quote it."""
    if FULL:
        line = f"{datetime.now(UTC):%Y-%m-%d} {request.node.name}: {number} events, all survived"
        os.write(sys.__stderr__.fileno(), f"{line}\n".encode())


def sweep(request: pytest.FixtureRequest, bench: Bench, stride: int, start: int = 1) -> int:
    """Kill again and again, each time later; recovery and update take turns."""
    number = 0
    for turn, number in enumerate(every(stride, start)):
        if not survives(bench, number, recovers=turn % 4 != 0):
            break
    tell(request, number - 1)
    return number


@pytest.mark.parametrize("shard", range(SHARDS))
def test_killed_before_any_event_it_is_before_or_after(request, zygote: Zygote, shard: int) -> None:
    with small_application(zygote, SQLITE) as bench:
        number = 0
        for turn, number in enumerate(range(1 + shard, 10_000, SHARDS)):
            if not survives(bench, number, recovers=turn % 4 != 0):
                break
        tell(request, number - 1)
    assert number > 250


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("place", SMALL)
def test_killed_it_survives_everywhere(request, zygote: Zygote, place: tuple[str, str, str, int]) -> None:
    kind, variant, work, stride = place
    with small_application(zygote, kind, variant, work=work) as bench:
        assert sweep(request, bench, stride, start=1 + stride // 2) > 250


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL, MARIADB])
def test_the_example_is_killed_on_its_way_through_the_releases(request, zygote: Zygote, kind: str) -> None:
    with example_application(zygote, kind) as bench:
        assert sweep(request, bench, 797) > 600


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("place", AGAIN)
@pytest.mark.parametrize("moment", [COMMIT, COMMITTED])
def test_recovery_killed_at_any_event_is_recovered(
    request, zygote: Zygote, place: tuple[str, str, int], moment: str
) -> None:
    """Killed before its last COMMIT, or right after: recovery undoes, or finishes, however often it is killed."""
    kind, work, stride = place
    with small_application(zygote, kind, work=work) as bench:
        at = bench.commit_of_update(moment, Injection().kinds)
        number = 0
        for number in every(stride):
            assert bench.break_at(Injection("kill", at)).fired == f"sql: {moment}"
            killed = bench.run("recover", injection=Injection("kill", number))
            if not killed.was_killed:
                killed.succeeded()
            bench.run("recover").succeeded()
            expected = 0 if moment == COMMIT else len(bench.states) - 1
            assert bench.position() == expected, f"at event {number}, {killed.fired!r}\n{bench.difference()}"
            assert bench.leftovers() == [], killed.fired
            if not killed.was_killed:
                break
        tell(request, number - 1)
        assert number > 40


def test_a_hook_that_is_run_again_on_mariadb_has_its_files_back(zygote: Zygote) -> None:
    """The Down of ``gpx_on_disk`` puts recordings into rows and removes their files; killed half-way, it is resumed."""
    with example_application(zygote, MARIADB) as bench:
        recordings = bench.project.rows()["tracks"]
        bench.run("update", "gpx_on_disk", "--yes").succeeded()
        seen = bench.run("downgrade", "v1.0", "--yes", injection=Injection()).succeeded().seen
        removals = [number for number, event in enumerate(seen, 1) if event.startswith("files: os.rename")]
        bench.snapshot.restore()
        bench.run("update", "gpx_on_disk", "--yes").succeeded()
        half_way = removals[len(removals) // 2]
        assert bench.run("downgrade", "v1.0", "--yes", injection=Injection("kill", half_way)).was_killed
        bench.run("downgrade", "v1.0", "--yes").succeeded()
        assert bench.project.rows()["tracks"] == recordings
