"""Version hooks killed before any event: in the end each has run once, and both halves say so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.breaking import FULL
from support.databases import SQLITE, create
from support.injection import Injection
from support.versions import Versioned
from support.zygote import Zygote

STRIDE = 1 if FULL else 61
IDS = {"first": 1, "second": 2}
ENTRIES = ["v1", "hooks:first", "hooks:second", "lessons==0.7"]


def files(app: Versioned) -> dict[str, str]:
    return {path.name: path.read_text() for path in app.project.data.glob("*.txt")}


@pytest.mark.timeout(7200)
def test_killed_at_any_moment_every_hook_has_run_once_in_the_end(tmp_path: Path) -> None:
    zygote = Zygote()
    try:
        app = Versioned.create(tmp_path, create(SQLITE, tmp_path), zygote)
        project, kept = app.project, tmp_path / "kept"
        project.revision("aaaa", None, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
        project.update("v1", (), "aaaa")
        app.hooks("")
        app.update()
        write = "script.files.write('{0}.txt', '{0}')\nscript.connection.execute(sa.text('INSERT INTO t VALUES ({1})'))"
        text = [app.hook(name, 'old="<0.7"', write.format(name, number)) for name, number in IDS.items()]
        app.hooks("".join(text))
        app.install("0.7")
        shutil.copytree(project.data, kept)
        database = project.database.file.read_bytes()
        number, struck = 1 + STRIDE // 2, 0
        while zygote.run(project, ["update", "--yes"], Injection("kill", number)).was_killed:
            app.update()
            assert files(app) == {f"{name}.txt": name for name in IDS}, number
            assert project.database.execute("SELECT id FROM t ORDER BY id") == [(1,), (2,)], number
            assert [row[1] for row in app.ledger()] == ENTRIES, number
            shutil.rmtree(project.data)
            shutil.copytree(kept, project.data)
            project.database.drop()
            project.database.file.write_bytes(database)
            number, struck = number + STRIDE, struck + 1
        assert struck > 3
    finally:
        zygote.close()
