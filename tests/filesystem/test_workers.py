"""Contents are transformed by worker processes, or by paths; whatever becomes of them, the tree is whole."""

import functools
import gzip
import os
import select
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path, PurePosixPath

import pytest

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import batches, waiting, workers
from fietsupdate.filesystem.guard.guard import Guard
from support.file_transactions import STRIDE, begin, columns_in, ours, picture, recover, run_killed
from support.paths import TESTS

# What workers run: they import this module


def shout(content):
    return content.upper()


def shout_path(source, target):
    with source.open("rb") as reader, target.open("wb") as writer:
        while piece := reader.read(100):
            writer.write(piece.upper())


def leave(_source, _target):
    pass


def copy_all(source, target):
    """As an encoder that writes aside and renames, and keeps everything."""
    target.with_suffix(".part").write_bytes(source.read_bytes() + b"!")
    target.with_suffix(".part").rename(target)
    target.chmod(0o600)


def link(source, target):
    os.link(source, target)


def fail_at(name, content):
    if name in content:
        raise ValueError(f"not this: {content!r}")
    return content + b"!"


def strange_error(content):
    class LocalError(Exception):
        def __init__(self, one, two):
            super().__init__(one)

    raise LocalError(1, 2) if content == b"3" else KeyError("x")


def die_at(name, content):
    if name in content:
        os.kill(os.getpid(), signal.SIGKILL)
    return content + b"!"


def write_elsewhere(path, content):
    Path(path).write_text("not undone")
    return content + b"!"


def start_a_program(content):
    subprocess.run(["true"], check=True)
    return content + b"!"


def slow_first(content):
    """The first file takes the longest, and yet it comes first."""
    if content == b"0":
        time.sleep(0.2)
    return content + b"!"


def forever(content):
    time.sleep(1000)


@pytest.fixture
def many(transaction):
    transaction.files.write_many((f"many/{number:02d}", f"{number}") for number in range(30))
    return transaction.files


def contents(data_dir, folder="many"):
    return [path.read_text() for path in sorted((data_dir / folder).iterdir())]


@pytest.fixture
def no_children_left():
    """Those of other tests apart."""
    before = children()
    yield
    assert children() <= before


def children():
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


pytestmark = pytest.mark.usefixtures("no_children_left")


@pytest.fixture
def _batches_of_seven(monkeypatch):
    monkeypatch.setattr(waiting, "BATCH", 7)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("as_paths", [False, True])
@pytest.mark.usefixtures("_batches_of_seven")
def test_workers_do_what_one_process_does(transaction, data_dir, before, processes, as_paths):
    files = transaction.files
    files.write_many((f"many/{number:02d}.txt", f"text {number}") for number in range(20))
    (data_dir / "many/03.txt").chmod(0o604)
    told = []
    with Guard(told.append).watching(transaction):
        changed = files.transform(
            "many/*.txt",
            shout_path if as_paths else shout,
            rename=lambda path: path.with_suffix(".md") if path.stem < "10" else None,
            workers=processes,
            as_paths=as_paths,
        )
    assert changed == 20
    assert told == []
    assert sorted(os.listdir(data_dir / "many")) == [f"{n:02d}.{'md' if n < 10 else 'txt'}" for n in range(20)]
    assert contents(data_dir) == [f"TEXT {number}" for number in range(20)]
    assert (data_dir / "many/03.md").stat().st_mode & 0o777 == 0o604
    transaction.seal()
    assert transaction.play_back() == ()
    assert picture(data_dir) == before
    assert ours(data_dir) == []


