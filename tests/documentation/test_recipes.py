"""The recipes of the documentation, run as they stand there."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from support.databases import KINDS
from support.paths import DOCS

PAGE = DOCS / "guides" / "recipes.md"


@pytest.mark.parametrize("kind", KINDS)
def test_a_blob_column_becomes_a_path_column_and_back(make_project, kind):
    revision, script = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    project = make_project(kind=kind)
    table = 'op.create_table("notes", sa.Column("id", sa.Integer, primary_key=True), '
    project.revision("4a0d", None, f'{table}sa.Column("attachment", sa.LargeBinary))')
    (project.root / "migrations" / "versions" / "5b1e_attachments_to_files.py").write_text(revision)
    project.update("baseline", (), "4a0d", baseline=True)
    (project.updates / "upd_20261128_attachments.py").write_text(script)
    project.run("update", "baseline", "--yes").succeeded()
    insert = "INSERT INTO notes (id, attachment) VALUES (:id, :content)"
    for number, content in ((1, b"one"), (2, None), (3, b"\x00three")):
        project.database.execute(insert, id=number, content=content)
    project.run("update", "--yes").succeeded()
    paths = [(1, "attachments/1.bin"), (2, None), (3, "attachments/3.bin")]
    assert project.database.execute("SELECT id, path FROM notes ORDER BY id") == paths
    assert (project.data / "attachments" / "3.bin").read_bytes() == b"\x00three"
    (project.data / "attachments" / "1.bin").rename(project.data / "elsewhere.bin")  # as the application may
    project.database.execute("UPDATE notes SET path = 'elsewhere.bin' WHERE id = 1")
    project.run("downgrade", "baseline", "--yes").succeeded()
    rows = project.database.execute("SELECT id, attachment FROM notes ORDER BY id")
    assert [(number, content and bytes(content)) for number, content in rows] == [
        (1, b"one"),
        (2, None),
        (3, b"\x00three"),
    ]
    assert not list(project.data.glob("**/*.bin"))
    with project.database.connect() as connection:
        assert "path" not in {column["name"] for column in sa.inspect(connection).get_columns("notes")}
