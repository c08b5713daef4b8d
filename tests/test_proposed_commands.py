"""What a message proposes to type: it works in the state in which it is proposed, and loses nothing."""

from __future__ import annotations

import pytest

from support.notes import notes
from support.projects import Project

ADOPTED = "op.create_table('notes', sa.Column('id', sa.Integer, primary_key=True), sa.Column('text', sa.String(100)))"


def rows(project: Project) -> list[str]:
    """Return the texts of the notes."""
    return sorted(text for (text,) in project.database.execute("SELECT text FROM notes"))


def write_note(project: Project, text: str) -> None:
    """Do as the application does."""
    project.database.execute("INSERT INTO notes (text) VALUES (:text)", text=text)


# -- usage errors


def test_without_a_terminal_a_misspelt_target_is_told_before_the_missing_yes(project):
    notes(project, 1)
    told = project.run("update", "v9", input="").exited(2).told
    assert "There is no update 'v9'" in told
    assert "--yes" not in told
    told = project.run("stamp", "v9", input="").exited(2).told
    assert "There is no update 'v9'" in told


def test_without_a_terminal_an_update_that_finds_nothing_to_do_is_well(project):
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    assert "Nothing to do" in project.run("update", input="").succeeded().stdout


# -- the baseline is the floor


def adopted(project: Project) -> Project:
    """Adopt an application that had a table with a row before it had update scripts.

    v1 (r1, baseline) - v2 (r2)
    """
    project.revision("r1", None, ADOPTED, "op.drop_table('notes')")
    project.revision(
        "r2", "r1", "op.add_column('notes', sa.Column('size', sa.Integer))", "op.drop_column('notes', 'size')"
    )
    assert project.alembic("upgrade", "r1").code == 0
    write_note(project, "from before")
    project.update("v1", (), "r1", baseline=True)
    project.update("v2", "v1", "r2")
    project.run("update", "--yes").succeeded()
    return project


@pytest.mark.parametrize("target", ["base", "-2"])
def test_the_baseline_is_the_floor_of_a_downgrade(any_project, target):
    project = adopted(any_project)
    refused = project.run("downgrade", target, "--yes").exited(1).told
    assert "v1 is the baseline: reverting it takes back Alembic revision r1" in refused
    assert rows(project) == ["from before"]
    assert "`fietsupdate downgrade v1`" in refused
    project.run("downgrade", "v1", "--yes").succeeded()
    assert (rows(project), project.alembic_version()) == (["from before"], ["r1"])


def test_below_the_baseline_both_halves_are_copied_first_and_the_tables_are_named(any_project):
    project = adopted(any_project)
    plan = project.run("downgrade", "base", "--below-baseline", "--dry-run").succeeded().stdout
    assert "the tables of today are notes" in " ".join(plan.split())
    assert "first both halves are copied" in plan
    project.run("downgrade", "base", "--below-baseline", "--yes").succeeded()
    assert project.alembic_version() == []
    project.run("restore", "--latest", "--yes").succeeded()
    assert rows(project) == ["from before"]


def test_a_baseline_without_revisions_drops_nothing_and_is_no_floor(project):
    project.update("v1", (), None, baseline=True)
    project.run("update", "--yes").succeeded()
    project.run("downgrade", "base", "--yes").succeeded()
