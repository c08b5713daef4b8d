"""What a message proposes to type: it works in the state in which it is proposed, and loses nothing."""

from __future__ import annotations

from pathlib import Path

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


# -- the database is past a pending update


TABLE = "op.create_table('notes', sa.Column('id', sa.Integer, primary_key=True), sa.Column('text', sa.String(100)))"
OUT_OF_ROWS = """
for row in self.connection.execute(sa.text("SELECT id, text FROM notes")).all():
    self.files.write(f"notes/{row.id}.txt", row.text)
"""


def blobs_to_files(project: Project) -> Project:
    """Write an application that moves texts out of a column which the revision then drops, and bring it to v1.

    v1 (r1: the column) - v2 (r2: without it; its pre hook writes the files)
    """
    project.revision("r1", None, TABLE, "op.drop_table('notes')")
    project.revision(
        "r2",
        "r1",
        "with op.batch_alter_table('notes') as batch: batch.drop_column('text')",
        "with op.batch_alter_table('notes') as batch: batch.add_column(sa.Column('text', sa.String(100)))",
    )
    project.update("v1", (), "r1")
    project.run("update", "--yes").succeeded()
    project.update("v2", "v1", "r2", up_pre=OUT_OF_ROWS)
    write_note(project, "precious")
    return project


def test_alembic_typed_by_habit_is_taken_back_by_the_backup_that_is_named(any_project):
    project = blobs_to_files(any_project)
    project.run("backup").succeeded()
    backup = project.run("backup", "list", "--json").json["backups"][0]["name"]
    assert project.alembic("upgrade", "head").code == 0
    problem = project.run("status", "--json").json["problems"][0]
    assert problem["code"] == "database_ahead"
    assert f"Type `fietsupdate restore {backup}`" in problem["hint"]
    project.run("restore", backup, "--yes").succeeded()
    project.run("update", "--yes").succeeded()
    assert [path.read_text() for path in project.data.glob("notes/*.txt")] == ["precious"]


def test_alembic_typed_by_habit_without_a_backup_is_not_said_to_be_undone_by_a_downgrade(project):
    project = blobs_to_files(project)
    assert project.alembic("upgrade", "head").code == 0
    hint = project.run("status", "--json").json["problems"][0]["hint"]
    assert "What was dropped with that is gone from this database" in hint
    assert "Only if you know that nothing was dropped: type `alembic downgrade r1`" in hint


# -- several heads


def test_where_a_folder_has_two_heads_the_next_command_chooses(project):
    """v1 - v2, v1 - w2."""
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    project.update("v2", "v1", "r2")
    project.update("w2", "v1", "r1")
    told = project.run("status").succeeded().stdout
    assert "several_heads" in told
    assert "Next  Type `fietsupdate update`." not in told
    project.run("update", "w2", "--yes").succeeded()
    project.run("update", "heads", "--yes").succeeded()
    project.run("check").succeeded()


def test_an_interrupted_update_beside_another_head_is_resumed_by_its_id(project):
    """v1 - v2 (not atomic, fails in post), v1 - w2."""
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    project.update("w2", "v1", "r1")
    path = project.update("v2", "v1", "r2", up_post="raise RuntimeError('broken')", atomic=False)
    hint = project.run("update", "v2", "--yes", "--json").exited(1).events[-1]["error"]["hint"]
    assert "`fietsupdate update v2` goes on where it stopped" in hint
    problem = project.run("status", "--json").json["problems"][0]
    assert "`fietsupdate update v2`" in problem["hint"]
    path.write_text(path.read_text().replace("raise RuntimeError('broken')", "pass"))
    project.run("update", "v2", "--yes").succeeded()


def test_what_joins_two_heads_names_both_and_joins_alembics_as_well(project):
    """v1 (r1) - v2 (r2), v1 - w2 (x2): both trees fork."""
    notes(project, 2)
    project.revision("x2", "r1", "op.add_column('notes', sa.Column('odd', sa.Integer))")
    project.update("w2", "v1", "x2")
    (project.root / "migrations" / "versions" / "r3_.py").unlink()
    path = project.run("revision", "joined", "--merge").succeeded().stdout.strip()
    assert '"""Join v2 and w2.' in Path(path).read_text()
    project.run("update", "--yes").succeeded()
    assert len(project.alembic_version()) == 1
    assert project.run("revision", "next", "--autogenerate").exited(1).told.count("MetaData") == 1  # not: several heads


# -- a disk, a user, a first failure


def test_on_mariadb_the_first_failure_is_kept_until_its_phase_is_through(make_project):
    """R2 breaks between two schema changes; every later run meets the first of them."""
    project = notes(make_project(kind="mariadb"), 1)
    project.run("update", "--yes").succeeded()
    column = "op.add_column('notes', sa.Column('more', sa.Integer))"
    project.revision("r2", "r1", f"{column}\nraise RuntimeError('the disk of the server is full')")
    project.update("v2", "v1", "r2")
    project.run("update", "--yes").exited(1)
    error = project.run("update", "--yes", "--json").exited(1).events[-1]["error"]
    assert "Duplicate column" in error["message"]
    assert "It failed first with:" in error["stands"]
    assert "the disk of the server is full" in error["stands"]
    problem = project.run("status", "--json").json["problems"][0]
    assert "the disk of the server is full" in problem["message"]
    assert "Duplicate column" not in problem["message"]


# -- Alembic first, the update script afterwards


def at_v1_and_r2(project: Project) -> None:
    """Do as Fietsboek's documentation says: the schema goes on first, and the script is written when it is there."""
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    write_note(project, "precious")
    (project.root / "migrations" / "versions" / "r3_.py").unlink()
    assert project.alembic("upgrade", "head").code == 0


@pytest.mark.parametrize("kind", [["v9", "-m", "The size."], ["--release", "v9"]], ids=["update", "release"])
def test_an_update_without_hooks_whose_revisions_are_there_is_recorded(any_project, kind):
    project = any_project
    at_v1_and_r2(project)
    assert "fietsupdate revision" in project.run("status").succeeded().stdout
    written = project.run("revision", *kind).succeeded()
    assert "this database is past it: it has Alembic revision r2 already" in written.told
    assert project.run("check").exited(3)
    plan = " ".join(project.run("update", "--dry-run").succeeded().stdout.split())
    assert "the database has r2 already; its hooks are empty, so it is only recorded" in plan
    project.run("update", "--yes").succeeded()
    project.run("check").succeeded()
    assert rows(project) == ["precious"]


def test_an_update_with_hooks_whose_revisions_are_there_is_stamped_as_was_told(project):
    at_v1_and_r2(project)
    told = project.run("revision", "v9").succeeded()
    path = Path(told.stdout.strip())
    path.write_text(path.read_text().replace('"""Run before the Alembic revisions."""', "self.files.write('made', '')"))
    assert project.run("status", "--json").json["problems"][0]["code"] == "database_ahead"
    assert "`fietsupdate stamp v9`" in told.told
    project.run("stamp", "v9", "--yes").succeeded()
    project.run("check").succeeded()
    assert rows(project) == ["precious"]


def test_hooks_before_an_update_without_any_do_not_run_on_a_later_schema(project):
    """v1 - v2 (hooks, r1) - v3 (none, r2); the database is at r2."""
    at_v1_and_r2(project)
    project.update("v2", "v1", "r1", up_pre="self.files.write('made', '')")
    project.update("v3", "v2", "r2")
    assert project.run("status", "--json").json["problems"][0]["code"] == "database_ahead"
