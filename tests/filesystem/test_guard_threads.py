"""Whose a change is: the hook's, with the threads that it starts, or that of the application around it."""

import _thread
import asyncio
import multiprocessing
import os
import pty
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.guard.read_only import read_only
from support.file_transactions import begin, fill, picture


@pytest.fixture
def data_dir():
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield fill(folder)


@pytest.fixture
def told():
    return []


@pytest.fixture
def undone(data_dir, told):
    """Runs a hook under the guard, and gives what playing it back reports."""

    def run(hook):
        transaction = begin(data_dir)
        with Guard(told.append).watching(transaction):
            hook()
        transaction.seal()
        return transaction.play_back()

    return run


class Other(threading.Thread):
    """A thread of the application that was there before the hook, and does what it is asked to."""

    def __init__(self):
        super().__init__()
        self.tasks, self.answers = SimpleQueue(), SimpleQueue()
        self.start()

    def run(self):
        while task := self.tasks.get():
            try:
                self.answers.put(task())
            except Exception as error:  # noqa: BLE001  # for the test to look at
                self.answers.put(error)

    def ask(self, task):
        self.tasks.put(task)
        return self.answers.get(timeout=10)


@pytest.fixture
def other():
    thread = Other()
    yield thread
    thread.tasks.put(None)
    thread.join()


@contextmanager
def going_on(work):
    """Give what starts a thread that works when it is let go, and ends then."""
    gate, ended = threading.Event(), SimpleQueue()

    def run():
        gate.wait(10)
        try:
            work()
            ended.put(None)
        except Exception as error:  # noqa: BLE001  # for the test to look at
            ended.put(error)

    def let_go():
        gate.set()
        return ended.get(timeout=10)

    thread = threading.Thread(target=run, name="digger", daemon=True)
    yield thread, let_go
    gate.set()
    thread.join()


def test_a_thread_that_outlives_its_hook_fails_the_update_and_changes_nothing_any_more(data_dir, told):
    before = picture(data_dir)
    transaction = begin(data_dir)

    def work():
        (data_dir / "one").write_text("late")

    with going_on(work) as (thread, let_go):

        def hook():
            (data_dir / "new").write_text("new")
            thread.start()

        with (
            pytest.raises(FilesError, match="the thread 'digger', which it has started, went on") as caught,
            Guard(told.append).watching(transaction),
        ):
            hook()
        assert "Join threads" in caught.value.hint
        assert transaction.play_back() == ()
        assert picture(data_dir) == before
        assert "has ended without it" in str(let_go())
    assert picture(data_dir) == before


def test_a_thread_that_a_failing_hook_leaves_changes_nothing_after_the_undo(data_dir, told):
    before = picture(data_dir)
    transaction = begin(data_dir)
    with going_on(lambda: os.rename(data_dir / "one", data_dir / "two")) as (thread, let_go):

        def hook():
            thread.start()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), Guard(told.append).watching(transaction):
            hook()
        assert transaction.play_back() == ()
        assert isinstance(let_go(), FilesError)
    assert picture(data_dir) == before


def test_a_thread_that_was_not_started_by_threading_is_noticed_too(data_dir, told):
    transaction = begin(data_dir)
    begun, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def hook():
        _thread.start_new_thread(lambda: (begun.set(), gate.wait(10), ended.set()), ())
        begun.wait(10)

    try:
        with (
            pytest.raises(FilesError, match="went on when its code had returned"),
            Guard(told.append).watching(transaction),
        ):
            hook()
    finally:
        gate.set()
        ended.wait(10)
    transaction.play_back()


def test_pools_and_threads_that_have_ended_and_the_clock_of_tqdm_are_no_matter(data_dir, told, undone):
    clock = threading.Event()
    monitor = type("TMonitor", (threading.Thread,), {"__module__": "tqdm._monitor", "run": lambda _: clock.wait(10)})

    def hook():
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: (data_dir / name).write_text(name), ["a", "b"]))
        ThreadPoolExecutor(1).submit((data_dir / "c").write_text, "c").result()
        asyncio.run(asyncio.to_thread((data_dir / "d").write_text, "d"))
        monitor().start()

    before = picture(data_dir)
    assert undone(hook) == ()
    clock.set()
    assert picture(data_dir) == before
    assert threading.Thread.start.__module__ == "threading"


def test_what_another_thread_writes_while_a_hook_runs_stays(data_dir, told, undone, other):
    upload = data_dir / "upload"

    def hook():
        (data_dir / "mine").write_text("mine")
        other.ask(lambda: upload.write_text("a user's"))
        other.ask(lambda: (data_dir / "empty" / "upload").write_text("a user's"))
        thread = other.ask(lambda: threading.Thread(target=(data_dir / "third").write_text, args=["a user's"]))
        other.ask(lambda: (thread.start(), thread.join()))

    assert undone(hook) == ()
    assert [path.read_text() for path in (upload, data_dir / "empty" / "upload", data_dir / "third")] == [
        "a user's"
    ] * 3
    assert not (data_dir / "mine").exists()
    assert told == []


