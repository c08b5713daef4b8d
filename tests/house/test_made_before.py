"""What the commit before the rooms of today has left is read by this one: an instance, a backup, half a transaction.

``data/before_the_rooms.tar.xz`` holds an instance on SQLite: v1 and v2 applied, backed up at v2, and killed in the
post hook of v3, which had moved a file, replaced one, removed one and created one. Inodes and times, by which the
journal knows its files, are those of the machine that made it; they are translated here, by the formats as they were
then.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
import zlib
from pathlib import Path

import pytest

from support.databases import SQLITE, Database
from support.paths import DATA
from support.projects import Project

ARCHIVE = DATA / "before_the_rooms.tar.xz"
FILES = {"VERSION": "v2", "keep.txt": "kept", "notes/1.txt": "note 1", "notes/2.txt": "note 2"}
ROWS = [(1, "row 1"), (2, "row 2")]


@pytest.fixture
def old(tmp_path: Path) -> Project:
    """Unpack the instance."""
    root = tmp_path / "instance"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="fully_trusted")
    made = json.loads((root / "made.json").read_text())
    for name in ("project/alembic.ini", *(str(path.relative_to(root)) for path in root.rglob("manifest.json"))):
        path = root / name
        path.write_text(path.read_text().replace("/INSTANCE", str(root)))
    inodes = {str(old): str(os.lstat(root / name).st_ino) for name, old in made["inodes"].items()}
    (folder,) = (root / "project/data/.fietsupdate/txn").iterdir()
    translate_header(folder / "header", str(root), inodes)
    translate_journal(folder / "journal", inodes)
    for name, time in sorted(made["times"].items(), reverse=True):
        os.utime(root / name, ns=(time, time), follow_symlinks=False)
    return Project(root / "project", Database(SQLITE, f"sqlite:///{root}/app.sqlite", "app"), "stock")


def translated(text: str, inodes: dict[str, str]) -> str:
    """Replace the inodes of another machine by those of this one."""
    return re.sub(r"\d{4,}", lambda number: inodes.get(number[0], number[0]), text)


def translate_header(path: Path, root: str, inodes: dict[str, str]) -> None:
    """Write a header, JSON and its checksum, for the instance as it is here."""
    body = path.read_text().splitlines()[0].replace("/INSTANCE", root)
    body = json.dumps(json.loads(translated(body, inodes)), sort_keys=True)
    path.write_text(f"{body}\n{zlib.crc32(body.encode()):08x}\n")


def translate_journal(path: Path, inodes: dict[str, str]) -> None:
    """Write a journal: each batch of records ends with a mark, which says where it begins, and a running checksum."""
    written, batch, crc, begins = "", "", 0, 0
    for line in path.read_text().replace("\0", "").splitlines(keepends=True):
        if not line.startswith('{"at"'):
            batch += translated(line, inodes)
            continue
        crc = zlib.crc32(batch.encode(), crc)
        records = batch.count("\n")
        mark = f'{{"at":{begins},"n":{records},"crc":"{crc:08x}"}}'
        written += batch + mark.ljust(len(line) - 1) + "\n"
        batch, begins = "", len(written.encode())
    path.write_text(written)


def files_of(project: Project) -> dict[str, str]:
    """Return the files of the application and their texts."""
    paths = (path for path in project.data.rglob("*") if path.is_file() and ".fietsupdate" not in path.parts)
    return {str(path.relative_to(project.data)): path.read_text() for path in paths}


def rows_of(project: Project) -> list[tuple[int, str]]:
    """Return the rows of the application."""
    return [tuple(row) for row in project.database.execute("SELECT id, text FROM notes ORDER BY id")]


def test_half_a_transaction_is_told_undone_and_done_again(old):
    assert json.loads(old.run("status", "--json").stdout)["state"] == "interrupted"
    old.run("recover").succeeded()
    assert files_of(old) == FILES
    assert rows_of(old) == ROWS
    assert not (old.data / ".fietsupdate" / "found").exists()
    old.run("update", "--yes").succeeded()
    assert files_of(old)["moved/1.txt"] == "note 1"
    assert rows_of(old) == [*ROWS, (3, "row 3")]


def test_the_ledger_is_read_and_both_halves_agree(old):
    old.run("recover").succeeded()
    history = json.loads(old.run("history", "--json").stdout)
    assert [entry["update_id"] for entry in history["entries"]] == ["v1", "v2"]
    old.run("check").exited(3)


def test_a_backup_is_verified_and_restored(old):
    old.run("update", "--yes").succeeded()
    old.run("backup", "verify").succeeded()
    old.run("restore", "--latest", "--yes").succeeded()
    assert files_of(old) == FILES
    assert rows_of(old) == ROWS
