"""Killed at any step of a swap, a database is the old or the new one, whole; calling the swap again finishes it.

With ``FIETSUPDATE_SWEEP=full`` every step is struck everywhere; otherwise every step of a rename, a stride elsewhere.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fietsupdate.database.dump import open_store, programs
from fietsupdate.database.dump.store import Store
from fietsupdate.testing.content import Dump, dump
from support.breaking import FULL
from support.databases import MARIADB, POSTGRESQL, Database
from support.injection import Injection
from support.stores import filled, store_of, sweep
from support.wire import Wire

ROWS = "CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT); CREATE INDEX notes ON note (text);"
HANGING = """
CREATE TABLE owner (id INT PRIMARY KEY); CREATE TABLE note (id INT PRIMARY KEY, owner INT REFERENCES owner (id));
CREATE VIEW seen AS SELECT id FROM note; {trigger}
INSERT INTO owner VALUES (1); INSERT INTO note VALUES (1, 1)
"""
TRIGGER = {
    POSTGRESQL: """CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
        CREATE TRIGGER noted BEFORE INSERT ON note FOR EACH ROW EXECUTE FUNCTION up();""",
    MARIADB: """CREATE TRIGGER noted BEFORE INSERT ON note FOR EACH ROW SET NEW.owner = NEW.owner;
        CREATE PROCEDURE forget() DELETE FROM note;
        CREATE EVENT tidy ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DO DELETE FROM note;""",
}


# -- SQLite: a real process, killed at each call that changes a file and at each statement


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """Give a folder with a live database, part of which is in a log that a killed process left, and a new one."""
    folder = tmp_path / "template"
    folder.mkdir()
    (tmp_path / "copies").mkdir()
    live = tmp_path / "copies" / "app.sqlite"
    with closing(sqlite3.connect(live)) as connection:
        connection.executescript(f"PRAGMA journal_mode = WAL; {ROWS} INSERT INTO note VALUES (1, 'new')")
        store = open_store(f"sqlite:///{live}", file=live)
        store.dump(tmp_path / "dump")
        connection.executescript("UPDATE note SET text = 'old'; CREATE TABLE more (n); INSERT INTO more VALUES (1)")
        store.load_beside(tmp_path / "dump", "t1")
        shutil.copytree(tmp_path / "copies", folder, dirs_exist_ok=True)
    assert (folder / "app.sqlite-wal").stat().st_size > 0
    return folder


@pytest.fixture
def mounting() -> Iterator[Callable[[Path], None]]:
    """Give a function that mounts a file over itself; it is unmounted at the end, or by calling it again."""
    mounted: list[Path] = []

    def mount(path: Path) -> None:
        unmount()
        done = subprocess.run(["mount", "--bind", path, path], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        mounted.append(path)

    def unmount() -> None:
        while mounted:
            subprocess.run(["umount", mounted.pop()], check=True)

    yield mount
    unmount()


def killed_at(number: int, store: Store) -> bool:
    """Swap in a child that is killed at an event; False when it came to its end before."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            Injection("kill", number).install()
            store.swap(store.sibling("new", "t1"), "t1")
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0 or os.WIFSIGNALED(status), f"the swap failed at event {number}"
    return status != 0


@pytest.mark.parametrize(("is_mounted", "stride"), [(False, 1), (True, 1 if FULL else 9)], ids=["renamed", "in-place"])
def test_sqlite_is_old_or_new_wherever_it_is_killed(
    template: Path, tmp_path: Path, mounting: Callable[[Path], None], is_mounted: bool, stride: int
) -> None:
    url = f"sqlite:///{template / 'app.sqlite'}"
    old = dump(url)
    new = dump(f"{url}.new-t1")
    assert old != new
    seen: list[Dump] = []
    for number in range(1, 10_000, stride):
        folder = tmp_path / str(number)
        shutil.copytree(template, folder)
        live = folder / "app.sqlite"
        if is_mounted:
            mounting(live)
        store = open_store(f"sqlite:///{live}", file=live)
        was_killed = killed_at(number, store)
        seen.append(dump(store.url))
        assert seen[-1] in (old, new), number
        for _ in range(2):
            store.swap(store.sibling("new", "t1"), "t1")
            assert dump(store.url) == new, number
        aside = store.old("t1")
        assert aside is not None
        assert dump(aside.url) == old, number
        assert {path.name for path in folder.iterdir()} == {"app.sqlite", "app.sqlite.old-t1"}, number
        if not was_killed:
            break
    assert seen[0] == old
    assert seen[-1] == new
    assert len(seen) > 12 / stride


# -- servers: the client dies before a statement


class KilledError(BaseException):
    """The process is gone; nothing catches this."""


STATEMENT = re.compile(rb"(?:\A|(?<=;\n))(?!SET |/\*!\d+ SET |DELIMITER|\s|;|--)(?:/\*!\d+ )?[A-Z]{4}")
"""Where a statement begins that does something."""