def test_files_are_put_in_their_places_in_their_order_and_the_window_is_bounded(many, data_dir, monkeypatch):
    monkeypatch.setattr(workers, "WINDOW", 2)
    monkeypatch.setattr(workers, "AHEAD", 1)
    given = []
    paths = (given.append(n) or f"many/{n:02d}" for n in range(30))
    assert many.transform(paths, slow_first, workers=3) == 30
    assert contents(data_dir) == [f"{number}!" for number in range(30)]
    assert given == list(range(30))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_function_of_paths_may_write_nothing_keep_attributes_or_make_a_second_name(many, data_dir, processes):
    before = (data_dir / "many/00").stat()
    assert many.transform(["many/00"], leave, as_paths=True, workers=processes) == 0
    assert (data_dir / "many/00").stat() == before
    many.transform(["many/00"], copy_all, as_paths=True, workers=processes)
    assert (data_dir / "many/00").read_text() == "0!"
    assert (data_dir / "many/00").stat().st_mode == before.st_mode
    if processes == 1:
        many.transform(["many/01"], link, as_paths=True, rename=lambda _: "many/x")
        assert (data_dir / "many/x").read_text() == "1"
        assert (data_dir / "many/x").stat().st_nlink == 1


def test_a_path_that_comes_twice_is_changed_twice(many, data_dir):
    assert many.transform(["many/00", "many/01", "many/00", "many/00"], shout_twice, workers=2) == 4
    assert contents(data_dir)[:2] == ["0++++++", "1++"]


def shout_twice(content):
    return content + b"++"


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_failure_stops_and_what_comes_before_it_is_made(many, data_dir, processes):
    with pytest.raises(ValueError, match="not this") as caught:
        many.transform("many/*", functools.partial(fail_at, b"7"), workers=processes)
    assert contents(data_dir)[:9] == ["0!", "1!", "2!", "3!", "4!", "5!", "6!", "7", "8"]
    if processes > 1:
        assert "in fail_at" in caught.value.__notes__[0]


@pytest.mark.parametrize("processes", [1, 2])
def test_failures_are_collected_and_those_files_left_alone(many, data_dir, processes):
    changed = many.transform("many/*", functools.partial(fail_at, b"7"), workers=processes, max_failures=3)
    assert changed == 27
    assert [str(failure.path) for failure in changed.failures] == ["many/07", "many/17", "many/27"]
    assert isinstance(changed.failures[0].error, ValueError)
    assert contents(data_dir)[6:8] == ["6!", "7"]
    with pytest.raises(ValueError, match="not this"):
        many.transform("many/*", functools.partial(fail_at, b"7"), workers=processes, max_failures=2)


def test_errors_that_cannot_be_sent_are_told_by_their_text(many):
    with pytest.raises(FilesError, match="LocalError: 1"):
        many.transform(["many/03"], strange_error, workers=2)
    with pytest.raises(KeyError):
        many.transform(["many/04"], strange_error, workers=2)


def test_a_worker_that_dies_names_its_file(many, data_dir):
    with pytest.raises(FilesError, match=r"was ended by SIGKILL while it was busy with .*/many/07\."):
        many.transform("many/*", functools.partial(die_at, b"7"), workers=2)
    changed = many.transform(
        [f"many/{n:02d}" for n in range(7, 17)], functools.partial(die_at, b"7"), workers=2, max_failures=3
    )
    assert [failure.path.name for failure in changed.failures] == ["07"]
    assert contents(data_dir)[:17] == [f"{n}" if n == 7 else f"{n}!" for n in range(17)]


def test_what_a_worker_changes_elsewhere_is_refused(many, data_dir):
    for path in (data_dir / "many/29", data_dir / ".fietsupdate/x"):
        with pytest.raises(FilesError, match="may change its own file only"):
            many.transform(["many/00"], functools.partial(write_elsewhere, str(path)), workers=2)
    assert (data_dir / "many/29").read_text() == "29"


def test_what_a_worker_changes_outside_is_its_own_affair(many, data_dir, tmp_path):
    many.transform(["many/00"], functools.partial(write_elsewhere, str(tmp_path / "log")), workers=2)
    assert (tmp_path / "log").exists()


def test_programs_that_workers_start_are_told(transaction, many):
    told = []
    with Guard(told.append).watching(transaction):
        many.transform(["many/00"], start_a_program, workers=2)
    assert told == ["The function starts true; what other programs change is not undone."]


