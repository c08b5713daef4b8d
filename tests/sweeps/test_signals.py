"""Ctrl-C and SIGTERM at any moment, also during COMMIT: what is said is what stands, and nothing hangs.

The small application of `support.breaking`, from nothing: update ``one``, then ``two``. Its states are 0 (nothing
applied), 1 and 2.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from support.breaking import FULL, Bench, every, small_application
from support.databases import MARIADB, POSTGRESQL, SQLITE
from support.injection import COMMIT, COMMITTED, FILES, OUTPUT, SQL, Injection
from support.truth import said
from support.zygote import Run, Zygote

EVERYTHING = (FILES, SQL, OUTPUT)
CODES = {"SIGINT": 130, "SIGTERM": 143}
PLACES = [(SQLITE, "stock"), (SQLITE, "async"), (POSTGRESQL, "stock"), (POSTGRESQL, "async"), (MARIADB, "stock")]
if FULL:
    PLACES += [(MARIADB, "async")]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture(scope="module", params=PLACES, ids="-".join)
def bench(request, zygote) -> Iterator[Bench]:
    with small_application(zygote, *request.param, from_nothing=True) as made:
        yield made


def assert_is_true(bench: Bench, name: str, run: Run) -> None:
    """Compare what a stopped run says with what stands."""
    about = f"{name} at event {len(run.seen)}, {run.fired!r}\n{run.output}\n{bench.difference()}"
    position = bench.position()
    if run.code == 0:
        assert run.events[-1]["event"] == "finished", about
        assert position == 2, about
        return
    if run.code == -signal.SIGTERM:  # before our handlers are there: nothing has begun
        assert (position, run.stdout) == (0, ""), about
        return
    assert run.code == CODES[name], about
    error = run.events[-1]["error"]
    if error["stands"].startswith("The run had come to its end"):
        assert any(event.get("event") == "finished" for event in run.events), about
        assert position == 2, about
        return
    if " is half applied" in error["stands"]:
        assert not bench.is_atomic, about
        assert_can_go_on(bench, error["hint"], about)
        return
    assert error["stands"], about
    assert position == said(error["stands"]), about
    assert bench.leftovers() == [], about


def assert_can_go_on(bench: Bench, hint: str, about: str) -> None:
    """Do what the message of an interrupted update says."""
    assert bench.run("check").code == 7, about
    assert "`fietsupdate update` goes on where it stopped" in hint, about
    done = bench.mended_update()
    assert done.code == 0, f"{about}\n{done.output}"
    assert bench.position() == 2, f"{about}\n{bench.difference()}"


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_at_any_moment_is_told_truly(bench: Bench, name: str) -> None:
    number = 0
    for number in every(71 if bench.project.database.kind == SQLITE else 151):
        run = bench.break_at(Injection(name, number, EVERYTHING))
        assert_is_true(bench, name, run)
        if not run.fired:
            break
    assert number > 300


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_during_any_commit_is_told_truly(bench: Bench, name: str) -> None:
    whole = bench.break_at(Injection(kinds=EVERYTHING)).succeeded()
    commits = [number for number, event in enumerate(whole.seen, 1) if event.split(": ")[1] in {COMMIT, COMMITTED}]
    assert len(commits) >= 6
    for number in commits if FULL else commits[name == "SIGTERM" :: 2]:
        run = bench.break_at(Injection(name, number, EVERYTHING))
        assert run.fired.split(": ")[1] in {COMMIT, COMMITTED}
        assert_is_true(bench, name, run)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_that_keep_coming_while_the_first_one_unwinds_are_told_truly(bench: Bench, name: str) -> None:
    """From one event on, each brings a signal: in a hook, its clean-up, env.py's rollback, playback, the last words."""
    for number in every(211, 31):
        run = bench.break_at(Injection(name, number, EVERYTHING, every=True))
        assert_is_true(bench, name, run)
        if not run.fired:
            break


def test_a_signal_in_the_first_statements_of_alembic_is_no_error_of_env_py(zygote: Zygote) -> None:
    """They come before our part of the visit; SQLite's listener for failed statements is there already."""
    with small_application(zygote, SQLITE, from_nothing=True) as bench:
        seen = bench.break_at(Injection(kinds=(SQL,))).succeeded().seen
        numbers = [at for at, event in enumerate(seen, 1) if "alembic_version" in event and "table_info" in event]
        assert len(numbers) > 3
        for number in numbers[:8]:
            run = bench.break_at(Injection("SIGINT", number, (SQL,)))
            assert "table_info" in run.fired
            assert_is_true(bench, "SIGINT", run)


def test_a_signal_while_our_folder_is_made_leaves_the_data_directory_its_time(zygote: Zygote) -> None:
    with small_application(zygote, SQLITE, from_nothing=True) as bench:
        seen = bench.break_at(Injection(kinds=(FILES,))).succeeded().seen
        first = seen.index("files: os.utime data") + 1
        for number in (first - 1, first):
            assert_is_true(bench, "SIGINT", bench.break_at(Injection("SIGINT", number, (FILES,))))


def test_a_signal_while_rows_are_read_leaves_no_lock_behind(zygote: Zygote) -> None:
    """An async engine leaves the cursor open, and SQLite the lock of a closed connection until its cursors are gone."""
    with small_application(zygote, SQLITE, "async", from_nothing=True) as bench:
        seen = bench.break_at(Injection(kinds=(SQL,))).succeeded().seen
        reads = [number for number, event in enumerate(seen, 1) if "SELECT alembic_version" in event]
        for number in reads[-3:]:
            assert_is_true(bench, "SIGINT", bench.break_at(Injection("SIGINT", number, (SQL,))))
