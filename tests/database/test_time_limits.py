"""Time limits of the server: a hook that works on files for longer does not run into them, or the error names them."""

from __future__ import annotations

import pytest

from support.databases import MARIADB, POSTGRESQL
from support.notes import notes

LONG = "import time\ntime.sleep({})\nself.files.write('a.txt', 'new')\n"
"""Work on files during which the connection says nothing."""


@pytest.mark.parametrize("variant", ["stock", "async"])
def test_postgresqls_limits_for_sessions_do_not_end_an_update(make_project, variant):
    """And a limit for statements that the role or the database has set, as it would end the revision."""
    project = notes(make_project(variant, POSTGRESQL), 1)
    project.revision("r2", "r1", "op.execute('SELECT pg_sleep(0.3)')")
    project.update("v2", "v1", "r2", up_pre=LONG.format(0.3), up_post=LONG.format(0.3))
    name = project.database.name
    for setting in ("idle_in_transaction_session_timeout", "statement_timeout"):
        project.database.execute(f"ALTER DATABASE {name} SET {setting} = '200ms'")
    project.run("update", "--yes").succeeded()
    assert (project.version, (project.data / "a.txt").read_text()) == ("v2", "new")


def test_postgresqls_limit_is_lifted_again_after_a_revision_has_committed(make_project):
    project = notes(make_project(kind=POSTGRESQL), 1)
    project.revision("r2", "r1", "with op.get_context().autocommit_block():\n    op.execute('SELECT 1')")
    project.update("v2", "v1", "r2", up_post=LONG.format(0.3))
    project.database.execute(f"ALTER DATABASE {project.database.name} SET idle_in_transaction_session_timeout = 200")
    project.run("update", "--yes").succeeded()


def test_a_limit_for_statements_that_env_py_asks_for_stays_and_is_named(make_project):
    project = notes(make_project(kind=POSTGRESQL), 1)
    ini = project.ini.read_text()
    project.ini.write_text(ini.replace(project.url, f"{project.url}?options=-c%%20statement_timeout%%3D200ms"))
    project.run("update", "--yes").succeeded()
    project.update("v2", "v1", "r1", up_pre="self.connection.exec_driver_sql('SELECT pg_sleep(1)')")
    told = project.run("update", "--yes").exited(1).told
    assert "Next: The limit statement_timeout ended it: raise it for this user, or lift it" in told
    assert "Nothing of v2 stands" in told


@pytest.mark.parametrize("variant", ["stock", "async"])
@pytest.mark.parametrize("limit", ["wait_timeout", "idle_transaction_timeout"])
def test_mariadbs_limits_for_sessions_do_not_end_an_update(make_project, variant, limit):
    project = notes(make_project(variant, MARIADB), 1)
    ini = project.ini.read_text()
    project.ini.write_text(ini.replace(project.url, f"{project.url}?init_command=SET%%20SESSION%%20{limit}%%3D1"))
    insert = "self.connection.execute(sa.text('INSERT INTO notes (text) VALUES (1)'))\n"
    project.run("update", "--yes").succeeded()
    project.update("v2", "v1", "r1", up_pre=insert + LONG.format(1.2))
    project.run("update", "--yes").succeeded()
    assert project.database.execute("SELECT count(*) FROM notes") == [(1,)]


def test_a_limit_that_ends_a_hooks_own_session_is_named(make_project):
    """An old hook's connection is its own affair; "see that the database is well" would help nobody."""
    project = notes(make_project(kind=POSTGRESQL), 1)
    project.run("update", "--yes").succeeded()
    own = "engine = sa.create_engine(config['sqlalchemy.url'])\nwith engine.begin() as connection:\n"
    own += "    connection.exec_driver_sql('SELECT 1')\n    import time\n    time.sleep(0.4)\n"
    project.update("v2", "v1", "r1", atomic=False, up_pre=f"{own}    connection.exec_driver_sql('SELECT 2')")
    project.database.execute(f"ALTER DATABASE {project.database.name} SET idle_in_transaction_session_timeout = 200")
    told = project.run("update", "--yes").exited(1).told
    assert "Next: The limit idle_in_transaction_session_timeout ended it" in told


KILLS = {
    POSTGRESQL: ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
    MARIADB: ("SELECT CONNECTION_ID()", "KILL {}"),
}


@pytest.mark.parametrize("kind", KILLS)
def test_a_connection_that_is_lost_names_what_may_end_idle_sessions(make_project, kind):
    project = notes(make_project(kind=kind), 1)
    project.run("update", "--yes").succeeded()
    which, end = KILLS[kind]
    lost = f"own = self.connection.exec_driver_sql({which!r}).scalar()\n"
    lost += "with sa.create_engine(config['sqlalchemy.url'], poolclass=sa.NullPool).begin() as other:\n"
    lost += f"    other.exec_driver_sql({end!r}.format(own))\n"
    project.update("v2", "v1", "r1", up_pre=f"{lost}self.connection.exec_driver_sql('SELECT 1')")
    told = project.run("update", "--yes").exited(1).told
    assert "wait_timeout, idle_transaction_timeout or idle_in_transaction_session_timeout of the server" in told
    project.run("check").exited(3)
