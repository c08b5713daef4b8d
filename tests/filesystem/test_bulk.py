"""The verbs for many files do what a loop over the single verbs does, with a sync for a thousand of them."""

import errno
import io
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import batches as batches_module
from fietsupdate.filesystem import many, waiting
from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.journal import changes as changes_module
from fietsupdate.filesystem.journal import effects as effects_module
from fietsupdate.filesystem.paths import PathError
from fietsupdate.filesystem.posix import durable
from support.file_transactions import begin, ours, picture


@pytest.fixture
def batches(monkeypatch):
    """The number of changes in each batch."""
    sizes = []
    real = changes_module.Changes.make_many

    def counted(self, folders, records):
        sizes.append(len(records))
        return real(self, folders, records)

    monkeypatch.setattr(changes_module.Changes, "make_many", counted)
    return sizes


def names(data_dir, folder="many"):
    return sorted(str(path.relative_to(data_dir / folder)) for path in (data_dir / folder).rglob("*"))


# What they do


def test_many_files_are_written_moved_and_removed_with_a_few_syncs(transaction, data_dir, before, monkeypatch):
    monkeypatch.setattr(waiting, "BATCH", 100)
    calls = []
    for module, name in ((os, "fdatasync"), (os, "fsync"), (durable, "_syncfs")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda descriptor, real=real: calls.append(descriptor) or real(descriptor))
    files = transaction.files
    files.write_many((f"many/{n % 9}/{n}", f"{n}") for n in range(150))
    files.move_many((f"many/{n % 9}/{n}", f"moved/{n % 7}/{n}") for n in range(150))
    files.remove_many(f"moved/{n % 7}/{n}" for n in range(0, 150, 2))
    assert len(calls) < 40  # of 375 changes
    assert sum(path.is_file() for path in (data_dir / "moved").rglob("*")) == 75
    assert (data_dir / "moved/4/11").read_text() == "11"
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_write_many_takes_what_write_takes(files, data_dir):
    (data_dir / "one").chmod(0o604)

    def contents():
        yield "many/bytes", b"\x00\xff"
        yield Path("many/text"), "gr\u00fcn\r\n"
        with io.BytesIO(b"stream") as stream:
            yield "many/stream", stream
        yield "link", io.StringIO("by its symlink")
        yield "one", memoryview(b"new")

    files.write_many(contents())
    assert (data_dir / "many/bytes").read_bytes() == b"\x00\xff"
    assert (data_dir / "many/text").read_bytes() == "gr\u00fcn\r\n".encode()
    assert (data_dir / "many/stream").read_bytes() == b"stream"
    assert (data_dir / "tracks/1/track.gpx").read_text() == "by its symlink"
    assert (data_dir / "one").read_bytes() == b"new"
    assert stat.S_IMODE((data_dir / "one").stat().st_mode) == 0o604
    assert os.getxattr(data_dir / "one", "user.colour") == b"red"
    assert (data_dir / "tracks/other").read_text() == "two names"


def test_items_that_build_on_each_other_are_made_one_after_the_other(files, data_dir, batches):
    """A chain, a name that is used again, a file whose name becomes a folder, a folder, and what is in it."""
    files.write_many([("a", "a"), ("b", "b"), ("b", "b again"), ("c/d", "d")])
    assert batches == [2, 2]
    files.move_many([("a", "x"), ("x", "y"), ("b", "a"), ("a", "b"), ("c/d", "e"), ("y", "c/d/y"), ("c", "moved/c")])
    assert not {"a", "x", "y", "c"} & {path.name for path in data_dir.iterdir()}
    assert (data_dir / "b").read_text() == "b again"
    assert (data_dir / "moved/c/d/y").read_text() == "a"
    files.move_many([("one", "way/one"), ("way", "path"), ("path/one", "one")])
    assert (data_dir / "one").read_text() == "two names"
    files.remove_many(["tracks/1/track.gpx", "tracks/1", "tracks/other", "tracks"])
    assert not (data_dir / "tracks").exists()


