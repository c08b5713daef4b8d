"""The package fietsboek 0.11.0, whose updater is the original of this idea: its eleven scripts run unmodified.

The package lives in a virtual environment of its own, beside an editable fietsupdate; nothing of it is copied. The
environment is kept in pytest's cache folder, and made once for all workers. Fietsboek's graph is one line: `UPDATES`.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.databases import ATOMIC_KINDS, Database
from support.paths import TOP
from support.projects import Project, Result

pytestmark = pytest.mark.timeout(600)  # the first test of the first run installs the package

REQUIREMENTS = ("fietsboek==0.11.0", "psycopg[binary]>=3.2")

UPDATES = (
    "initial", "v0.4.0", "30ppwg8zi4ujb46f", "lu8w3rwlz4ddcpms", "v0.5.0", "v0.6.0",
    "v0.7.0", "v0.8.0", "v0.9.0", "v0.10.0", "v0.11.0",
)  # fmt: skip

CONFIGURATION = """\
[app:main]
use = egg:fietsboek
sqlalchemy.url = {url}
fietsboek.data_dir = %(here)s/data
redis.url = redis://localhost
session_key = not the default one
email.from = fietsboek@example.org
email.smtp_url = debug://localhost

[alembic]
script_location = fietsboek:alembic

[fietsupdate]
updates = fietsboek:updater/scripts
settings_section = app:main
data_dir = %(here)s/data

