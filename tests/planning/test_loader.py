"""Reading update scripts: what counts as one, what it must say, and what is told about those that do not."""

import contextlib
import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fietsupdate.errors import ScriptError
from fietsupdate.model import RESERVED_IDS, Folder
from fietsupdate.planning import loader
from fietsupdate.planning.loader import load
from fietsupdate.planning.metadata import ID_PATTERN, read_script

GOOD = '''\
"""Move the tracks.

Date created: 2026-11-21
"""
import package_that_nobody_has

update_id = "b"
previous = ["a"]
alembic_revision = "c939800af428"
atomic = True


class Up:
    pass


class Down:
    pass
'''

LEAST = 'update_id = "b"\nalembic_revision = None\nclass Up: ...\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "updates").mkdir()
    return Folder("updates", tmp_path / "updates")


@pytest.fixture
def script(folder):
    """Write a script (text or bytes) and give its path."""

    def write(source, name="b.py"):
        path = folder.path / name
        path.write_bytes(source.encode() if isinstance(source, str) else source)
        return path

    return write


@pytest.fixture
def read(folder, script):
    """Write one script and read it."""

    def write_and_load(source):
        script(source)
        (update,) = load([folder])
        return update

    return write_and_load


@pytest.fixture
def fault(folder, script):
    """Write one script that is wrong and give what is said about it, without the folder."""

    def write_and_fail(source):
        script(source)
        with pytest.raises(ScriptError) as caught:
            load([folder])
        return caught.value.message.replace(f"{folder.path}/", "")

    return write_and_fail


def test_a_script_becomes_an_update(folder, script):
    path = script(GOOD)
    (update,) = load([folder])
    assert update.update_id == "b"
    assert update.previous == ("a",)
    assert update.alembic_revisions == ("c939800af428",)
    assert update.folder == "updates"
    assert update.path == path
    assert update.checksum == hashlib.sha256(GOOD.encode()).hexdigest()
    assert update.atomic
    assert not update.baseline
    assert update.has_down
    assert update.summary == "Move the tracks."
    assert (update.id_line, update.previous_line, update.revision_line) == (7, 8, 9)


def test_what_may_be_missing_has_defaults(read):
    update = read(LEAST)
    assert update.previous == ()
    assert update.alembic_revisions == ()
    assert not update.atomic
    assert not update.baseline
    assert not update.has_down
    assert update.summary == ""


def test_a_script_is_never_run(read, tmp_path):
    read(f'open({str(tmp_path / "ran")!r}, "w")\nraise SystemExit\n{LEAST}')
    assert not (tmp_path / "ran").exists()
    assert "package_that_nobody_has" not in sys.modules


@pytest.mark.parametrize(
    ("line", "revisions"),
    [
        ("None", ()),
        ("[]", ()),
        ('"1234"', ("1234",)),
        ('["x1", "y2"]', ("x1", "y2")),
        ('("x1",)', ("x1",)),
        ('("x" "1")', ("x1",)),
    ],
)
def test_alembic_revision_is_one_or_several_or_none(read, line, revisions):
    assert read(f'update_id = "b"\nalembic_revision = {line}\nclass Up: ...\n').alembic_revisions == revisions


@pytest.mark.parametrize(
    ("line", "previous"),
    [
        ("previous = []", ()),
        ('previous = ["a", "c"]', ("a", "c")),
        ('previous = ("a", "c")', ("a", "c")),
        ('previous = ["a", "a"]', ("a",)),
        ('previous: list[str] = ["a"]', ("a",)),
        ("previous: list[str]", ()),
    ],
)
def test_previous_is_a_list_of_ids(read, line, previous):
    assert read(f"{LEAST}{line}\n").previous == previous


def test_annotated_and_chained_assignments_count(read):
    update = read('update_id: Final = "x"\nalembic_revision = schema = "y"\nclass Up: ...\n')
    assert update.update_id == "x"
    assert update.alembic_revisions == ("y",)


