"""Commands that change files alone, killed before any event or failing at any: all is done, or nothing is.

Before anything is settled each file is in one place or the other, whole; ``status`` tells what lies open, and
``recover`` settles it, also when it is killed itself. ``FIETSUPDATE_SWEEP=full`` strikes every event.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fietsupdate.testing.content import Node
from support.breaking import FULL
from support.injection import FILES, SQL, Injection
from support.notes import notes
from support.projects import Project
from support.rows_and_files import SECTION, application
from support.states import OLD, age, files_of
from support.zygote import Run, Zygote

OURS = ".fietsupdate"


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@dataclass
class Bench:
    """An instance with a further root, and a command that is broken on it again and again."""

    project: Project
    zygote: Zygote
    roots: tuple[Path, ...]
    command: Sequence[str]
    reset: Callable[[], None]
    """Takes the instance to where the command begins."""
    before: object = None
    after: object = None
    seen: Sequence[str] = ()

    def look(self) -> list[dict[str, Node]]:
        """Look into all roots, our own folders left out; times that come of the command itself are not compared."""
        return [{path: node for path, node in files_of(root).items() if path != "."} for root in self.roots]

    def measure(self) -> None:
        """Run the command once, undisturbed, and note what it begins and ends with."""
        self.reset()
        self.before = self.look()
        self.seen = self.zygote.run(self.project, self.command, Injection()).succeeded().seen
        self.after = self.look()
        assert self.after != self.before

    def strike(self, injection: Injection) -> Run:
        """Break the command."""
        self.reset()
        return self.zygote.run(self.project, self.command, injection)

    def is_settled(self, about: str) -> str:
        """See that ``status`` tells the truth, and that ``recover`` leads to before or after; return which it was."""
        found = self.project.run("status", "--json").json
        where = "before" if self.look() == self.before else "after" if self.look() == self.after else "between"
        assert where != "between" or found["state"] == "interrupted", about
        for _ in range(2):
            self.zygote.run(self.project, ["recover"]).succeeded()
        wanted = [self.before if found["state"] == "interrupted" or where == "before" else self.after]
        assert [self.look()] == wanted, about
        assert left_over(self.roots[:1]) == [], about  # what a header that cannot be read names elsewhere is not known
        return "before" if self.look() == self.before else "after"


def left_over(roots: Sequence[Path]) -> list[str]:
    """Name what of a transaction is left in our own folders."""
    return [str(path) for root in roots for name in ("txn", "done", "found") if (path := root / OURS / name).exists()]


def sample(numbers: Sequence[int], count: int) -> list[int]:
    """Give so many of these, evenly; all of them in a whole sweep."""
    return [*numbers] if FULL else sorted({numbers[len(numbers) * turn // count] for turn in range(count)})


def at_work(seen: Sequence[str]) -> list[int]:
    """Number the events from where our own folder is first written to: before, nothing can have changed."""
    first = next(
        number for number, event in enumerate(seen, 1) if event.startswith(("files: os.mkdir", "files: write"))
    )
    return [*range(1 if FULL else first, len(seen) + 1)]


def plant(root: Path) -> None:
    """Lay out a few files, with modes and times of their own."""
    for path in ("tracks/1/a", "tracks/1/b", "tracks/2/c", "tracks/3/deep/d"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
        (root / path).chmod(0o640)
    (root / "tracks/1/link").symlink_to("a")
    os.link(root / "tracks/1/a", root / "tracks/1/name")
    for folder, folders, names in os.walk(root / "tracks", topdown=False):
        for name in (*names, *folders):
            os.utime(os.path.join(folder, name), ns=(OLD, OLD), follow_symlinks=False)
    os.utime(root / "tracks", ns=(OLD, OLD))


@pytest.fixture
def instance(make_project, tmp_path: Path) -> tuple[Project, Path]:
    """An instance with a further root."""
    media = tmp_path / "media"
    media.mkdir()
    project = notes(make_project(section={"extra_dirs": f"media={media}"}), 1)
    project.run("update", "--yes").succeeded()
    for root in (project.data, media):
        plant(root)
    return project, media


@pytest.fixture
def restoring(instance: tuple[Project, Path], zygote: Zygote) -> Bench:
    """Files that were lost in both roots, and a backup that has them."""
    project, media = instance
    project.run("backup").succeeded()

    def reset() -> None:
        for root in (project.data, media):
            shutil.rmtree(root / "tracks", ignore_errors=True)
            os.utime(root, ns=(OLD, OLD))

    command = ["restore", "--only", "tracks", "media:tracks/1", "media:tracks/3", "--latest", "--yes"]
    return Bench(project, zygote, (project.data, media), command, reset)


@pytest.mark.timeout(7200)
def test_a_restore_of_single_files_killed_before_any_event_is_done_or_is_undone(restoring: Bench):
    killed_everywhere(restoring, 7)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["ENOSPC", "EIO"])
def test_a_restore_of_single_files_that_fails_anywhere_changes_nothing(restoring: Bench, name: str):
    failed_everywhere(restoring, name, 4)


@pytest.fixture
def strays(make_project, zygote: Zygote) -> Bench:
    """An application whose rows and files match, but for strays in both roots, one of them alone in its folders."""
    project = application(make_project(section=SECTION), 40)
    media = project.root / "media"
    for path in (project.data / "tracks/00/a", project.data / "tracks/0x/deep/b", media / "avatars/c"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    (project.data / "tracks/0x/deep").chmod(0o750)
    for root in (project.data, media):
        age(root)
    bench = Bench(project, zygote, (project.data, media), ["quarantine", "--yes"], lambda: None)
    whole = bench.look()

    def reset() -> None:
        if bench.look() != whole:
            zygote.run(project, ["quarantine", "release"]).succeeded()
            assert bench.look() == whole

    bench.reset = reset
    return bench


@pytest.fixture
def quarantined(strays: Bench) -> Bench:
    """The same, with the strays in quarantine, to be released."""
    put = strays.command

    def reset() -> None:
        if not (strays.project.data / OURS / "quarantine").exists():
            strays.zygote.run(strays.project, put).succeeded()

    strays.reset, strays.command = reset, ["quarantine", "release"]
    return strays


@pytest.mark.timeout(7200)
def test_a_quarantine_killed_before_any_event_is_done_or_is_undone(strays: Bench):
    killed_everywhere(strays, 9)


@pytest.mark.timeout(7200)
def test_a_release_killed_before_any_event_is_done_or_is_undone(quarantined: Bench):
    killed_everywhere(quarantined, 9)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["ENOSPC", "EIO"])
def test_a_quarantine_that_fails_anywhere_changes_nothing(strays: Bench, name: str):
    failed_everywhere(strays, name, 4)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["ENOSPC", "EIO"])
def test_a_release_that_fails_anywhere_changes_nothing(quarantined: Bench, name: str):
    failed_everywhere(quarantined, name, 4)


@pytest.mark.timeout(7200)
def test_what_undoes_a_quarantine_can_be_killed_again_and_again(strays: Bench):
    strays.measure()
    moves = [number for number, event in enumerate(strays.seen, 1) if event.startswith("files: os.rename") and number]
    assert strays.strike(Injection("kill", moves[-4], kinds=(FILES, SQL))).was_killed
    for number in range(20, 400, 1 if FULL else 37):
        killed = strays.zygote.run(strays.project, ["recover"], Injection("kill", number, kinds=(FILES, SQL)))
        if not killed.was_killed:
            killed.succeeded()
            break
    assert strays.is_settled("after recoveries that were killed") in {"before", "after"}


def killed_everywhere(bench: Bench, count: int) -> None:
    """Kill the command before events, all of them in a whole sweep."""
    bench.measure()
    ends = set()
    for number in sample(at_work(bench.seen), count):
        killed = bench.strike(Injection("kill", number, kinds=(FILES, SQL)))
        assert killed.was_killed, killed.output
        ends.add(bench.is_settled(f"killed at event {number}, {killed.fired!r}"))
        assert left_over(bench.roots) == [], killed.fired
    assert "before" in ends


def failed_everywhere(bench: Bench, name: str, count: int) -> None:
    """Let events fail, all of them in a whole sweep."""
    bench.measure()
    seen = bench.strike(Injection(kinds=(FILES,))).succeeded().seen
    for number in sample(at_work(seen), count):
        failed = bench.strike(Injection(name, number, kinds=(FILES,), every=name == "ENOSPC"))
        about = f"{failed.fired}: {failed.told}"
        if failed.code == 0:  # it was the removal of something that need not be there
            assert bench.look() == bench.after, about
        else:
            told = failed.exited(1).told
            stands = {"Nothing was changed": bench.before, "It is complete": bench.after}
            wanted = [picture for words, picture in stands.items() if words in told]
            still_open = "its journal keeps the rest" in told or "is settled by the next run" in told
            assert wanted == [bench.look()] or still_open, about
        bench.is_settled(about)