[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = WARNING
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain

[formatter_plain]
format = %(levelname)s %(message)s
"""

GPX = """\
<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="test" xmlns="http://www.topografix.com/GPX/1/1"><trk><name>name of track {number}</name>
<trkseg><trkpt lat="49.{number}5" lon="8.6"><ele>{number}</ele><time>2022-06-01T10:00:00Z</time></trkpt></trkseg>
</trk></gpx>
"""
TRACKS = range(1, 4)
FILES = ("track.gpx.br", "track.bck.gpx.br")


@pytest.fixture(scope="session")
def fietsboek_python(request: pytest.FixtureRequest) -> Path:
    """Give the interpreter of an environment with fietsboek and this work tree in it."""
    cache = request.config.cache.mkdir("fietsboek")
    ours = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["dependencies"]
    identity = "\n".join([*REQUIREMENTS, *ours, sys.version, str(TOP)])
    venv = cache / hashlib.sha256(identity.encode()).hexdigest()[:16]
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker makes it, the others wait
        if not (venv / "complete").exists():
            shutil.rmtree(venv, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet"]
            certified = {name: value for name, value in os.environ.items() if name != "SSL_CERT_FILE"}
            subprocess.run([*pip, *REQUIREMENTS, "--editable", str(TOP)], env=certified, check=True)
            (venv / "complete").touch()
    return venv / "bin" / "python"


@pytest.fixture(params=ATOMIC_KINDS)
def fietsboek(request, tmp_path, make_database, fietsboek_python) -> Project:
    """Give an empty instance, configured as its documentation says, plus our section."""
    return instance(tmp_path / "instance", make_database(request.param), str(fietsboek_python))


def instance(root: Path, database: Database, python: str) -> Project:
    """Make an empty instance."""
    (root / "data").mkdir(parents=True)
    (root / "fietsboek.ini").write_text(CONFIGURATION.format(url=database.url))
    return Project(root, database, python=python, options=["-c", "fietsboek.ini"])


def own_updater(fietsboek: Project, *args: str) -> Result:
    """Run the package's own updater; its console script may be hidden behind ours of the same name."""
    program = "from fietsboek.updater.cli import cli; cli()"
    command = [fietsboek.python, "-c", program, *args, "-c", "fietsboek.ini"]
    done = subprocess.run(command, cwd=fietsboek.root, capture_output=True, text=True, check=False, timeout=120)
    return Result(command, done.returncode, done.stdout, done.stderr)


def add_tracks(fietsboek: Project, numbers: Iterable[int] = TRACKS) -> None:
    """Do what users of release 0.4.0 did: two of them upload tracks."""
    users = sa.table("users", sa.column("id"), sa.column("name"), sa.column("email"))
    names = ("id", "owner_id", "title", "description", "date_raw", "date_tz", "gpx", "visibility", "type")
    types = {"date_raw": sa.DateTime(), "gpx": sa.LargeBinary()}
    if fietsboek.database.kind == "postgresql":
        types["visibility"] = sa.Enum("PRIVATE", name="visibility")
        types["type"] = sa.Enum("ORGANIC", name="tracktype")
    tracks = sa.table("tracks", *(sa.column(name, types.get(name)) for name in names))
    with fietsboek.database.connect() as connection:
        for number in (1, 2):
            row = {"id": number, "name": f"user {number}", "email": f"user{number}@example.org"}
            connection.execute(users.insert().values(row))
        for number in numbers:
            row = {
                "id": number,
                "owner_id": 1 + number % 2,
                "title": f"title {number}",
                "description": f"description {number}",
                "date_raw": dt.datetime(2022, 6, 1, 10, 0, 0, 500),  # noqa: DTZ001  # date_tz says which zone
                "date_tz": 120 if number > 1 else None,
                "gpx": gzip.compress(GPX.format(number=number).encode()),
                "visibility": "PRIVATE",
                "type": "ORGANIC",
            }
            connection.execute(tracks.insert().values(row))


DECOMPRESS = """
import json, brotli, pathlib, sys
paths = pathlib.Path(sys.argv[1]).glob("tracks/*/*")
print(json.dumps({"/".join(path.parts[-2:]): brotli.decompress(path.read_bytes()).decode() for path in paths}))
"""


def assert_tracks_are_on_disk(fietsboek: Project, tracks: Collection[int] = TRACKS) -> None:
    """Assert that every track is there twice, as it was and with its metadata; the package's Python can read them."""
    command = [fietsboek.python, "-c", DECOMPRESS, fietsboek.data]
    files = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert sorted(files) == sorted(f"{number}/{name}" for number in tracks for name in FILES)
    for number in tracks:
        assert files[f"{number}/track.bck.gpx.br"] == GPX.format(number=number)
        embedded = files[f"{number}/track.gpx.br"]
        assert f"<name>title {number}</name>" in embedded
        assert f"user {1 + number % 2}" in embedded
        assert f'lat="49.{number}5"' in embedded


def columns(fietsboek: Project, table: str) -> dict[str, str]:
    with fietsboek.database.connect() as connection:
        return {column["name"]: str(column["type"]) for column in sa.inspect(connection).get_columns(table)}


def test_an_empty_instance_comes_to_the_last_release(fietsboek, tmp_path, make_database):
    before = fietsboek.run("status", "--json").succeeded().json
    assert (before["state"], before["current"], before["pending"]) == ("outdated", [], list(UPDATES))
    assert before["failing_imports"] == []
    fietsboek.run("update", "--yes").succeeded()
    assert fietsboek.version == "v0.11.0"
    assert fietsboek.alembic_version() == ["2ebe1bf66430"]
    theirs = instance(tmp_path / "theirs", make_database(fietsboek.database.kind), fietsboek.python)
    own_updater(theirs, "update", "-f").succeeded()
    assert fietsboek.database.dump(bookkeeping=False) == theirs.database.dump()
    assert fietsboek.version == theirs.version
    assert "All updates applied!" in own_updater(fietsboek, "status").succeeded().stdout


def test_an_instance_with_tracks_comes_from_0_4_0_to_the_last_release(fietsboek):
    own_updater(fietsboek, "update", "-f", "v0.4.0").succeeded()
    add_tracks(fietsboek)
    assert "gpx" in columns(fietsboek, "tracks")
    result = fietsboek.run("update", "--yes").succeeded()
    assert "Moving GPX data for track 1 from database to disk" in result.output
    assert fietsboek.version == "v0.11.0"
    assert fietsboek.alembic_version() == ["2ebe1bf66430"]
    assert "gpx" not in columns(fietsboek, "tracks")
    assert columns(fietsboek, "tracks")["transformers"] == "TEXT"
    assert_tracks_are_on_disk(fietsboek)
    secrets = fietsboek.database.execute("SELECT session_secret FROM users")
    assert [len(secret) for (secret,) in secrets] == [32, 32]


@pytest.mark.parametrize("fietsboek", ["sqlite"], indirect=True)
def test_an_instance_goes_back_from_0_10_0_to_lu8w3rwlz4ddcpms(fietsboek):
    own_updater(fietsboek, "update", "-f", "v0.4.0").succeeded()
    add_tracks(fietsboek)
    fietsboek.run("update", "--yes", "lu8w3rwlz4ddcpms").succeeded()
    then, tree = fietsboek.database.dump(bookkeeping=False), fietsboek.tree(exclude=[".fietsupdate", "VERSION"])
    fietsboek.run("update", "--yes", "v0.10.0").succeeded()
    assert fietsboek.alembic_version() == ["4566843039d6"]
    fietsboek.run("downgrade", "--yes", "lu8w3rwlz4ddcpms").succeeded()
    assert fietsboek.version == "lu8w3rwlz4ddcpms"
    assert fietsboek.alembic_version() == ["c939800af428"]
    assert fietsboek.database.dump(bookkeeping=False) == then
    assert fietsboek.tree(exclude=[".fietsupdate", "VERSION"]) == tree


@pytest.mark.parametrize("fietsboek", ["sqlite"], indirect=True)
def test_an_instance_of_the_package_s_own_updater_is_adopted(fietsboek):
    own_updater(fietsboek, "update", "-f").succeeded()
    then = fietsboek.database.dump()
    status = fietsboek.run("status", "--json").succeeded().json
    assert (status["state"], status["current"]) == ("okay", ["v0.11.0"])
    assert fietsboek.database.dump() == then
    fietsboek.run("update", "--yes").succeeded()
    assert fietsboek.version == "v0.11.0"
    assert fietsboek.database.dump(bookkeeping=False) == then
    fietsboek.run("check").succeeded()


@pytest.mark.parametrize("fietsboek", ["sqlite"], indirect=True)
def test_an_adopted_instance_goes_on_from_where_it_was(fietsboek):
    own_updater(fietsboek, "update", "-f", "v0.6.0").succeeded()
    fietsboek.run("check").exited(3)
    fietsboek.run("update", "--yes", "v0.7.0").succeeded()
    assert fietsboek.version == "v0.7.0"
    assert fietsboek.alembic_version() == ["3149aa2d0114"]
    history = fietsboek.run("history", "--json").succeeded().stdout
    assert '"v0.6.0"' in history
    assert '"v0.5.0"' not in history


def test_the_broken_downgrade_of_the_last_revision_is_named_and_changes_nothing(fietsboek):
    own_updater(fietsboek, "update", "-f").succeeded()
    then = fietsboek.database.dump()
    result = fietsboek.run("downgrade", "--yes", "v0.10.0").exited(1)
    assert "v0.11.0" in result.told
    assert "Alembic revision 2ebe1bf66430 failed" in result.told
    cause = {"sqlite": "no such column", "postgresql": "cannot be cast automatically"}
    assert cause[fietsboek.database.kind] in result.told
    assert "The database has no record of v0.11.0" in result.told
    assert fietsboek.database.dump(bookkeeping=False) == then
    assert fietsboek.version == "v0.11.0"
    fietsboek.run("check").exited(0)


@pytest.mark.parametrize("fietsboek", ["sqlite"], indirect=True)
def test_the_first_downgrade_that_moves_tracks_back_fails_and_the_files_survive(fietsboek):
    """Its post hook deletes every file, and calls `Connection.execute` as no SQLAlchemy of today allows."""
    own_updater(fietsboek, "update", "-f", "v0.4.0").succeeded()
    add_tracks(fietsboek)
    fietsboek.run("update", "--yes", "lu8w3rwlz4ddcpms").succeeded()
    tree = fietsboek.tree(exclude=[".fietsupdate", "VERSION"])
    result = fietsboek.run("downgrade", "--yes", "v0.4.0").exited(1)
    assert "30ppwg8zi4ujb46f" in result.told
    assert "TypeError" in result.told
    assert fietsboek.tree(exclude=[".fietsupdate", "VERSION"]) == tree


@pytest.mark.parametrize("fietsboek", ["sqlite"], indirect=True)
def test_an_update_killed_in_the_middle_of_a_thousand_tracks_loses_none(fietsboek):
    many = range(1, 1001)
    own_updater(fietsboek, "update", "-f", "v0.4.0").succeeded()
    add_tracks(fietsboek, many)
    with fietsboek.start("update", "--yes", "lu8w3rwlz4ddcpms", env={"PYTHONUNBUFFERED": "1"}) as child:
        # The package's own `tell` prints, and what hooks print goes to stderr.
        assert child.stderr is not None
        assert any("track 400 from" in line for line in child.stderr)
        child.kill()
    assert "gpx" in columns(fietsboek, "tracks")
    fietsboek.run("check").exited(7)
    fietsboek.run("update", "--yes", "lu8w3rwlz4ddcpms").succeeded()
    assert_tracks_are_on_disk(fietsboek, many)
    assert "gpx" not in columns(fietsboek, "tracks")
