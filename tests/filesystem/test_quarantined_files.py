"""Files are put into quarantine and come back: the tree is the same, to the bit and the nanosecond."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.place import Place
from fietsupdate.filesystem.quarantine import store
from fietsupdate.filesystem.quarantine.manifest import QuarantineOrigin
from fietsupdate.filesystem.quarantine.put_away import PutAway, put_away
from fietsupdate.filesystem.quarantine.release import Released, release, selector
from fietsupdate.filesystem.transaction import FileTransaction
from fietsupdate.testing.content import Node, tree
from support.file_transactions import HEADER, somebody_else
from support.states import OLD

OURS = ".fietsupdate"
ORIGIN = QuarantineOrigin("x", "2026-11-01T00:00:00.000Z", 1, "i", "", (), "test")
ODD = os.fsdecode(b"tracks/\xff odd\n/f\xe9")
HOLDS = ["tracks/1/a", "tracks/1/b", "tracks/1/link", "tracks/2/deep/er/c", ODD]


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    """Two roots with the same files, all of them old."""
    found = {"": tmp_path / "data", "media": tmp_path / "media"}
    for root in found.values():
        for path in ("tracks/1/a", "tracks/1/b", "tracks/1/kept", "tracks/2/deep/er/c", ODD):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(path.encode(errors="replace").decode())
        (root / "tracks/1/link").symlink_to("../../elsewhere")
        (root / "tracks/1/a").chmod(0o4640)
        (root / "tracks/2/deep").chmod(0o2750)
        os.link(root / "tracks/1/kept", root / "tracks/1/second name")
        for folder, folders, names in os.walk(root, topdown=False):
            for name in (*names, *folders):
                os.utime(os.path.join(folder, name), ns=(OLD, OLD), follow_symlinks=False)
        os.utime(root, ns=(OLD, OLD))
    return found


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users can come to."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder).resolve()


def look(roots: dict[str, Path]) -> list[dict[str, Node]]:
    return [tree(root, exclude=[OURS]) for root in roots.values()]


def begun(roots: dict[str, Path]) -> FileTransaction:
    return FileTransaction.begin(roots[""], HEADER, roots={"media": roots["media"]})


def ended(files: FileTransaction) -> None:
    files.seal()
    files.end()


def put(roots: dict[str, Path], paths: Sequence[Place], name: str = "first", **options: bool) -> PutAway:
    """Put files into quarantine."""
    found = store.look(roots)
    origin = QuarantineOrigin(
        name, f"2026-11-0{store.next_serial(found)}T00:00:00.000Z", store.next_serial(found), "i", "", (), "test"
    )
    files = begun(roots)
    done = put_away(files.changes, paths, origin, may_go=lambda place: place.path != "tracks")
    ended(files)
    return done


def bring(roots: dict[str, Path], *places: Place) -> list[Released]:
    """Bring files back, newest quarantine first."""
    files = begun(roots)
    wanted = selector(dict.fromkeys(places, False))
    done = [release(files.changes, one, wanted) for one in store.look(roots).quarantines]
    ended(files)
    return done


def everything() -> list[Place]:
    return [Place(root, path) for root in ("media", "") for path in reversed(HOLDS)]


def test_what_was_put_away_and_released_is_the_same_tree(roots):
    before = look(roots)
    done = put(roots, everything())
    assert (done.files, done.gone) == (2 * len(HOLDS), ())
    for root in roots.values():
        assert sorted(os.listdir(root / "tracks")) == ["1"]  # folders that are empty are gone
        assert sorted(os.listdir(root / "tracks/1")) == ["kept", "second name"]
    (there,) = store.look(roots).quarantines
    assert {place for place, _ in store.held(there)} == set(everything())
    (back,) = bring(roots)
    assert (back.files, back.occupied) == (2 * len(HOLDS), ())
    assert look(roots) == before
    for root in roots.values():
        assert not (root / OURS / "quarantine").exists()
        assert root.stat().st_mtime_ns == OLD
    assert store.look(roots).quarantines == ()


def test_files_that_are_released_one_by_one_end_in_the_same_tree(roots):
    before = look(roots)
    put(roots, everything())
    for place in everything():
        (back,) = bring(roots, place)
        assert back.files == 1
    assert look(roots) == before
    assert store.look(roots).quarantines == ()


def test_a_folder_is_released_with_all_that_was_in_it(roots):
    put(roots, everything())
    (back,) = bring(roots, Place("", "tracks/1"))
    assert back.files == 3
    assert sorted(os.listdir(roots[""] / "tracks/1")) == ["a", "b", "kept", "link", "second name"]
    assert (roots[""] / "tracks/1").stat().st_mtime_ns == OLD
    assert not (roots["media"] / "tracks/1/a").exists()


def test_a_folder_that_was_changed_since_keeps_its_time(roots):
    put(roots, everything())
    (roots[""] / "tracks/1/new").write_text("new")
    os.utime(roots[""] / "tracks/1", ns=(OLD + 5, OLD + 5))
    bring(roots)
    assert (roots[""] / "tracks/1").stat().st_mtime_ns > OLD + 5


@pytest.mark.parametrize("what", ["file", "folder", "file above", "link above", "dangling link"])
def test_a_path_that_is_taken_is_named_and_its_file_stays(roots, tmp_path, what):
    put(roots, everything())
    live = roots[""] / "tracks/2/deep/er/c"
    if what in {"file", "folder", "dangling link"}:
        live.parent.mkdir(parents=True)
    match what:
        case "file":
            live.write_text("of the application")
        case "folder":
            live.mkdir()
        case "dangling link":
            live.symlink_to("nowhere")
        case "file above":
            (roots[""] / "tracks/2").write_text("of the application")
        case _:
            (roots[""] / "tracks/2").symlink_to(tmp_path)
    taken = look(roots)[0]
    (back,) = bring(roots)
    assert back.occupied == (Place("", "tracks/2/deep/er/c"),)
    assert back.files == 2 * len(HOLDS) - 1
    now = look(roots)[0]
    assert {path: now[path] for path in taken if path.startswith("tracks/2")} == {
        path: node for path, node in taken.items() if path.startswith("tracks/2")
    }
    (there,) = store.look(roots).quarantines
    assert [place for place, _ in store.held(there)] == [Place("", "tracks/2/deep/er/c")]


def test_playing_it_back_leaves_nothing_of_it(roots):
    before = look(roots)
    files = begun(roots)
    put_away(files.changes, everything(), ORIGIN, may_go=lambda place: True)
    assert look(roots) != before
    files.play_back()
    assert look(roots) == before
    assert not (roots[""] / OURS / "quarantine").exists()


def test_playing_a_release_back_leaves_it_in_quarantine(roots):
    put(roots, everything())
    before, held = look(roots), tree(roots[""] / OURS / "quarantine")
    files = begun(roots)
    for one in store.look(roots).quarantines:
        release(files.changes, one, lambda place: True)
    files.play_back()
    assert look(roots) == before
    assert tree(roots[""] / OURS / "quarantine") == held


def test_what_took_the_path_meanwhile_stays_when_it_is_played_back(roots):
    files = begun(roots)
    put_away(files.changes, [Place("", "tracks/1/a")], ORIGIN, may_go=lambda place: True)
    (roots[""] / "tracks/1/a").write_text("of the application")
    files.play_back()
    assert (roots[""] / "tracks/1/a").read_text() == "of the application"
    (kept,) = [kept for one in files.undone for _, kept in one.homeless]
    assert kept.read_text() == "tracks/1/a"


def test_what_replaced_a_released_file_stays_when_it_is_played_back(roots):
    put(roots, everything())
    files = begun(roots)
    for one in store.look(roots).quarantines:
        release(files.changes, one, lambda place: True)
    new = roots[""] / "tracks/1/new"
    new.write_text("of the application")
    new.rename(roots[""] / "tracks/1/a")
    files.play_back()
    assert (roots[""] / "tracks/1/a").read_text() == "of the application"


def test_a_second_quarantine_under_the_same_clock_has_another_name_and_a_higher_serial(roots):
    put(roots, [Place("", "tracks/1/a")], store.free_name("now", roots))
    assert store.free_name("now", roots) == "now-2"
    put(roots, [Place("media", "tracks/1/b")], "now-2")
    assert [one.name for one in store.look(roots).quarantines] == ["now-2", "now"]


def test_a_quarantine_is_as_old_as_those_before_it_whatever_the_clock_said(roots):
    put(roots, [Place("", "tracks/1/a")], "first")
    files = begun(roots)
    back_then = QuarantineOrigin("second", "1970-01-01T00:00:00.000Z", 2, "i", "", (), "test")
    put_away(files.changes, [Place("", "tracks/1/b")], back_then, may_go=lambda place: True)
    ended(files)
    times = store.made_at(store.look(roots))
    assert times["second"] == times["first"] == "2026-11-01T00:00:00.000Z"


def test_it_is_deleted_in_all_roots_also_when_that_was_cut_off(roots):
    put(roots, everything())
    (there,) = store.look(roots).quarantines
    there.parts[""].rename(there.parts[""].with_name(f"{store.GONE}first"))
    assert store.look(roots).quarantines == ()
    store.sweep(roots)
    assert not any((root / OURS / "quarantine").exists() for root in roots.values())
    put(roots, [Place("media", "tracks/1/kept")])
    store.delete(store.look(roots).quarantines[0])
    assert not any((root / OURS / "quarantine").exists() for root in roots.values())


def test_a_root_that_is_not_there_is_told_and_its_part_stays(roots):
    put(roots, everything())
    away = roots["media"].with_name("away")
    roots["media"].rename(away)
    (there,) = store.look(roots).quarantines
    assert there.absent == ("media",)
    assert {place.root for place, _ in store.held(there)} == {""}
    away.rename(roots["media"])
    (there,) = store.look(roots).quarantines
    assert len([*store.held(there)]) == 2 * len(HOLDS)


def test_what_is_not_there_any_more_or_is_behind_a_link_is_passed_over(roots, tmp_path):
    (roots[""] / "tracks/1/a").unlink()
    (roots[""] / "tracks/linked").symlink_to(tmp_path)
    (tmp_path / "outside").write_text("not ours")
    places = [Place("", path) for path in ("tracks/1/a", "tracks/linked/outside", "tracks/1", "tracks/1/b")]
    done = put(roots, places)
    assert (done.files, set(done.gone)) == (1, set(places[:3]))
    assert (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    "line",
    [
        '["file","../../etc/passwd","file",1,420,0,0,1,""]',
        '["file","/etc/passwd","file",1,420,0,0,1,""]',
        '["file",".fietsupdate/ledger.jsonl","file",1,420,0,0,1,""]',
        '["folder","..",[448,0,0,1,{}],false,1]',
        '["file","a","file","1",420,0,0,1,""]',
        "[" * 100_000,
        "nonsense",
        '["end",7,7]',
    ],
)
def test_a_manifest_that_somebody_has_written_leads_nowhere(roots, line):
    put(roots, everything())
    (there,) = store.look(roots).quarantines
    manifest = there.parts[""] / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join([lines[0], line, *lines[1:]]) + "\n")
    before = look(roots)
    files = begun(roots)
    with pytest.raises(ValueError):  # noqa: PT011  # whatever it says
        release(files.changes, there, lambda place: True)
    files.play_back()
    assert look(roots) == before


def test_a_manifest_that_was_cut_off_is_damaged(roots):
    put(roots, everything())
    (there,) = store.look(roots).quarantines
    manifest = there.parts[""] / "manifest.jsonl"
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(ValueError, match="incomplete"):
        list(store.held(there))
    manifest.unlink()
    found = store.look(roots)
    assert found.quarantines == ()
    assert "has no manifest" in found.damaged[str(there.parts[""])]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_this_user_may_not_move_is_named_and_nothing_moves(place):
    place.chmod(0o755)
    roots = {"": place / "data", "media": place / "media"}
    for root in roots.values():
        (root / "tracks/1").mkdir(parents=True)
        (root / "tracks/1/a").write_text("a")
        for path in (root, root / "tracks"):
            os.chown(path, 4712, 4712)
    before = look(roots)
    with somebody_else(4712, 4712):
        files = begun(roots)
        with pytest.raises(FilesError, match="tracks/1/a cannot be moved: ") as caught:
            put_away(files.changes, [Place("", "tracks/1/a")], ORIGIN, may_go=lambda place: True)
        assert "Run as the owner" in caught.value.hint
        files.play_back()
    assert look(roots) == before
