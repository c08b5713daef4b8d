"""Killed at any step of a swap, a database is the old or the new one, whole; calling the swap again finishes it.

With ``FIETSUPDATE_SWEEP=full`` every step is struck everywhere; otherwise every step of a rename, a stride elsewhere.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from fietsupdate.database import programs
from fietsupdate.database.dump import Store, open_store
from support.breaking import FULL
from support.databases import MARIADB, POSTGRESQL, Database
from support.dumps import Dump, dump
from support.injection import Injection
from support.stores import filled, store_of, sweep

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


def test_servers_are_old_or_new_wherever_the_client_is_killed(
    server: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was put aside takes the live place the next time, so that nothing is made anew for each step."""
    stride = 1 if FULL else {POSTGRESQL: 4, MARIADB: 13}[server.kind]
    store = store_of(server)
    store.dump(tmp_path / "dump")
    states = [(server.dump(), store.schema_text())]
    store.run("INSERT INTO note VALUES (2, NULL); CREATE TABLE more (n INT); DROP VIEW seen")
    states.append((server.dump(), store.schema_text()))
    new, live = store.load_beside(tmp_path / "dump", "t0"), 1
    killing = Killing(monkeypatch)
    killed = 0
    for turn in range(10_000):
        number = 1 + turn * stride
        killing.strike(number)
        with suppress(KilledError):
            store.swap(new, f"t{turn}")
        was_killed = killing.has_struck
        killing.strike(0)
        assert server.dump()["rows"] in [state[0]["rows"] for state in states], number
        store.swap(new, f"t{turn}")
        live = 1 - live
        assert (server.dump(), store.schema_text()) == states[live], number
        assert store.beside(f"t{turn}") is None
        old = store.old(f"t{turn}")
        assert old is not None
        assert old.row_counts() == {
            name.removeprefix("public."): len(rows) for name, rows in states[1 - live][0]["rows"].items()
        }
        new = old
        if not was_killed:
            break
        killed += 1
    assert killed >= 3
    new.drop()
