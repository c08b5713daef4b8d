"""Killed at any event, or met by a full disk, a rehearsal leaves the real instance as it is, and nothing of its clone.

``make sweep`` (``FIETSUPDATE_SWEEP=full``) strikes every event; otherwise a stride of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.breaking import FULL, Bench, every, small_application
from support.databases import MARIADB, POSTGRESQL, SQLITE, _server
from support.injection import ALONE, FILES, SQL, Injection
from support.states import state_of
from support.zygote import Run, Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


ACCOUNTS = {POSTGRESQL: "SELECT rolname FROM pg_roles", MARIADB: "SELECT user FROM mysql.user"}


def struck(bench: Bench, injection: Injection) -> Run:
    """Rehearse and break it; see that nothing has happened, and that no clone is there, or `recover` removes it."""
    run = bench.run("rehearse", "--json", injection=injection)
    about = f"{injection.action} at event {injection.at}, {run.fired!r}\n{run.output}"
    assert state_of(bench.project) == bench.states[0], about
    if clones(bench):
        assert run.was_killed or "`fietsupdate recover` does it." in run.output, about
        bench.run("recover").succeeded()
    assert clones(bench) == [], about
    return run


def clones(bench: Bench) -> list[str]:
    """Name the trees and databases of clones; the empty folder of a rehearsal that had none may lie there."""
    database, folder = bench.project.database, bench.project.data / ".fietsupdate" / "rehearsals"
    trees = [str(path) for path in folder.glob("*/clone")]
    if database.kind == SQLITE:
        return [*trees, *map(str, database.file.parent.glob(f"{database.file.name}.*"))]
    names = {POSTGRESQL: "SELECT datname FROM pg_database", MARIADB: "SHOW DATABASES"}[database.kind]
    with _server(database.kind) as connection:
        there = connection.exec_driver_sql(names).scalars().all()
        accounts = connection.exec_driver_sql(ACCOUNTS[database.kind]).scalars().all()
    made = [f"fietsupdate_{path.name}" for path in folder.glob("*") if path.is_dir()]
    return [
        *trees,
        *(account for account in made if account in accounts),
        *(name for name in there if name.startswith(f"{database.name}_clone")),
    ]


def left_in_the_end(bench: Bench) -> list[str]:
    """Rehearse once more, unbroken, and name what is left then."""
    bench.run("rehearse", "--json").succeeded()
    return sorted(os.listdir(bench.project.data / ".fietsupdate" / "rehearsals"))


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("kind", "stride"),
    [
        pytest.param(SQLITE, 97, id="sqlite"),
        pytest.param(POSTGRESQL, 251, id="postgresql"),
        pytest.param(MARIADB, 271, id="mariadb"),
    ],
)
def test_killed_before_any_event_the_instance_is_as_it_was(zygote: Zygote, kind: str, stride: int) -> None:
    """The number of an event is counted in either process: the updates' own ends, or the one that waits for it."""
    with small_application(zygote, kind) as bench:
        number = 0
        for number in every(stride, start=1 + stride // 2):
            if struck(bench, Injection("kill", number)).code == 0:
                break
        assert number > 250
        assert left_in_the_end(bench) == ["last.json"]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL] if FULL else [SQLITE])
def test_killed_while_it_clones_or_removes_the_instance_is_as_it_was(zygote: Zygote, kind: str) -> None:
    """Only the process that waits is killed, also after the updates have run."""
    alone = (FILES, SQL, ALONE)
    with small_application(zygote, kind) as bench:
        events = len(bench.run("rehearse", "--json", injection=Injection(kinds=alone)).succeeded().seen)
        for number in every(events // 3, start=events // 7):
            run = struck(bench, Injection("kill", number, kinds=alone))
            if not run.was_killed:
                break
        assert number > events
        assert left_in_the_end(bench) == ["last.json"]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_a_disk_that_fails_fails_the_rehearsal_only(zygote: Zygote, error: str) -> None:
    with small_application(zygote, SQLITE) as bench:
        for number in every(199, start=7):
            run = struck(bench, Injection(error, number, kinds=(FILES,)))
            if not run.fired:
                break
            assert "Traceback" not in run.output
        assert left_in_the_end(bench) == ["last.json"]