def test_baseline_and_atomic_are_read(read):
    update = read(LEAST + "baseline = True\natomic = False\n")
    assert update.baseline
    assert not update.atomic


@pytest.mark.parametrize(
    "binding",
    [
        "from elsewhere import Up, Down",
        "from elsewhere import A as Up, B as Down",
        "Up = Down = make()",
        "try:\n    from elsewhere import Up, Down\nexcept ImportError:\n    class Up: ...\n    class Down: ...",
    ],
)
def test_classes_may_come_from_elsewhere(read, binding):
    assert read(f'update_id = "b"\nalembic_revision = None\n{binding}\n').has_down


def test_down_can_be_switched_off(read):
    assert not read(LEAST + "Down = None\n").has_down


@pytest.mark.parametrize("docstring", ['"""One line."""', '"""\nOne line.\n\nMore.\n"""', '"""  One line.  \nMore."""'])
def test_the_summary_is_the_first_line_of_the_docstring(read, docstring):
    assert read(f"{docstring}\n{LEAST}").summary == "One line."


def test_names_that_mean_something_only_elsewhere_are_left_alone(read):
    source = LEAST + "def f():\n    update_id = 1\nclass Other:\n    previous = 2\ng = lambda atomic: atomic\n"
    assert read(source).update_id == "b"


@pytest.mark.parametrize(
    "name",
    [
        "b",
        "b.txt",
        "b.pyc",
        "b.py.orig",
        "b.py~",
        ".#b.py",
        "#b.py",
        "#b.py#",
        ".b.py.swp",
        "._b.py",
        "__init__.py",
        "_common.py",
    ],
)
def test_what_is_no_script_is_not_looked_at(folder, script, name):
    script("this is not Python", name)
    assert load([folder]) == ()


def test_folders_inside_are_not_read(folder, script):
    script(LEAST)
    for name in ("__pycache__", "old", "folder.py"):
        (folder.path / name).mkdir()
        (folder.path / name / "c.py").write_text("not Python")
    assert [update.update_id for update in load([folder])] == ["b"]


def test_names_with_dots_and_linked_scripts_load(folder, script, tmp_path):
    script(LEAST, "upd_20230112_v0.5.0.py")
    (tmp_path / "elsewhere.txt").write_text(LEAST.replace('"b"', '"c"'))
    (folder.path / "linked.py").symlink_to(tmp_path / "elsewhere.txt")
    assert [update.path.name for update in load([folder])] == ["upd_20230112_v0.5.0.py", "linked.py"]


def test_updates_come_by_folder_and_id_whatever_the_files_are_called(tmp_path):
    one, two = Folder("one", tmp_path / "1"), Folder("two", tmp_path / "2")
    for folder, ids in ((one, "zy"), (two, "ba")):
        folder.path.mkdir()
        for number, update_id in enumerate(ids):
            (folder.path / f"{number}.py").write_text(LEAST.replace('"b"', f'"{update_id}"'))
    assert [update.update_id for update in load([two, one])] == ["a", "b", "y", "z"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = (\n", "b.py:1: cannot be read as Python: '(' was never closed."),
        (
            "update_id = 'b\nclass Down:\n    def f(self):\n  x = 1\n",
            "b.py:1: cannot be read as Python: unterminated string literal",
        ),
        (b"\xff = 1\n", "b.py:1: cannot be read as Python: "),
        (b"# one\nx = '\xff'\n", "b.py:2: cannot be read as Python: (unicode error) 'utf-8' codec can't decode"),
        (b"# one\n# two\n\0", "b.py:3: cannot be read as Python: it contains a NUL byte."),
        (b"# one\n:\x80", "b.py:2: cannot be read as Python: it is not utf-8: invalid start byte."),
        ("# coding: nonsense\n", "b.py:1: cannot be read as Python: unknown encoding: nonsense."),
        ("x = " + "1 + " * 100_000 + "1", "b.py:1: cannot be read as Python: an expression is nested too deeply."),
    ],
)
def test_what_is_not_python_is_told_with_file_and_line(fault, source, message):
    assert fault(source).startswith(message)


