"""Each file call fails once, each statement loses its connection: what is said is what stands, nothing is guessed.

Where it cannot be known whether a COMMIT has happened, that is said, nothing is touched, and `recover` settles it once
the database answers again (invariant 8).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from itertools import count

import pytest

from support.breaking import CALLS, FULL, VERBS, every, example_application, small_application
from support.databases import MARIADB, POSTGRESQL, SQLITE
from support.injection import COMMIT, COMMITTED, FILES, SQL, Injection
from support.mounts import mounted
from support.states import files_of
from support.truth import COMPLETE, ERRORS, UNDONE, assert_is_true, is_open, said, strike
from support.zygote import Zygote

SERVERS = [(POSTGRESQL, "stock"), (POSTGRESQL, "async"), (MARIADB, "stock")]
PLACES = [(SQLITE, "stock", VERBS, 29), (SQLITE, "stock", CALLS, 61)]
if FULL:  # otherwise one of each is struck where the same application is killed
    SERVERS += [(MARIADB, "async")]
    PLACES += [(kind, variant, work, 1) for kind, variant in SERVERS for work in (VERBS, CALLS)]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("place", PLACES)
def test_a_file_call_that_fails_once_is_undone(zygote: Zygote, place: tuple[str, str, str, int], name: str) -> None:
    kind, variant, work, stride = place
    with small_application(zygote, kind, variant, work=work) as bench:
        number = next(number for number in every(stride) if not strike(bench, name, number).fired)
        assert number > 100


if FULL:  # otherwise one of each is struck where the example is killed

    @pytest.mark.timeout(14400)
    @pytest.mark.parametrize("name", ERRORS)
    @pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL, MARIADB])
    def test_the_example_meets_an_error_on_its_way_through_the_releases(zygote: Zygote, kind: str, name: str) -> None:
        with example_application(zygote, kind) as bench:
            number = next(number for number in count(1) if not strike(bench, name, number).fired)
            assert number > (100 if name == "cut" else 300)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("kind", "stride"), [(SQLITE, 67), (POSTGRESQL, 127), (MARIADB, 157)])
def test_a_disk_that_stays_full_is_told_and_undone_when_there_is_space(zygote: Zygote, kind: str, stride: int) -> None:
    """Every write from one on fails, also those of recovery; what is left is settled when there is space again."""
    with small_application(zygote, kind) as bench:
        for number in every(stride):
            run = bench.break_at(Injection("ENOSPC", number, (FILES,), every=True))
            if not run.fired:
                break
            if run.code != 0:
                error = run.events[-1]["error"]
                assert error["code"] != "unexpected", run.output
                assert is_open(error) or bench.position() == said(error["stands"]), run.output
            bench.recovered()
            done = bench.mended_update()
            assert done.code == 0, f"{run.fired}\n{run.output}\n{done.output}"
            assert bench.position() == len(bench.states) - 1, f"{run.fired}\n{run.output}\n{bench.difference()}"


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("kind", "variant"), [(SQLITE, "stock"), (SQLITE, "async"), *SERVERS])
def test_a_connection_that_is_cut_at_any_statement_is_told_truly(zygote: Zygote, kind: str, variant: str) -> None:
    with small_application(zygote, kind, variant) as bench:
        number = 0
        for number in every(31):
            run = bench.break_at(Injection("cut", number, (SQL,)))
            assert_is_true(bench, run)
            if not run.fired:
                break
        assert number > 45


@pytest.mark.parametrize(("kind", "variant"), [(SQLITE, "stock"), *SERVERS])
def test_a_connection_that_is_cut_around_any_commit_is_told_truly(zygote: Zygote, kind: str, variant: str) -> None:
    with small_application(zygote, kind, variant) as bench:
        seen = bench.break_at(Injection(kinds=(SQL,))).succeeded().seen
        commits = [number for number, event in enumerate(seen, 1) if event in {f"sql: {COMMIT}", f"sql: {COMMITTED}"}]
        assert len(commits) >= 2
        for number in commits if FULL or kind != MARIADB else commits[::3]:  # there each schema change is one
            assert_is_true(bench, bench.break_at(Injection("cut", number, (SQL,))))


@pytest.mark.parametrize("variant", ["stock", "async"])
@pytest.mark.parametrize(("moment", "stands"), [(COMMIT, UNDONE), (COMMITTED, COMPLETE)])
def test_the_answer_of_a_commit_decides_nothing(zygote: Zygote, variant: str, moment: str, stands: str) -> None:
    """Cut before the COMMIT it is undone; when only its answer is lost, the update is complete, and that is said."""
    with small_application(zygote, POSTGRESQL, variant) as bench:
        run = bench.break_at(Injection("cut", bench.commit_of_update(moment, (SQL,)), (SQL,)))
        assert stands in run.exited(1).events[-1]["error"]["stands"], run.output


@pytest.mark.parametrize(("kind", "variant"), [(SQLITE, "stock"), *SERVERS])
@pytest.mark.parametrize("moment", [COMMIT, COMMITTED])
def test_when_the_database_does_not_answer_after_a_commit_nothing_is_guessed(
    zygote: Zygote, kind: str, variant: str, moment: str
) -> None:
    """From the commit on every statement fails: doubt, the files as the update left them, until somebody asks again."""
    with small_application(zygote, kind, variant) as bench:
        at = bench.commit_of_update(moment, (SQL,))
        run = bench.break_at(Injection("cut", at, (SQL,), every=True))
        error = run.exited(1).events[-1]["error"]
        assert error["code"] == "in_doubt", run.output
        assert "Nothing was touched" in error["stands"]
        assert files_of(bench.project.data) == bench.states[-1].files
        bench.recovered()
        if bench.is_atomic:
            assert bench.position() == (0 if moment == COMMIT else 1), bench.difference()
        assert bench.mended_update().code == 0
        assert bench.position() == 1, bench.difference()


WRITES = "for n in range(100): self.files.write(f'new/{n}', bytes(20_000))"


def test_a_disk_that_is_really_full_is_told_and_undone(project) -> None:
    """Half a megabyte for two megabytes: nothing of the update is left, and with more space it succeeds."""
    with mounted(project.data, "size=1m,mode=0755"):
        project.update("one", up_pre="self.files.write('old', bytes(300_000))")
        project.update("two", "one", up_pre=f"self.files.remove('old')\n{WRITES}")
        project.run("update", "one", "--yes").succeeded()
        before = files_of(project.data)
        error = project.run("update", "--yes", "--json").exited(1).events[-1]["error"]
        assert "No space left on device" in error["message"]
        assert error["stands"] == f"Nothing of two stands: {UNDONE}"
        assert f"lies on the file system {project.data}, where 0 of 1 MiB are free now." in error["message"]
        assert error["hint"].startswith(f"Free some space in {project.data} (how much is needed is not known")
        assert files_of(project.data) == before
        subprocess.run(["mount", "-o", "remount,size=8m", project.data], check=True)
        project.run("update", "--yes").succeeded()
        assert len(os.listdir(project.data / "new")) == 100


def test_a_read_only_data_directory_is_refused_before_anything_changes(project) -> None:
    with mounted(project.data, "size=1m,mode=0755"):
        project.update("one", up_pre="self.files.write('a', 'a')")
        subprocess.run(["mount", "-o", "remount,ro", project.data], check=True)
        try:
            error = project.run("update", "--yes", "--json").exited(1).events[-1]["error"]
            assert error["code"] == "files"
            assert project.run("update", "--dry-run").exited(1).stderr
            assert project.database.tables() == []
        finally:
            subprocess.run(["mount", "-o", "remount,rw", project.data], check=True)
        project.run("update", "--yes").succeeded()
