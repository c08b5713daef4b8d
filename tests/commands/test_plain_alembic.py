"""``alembic upgrade``, typed by habit, where env.py says that updates come first."""

from __future__ import annotations

import pytest

from support.databases import KINDS
from support.notes import notes

LINE = "config = context.config\nfrom fietsupdate import refuse_pending\nrefuse_pending(context)\n"


def guarded(project):
    env = project.root / "migrations" / "env.py"
    env.write_text(env.read_text().replace("config = context.config\n", LINE))
    return project


@pytest.mark.parametrize("kind", KINDS)
def test_plain_alembic_upgrade_is_refused_while_updates_wait_and_changes_nothing(make_project, kind):
    project = guarded(notes(make_project("engine_begin", kind), 1))
    refused = project.alembic("upgrade", "head")
    assert refused.code != 0
    assert "Updates wait (v1), and `alembic upgrade` would change the schema" in refused.output
    assert "fietsupdate -c" in refused.output
    assert project.alembic_version() == []
    project.run("update", "--yes").succeeded()
    project.update("v2", "v1", "r2")
    assert "Updates wait (v2)" in project.alembic("upgrade", "head").output
    project.run("update", "--yes").succeeded()
    project.alembic("upgrade", "head").succeeded()  # what no update reaches is a developer's affair
    assert project.alembic_version() == ["r3"]


def test_whoever_means_it_and_other_commands_of_alembic_pass(make_project):
    project = guarded(notes(make_project("engine_begin"), 1))
    project.alembic("current").succeeded()
    project.alembic("upgrade", "head", "--sql").succeeded()
    project.alembic("-x", "fietsupdate=ignore", "upgrade", "r1").succeeded()
    assert project.alembic_version() == ["r1"]
    project.alembic("downgrade", "base").succeeded()


def test_a_configuration_that_cannot_be_read_refuses_as_well(make_project):
    project = guarded(notes(make_project("engine_begin"), 1))
    project.ini.write_text(project.ini.read_text().replace("updates = ", "updates = missing_"))
    refused = project.alembic("upgrade", "head")
    assert refused.code != 0
    assert "Whether updates wait cannot be told: There is no" in refused.output
    assert project.alembic_version() == []