def test_a_script_whose_metadata_can_be_read_counts_and_says_that_it_is_broken(read):
    update = read(LEAST + "class Down:\n    def f(self):\n  x = 1\n")
    assert (update.update_id, update.alembic_revisions) == ("b", ())
    assert "b.py:6: cannot be read as Python: unindent does not match" in update.broken


def test_an_encoding_may_be_declared(read):
    assert read(f"# -*- coding: latin-1 -*-\n'''Größe'''\n{LEAST}".encode("latin-1")).summary == "Größe"


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(read):
    assert read(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()).summary == "Move the tracks."


def test_what_python_warns_about_stays_with_the_script(read):
    r"""An invalid escape like "\d" is a SyntaxWarning, which would spoil the output of every command."""
    assert read(LEAST + 'pattern = "\\d"\n').update_id == "b"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("make_id()", "make_id()"),
        ('"a" + "b"', "'a' + 'b'"),
        ('f"v{1}"', "f'v{1}'"),
        ("f'v'", "f'v'"),
        ("OTHER", "OTHER"),
        ('{"a"}', "{'a'}"),
        ("-1", "-1"),
        ("x if y else z", "x if y else z"),
        ("[one, *others]", "one"),
    ],
)
def test_a_computed_value_is_told_with_file_and_line(fault, value, shown):
    source = f"\nupdate_id = {value}\nalembic_revision = None\nclass Up: ...\n"
    assert fault(source) == f"b.py:2: `update_id` is computed (`{shown}`); only literals can be read."


def test_a_long_computed_value_is_shortened(fault):
    assert fault(f"{LEAST}previous = find({', '.join(['argument'] * 30)})\n").endswith(
        "...`); only literals can be read."
    )


@pytest.mark.parametrize(
    "statement",
    [
        'previous += ["x"]',
        'if True:\n    previous = ["x"]',
        "for previous in []: ...",
        "from elsewhere import previous",
        "def previous(): ...",
        "class previous: ...",
        'previous, other = ["x"], 1',
        "with x as previous: ...",
        "print(previous := [])",
        "del previous",
    ],
)
def test_metadata_that_depends_on_what_runs_is_told(fault, statement):
    message = fault(f"{LEAST}{statement}\n")
    assert message.split(": ", 1)[1] == "`previous` is not assigned by a plain `previous = ...` at module level."
    assert message.startswith("b.py:")


def test_a_second_value_is_told_with_both_lines(fault):
    assert fault(LEAST + "previous = []\nprevious = []\n") == (
        "b.py:5: `previous` is assigned again; it has a value in line 4 already."
    )


def test_a_class_that_is_written_twice_is_told(fault):
    """The second was meant to be Down; Python would silently drop the first."""
    assert fault(LEAST + "class Up: ...\n") == "b.py:4: binds `Up` again; it is bound in line 3 already."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('previous = "a"', "previous must be a list; it is 'a'."),
        ("previous = None", "previous must be a list of update ids, not None."),
        ("previous = [1]", "previous must be a list of update ids, not [1]."),
        ('previous = ["a", ""]', "previous must be a list of update ids, not ['a', '']."),
        ('previous = [["a"]]', "previous must be a list of update ids, not [['a']]."),
        ("atomic = 1", "atomic must be True or False, not 1."),
        ('baseline = "yes"', "baseline must be True or False, not 'yes'."),
    ],
)
def test_a_value_of_the_wrong_kind_is_told(fault, line, message):
    assert fault(f"{LEAST}{line}\n") == f"b.py:4: {message}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('""', "update_id '' is not allowed."),
        ('"a b"', "update_id 'a b' is not allowed."),
        ('"-1"', "update_id '-1' is not allowed."),
        ('".a"', "update_id '.a' is not allowed."),
        ('"a/b"', "update_id 'a/b' is not allowed."),
        ('"ü"', "update_id 'ü' is not allowed."),
        ('"a\\n"', "update_id 'a\\n' is not allowed."),
        ('"head"', "update_id 'head' is a word with a meaning of its own."),
        ('"heads"', "update_id 'heads' is a word with a meaning of its own."),
        ('"base"', "update_id 'base' is a word with a meaning of its own."),
        ("7", "update_id must be a string, not 7."),
        ("None", "update_id must be a string, not None."),
    ],
)
def test_an_id_that_cannot_be_one_is_told(fault, value, message):
    assert fault(f"update_id = {value}\nalembic_revision = None\nclass Up: ...\n") == f"b.py:1: {message}"


