"""No password is printed, logged, written down, or shown in a list of processes."""

from __future__ import annotations

import os
import shlex
import shutil

import pytest
import sqlalchemy as sa

from fietsupdate.errors import FietsupdateError
from support.databases import MARIADB, POSTGRESQL, Database
from support.projects import Project
from support.stores import stand_in

PLANTED = "pl4nted"
"""In every password of this module, whatever else is in it."""

ENV = """
from alembic import context
import sqlalchemy as sa

config = context.config
{code}
"""
URL = f"postgresql+psycopg://me:a'{PLANTED}/b@127.0.0.1:1/x"
ENGINE = "with sa.create_engine(url).connect() as connection: pass"


def outputs(project: Project, *commands: str) -> str:
    """Give all that some commands print."""
    return "\n".join(project.run(*command.split()).output for command in commands)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(f"url = {URL!r}\n{ENGINE}", id="refused"),
        pytest.param(f"url = {URL!r}\nsa.make_url(url + ':no port').render_as_string()\n{ENGINE}", id="unreadable"),
        pytest.param(f"raise RuntimeError({f'cannot open {URL}'!r})", id="told by env.py"),
        pytest.param(f"raise RuntimeError('host=x user=me password={PLANTED}')", id="told as libpq's"),
        pytest.param(f"config.set_main_option('sqlalchemy.url', 'postgresql://me:%{PLANTED}@x/y')", id="percent, set"),
        pytest.param(
            f"config.file_config['alembic']._parser._sections['alembic']['own'] = 'me:%{PLANTED}@x'\n"
            "config.get_main_option('own')",
            id="percent, read",
        ),
        pytest.param(f"raise sa.exc.ArgumentError({f'no such thing: {URL}?password={PLANTED}'!r})", id="argument"),
    ],
)
def test_an_env_that_fails_with_a_password_in_its_words_is_told_without(project, code):
    project.revision("r1")
    project.update("u1", (), "r1")
    (project.root / "migrations" / "env.py").write_text(ENV.format(code=code))
    printed = outputs(project, "--traceback status --json")
    assert "Traceback" in printed
    assert PLANTED not in printed


def test_a_percent_sign_that_is_not_doubled_is_told_without_the_value(project):
    project.revision("r1")
    project.update("u1", (), "r1")
    project.ini.write_text(project.ini.read_text().replace("[alembic]", f"[alembic]\nown = me:%{PLANTED}@x", 1))
    (project.root / "migrations" / "env.py").write_text(ENV.format(code="config.get_main_option('own')"))
    printed = outputs(project, "--traceback status")
    assert "%" in printed
    assert PLANTED not in printed


def test_what_names_a_password_without_its_value_stays_readable():
    words = [
        "password authentication failed for user me",
        "Access denied for user 'me'@'localhost' (using password: YES)",
        "see https://docs.example:8080/a and write to me@example.org",
    ]
    assert [FietsupdateError(text).message for text in words] == words


def test_a_password_in_the_query_of_the_url_is_hidden_too(make_project, postgresql):
    project = make_project(kind=POSTGRESQL)
    url = sa.make_url(project.url).update_query_dict({"password": PLANTED}).render_as_string(hide_password=False)
    project.ini.write_text(project.ini.read_text().replace(project.url, url))
    project.update("u1")
    printed = outputs(project, "update --yes", "status --json")
    assert "okay" in printed
    assert PLANTED not in printed


RECORDING = """#!/bin/sh
{{ echo "$@"; env; }} >> {log}
exec {program} "$@"
"""


@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_a_planted_password_is_nowhere_in_outputs_files_arguments_and_environments(tmp_path, make_database, kind):
    """A life of an instance: update, backup, failure, restore, rehearsal; its client programs are recorded."""
    database = make_database(kind)
    url = sa.make_url(database.url)
    if kind == MARIADB:
        database.execute(f"CREATE OR REPLACE USER '{url.database}'@'%' IDENTIFIED BY '{PLANTED}'")
        database.execute(f"GRANT ALL ON *.* TO '{url.database}'@'%'")
    name = url.database if kind == MARIADB else url.username
    text = url.set(username=name, password=PLANTED).render_as_string(hide_password=False)
    project = Project.create(tmp_path / "project", Database(kind, text, database.name))
    project.revision("r1", None, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
    project.update("u1", (), "r1", up_post="self.files.write('a', 'a')")
    log, programs = tmp_path / "calls", tmp_path / "programs"
    programs.mkdir()
    for program in ("pg_dump", "pg_restore", "psql", "mariadb", "mariadb-dump"):
        real = shutil.which(program)
        stand_in(programs, program, RECORDING.format(log=shlex.quote(str(log)), program=real)) if real else None
    env = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    told = ""
    try:
        for command in ("update --yes", "backup", "rehearse"):
            told += project.run(*command.split(), env=env).output
        project.update("u2", "u1", "r1", up_post="raise ValueError(config['sqlalchemy.url'])")
        told += project.run("--traceback", "update", "--yes", env=env).output
        told += project.run("restore", "--latest", "--yes", env=env).succeeded().output
    finally:
        if kind == MARIADB:
            with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
                connection.exec_driver_sql(f"DROP USER '{url.database}'@'%%'")
    assert "u2" in told
    assert log.read_text()
    assert PLANTED not in told
    assert PLANTED not in log.read_text()
    written = [path for path in project.root.rglob("*") if path.is_file() and path != project.ini]
    assert [path for path in written if PLANTED.encode() in path.read_bytes()] == []