class Killing:
    """Ends the process, as it were, before one of the statements that are sent to a server's client."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.strike(0)
        self._real = programs.output_of
        monkeypatch.setattr(programs, "output_of", self._output_of)

    def strike(self, number: int) -> None:
        """Let statement `number` be the one before which it ends; 0 is none."""
        self.at, self.seen, self.has_struck = number, 0, False

    def _output_of(self, call: programs.Call, text: Any = b"") -> bytes:
        if call.name not in {"psql", "mysql", "mariadb"}:
            return self._real(call, text)
        data = text.encode() if isinstance(text, str) else text
        starts = [match.start() for match in STATEMENT.finditer(data)]
        if self.seen < self.at <= self.seen + len(starts):
            before = data[: starts[self.at - self.seen - 1]]
            if STATEMENT.search(before):
                self._real(call, before)
            self.has_struck = True
            raise KilledError
        self.seen += len(starts)
        return self._real(call, text)


@pytest.fixture(params=[POSTGRESQL, MARIADB])
def server(request: pytest.FixtureRequest, make_database: Callable[[str], Database]) -> Iterator[Database]:
    """Give a database with tables, a key, and what hangs on tables."""
    database = make_database(request.param)
    filled(database, HANGING.format(trigger=TRIGGER[request.param]))
    yield database
    sweep(database)


class Swing:
    """A live database and one beside it, which change places at each turn.

    On PostgreSQL what was put aside is the next to come in; on MariaDB it holds the tables alone, so a dump of it does.
    """

    def __init__(self, server: Database, folder: Path) -> None:
        self.server, self.store, self.turns = server, store_of(server), 0
        self.dumps = [folder / "dump", folder / "other"]
        self.store.dump(self.dumps[0])
        self.states = [self.state()]
        self.store.run("INSERT INTO note VALUES (2, NULL); CREATE TABLE more (n INT); DROP VIEW seen")
        self.store.dump(self.dumps[1])
        self.states.append(self.state())
        self.new, self.live = self.store.load_beside(self.dumps[0], "t0"), 1

    def state(self) -> tuple[Dump, str]:
        """Give all that is live."""
        return self.server.dump(), self.store.schema_text()

    def strike(self, swap: Callable[[str], bool], about: object) -> bool:
        """Swap, which may be cut, and see that one of both is live; then go on, and see that all of it is.

        Args:
            swap: Swaps under a tag; whether it was cut.
            about: What is told of a failure.

        Returns:
            Whether it was cut.
        """
        tag, other = f"t{self.turns}", self.states[self.live]
        self.turns += 1
        was_cut = swap(tag)
        assert self.server.dump()["rows"] in [state[0]["rows"] for state in self.states], about
        self.store.swap(self.new, tag)
        self.live = 1 - self.live
        assert self.state() == self.states[self.live], about
        assert self.store.beside(tag) is None
        old = self.store.old(tag)
        assert old is not None
        assert old.row_counts() == {name.removeprefix("public."): len(rows) for name, rows in other[0]["rows"].items()}
        if self.server.kind == MARIADB:
            old.drop()
            old = self.store.load_beside(self.dumps[1 - self.live], f"t{self.turns}")
        self.new = old
        return was_cut


DECIDES = {POSTGRESQL: b"COMMIT", MARIADB: b"RENAME TABLE"}
"""What the one message has in it after which another database is live."""


@pytest.mark.timeout(3600)
def test_servers_are_old_or_new_wherever_the_client_is_killed(
    server: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swing = Swing(server, tmp_path)
    kill_the_client(swing, monkeypatch)
    kill_everybody(swing)
    swing.new.drop()


def kill_the_client(swing: Swing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's script ends before a statement."""
    stride = 1 if FULL else {POSTGRESQL: 4, MARIADB: 13}[swing.server.kind]
    killing = Killing(monkeypatch)

    def killed(tag: str, number: int) -> bool:
        killing.strike(number)
        with suppress(KilledError):
            swing.store.swap(swing.new, tag)
        was_killed = killing.has_struck
        killing.strike(0)
        return was_killed

    numbers = itertools.count(1, stride)
    struck = list(itertools.takewhile(lambda number: swing.strike(partial(killed, number=number), number), numbers))
    assert len(struck) >= 3


def kill_everybody(swing: Swing) -> None:
    """A real SIGKILL, as in a container that is stopped: no client lives on, and nobody hears the last answer."""
    with closing(Wire(swing.server.url)) as wire:

        def killed(tag: str, is_last: Callable[[int, bytes], bool], *, delivered: bool) -> bool:
            child = os.fork()
            if child == 0:
                with suppress(BaseException):
                    kind: Any = type(swing.store)
                    kind(wire.by(swing.store.url)).swap(kind(wire.by(swing.new.url), is_ours=True), tag)
                    os._exit(0)
                os._exit(1)
            status = wire.carry(child, is_last, delivered=delivered)
            assert status in ({0, signal.SIGKILL} if wire.was_cut else {0})  # the last message is a farewell
            return wire.was_cut

        def decides(_number: int, text: bytes) -> bool:
            return DECIDES[swing.server.kind] in text

        assert swing.strike(partial(killed, is_last=decides, delivered=True), "decided")
        for delivered in (True, False) if FULL else ():
            for last in itertools.count(1):
                is_last = partial(lambda last, number, _text: number == last, last)
                if not swing.strike(partial(killed, is_last=is_last, delivered=delivered), (last, delivered)):
                    break