@pytest.mark.parametrize("update_id", ["v0.4.0", "30ppwg8zi4ujb46f", "_x", "a-b", "7", "HEAD"])
def test_an_id_may_look_like_this(read, update_id):
    assert read(LEAST.replace('"b"', repr(update_id))).update_id == update_id


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("12", "alembic_revision must be a revision id, a list of them or None, not 12."),
        ('""', "alembic_revision must be a revision id, a list of them or None, not ''."),
        ('["x", None]', "alembic_revision must be a revision id, a list of them or None, not ['x', None]."),
        ('"head"', "alembic_revision 'head' is not the id of a revision."),
        ('"main@head"', "alembic_revision 'main@head' is not the id of a revision."),
        ('"ae1+2"', "alembic_revision 'ae1+2' is not the id of a revision."),
        ('"-1"', "alembic_revision '-1' is not the id of a revision."),
    ],
)
def test_a_revision_that_cannot_be_one_is_told(fault, value, message):
    assert fault(f'update_id = "b"\nalembic_revision = {value}\nclass Up: ...\n') == f"b.py:2: {message}"


def test_what_is_missing_is_told_all_at_once(fault):
    assert fault("class Up: ...\n") == "b.py:1: has no `alembic_revision`.\nb.py:1: has no `update_id`."
    assert fault('update_id = "b"\nalembic_revision = None\n') == "b.py:1: has no class `Up`."
    assert fault('update_id = "b"\nalembic_revision = None\nUp = None\n') == "b.py:3: `Up` must be a class."


@pytest.mark.parametrize("source", ["", "print('hello')\n", "def helper(): ...\n"])
def test_a_python_file_that_is_no_script_is_told_with_the_way_out(folder, script, source):
    script(source)
    with pytest.raises(ScriptError) as caught:
        load([folder])
    assert caught.value.message.endswith("b.py:1: is no update script: it has neither `update_id` nor a class `Up`.")
    assert caught.value.hint == (
        "A Python file that is no update script stays in the folder when its name starts with an underscore."
    )


def test_every_fault_of_every_file_is_in_one_error(folder, script, tmp_path):
    script('update_id = make()\nprevious = "a"\nalembic_revision = 3\nclass Up: ...\n', "one.py")
    script("x = (", "two.py")
    script(LEAST, "good.py")
    missing = Folder("plugin", tmp_path / "missing")
    with pytest.raises(ScriptError) as caught:
        load([folder, missing])
    assert caught.value.message.splitlines() == [
        f"{folder.path}/one.py:1: `update_id` is computed (`make()`); only literals can be read.",
        f"{folder.path}/one.py:2: previous must be a list; it is 'a'.",
        f"{folder.path}/one.py:3: alembic_revision must be a revision id, a list of them or None, not 3.",
        f"{folder.path}/two.py:1: cannot be read as Python: '(' was never closed.",
        f"{tmp_path}/missing: the folder cannot be read: No such file or directory.",
    ]
    assert [fault["line"] for fault in caught.value.details["faults"]] == [1, 2, 3, 1, 0]
    assert caught.value.hint.splitlines()[-1] == "`updates` in the configuration names the folders of update scripts."
    assert caught.value.code == "script"