@pytest.mark.parametrize("least", [1, batches_module.LEAST])
def test_copy_many_copies_with_modes_times_and_attributes(transaction, data_dir, before, monkeypatch, least):
    monkeypatch.setattr(batches_module, "LEAST", least)
    transaction.files.copy_many(
        [
            ("one", "copy/one"),
            ("copy/one", "copy/two"),
            ("link", "copy/link"),
            ("tracks", "copy/tracks"),
            ("VERSION", "v"),
        ]
    )
    for name in ("copy/one", "copy/two"):
        assert (data_dir / name).read_bytes() == (data_dir / "one").read_bytes()
        assert (data_dir / name).stat().st_mtime_ns == (data_dir / "one").stat().st_mtime_ns
        assert os.getxattr(data_dir / name, "user.colour") == b"red"
    assert (data_dir / "copy/link").is_symlink()
    assert (data_dir / "copy/tracks/2/big").exists()
    with pytest.raises(FileExistsError):
        transaction.files.copy_many([("VERSION", "w"), ("VERSION", "v"), ("VERSION", "x")])
    assert (data_dir / "w").exists()
    assert not (data_dir / "x").exists()
    with pytest.raises(FileNotFoundError):
        transaction.files.copy_many([("VERSION", "x"), ("none", "y")])
    transaction.seal()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_transform_changes_what_the_function_changes(files, data_dir):
    (data_dir / "tracks/1/track.gpx").chmod(0o604)
    untouched = (data_dir / "tracks/2/big").stat()
    given = []

    def change(content):
        given.append(content)
        return content.replace(b"gpx", b"GPX") if len(content) < 100 else None

    assert files.transform("tracks/**/*", change) == 1
    assert len(given) == 3
    assert (data_dir / "tracks/1/track.gpx").read_text() == "<GPX/>"
    assert stat.S_IMODE((data_dir / "tracks/1/track.gpx").stat().st_mode) == 0o604
    assert (data_dir / "tracks/2/big").stat() == untouched


def test_transform_gives_files_other_names_and_all_comes_back(transaction, before, data_dir, monkeypatch):
    """More files than a batch; some change, some only move, one stays."""
    monkeypatch.setattr(waiting, "BATCH", 2)
    files = transaction.files
    files.write_many((f"many/{number}.txt", f"text {number}") for number in range(5))
    files.write("many/stays.txt", "stays")
    unchanged = {b"text 3", b"stays"}
    changed = files.transform(
        "many/*.txt",
        lambda content: None if content in unchanged else content.upper(),
        rename=lambda path: None if path.stem == "stays" else path.with_suffix(".md"),
    )
    assert changed == 5
    assert names(data_dir) == ["0.md", "1.md", "2.md", "3.md", "4.md", "stays.txt"]
    assert [files.read_text(f"many/{number}.md") for number in (0, 3)] == ["TEXT 0", "text 3"]
    transaction.play_back()
    assert picture(data_dir) == before


def test_transform_never_takes_the_name_of_another_file(files, data_dir):
    files.write_many([("many/a.txt", "a"), ("many/b.txt", "b")])
    with pytest.raises(FileExistsError):
        files.transform(["many/a.txt"], bytes.upper, rename=lambda _path: "many/b.txt")
    assert (data_dir / "many" / "b.txt").read_text() == "b"


def test_transform_that_meets_a_new_name_again_finds_the_file_there(files, data_dir):
    files.write("many/a.txt", "a")
    assert (
        files.transform(["many/a.txt", "many/b.txt"], lambda content: content + b"!", rename=lambda _: "many/b.txt")
        == 2
    )
    assert (data_dir / "many" / "b.txt").read_text() == "a!!"


def test_transform_sees_what_it_has_changed_itself(files, data_dir):
    """A path that comes twice, and a symlink to it."""
    assert files.transform(["VERSION", "VERSION", "link", "tracks/1/track.gpx"], lambda content: content + b"+") == 4
    assert (data_dir / "VERSION").read_text() == "v1++"
    assert (data_dir / "tracks/1/track.gpx").read_text() == "<gpx/>++"
    assert (data_dir / "link").is_symlink()


def test_a_pattern_means_files_and_not_the_symlinks_to_them(files, data_dir):
    assert files.transform("*", lambda _: b"new") == 2
    assert (data_dir / "tracks/1/track.gpx").read_text() == "<gpx/>"


def test_iterables_are_taken_as_they_are_needed(files, data_dir, monkeypatch):
    monkeypatch.setattr(waiting, "BATCH", 3)
    ahead = []

    def contents():
        for number in range(10):
            ahead.append(number - sum(path.is_file() for path in data_dir.glob("many/*")))
            yield f"many/{number}", b""

    files.write_many(contents())
    assert max(ahead) == 2
    assert len(names(data_dir)) == 10


def test_further_roots_have_them_too(data_dir, tmp_path):
    (tmp_path / "media").mkdir()
    transaction = begin(data_dir, roots={"media": tmp_path / "media"})
    transaction.dirs["media"].write_many([("a", "a"), ("b", "b")])
    transaction.dirs["media"].move_many([("a", "c/a"), ("b", "c/b")])
    assert names(tmp_path, "media/c") == ["a", "b"]
    assert transaction.play_back() == ()
    assert os.listdir(tmp_path / "media") == []