def test_functions_that_have_no_name_are_refused_at_once(many):
    with pytest.raises(TypeError, match="Define it with 'def' at the top"):
        many.transform("many/*", lambda content: content, workers=2)


def test_a_function_in_a_module_that_no_import_finds_is_found_by_its_path(many, data_dir, tmp_path):
    """As update scripts are, which have names of ours."""
    from importlib.util import module_from_spec, spec_from_file_location

    (tmp_path / "0001_shout.py").write_text("def change(content):\n    return content + b'?'\n")
    spec = spec_from_file_location("no_package.0001_shout", tmp_path / "0001_shout.py")
    module = sys.modules["no_package.0001_shout"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        many.transform("many/*", module.change, workers=2)
    finally:
        del sys.modules["no_package.0001_shout"]
    assert contents(data_dir)[0] == "0?"


def test_an_interrupt_ends_the_workers_within_a_second_and_all_is_undone(transaction, data_dir, before):
    files = transaction.files
    files.write_many((f"many/{number}", "text") for number in range(5))
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        files.transform("many/*", forever, workers=2)
    timer.join()
    assert time.monotonic() - begun < 1.3
    assert transaction.play_back() == ()
    assert picture(data_dir) == before
    assert ours(data_dir) == []


ENDLESS = """
import sys
sys.path[:0] = [{tests!r}, {here!r}]
from pathlib import Path
from support.file_transactions import begin
from test_workers import tell_and_sleep
files = begin(Path(sys.argv[1])).files
files.write("many/a", sys.argv[2])
files.transform("many/*", tell_and_sleep, workers=2)
"""


def tell_and_sleep(content):
    with open(content, "w") as fifo:
        fifo.write(f"{os.getpid()}")
    time.sleep(1000)


def test_workers_end_when_the_update_is_killed(data_dir, tmp_path):
    script, fifo = tmp_path / "script.py", tmp_path / "fifo"
    script.write_text(ENDLESS.format(tests=str(TESTS), here=str(Path(__file__).parent)))
    os.mkfifo(fifo)
    run = subprocess.Popen([sys.executable, str(script), str(data_dir), str(fifo)])
    worker = int(fifo.read_text())
    run.kill()
    run.wait()
    wait_until_gone(worker)
    assert recover(data_dir) == ()
    assert not (data_dir / "many").exists()


def wait_until_gone(pid):
    """Wait for a process that is no child of ours; its entry may outlive it where no one waits for it."""
    for _ in range(1000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        select.select([], [], [], 0.01)
    pytest.fail(f"{pid} goes on")


def test_killed_before_any_call_of_a_transformation_by_workers_the_tree_comes_back(data_dir, before, monkeypatch):
    monkeypatch.setattr(batches, "LEAST", 1)

    def work():
        transaction = begin(data_dir)
        names = ["VERSION", "tracks/1/track.gpx", "tracks/2/big"]
        transaction.files.transform(names, shout, workers=2, rename=lambda path: f"up/{path.name}")
        transaction.seal()

    for number in count(1, STRIDE):
        killed = run_killed(work, number)
        assert killed or columns_in(data_dir) == {"replace", "move"}
        assert recover(data_dir) == (), number
        assert picture(data_dir) == before, number
        assert ours(data_dir) == [], number
        if not killed:
            break
    assert number > 30


def test_memory_holds_neither_content_with_paths(data_dir, tmp_path):
    """64 MiB of data, and a limit of memory that has no room for them."""
    import resource

    with (data_dir / "large").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    transaction = begin(data_dir)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert transaction.files.transform(["large"], shout_path, as_paths=True, rename=lambda _: PurePosixPath("L")) == 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 32 << 10
    assert (data_dir / "L").stat().st_size == 64 << 20


def test_gzip_in_workers(many, data_dir):
    many.transform("many/*", gzip.compress, workers=0, rename=lambda path: f"{path}.gz")
    assert gzip.decompress((data_dir / "many/11.gz").read_bytes()) == b"11"