def test_a_file_instead_of_a_folder_is_told(tmp_path):
    (tmp_path / "updates").write_text("")
    with pytest.raises(ScriptError, match="the folder cannot be read: Not a directory"):
        load([Folder("updates", tmp_path / "updates")])


def test_a_link_to_nowhere_is_told(folder):
    (folder.path / "b.py").symlink_to("nowhere")
    with pytest.raises(ScriptError, match=r"b\.py: the script cannot be read: No such file or directory\.$"):
        load([folder])


def test_a_link_that_goes_in_circles_is_told_of_the_script_and_not_of_the_folder(folder):
    (folder.path / "b.py").symlink_to("b.py")
    with pytest.raises(ScriptError, match=r"b\.py: the script cannot be read: Too many levels of symbolic links\.$"):
        load([folder])


def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder.path / "b.py")
    with pytest.raises(ScriptError, match="is no update script"):
        load([folder])


def test_a_folder_under_two_names_is_told_as_what_it_is(folder, script, tmp_path):
    script(LEAST)
    (tmp_path / "other").symlink_to("updates")
    with pytest.raises(ScriptError) as caught:
        load([folder, Folder("package:other", tmp_path / "other")])
    assert caught.value.message == (
        f"{tmp_path}/other: the folder is configured twice, as 'updates' and as 'package:other'."
    )


IDS = st.from_regex(ID_PATTERN, fullmatch=True).filter(lambda text: text not in RESERVED_IDS)


@given(
    IDS,
    st.lists(IDS, unique=True),
    st.lists(st.from_regex(r"[0-9a-f]+", fullmatch=True), unique=True),
    st.booleans(),
)
def test_what_is_written_as_a_literal_is_what_is_read(update_id, previous, revisions, atomic):
    values = {"update_id": update_id, "previous": previous, "alembic_revision": revisions, "atomic": atomic}
    source = "class Up: ...\n" + "".join(f"{name} = {value!r}\n" for name, value in values.items())
    update = read_script(source.encode(), Path("b.py"), "updates")
    assert update.update_id == update_id
    assert list(update.previous) == previous
    assert list(update.alembic_revisions) == revisions
    assert update.atomic is atomic


@given(st.binary() | st.text().map(lambda text: (LEAST + text).encode("utf-8", "surrogatepass")))
def test_nothing_that_lies_in_a_file_is_worse_than_a_script_error(source):
    with contextlib.suppress(ScriptError):
        assert read_script(source, Path("b.py"), "updates").update_id


def test_reading_writes_nothing(folder, script):
    script(GOOD)
    before = sorted(path.name for path in Path(folder.path).rglob("*"))
    load([folder])
    assert sorted(path.name for path in Path(folder.path).rglob("*")) == before


def test_a_changed_script_has_another_checksum(folder, script, tmp_path):
    script(GOOD)
    (before,) = load([folder])
    shutil.copytree(folder.path, tmp_path / "copy")
    (copy,) = load([Folder("updates", tmp_path / "copy")])
    script(GOOD + "# more\n")
    (after,) = load([folder])
    assert copy.checksum == before.checksum != after.checksum


def test_the_same_content_is_parsed_once_and_a_change_is_seen(tmp_path, monkeypatch):
    """Also one that leaves size and time as they were."""
    parsed = []
    real = loader.read_script
    monkeypatch.setattr(loader, "read_script", lambda *given: parsed.append(given[1].name) or real(*given))
    script = tmp_path / "one.py"
    text = "update_id = 'one'\nprevious = []\nalembic_revision = {revision}\nclass Up: pass\n"
    script.write_text(text.format(revision="'aaa'"))
    before = script.stat()
    folder = Folder("updates", tmp_path)
    assert loader.load([folder]) == loader.load([folder])
    assert parsed == ["one.py"]
    script.write_text(text.format(revision="'bbb'"))
    os.utime(script, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert loader.load([folder])[0].alembic_revisions == ("bbb",)