def test_another_thread_is_refused_nothing(data_dir, undone, other):
    home = data_dir / ".fietsupdate" / "of_another"
    answers = []
    undone(lambda: answers.append(other.ask(lambda: home.write_text("x"))))
    assert answers == [1]
    home.unlink()


def append(path, text):
    with path.open("a") as file:
        file.write(text)


def test_what_another_thread_puts_in_the_place_of_the_hooks_files_is_set_aside(data_dir, undone, other):
    def hook():
        (data_dir / "new").write_text("hook")
        (data_dir / "one").unlink()
        (data_dir / "one").write_text("hook")
        other.ask(lambda: append(data_dir / "new", " and user"))
        other.ask(lambda: ((data_dir / "part").write_text("user"), os.replace(data_dir / "part", data_dir / "one")))

    found = undone(hook)
    assert {path.name: path.read_text() for path in found} == {"new": "hook and user", "one": "user"}
    assert (data_dir / "one").read_text() == "two names"
    assert not (data_dir / "new").exists()


def test_between_two_hooks_other_threads_are_heard_too(data_dir, told, other):
    transaction = begin(data_dir)
    with Guard(told.append) as guard:
        with guard.watching(transaction):
            (data_dir / "new").write_text("hook")
        other.ask(lambda: (data_dir / "new").write_text("user"))
        with guard.watching(transaction):
            (data_dir / "more").write_text("hook")
        transaction.seal()
    assert [path.read_text() for path in transaction.play_back()] == ["user"]


def test_a_file_that_another_thread_has_open_does_not_fail_the_update(data_dir, undone, other):
    files = []
    undone(lambda: files.append(other.ask(lambda: (data_dir / "log").open("a"))))
    for file in files:
        file.close()


def test_a_pool_that_was_there_before_works_for_anybody(data_dir, undone):
    """What it removes and replaces comes back, what it makes is set aside."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        before = picture(data_dir)

        def hook():
            pool.submit((data_dir / "new").write_text, "somebody's").result()
            pool.submit((data_dir / "one").unlink).result()
            asyncio.run(_in(pool, (data_dir / "third").write_text))

        found = undone(hook)
    assert picture(data_dir) == before
    assert sorted(path.name for path in found) == ["new", "third"]


async def _in(pool, write):
    await asyncio.get_running_loop().run_in_executor(pool, write, "x")


def test_a_loop_of_another_thread_that_works_for_the_hook_is_the_hooks(data_dir, undone):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    before = picture(data_dir)

    async def write():
        (data_dir / "new").write_text("the hook's")

    try:
        assert undone(lambda: asyncio.run_coroutine_threadsafe(write(), loop).result()) == ()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert picture(data_dir) == before


def test_checks_are_kept_from_writing_and_other_threads_are_not(data_dir, other):
    with read_only([data_dir], one_call=True) as fence:
        assert other.ask(lambda: (data_dir / "upload").write_text("a user's")) == 8
        for write in ((data_dir / "one").write_text, in_a_thread((data_dir / "one").write_text)):
            with pytest.raises(FilesError, match="belongs to the real instance"):
                write("x")
    assert fence.refused
    with read_only([data_dir]):
        assert isinstance(other.ask(lambda: (data_dir / "upload").write_text("x")), FilesError)
    assert (data_dir / "upload").read_text() == "a user's"


def in_a_thread(write):
    def call(*arguments):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(write, *arguments).result()

    return call


def fork_and_exec():
    child = os.fork()
    if child == 0:
        os.execv("/bin/true", ["true"])
    os.waitpid(child, 0)


def pseudo_terminal():
    child, descriptor = pty.fork()
    if child == 0:
        os.execv("/bin/true", ["true"])
    os.waitpid(child, 0)
    os.close(descriptor)


def multiprocess():
    process = multiprocessing.get_context("spawn").Process(target=int)
    process.start()
    process.join()


CHILDREN = {
    "fork and exec": fork_and_exec,
    "pty": pseudo_terminal,
    "spawnv": lambda: os.spawnv(os.P_WAIT, "/bin/true", ["true"]),
    "posix_spawn": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    "system": lambda: os.system("true"),
    "multiprocessing": multiprocess,
}


@pytest.mark.parametrize("way", CHILDREN)
def test_programs_are_told_whichever_way_they_start(data_dir, told, way):
    transaction = begin(data_dir)
    with Guard(told.append).watching(transaction):
        CHILDREN[way]()
    [text] = told
    assert text.endswith("what other programs change is not undone.")
    assert transaction.beyond.texts == (text,)
    transaction.play_back()


def test_a_hook_without_children_is_told_of_none(told, undone):
    undone(os.getpid)
    assert told == []
