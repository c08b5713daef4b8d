"""References and owned files are literals of the script, valid until a later update of its folder declares anew."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fietsupdate.errors import PlanError
from fietsupdate.model import Update
from fietsupdate.model.patterns import compiled, folder_of, is_whole_folder
from fietsupdate.model.references import Declared, Owned, ReferenceRule, owned_in
from fietsupdate.model.templates import ReferencePathError, decoded, encoded, read, tidy
from fietsupdate.planning.broken import read_broken
from fietsupdate.planning.graph import build
from fietsupdate.planning.metadata import Fault, FaultsError, read_script
from fietsupdate.planning.references import contradiction, refuse_contradiction, valid_at

SCRIPT = "update_id = 'v1'\nalembic_revision = None\nclass Up: pass\n"


def script(*lines: str, rest: str = SCRIPT) -> Update:
    return read_script("\n".join([*lines, rest]).encode(), Path("/srv/upd_v1.py"), "updates")


# -- what a script may say


def test_references_and_owned_files_are_read_without_running_the_script():
    update = script(
        "import gone_for_good",
        "references = [",
        "    {'table': 'tracks', 'path': 'tracks/{id}/track.gpx.gz', 'size': 'gpx_size', 'sha256': 'gpx_sha256'},",
        "    {'table': 'users', 'path': 'avatars/{avatar}', 'where': 'avatar is not null', 'root': 'media'},",
        "]",
        'owned = ["tracks/**", "avatars/**"]',
    )
    tracks, users = update.declares.references or ()
    assert tracks == ReferenceRule("tracks", "tracks/{id}/track.gpx.gz", size="gpx_size", sha256="gpx_sha256")
    assert users == ReferenceRule("users", "avatars/{avatar}", where="avatar is not null", root="media")
    assert update.declares.line == 2
    assert not update.declares.has_hook
    assert not script().declares


def test_a_pattern_without_a_root_means_the_root_of_the_references_in_its_folder():
    rules = (ReferenceRule("t", "tracks/{id}.gpx"), ReferenceRule("u", "avatars/{a}", root="media"))
    assert owned_in(("tracks/**", "avatars/**"), rules) == (Owned("tracks/**"), Owned("avatars/**", "media"))
    assert owned_in(("avatars/small/**",), rules) == (Owned("avatars/small/**", "media"),)
    assert owned_in(("logs/**", "media:x/*.png"), rules) == (Owned("logs/**"), Owned("x/*.png", "media"))
    assert owned_in(("**",), (ReferenceRule("t", "{path}", root="media"),)) == (Owned("**", "media"),)


FAULTS = {
    "references = {'a': 1}": "references must be a list, not {'a': 1}.",
    "references = ['tracks']": "references: 'tracks' is no mapping.",
    "references = [{'table': 't', 'path': 'a/{id}', 'colour': 'x'}]": "references: 'colour' is no key of a reference.",
    "references = [{'table': 't'}]": "references: {'table': 't'} has no 'path'.",
    "references = [{'table': 't', 'path': 'a/{id}', 'size': 5}]": "references: 'size' must be a text, not 5.",
    "references = [{'table': 't', 'path': 'a/{id}', 'optional': 1}]": "references: 'optional' must be True or False, "
    "not 1.",
    "references = [{'table': 't', 'path': '../{id}'}]": "references: the path '../{id}' cannot be read: it is no path "
    "below a root.",
    "references = [{'table': 't', 'path': '/srv/{id}'}]": "references: the path '/srv/{id}' cannot be read: it is no "
    "path below a root.",
    "references = [{'table': 't', 'path': '.fietsupdate/{id}'}]": "references: the path '.fietsupdate/{id}' cannot be "
    "read: it is no path below a root.",
    "references = [{'table': 't', 'path': 'a/{id}/'}]": "references: the path 'a/{id}/' cannot be read: it names a "
    "folder; name the file.",
    "references = [{'table': 't', 'path': 'a/{id'}]": "references: the path 'a/{id' cannot be read: a single '{' "
    "stands in it; write it twice where it is meant.",
    "references = [{'table': 't', 'path': 'a/{id.hex}'}]": "references: the path 'a/{id.hex}' cannot be read: {id.hex} "
    "is no column; write {column}, {column:02x} or {column[:2]}.",
    "references = [{'table': 't', 'path': 'logo.png'}]": "references: the path 'logo.png' names no column, so all rows "
    "would name one file.",
    "references = [dict(table='t')]": "`references` is computed (`dict(table='t')`); only literals can be read.",
    "owned = 'tracks/**'": "owned must be a list of patterns, not 'tracks/**'.",
    "owned = ['../**']": "owned: '../**' is no path below a root.",
    "owned = ['media:/x']": "owned: 'media:/x' is no path below a root.",
    "owned = [x]": "`owned` is computed (`x`); only literals can be read.",
}


@pytest.mark.parametrize("line", FAULTS)
def test_what_cannot_be_read_is_refused_with_file_and_line(line):
    with pytest.raises(FaultsError) as caught:
        script("", line)
    assert caught.value.message == f"/srv/upd_v1.py:2: {FAULTS[line]}"


def test_each_reference_is_refused_in_its_own_line_and_none_in_a_class():
    with pytest.raises(FaultsError) as caught:
        script("references = [", "    {'table': 't', 'path': '{id}'},", "    {'table': 't'},", "]")
    assert caught.value.message.startswith("/srv/upd_v1.py:3: references: ")
    inside = "update_id = 'v1'\nalembic_revision = None\nclass Up:\n    owned = []\n"
    with pytest.raises(FaultsError) as caught:
        script(rest=inside)
    assert caught.value.message == "/srv/upd_v1.py:4: `owned` stands in the class Up; it belongs to the script."


def test_a_hook_declares_also_in_a_class_that_up_builds_on_and_in_a_script_that_is_not_python():
    hook = "    def references(self, config): yield\n"
    declaring = f"update_id = 'v1'\nalembic_revision = None\nclass Base:\n{hook}class Up(Base): pass\n"
    assert script(rest=declaring).declares == Declared(has_hook=True, line=5)
    text = f"{declaring}        def broken(:\n".encode()
    broken = read_broken(text, Path("upd_v1.py"), "updates", Fault(Path("upd_v1.py"), 6, "broken"))
    assert broken is not None
    assert broken.declares.has_hook


# -- the path of a row

UUID = uuid.UUID("12345678-90ab-cdef-1234-567890abcdef")
PATHS = {
    ("tracks/{id}/track.gpx", (7,)): b"tracks/7/track.gpx",
    ("{user}/{id}.gpx", ("jürgen", 7)): "jürgen/7.gpx".encode(),
    ("100%/{id}%s", (7,)): b"100%/7%s",
    ("{{{id}}}", (7,)): b"{7}",
    ("{id}/{id}", (7,)): b"7/7",
    ("{id:02x}/{id}", (10,)): b"0a/10",
    ("{id:06d}", (Decimal(12),)): b"000012",
    ("{id:06d[:2]}", (12,)): None,
    ("{id[:2]:06d}/{id}", (12,)): b"00/12",
    ("{id[:2]}/{id[2:4]}/{id}", ("abcdef",)): b"ab/cd/abcdef",
    ("{id[-2:]}", (12345,)): b"45",
    ("{id}", (UUID,)): str(UUID).encode(),
    ("{id:uuid}", (UUID.bytes,)): str(UUID).encode(),
    ("{id:uuid}", (UUID.hex,)): str(UUID).encode(),
    ("{id:hex}", (UUID,)): UUID.hex.encode(),
    ("{id[:2]:hex}/{id:hex}", (str(UUID),)): f"12/{UUID.hex}".encode(),
    ("{id:hex}", (memoryview(b"\x00\xff"),)): b"00ff",
    ("files/{name}", (b"\xff\xfe.bin",)): b"files/\xff\xfe.bin",
    ("{name[:1]}/{name}", (b"\xffx",)): b"\xff/\xffx",
    ("{day:%Y/%m}", (dt.date(2026, 11, 5),)): b"2026/11",
    ("{day:%Y/%m}", ("2026-11-05 10:00:00",)): b"2026/11",
    ("{path}", ("./a//b/./c",)): b"a/b/c",
    ("{path}", ("..a/...",)): b"..a/...",
}


@pytest.mark.parametrize(("template", "row"), PATHS)
def test_a_template_makes_the_path_of_a_row(template, row):
    if PATHS[template, row] is None:
        with pytest.raises(ValueError, match="is no column"):
            read(template)
        return
    assert read(template).maker()(row) == PATHS[template, row]
    assert read(template).maker()((*row, "more", None)) == PATHS[template, row]


@pytest.mark.parametrize("value", [None, "", b""])
def test_null_and_an_empty_text_name_no_file(value):
    assert read("avatars/{a}").maker()((value,)) is None
    assert read("avatars/{a[:1]}/{b}").maker()(("x", value)) is None


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc/passwd", "it is absolute"),
        ("../x", "it contains '..'"),
        ("a/../../x", "it contains '..'"),
        ("a/..", "it contains '..'"),
        ("a\0b", "it contains a NUL byte"),
        (".fietsupdate/ledger.jsonl", "it leads into .fietsupdate"),
        ("a/.fietsupdate", "it leads into .fietsupdate"),
        (".", "it is empty"),
        ("\ud800", "it has a character that no name can have"),
    ],
)
def test_a_path_never_leaves_its_root(path, why):
    with pytest.raises(ReferencePathError, match=why):
        read("{path}").maker()((path,))


def test_a_value_that_does_not_fit_its_format_is_told_with_the_column():
    with pytest.raises(ReferencePathError, match=r"id is 'x', which \{id:02x\} cannot write"):
        read("{id:02x}").maker()(("x",))
    with pytest.raises(ReferencePathError, match="cannot write"):
        read("{id:uuid}").maker()((b"short",))


@given(st.text(), st.binary())
def test_whatever_a_row_says_its_path_is_tidy_or_refused(text, name):
    for value in (text, name):
        try:
            path = read("in/{x}").maker()((value,))
        except ReferencePathError:
            continue
        if path is not None:
            parts = path.split(b"/")
            assert not {b"", b".", b"..", b".fietsupdate"} & set(parts)
            assert b"\0" not in path
            assert tidy(path) == path
    assert encoded(decoded(name)) == name


def test_patterns_know_their_folder():
    assert [folder_of(one) for one in ("**", "a/b/**", "a/*/c", "a/b.png")] == ["", "a/b/", "a/", "a/"]
    assert [is_whole_folder(one) for one in ("**", "a/**", "a/**/x", "a/*")] == [True, True, False, False]
    assert compiled("a/**/*.png").fullmatch("a/b/c/x.png")


# -- what is valid

A, B = ReferenceRule("a", "a/{id}"), ReferenceRule("b", "b/{id}")
PLAIN = script()


def update(update_id: str, previous: str, *rules: ReferenceRule, folder: str = "one", owned: str = "") -> Update:
    declares = Declared(rules or None, tuple(owned.split()) or None)
    return replace(PLAIN, update_id=update_id, previous=tuple(previous.split()), folder=folder, declares=declares)


def valid(graph, *applied: str) -> list[str]:
    found = valid_at(graph, applied)
    return [str(rule) for rule, _ in found.rules] + [str(one) for one in found.owned]


def test_a_declaration_is_valid_until_a_later_one_of_its_folder_declares_anew():
    """Declarations stand in brackets.

    one: v1 (a, a/**) - v2 - v3 (b)
    two: p1 (b), after v2
    """
    graph = build(
        [
            update("v1", "", A, owned="a/**"),
            update("v2", "v1"),
            update("v3", "v2", B),
            update("p1", "v2", B, folder="two"),
        ],
        ["one", "two"],
    )
    assert valid(graph) == []
    assert valid(graph, "v1") == valid(graph, "v1", "v2") == ["a: a/{id}", "a/**"]
    assert valid(graph, "v1", "v2", "v3") == ["b: b/{id}", "a/**"]
    assert valid(graph, "v1", "v2", "p1") == ["a: a/{id}", "b: b/{id}", "a/**"]
    assert valid(graph, "v1", "v2", "gone") == ["a: a/{id}", "a/**"]


def test_two_heads_that_contradict_each_other_are_refused_until_a_merge_decides():
    """Declarations stand in brackets; m merges v2 and v3.

    v1 (a) - v2 (b)
           - v3 (a, again) - m (b)
    """
    below = [update("v1", "", A), update("v2", "v1", B), update("v3", "v1", A)]
    graph = build([*below, update("m", "v2 v3", B)], ["one"])
    assert contradiction(graph, ["v1", "v2"]) is None
    problem = contradiction(graph, ["v1", "v2", "v3"])
    assert problem is not None
    assert problem.message == (
        "v2 and v3 declare references differently, and neither comes after the other: "
        "/srv/upd_v1.py:1, /srv/upd_v1.py:1."
    )
    assert "fietsupdate revision --merge" in problem.hint
    with pytest.raises(PlanError) as caught:
        refuse_contradiction(graph, ["v1"], ["v1", "v2", "v3"])
    assert caught.value.code == "references_contradict"
    with pytest.raises(PlanError):
        valid_at(graph, ["v1", "v2", "v3"])
    refuse_contradiction(graph, ["v1", "v2", "v3"], ["v1", "v2", "v3"])  # who stands there must come away from it
    refuse_contradiction(graph, ["v1"], ["v1", "v2", "v3", "m"])
    assert valid(graph, "v1", "v2", "v3", "m") == ["b: b/{id}"]
    alike = build([*below[:2], update("v3", "v1", B)], ["one"])
    assert valid(alike, "v1", "v2", "v3") == ["b: b/{id}"]
