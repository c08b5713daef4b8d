"""Two moments of some trees are compared in memory that stays flat, and what nobody touched is not looked into."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from fietsupdate.commands.rehearsal import inventory
from fietsupdate.commands.rehearsal.inventory import Inventory, differences, taken
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.filesystem.tree_copy import copy_tree


def cloned(source: Path, dest: Path) -> tuple[Inventory, int]:
    """Copy a tree; give what was in it, and the moment at which the copy was complete."""
    found = Inventory(dest.parent)
    copy_tree(source, dest, leave_out=(), told=found.add)
    stamp = dest.parent / "stamp"
    stamp.touch()
    return found, stamp.stat().st_ctime_ns


def compared(found: Inventory, root: Path, since: int) -> list[tuple[str, str]]:
    return [(one.how, one.record.path) for one in differences(found, {"": root}, since)]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few records be too many for memory."""
    monkeypatch.setattr(inventory, "CHUNK", 7)
    monkeypatch.setattr(inventory, "READ", 300)


@pytest.mark.usefixtures("small_pieces")
def test_records_come_back_in_the_order_of_a_walk_however_many_there_are(tmp_path: Path) -> None:
    names = [
        "a",
        "a/b",
        "a/b/c",
        "a.b",
        "a.b/x",
        "a-",
        "Z",
        "\udcff",
        "new\nline",
        *(f"n{i}/f{j}" for i in range(5) for j in range(9)),
    ]
    records = [FileRecord("", name, "file") for name in names]
    random.Random(7).shuffle(records)
    found = Inventory(tmp_path)
    for record in records:
        found.add(record)
    assert found.count == len(names)
    once, twice = ([record.path for record in found] for _ in range(2))
    found.close()
    assert once == twice == sorted(names, key=lambda name: name.split("/"))


@pytest.mark.usefixtures("small_pieces")
def test_every_kind_of_difference_is_found_and_nothing_else(tmp_path: Path) -> None:
    source, dest = tmp_path / "source", tmp_path / "clone" / "data"
    dest.parent.mkdir()
    for folder in ("kept", "gone", "mode"):
        (source / folder).mkdir(parents=True)
        for number in range(5):
            (source / folder / f"f{number}").write_text(folder)
    (source / "link").symlink_to("kept/f0")
    found, since = cloned(source, dest)
    assert compared(found, dest, since) == []
    (dest / "kept" / "f0").write_text("KEPT")  # of the same length
    os.utime(dest / "kept" / "f1", ns=(5, 5))
    (dest / "kept" / "f2").chmod(0o600)
    (dest / "kept" / "f3").unlink()
    (dest / "kept" / "f3").write_text("kept")
    (dest / "mode").chmod(0o700)
    (dest / "link").unlink()
    (dest / "link").symlink_to("kept/f1")
    (dest / "new").mkdir()
    (dest / "new" / "inside").touch()
    (dest / ".fietsupdate").mkdir()
    for number in range(5):
        (dest / "gone" / f"f{number}").unlink()
    (dest / "gone").rmdir()
    assert compared(found, dest, since) == [
        ("removed", "gone"),
        *(("removed", f"gone/f{number}") for number in range(5)),
        ("changed", "kept/f0"),
        ("time", "kept/f1"),
        ("changed", "kept/f2"),
        ("time", "kept/f3"),
        ("changed", "link"),
        ("changed", "mode"),
        ("added", "new"),
        ("added", "new/inside"),
    ]
    found.close()


def test_what_nobody_has_touched_is_not_read(tmp_path: Path) -> None:
    source, dest = tmp_path / "source", tmp_path / "clone" / "data"
    source.mkdir()
    dest.parent.mkdir()
    (source / "file").write_text("text")
    found, since = cloned(source, dest)
    untouched = (dest / "file").stat().st_ctime_ns
    wrong = [record._replace(sha256="other") if record.kind == "file" else record for record in found]
    found.close()
    assert [one.how for one in differences(wrong, {"": dest}, untouched + 1)] == []
    assert ("changed", "file") in [(one.how, one.record.path) for one in differences(wrong, {"": dest}, untouched)]
    assert since >= untouched


def test_space_is_counted_once_for_all_names_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(os.urandom(1 << 20))
    alone = taken([tmp_path], 0).occupied
    assert alone >= 1 << 20
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    assert taken([tmp_path], 0).occupied < alone + (1 << 19)
    (tmp_path / ".fietsupdate").mkdir()
    (tmp_path / ".fietsupdate" / "saved").write_bytes(os.urandom(1 << 20))
    assert taken([tmp_path], 0).occupied >= alone + (1 << 20)
