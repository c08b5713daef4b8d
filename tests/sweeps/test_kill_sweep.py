"""Killed before any file-changing call or SQL statement, an instance comes to a state of before or after, whole.

``make sweep`` (``FIETSUPDATE_SWEEP=full``) strikes every event everywhere; otherwise every fifth
of the small application on SQLite, and a longer stride of them elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain

import pytest

from support.breaking import CALLS, FULL, VERBS, Bench, every, example_application, small_application
from support.databases import MARIADB, POSTGRESQL, SQLITE
from support.injection import COMMIT, COMMITTED, Injection
from support.states import files_of
from support.truth import strike
from support.zygote import Zygote

SMALL = [
    pytest.param((SQLITE, "async", VERBS, 61), id="sqlite-async-verbs"),
    pytest.param((SQLITE, "stock", CALLS, 41), id="sqlite-stock-calls"),
    pytest.param((POSTGRESQL, "stock", VERBS, 83), id="postgresql-stock-verbs"),
    pytest.param((POSTGRESQL, "async", CALLS, 109), id="postgresql-async-calls"),
    pytest.param((MARIADB, "stock", VERBS, 109), id="mariadb-stock-verbs"),
    pytest.param((MARIADB, "async", CALLS, 131), id="mariadb-async-calls"),
]
if FULL:
    SMALL = [
        pytest.param((kind, variant, work, 1), id=f"{kind}-{variant}-{work.partition('(')[0]}")
        for kind in (SQLITE, POSTGRESQL, MARIADB)
        for variant in ("stock", "async")
        for work in (VERBS, CALLS)
        if (kind, variant, work) != (SQLITE, "stock", VERBS)  # which is always taken whole
    ]
UNDONE, DONE, HALF = "undone", "done", "half"


@dataclass(frozen=True)
class Again:
    """An update that is killed once, and whose recovery is then killed again and again."""

    end: str
    """What recovery comes to."""
    at: str
    """How the event begins that the update does not live to see: the first of its kind, or the COMMIT that ends it."""
    kind: str
    variant: str = "stock"
    work: str = VERBS
    own_connections: bool = False
    stride: int = 199
    application: Callable[..., AbstractContextManager[Bench]] = small_application

    def made(self, zygote: Zygote) -> AbstractContextManager[Bench]:
        """Make the application that is killed."""
        if self.application is example_application:
            return example_application(zygote, self.kind)
        return small_application(zygote, self.kind, self.variant, work=self.work, own_connections=self.own_connections)

    def moment(self, bench: Bench) -> int:
        """Give the number of the event before which the update is killed."""
        if self.at in {COMMIT, COMMITTED}:
            return bench.commit_of_update(self.at, Injection().kinds)
        seen = bench.break_at(Injection()).succeeded().seen
        return next(number for number, event in enumerate(seen, 1) if event.startswith(self.at))

    def moments(self, seen: Sequence[str]) -> list[int]:
        """Number the events of recovery that are always struck: the COMMIT after which the row is gone."""
        if self.end != UNDONE or not self.own_connections:
            return []
        return [number for number, event in enumerate(seen, 1) if event == f"sql: {COMMIT}"][-1:]

    def __str__(self) -> str:
        work = "own" if self.own_connections else {VERBS: "verbs", CALLS: "calls"}[self.work]
        work = "example" if self.application is example_application else work
        return f"{self.end}-{self.kind}-{self.variant}-{work}"


PHASES = "sql: UPDATE fietsupdate_ledger SET phases"
AGAIN = [
    Again(UNDONE, COMMIT, SQLITE, stride=41),
    Again(UNDONE, COMMIT, SQLITE, work=CALLS),
    Again(UNDONE, COMMIT, SQLITE, "async"),
    Again(UNDONE, COMMIT, POSTGRESQL),
    # Killed in its pre hook: nothing is committed but the row, which recovery takes back at its end.
    Again(UNDONE, PHASES, SQLITE, own_connections=True),
    Again(DONE, COMMITTED, SQLITE, stride=83),
    Again(DONE, COMMITTED, POSTGRESQL, "async"),
    Again(DONE, COMMITTED, MARIADB),
    # Killed after its revisions were committed: only what the post hook did is played back.
    Again(HALF, COMMIT, SQLITE, own_connections=True, stride=83),
    Again(HALF, COMMIT, MARIADB, stride=97),
    Again(HALF, COMMIT, MARIADB, own_connections=True),
]
if FULL:
    AGAIN += [
        Again(UNDONE, COMMIT, POSTGRESQL, "async", work=CALLS),
        Again(UNDONE, PHASES, POSTGRESQL, own_connections=True),
        Again(UNDONE, PHASES, MARIADB, own_connections=True),
        Again(HALF, COMMIT, POSTGRESQL, "async", own_connections=True),
        Again(HALF, COMMIT, MARIADB, "async", work=CALLS),
        Again(DONE, COMMITTED, MARIADB, "async"),
        *(Again(UNDONE, COMMIT, kind, application=example_application) for kind in (SQLITE, POSTGRESQL, MARIADB)),
        *(Again(DONE, COMMITTED, kind, application=example_application) for kind in (SQLITE, POSTGRESQL, MARIADB)),
    ]
SHARDS = 5
"""In so many tests the sweep that takes every event is divided; ``make test`` runs the first of them."""


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


def sweep(bench: Bench, stride: int, start: int = 1) -> int:
    """Kill again and again, each time later; recovery and update take turns."""
    number = 0
    for turn, number in enumerate(every(stride, start)):
        if not survives(bench, number, recovers=turn % 4 != 0):
            break
    return number


def also_struck(bench: Bench, errors: Mapping[str, int]) -> None:
    """Strike these events by errors, too: it takes a while to make an application. A whole sweep takes all of them."""
    for name, number in errors.items() if not FULL else ():
        assert strike(bench, name, number).fired


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("shard", range(SHARDS if FULL else 1))
def test_killed_before_any_event_it_is_before_or_after(zygote: Zygote, shard: int) -> None:
    with small_application(zygote, SQLITE) as bench:
        number = 0
        for turn, number in enumerate(range(1 + shard, 10_000, SHARDS)):
            if not survives(bench, number, recovers=turn % 4 != 0):
                break
    assert number > 250


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("place", SMALL)
def test_killed_it_survives_everywhere(zygote: Zygote, place: tuple[str, str, str, int]) -> None:
    kind, variant, work, stride = place
    with small_application(zygote, kind, variant, work=work) as bench:
        assert sweep(bench, stride, start=1 + stride // 2) > 250
        if kind != SQLITE:
            also_struck(bench, {"EIO": 120} if work == VERBS else {"ENOSPC": 90})


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL, MARIADB])
def test_the_example_is_killed_on_its_way_through_the_releases(zygote: Zygote, kind: str) -> None:
    with example_application(zygote, kind) as bench:
        assert sweep(bench, 797) > 600
        also_struck(bench, {SQLITE: {"EIO": 300, "cut": 111}, POSTGRESQL: {"cut": 190}, MARIADB: {"ENOSPC": 410}}[kind])


if FULL:

    @pytest.mark.timeout(14400)
    @pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
    def test_the_example_is_killed_on_its_way_back(zygote: Zygote, kind: str) -> None:
        with example_application(zygote, kind, back=True) as bench:
            assert sweep(bench, 1) > 600


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("case", AGAIN, ids=str)
def test_recovery_killed_at_any_event_is_recovered(zygote: Zygote, case: Again) -> None:
    """However often recovery is killed, it comes to the same end: back, forward, or to the end of the last phase."""
    with case.made(zygote) as bench:
        at = case.moment(bench)
        assert bench.break_at(Injection("kill", at)).was_killed
        seen = bench.run("recover", injection=Injection()).seen
        files = files_of(bench.project.data)
        number = 0
        for number in chain(case.moments(seen), every(case.stride, 1 + case.stride // 3)):
            assert bench.break_at(Injection("kill", at)).was_killed
            killed = bench.run("recover", injection=Injection("kill", number))
            about = f"at event {number}, {killed.fired!r}\n{bench.difference()}"
            assert bench.recovered() is (case.end != HALF), about
            assert files_of(bench.project.data) == files, about
            assert_ended(bench, case.end, about)
            if not killed.was_killed:
                break
        assert number > 30


def assert_ended(bench: Bench, end: str, about: str) -> None:
    """Assert that a recovered instance is where it should be; what is half done is then completed."""
    if end == HALF:
        assert bench.mended_update().code == 0, about
    else:
        assert bench.leftovers() == [], about
    last = len(bench.states) - 1
    assert bench.position() == (last - 1 if end == UNDONE else last), f"{about}\n{bench.difference()}"


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
