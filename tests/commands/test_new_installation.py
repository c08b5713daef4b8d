"""New installations: made at one go by the application and recorded, or brought up by running everything."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from fietsupdate import Updater
from fietsupdate.errors import FietsupdateError
from support.databases import ATOMIC_KINDS, MARIADB
from support.injection import Injection
from support.notes import hooks, notes
from support.projects import Project
from support.zygote import Zygote

HEAD = sa.MetaData()
sa.Table(
    "notes",
    HEAD,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.String(100)),
    sa.Column("size", sa.Integer),
    sa.Column("archived", sa.Integer),
)
"""The models of the third release."""


def updater(project: Project) -> Updater:
    return Updater.from_config(project.ini)


def create_all(project: Project) -> Project:
    """Make the application of three releases, and its schema at one go."""
    notes(project)
    with project.database.connect() as connection:
        HEAD.create_all(connection)
    return project


@pytest.fixture
def created(project) -> Project:
    """Give the application of three releases; it has made its schema with `create_all`."""
    return create_all(project)


def assert_nothing_runs(project: Project) -> None:
    status = updater(project).status()
    assert (status.state, status.current, status.problems) == ("okay", ("v3",), ())
    assert project.version == "v3"
    assert updater(project).update().done == ()
    assert project.traces() == []


def test_an_application_that_creates_its_schema_itself_stamps_the_heads(any_project):
    created = create_all(any_project)
    report = updater(created).stamp("heads")
    assert report.current == ("v3",)
    assert created.alembic_version() == ["r3"]
    assert_nothing_runs(created)


def test_an_administrator_does_the_same_with_a_command(created):
    told = created.run("stamp", "heads", "--with-alembic", "--yes").succeeded()
    assert told.stdout == "Recorded. Current: v3.\n"
    assert created.alembic_version() == ["r3"]
    assert_nothing_runs(created)


def test_alembic_that_the_application_has_stamped_itself_is_left_alone(created):
    created.alembic("stamp", "r3").succeeded()
    updater(created).stamp("heads")
    assert created.alembic_version() == ["r3"]
    assert_nothing_runs(created)


def test_and_the_next_release_is_an_update_like_any_other(created):
    updater(created).stamp("heads")
    created.revision("r4", "r3", 'op.add_column("notes", sa.Column("stars", sa.Integer))')
    created.update("v4", "v3", "r4", up_post=created.trace("v4"))
    assert updater(created).update().done == ("v4",)
    assert created.traces() == ["v4"]
    assert created.alembic_version() == ["r4"]


def test_status_tells_what_to_type_after_create_all(project):
    create_all(project)
    [problem] = [one for one in updater(project).status().problems if one.code == "tables_without_alembic"]
    assert "type `fietsupdate stamp heads --with-alembic` instead of updating" in problem.hint


def test_an_empty_database_is_brought_up_by_running_everything(any_project):
    """And is, in both halves, what one is that was made at one go."""
    notes(any_project)
    assert updater(any_project).update().done == ("v1", "v2", "v3")
    assert any_project.traces() == hooks("v1", "v2", "v3")
    with any_project.database.connect() as connection:
        columns = {column["name"] for column in sa.inspect(connection).get_columns("notes")}
    assert columns == {column.name for column in HEAD.tables["notes"].columns}
    status = updater(any_project).status()
    assert (status.state, status.current, any_project.version) == ("okay", ("v3",), "v3")


def test_without_tables_alembic_is_not_touched_unasked(project):
    notes(project)
    updater(project).stamp("v1")
    assert project.alembic_version() == []
    assert "database_behind" in {problem.code for problem in updater(project).status().problems}


def test_on_the_command_line_alembic_is_touched_only_where_it_is_asked_for(project):
    create_all(project)
    project.run("stamp", "heads", "--yes").succeeded()
    assert project.alembic_version() == []


def test_several_alembic_branches_are_all_stamped(project):
    project.revision("a1", None)
    project.revision("b1", None)
    project.update("v1", (), ["a1", "b1"])
    updater(project).stamp("heads", with_alembic=True)
    assert project.alembic_version() == ["a1", "b1"]
    assert updater(project).status().state == "okay"


def test_a_stamp_back_takes_alembic_back(project):
    notes(project)
    updater(project).update()
    updater(project).stamp("v1", with_alembic=True)
    assert project.alembic_version() == ["r1"]
    updater(project).stamp("base", with_alembic=True)
    assert project.alembic_version() == []


def test_a_revision_that_no_update_reaches_is_told(project):
    notes(project)
    project.revision("r4", "r3")
    with project.database.connect() as connection:
        HEAD.create_all(connection)
    told = project.run("stamp", "heads", "--with-alembic", "--yes").succeeded()
    assert "Warning: Alembic's version table now says r3" in told.stdout
    assert "the newest revision is r4" in told.stdout
    assert project.alembic_version() == ["r3"]


def test_a_revision_that_does_not_exist_stamps_nothing(project):
    notes(project)
    project.update("v4", "v3", "r9")
    with project.database.connect() as connection:
        HEAD.create_all(connection)
    with pytest.raises(FietsupdateError, match="r9"):
        updater(project).stamp("heads")
    assert (project.alembic_version(), project.version) == ([], None)


def test_a_version_that_may_be_another_programs_is_not_overwritten(project):
    notes(project)
    (project.data / "VERSION").write_text("4.2")
    with pytest.raises(FietsupdateError, match=r"VERSION, which this code does not know") as caught:
        updater(project).stamp("v1")
    assert caught.value.code == "version_unknown"
    assert project.version == "4.2"


def test_killed_at_any_moment_both_are_stamped_or_neither(make_project):
    zygote = Zygote()
    try:
        for kind, stride in ((ATOMIC_KINDS[0], 9), (ATOMIC_KINDS[1], 53)):
            project = create_all(make_project(kind=kind, name=kind))
            command = ["stamp", "heads", "--with-alembic", "--yes"]
            for number in range(1, 200, stride):
                killed = zygote.run(project, command, Injection("kill", number))
                zygote.run(project, ["recover"])
                stamped = updater(project).status().current
                assert (stamped, project.alembic_version()) in [((), []), (("v3",), ["r3"])], killed.fired
                if not killed.was_killed or stamped:
                    break
            zygote.run(project, command).succeeded()
            assert updater(project).status().state == "okay"
    finally:
        zygote.close()


def test_where_schema_changes_commit_a_stamp_can_be_repeated(make_project):
    project = create_all(make_project(kind=MARIADB))
    for _ in range(2):
        assert updater(project).stamp("heads").current == ("v3",)
    assert updater(project).status().state == "okay"
