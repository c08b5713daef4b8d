"""The owned files of a root come in the order of the bytes of their paths, and those that rows name never lead out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fietsupdate.filesystem.hashing import LONGEST, digests
from fietsupdate.filesystem.lookup import Lookup
from fietsupdate.filesystem.owned import OwnedFiles
from fietsupdate.filesystem.sorting import sorted_names

FILES = ["a!", "a-b/x", "a/bb", "a/b.c/d", "a/b/c/d", "a0", "ab/x", "b/\udcff", "b/e\u0301", "b/\u00e9", "b/z/.x/y"]


def fill(root: Path, files: list[str]) -> list[bytes]:
    """Write files; return their paths, sorted."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch(exist_ok=False)
    return sorted(map(os.fsencode, files))


def paths(root: Path, *patterns: str, most: int = 50_000, kept_out: tuple[str, ...] = ()) -> list[bytes]:
    out = [os.fsencode(root / name) for name in kept_out]
    return [path for path, _ in OwnedFiles(os.fsencode(root), patterns, out, most=most)]


@pytest.mark.parametrize("most", [1, 2, 50_000])
def test_files_come_in_the_order_of_their_bytes_whatever_fits_into_memory(tmp_path, most):
    written = fill(tmp_path, FILES)
    assert paths(tmp_path, "**", most=most) == written


def test_patterns_that_overlap_name_each_file_once(tmp_path):
    fill(tmp_path, ["a/b/c/d", "a/b/x", "a/y", "b/y", "c"])
    assert paths(tmp_path, "a/b/**", "a/**", "a/b/c/*") == [b"a/b/c/d", b"a/b/x", b"a/y"]
    assert paths(tmp_path, "*/y") == [b"a/y", b"b/y"]
    assert paths(tmp_path, "a/*/x", "c") == [b"a/b/x", b"c"]
    assert paths(tmp_path, "a/**/d") == [b"a/b/c/d"]
    assert paths(tmp_path, "gone/**") == []


def test_our_own_folder_and_what_is_kept_out_are_left_out_and_nothing_that_only_sounds_like_it(tmp_path):
    fill(tmp_path, [".fietsupdate/ledger.jsonl", "in/.fietsupdate/x", "in/x.fietsupdate/y", "VERSION", "other/z"])
    assert paths(tmp_path, "**", kept_out=("VERSION", "other")) == [b"in/x.fietsupdate/y"]


def test_links_are_told_and_not_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    fill(outside, ["secret"])
    fill(root, ["in/file"])
    (root / "in" / "link").symlink_to(outside)
    (root / "led").symlink_to(outside)
    assert paths(root, "in/**") == [b"in/file", b"in/link"]
    assert paths(root, "led/**") == []
    lookup = Lookup(os.fsencode(root))
    assert lookup.find(b"in/link/secret").reason == "a symbolic link on its way leads out of the root"
    assert lookup.find(b"in/file").status is not None
    assert lookup.find(b"in/file/below").reason == ""
    assert lookup.find(b"in/gone").status is None


@given(st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name)), st.integers(1, 5))
def test_names_are_sorted_also_on_disk(names, most):
    assert list(sorted_names(names, most)) == sorted(names)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_digests_come_in_order_whoever_reads(tmp_path, workers):
    """Empty and large files, names that are long or not UTF-8, and what cannot be read."""
    wanted = []
    for number in range(300):
        path = os.fsencode(tmp_path) + b"/\xff%d" % number
        content = b"x" * (1 << 19) if number == 7 else b"%d" % number * number
        with open(path, "wb") as file:
            file.write(content)
        wanted.append((path, hashlib.sha256(content).digest()))
    (tmp_path / "link").symlink_to(tmp_path)
    wanted.insert(100, (os.fsencode(tmp_path) + b"/gone", b""))
    wanted.insert(101, (os.fsencode(tmp_path) + b"/link", b""))
    long = os.fsencode(tmp_path) + b"/" + b"./" * (LONGEST // 2) + b"\xff9"
    wanted.insert(102, (long, hashlib.sha256(b"9" * 9).digest()))
    assert list(digests((path for path, _ in wanted), workers)) == [digest for _, digest in wanted]