# What stands when one fails


def twice(content):
    return content * 2


def raising(items, error):
    yield from items
    raise error


@pytest.mark.parametrize(
    ("verb", "error"),
    [
        (lambda files: files.move_many([("many/1", "a/b/1"), ("none", "x"), ("many/2", "c/2")]), FileNotFoundError),
        (lambda files: files.move_many([("many/1", "a/b/1"), ("many/2", "one"), ("many/3", "c/3")]), FileExistsError),
        (lambda files: files.move_many([("many/1", "a/b/1"), ("many/2", "one/2"), ("many/3", "3")]), OSError),
        (lambda files: files.move_many([("many/1", "a/b/1"), ("many/2", "../2"), ("many/3", "3")]), PathError),
        (lambda files: files.move_many([("many/1", "a/b/1"), ("many/2",), ("many/3", "3")]), ValueError),
        (lambda files: files.move_many(raising([("many/1", "a/b/1")], ZeroDivisionError())), ZeroDivisionError),
        (lambda files: files.remove_many(["many/1", "many/1", "many/2"]), FileNotFoundError),
        (lambda files: files.write_many([("many/1", "a"), ("tracks", "a"), ("many/2", "a")]), IsADirectoryError),
        (lambda files: files.write_many([("many/1", "a"), ("one/a", "a"), ("many/2", "a")]), NotADirectoryError),
        (lambda files: files.write_many([("many/1", "a"), ("many/2", 5), ("many/3", "a")]), AttributeError),
        (lambda files: files.transform(["many/1", "many/none", "many/2"], twice), FileNotFoundError),
        (lambda files: files.transform(["many/1", "many", "many/2"], twice), IsADirectoryError),
        (lambda files: files.transform("many/*", lambda c: 1 // (c != b"2") and b"new"), ZeroDivisionError),
        (lambda files: files.transform("many/*", lambda c: "2" if c == b"2" else c + c), TypeError),
    ],
)
def test_what_comes_before_an_item_that_fails_is_made_and_nothing_after_it(files, data_dir, verb, error):
    files.write_many((f"many/{n}", f"{n}") for n in (1, 2, 3))
    before = contents(data_dir)
    with pytest.raises(error):
        verb(files)
    after = contents(data_dir)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert "many/1" in changed
    assert changed <= {"many/1", "a/b/1"}
    assert {path.name for path in data_dir.iterdir()} <= {
        "a",
        *(name.split("/")[0] for name in before),
        ".fietsupdate",
        "way",
        "link",
        "empty",
    }


def contents(root):
    paths = [path for path in root.rglob("*") if path.is_file() and ".fietsupdate" not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def test_what_a_batch_cannot_do_is_tried_by_itself_and_then_told(files, data_dir, monkeypatch):
    files.write_many((f"many/{n}", f"{n}") for n in range(6))
    real = effects_module.place

    def refuse(source, target):
        if source.path.endswith("many/3"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), source.path)
        real(source, target)

    monkeypatch.setattr(effects_module, "place", refuse)
    with pytest.raises(PermissionError):
        files.move_many((f"many/{n}", f"to/{n}/x") for n in range(6))
    assert names(data_dir) == ["3", "4", "5"]
    assert names(data_dir, "to") == ["0", "0/x", "1", "1/x", "2", "2/x"]
    with pytest.raises(PermissionError):
        files.remove_many(f"many/{n}" for n in (5, 3, 4))
    assert names(data_dir) == ["3", "4"]


def test_without_second_names_files_are_replaced_one_by_one(transaction, data_dir, before, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    transaction.files.write_many([("one", "new"), ("VERSION", "new"), ("many/a", "new")])
    assert contents(data_dir).keys() & {"one", "VERSION", "many/a"} == {"one", "VERSION", "many/a"}
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_where_the_journal_has_no_room_for_a_batch_single_records_may_have(transaction, data_dir, before, monkeypatch):
    """And what the batch would have noted, the times of folders, is noted with them."""
    real = transaction.changes.journal.append

    def full(records):
        if len(records) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(records)

    monkeypatch.setattr(transaction.changes.journal, "append", full)
    transaction.files.write_many((f"tracks/1/{n}", "new") for n in range(9))
    assert len(names(data_dir, "tracks/1")) == 10
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_a_content_that_the_disk_has_no_room_for_leaves_those_before_it(files, data_dir, monkeypatch):
    real = many.pour

    def full(content, descriptor):
        real(content[:10], descriptor)
        if len(content) > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(many, "pour", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_many([("many/1", "1"), ("one", b"x" * 100), ("many/2", "2")])
    assert names(data_dir) == ["1"]
    assert (data_dir / "one").read_text() == "two names"


def test_an_interrupt_makes_nothing_more_and_all_is_undone(transaction, data_dir, before):
    with pytest.raises(KeyboardInterrupt):
        transaction.files.write_many(raising([("many/1", "1")], KeyboardInterrupt()))
    assert not (data_dir / "many").exists()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_a_journal_that_is_not_durable_ends_it(transaction, data_dir, before, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patches:
        patches.setattr(os, "fdatasync", fail)
        with pytest.raises(FilesError, match="could not be made durable"):
            transaction.files.remove_many(["one", "VERSION", "link"])
    assert picture(data_dir)[0].keys() == before[0].keys()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before


def test_a_move_to_a_second_name_of_the_same_file_takes_none_away(transaction, data_dir, before):
    transaction.files.write_many([("new", "new")])
    for pair in (("one", "tracks/other"), ("one", "one")):
        with pytest.raises(FileExistsError):
            transaction.files.move_many([("new", "newer"), pair])
        assert (data_dir / "one").samefile(data_dir / "tracks/other")
        transaction.files.move("newer", "new")
    transaction.play_back()
    assert picture(data_dir) == before


# What the script's own code does meanwhile


def test_what_an_iterable_changes_by_plain_calls_is_undone(transaction, data_dir, before):
    """The guard takes it for the script's own work, and what waits goes by what it has left."""

    def pairs():
        (data_dir / "plain").write_text("plain")
        yield "one", "two"
        (data_dir / "one").write_text("changed in place")
        (data_dir / "VERSION").replace(data_dir / "VERSION.old")
        yield "VERSION.old", "way/VERSION"

    def change(content):
        (data_dir / "seen").write_bytes(content)
        return content + b"!"

    with Guard(print).watching(transaction):
        transaction.files.move_many(pairs())
        assert transaction.files.transform(["two", "plain"], change) == 2
    assert (data_dir / "two").read_text() == "changed in place!"
    assert (data_dir / "tracks/VERSION").read_text() == "v1"
    transaction.seal()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before
    assert ours(data_dir) == []


def test_an_iterable_may_use_the_other_verbs(files, data_dir):
    def pairs():
        yield "one", "two"
        files.write("between", "b")
        yield "between", "moved"

    files.move_many(pairs())
    assert (data_dir / "two").read_text() == "two names"
    assert (data_dir / "moved").read_text() == "b"


# Random trees, random items

NAMES = st.sampled_from(["a", "b", "c", "a/b", "a/c", "b/a", "b/c/a", "c/c"])
VERB = st.one_of(
    st.tuples(st.just("move"), st.lists(st.tuples(NAMES, NAMES), max_size=6)),
    st.tuples(st.just("remove"), st.lists(st.tuples(NAMES), max_size=3)),
    st.tuples(st.just("write"), st.lists(st.tuples(NAMES, st.sampled_from([b"", b"x"])), max_size=6)),
    st.tuples(st.just("symlink"), st.tuples(NAMES, st.sampled_from(["a", "b", "c/c"])).map(lambda link: [link])),
)


def one_by_one(files, name, items):
    for item in items:
        getattr(files, name)(*item)


def at_once(files, name, items):
    if name == "symlink":
        one_by_one(files, name, items)
    else:
        getattr(files, f"{name}_many")((item if name != "remove" else item[0]) for item in items)


def outcome(root, verbs, way):
    """Do it and undo it: what stood in between, and the errors."""
    root.mkdir()
    (root / ".fietsupdate").mkdir()
    os.utime(root, ns=(10**18, 10**18))
    before = picture(root)
    transaction = begin(root)
    errors = []
    for name, items in verbs:
        try:
            way(transaction.files, name, items)
        except (OSError, PathError) as error:
            errors.append((type(error), getattr(error, "errno", None)))
    transaction.seal()
    tree, links = picture(root, inodes=False)
    assert transaction.play_back() == ()
    assert picture(root) == before
    return {name: (entry[0][:4], entry[1]) for name, entry in tree.items()}, links, errors


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(VERB, max_size=6), st.sampled_from([1, batches_module.LEAST]))
def test_many_at_once_are_as_one_by_one(verbs, least):
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, pytest.MonkeyPatch.context() as patches:
        patches.setattr(batches_module, "LEAST", least)
        assert outcome(Path(folder, "1"), verbs, one_by_one) == outcome(Path(folder, "2"), verbs, at_once)
