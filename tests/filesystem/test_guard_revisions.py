"""Alembic revisions that change files are watched as hooks are, and undone with what the database undoes."""

from __future__ import annotations

import pytest

from support.databases import ATOMIC_KINDS, MARIADB
from support.projects import Project

ADD = 'op.add_column("notes", sa.Column("{0}", sa.Integer))'
CHANGE = """import os, shutil
os.remove({data!r} + "/old"); shutil.rmtree({data!r} + "/tree"); open({data!r} + "/new", "w").write("new")
"""
FAIL = "raise RuntimeError('the cause')"
HALF = "v2 is half applied"


@pytest.fixture
def written(any_project: Project) -> Project:
    """An instance at r1, with files that the revisions to come change."""
    any_project.revision("r1", None, 'op.create_table("notes", sa.Column("id", sa.Integer, primary_key=True))')
    any_project.update("v1", (), "r1", up_post="self.files.write('tree/a', 'a'); self.files.write('old', 'old')")
    any_project.run("update", "--yes").succeeded()
    return any_project


def change(project: Project, more: str = "") -> str:
    return CHANGE.format(data=str(project.data)) + more


def names(project: Project) -> set[str]:
    return {name for name in ("new", "old", "tree/a", "post", "b") if (project.data / name).exists()}


@pytest.mark.parametrize("failing", ["hook", "revision"])
@pytest.mark.parametrize("database", ATOMIC_KINDS, indirect=True)
def test_what_a_revision_changed_comes_back_with_the_rows(written: Project, failing: str) -> None:
    written.revision("r2", "r1", ADD.format("size") + "\n" + change(written, FAIL if failing == "revision" else ""))
    written.update("v2", "v1", "r2", up_post=FAIL)
    before = written.tree(exclude=[".fietsupdate"])
    result = written.run("update", "--yes").exited(1)
    assert "Nothing of v2 stands: it was rolled back, and its file changes are undone." in result.told
    assert written.tree(exclude=[".fietsupdate"]) == before
    assert written.alembic_version() == ["r1"]


def test_what_a_committed_revision_changed_stays_and_what_the_hook_did_after_it_is_undone(written: Project) -> None:
    written.revision("r2", "r1", ADD.format("size") + "\n" + change(written))
    post = f"open(str(self.data_dir / 'post'), 'w').write('post')\n{FAIL}"
    written.update("v2", "v1", "r2", up_pre="self.files.write('b', 'b')", up_post=post, atomic=False)
    assert HALF in written.run("update", "--yes", "--no-backup").exited(1).told
    assert names(written) == {"new", "b"}
    assert written.alembic_version() == ["r2"]


@pytest.mark.parametrize("database", [MARIADB], indirect=True)
def test_where_each_schema_change_commits_a_later_revision_that_fails_takes_back_no_earlier_one(
    written: Project,
) -> None:
    written.revision("r2", "r1", ADD.format("size") + "\n" + change(written))
    written.revision("r3", "r2", FAIL)
    written.update("v2", "v1", "r3", up_pre="self.files.write('b', 'b')")
    assert HALF in written.run("update", "--yes", "--no-backup").exited(1).told
    assert names(written) == {"new", "b"}
    assert written.alembic_version() == ["r2"]


@pytest.mark.parametrize("database", [MARIADB], indirect=True)
def test_where_each_schema_change_commits_a_revision_that_made_none_is_taken_back(written: Project) -> None:
    written.revision("r2", "r1", change(written, FAIL))
    written.update("v2", "v1", "r2", up_pre="self.files.write('b', 'b')")
    assert HALF in written.run("update", "--yes", "--no-backup").exited(1).told
    assert names(written) == {"old", "tree/a", "b"}


@pytest.mark.parametrize("database", ATOMIC_KINDS, indirect=True)
def test_a_thread_that_a_revision_leaves_fails_the_update(written: Project) -> None:
    start = "import threading, time\nthreading.Thread(target=time.sleep, args=[2], name='digger', daemon=True).start()"
    written.revision("r2", "r1", start)
    written.update("v2", "v1", "r2")
    assert "'digger', which it has started, went on" in written.run("update", "--yes").exited(1).told
    assert written.alembic_version() == ["r1"]
