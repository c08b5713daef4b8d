"""The example application, by the real command: what it promises to show is so, on each database.

v1.0 - gpx_on_disk - v1.1 - (gzip, tags) - v1.2 - v2.0
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from support.databases import Database
from support.example import ORDER, Example, module


@pytest.fixture
def example(tmp_path) -> Example:
    """Give the example at its first release, on SQLite."""
    return Example.copy(tmp_path).at_first_release()


def test_every_update_brings_files_and_tables_and_its_down_takes_them_back(example):
    """Each position on the way down is what it was on the way up."""
    seen = {"v1.0": (example.files(), example.folders(), example.rows())}
    for update_id in ORDER[1:]:
        example.run("update", "+1", "--yes").succeeded()
        seen[update_id] = (example.files(), example.folders(), example.rows())
    assert set(example.version.splitlines()) == {"v2.0"}
    for update_id in ORDER[-2::-1]:
        example.run("downgrade", "-1", "--yes").succeeded()
        assert (example.files(), example.folders(), example.rows()) == seen[update_id], update_id
    assert example.version == "v1.0"


def test_the_whole_way_up_and_down_is_the_same_on_each_database(tmp_path, database: Database):
    example = Example.copy(tmp_path, database).at_first_release()
    before = example.rows()
    example.run("update", "--yes").succeeded()
    module("demo").verify(example.url, module("tracklib.recordings").path_of, example.data)
    assert example.run("check").succeeded().stdout.startswith("okay")
    example.run("downgrade", "v1.0", "--yes").succeeded()
    assert (example.files(), example.folders(), example.rows()) == ({}, [], before)


def test_the_recordings_lie_where_each_release_keeps_them(example):
    recorded = {row["id"]: row for row in example.rows()["tracks"] if row["gpx"] is not None}
    example.run("update", "v1.1", "--yes").succeeded()
    assert example.files() == {f"tracks/{id_}/track.gpx": row["gpx"] for id_, row in recorded.items()}
    example.run("update", "v2.0", "--yes").succeeded()
    assert {path: gzip.decompress(content) for path, content in example.files().items()} == {
        f"users/{row['user_id']}/tracks/{id_}/track.gpx.gz": row["gpx"] for id_, row in recorded.items()
    }


def test_a_failing_check_stops_the_plan_before_its_first_step(example):
    (example.data / "users").mkdir()
    before = example.tree(exclude=[".fietsupdate"]), example.rows()
    refused = example.run("update", "--yes").exited(1)
    assert "users exists already; move it away first" in " ".join(refused.output.split())
    assert (example.tree(exclude=[".fietsupdate"]), example.rows()) == before


def test_an_instance_from_before_the_update_scripts_comes_along_unattended(tmp_path):
    """Its database was made by Alembic alone, and nothing else tells where it is."""
    example = Example.copy(tmp_path)
    example.data.mkdir(parents=True)
    example.alembic("upgrade", "3f1c8a5e7b02").succeeded()
    module("fill").fill(example.url)
    example.run("update", "--yes").succeeded()
    module("demo").verify(example.url, module("tracklib.recordings").path_of, example.data)
    assert [entry["direction"] for entry in example.run("history", "--json").json["entries"]] == ["stamp", *["up"] * 6]


def test_an_entry_point_that_still_calls_alembic_is_noticed(example):
    example.run("update", "v1.1", "--yes").succeeded()
    example.alembic("upgrade", "head").succeeded()
    checked = example.run("check", "--json").exited(6).json
    assert [problem["code"] for problem in checked["problems"]] == ["database_ahead"]
    before = example.files(), example.rows()
    example.run("update", "--yes").exited(1)
    assert (example.files(), example.rows()) == before


def test_an_update_that_is_killed_is_undone_by_whoever_comes_next(example):
    """The process dies when all files are written and the column is dropped, just before the commit."""
    script = next(example.updates.glob("*gpx_on_disk.py"))
    lines = "import os\n\nif os.environ.get('DIE'):\n    Up.verify = lambda self, config: os.kill(os.getpid(), 9)\n"
    script.write_text(f"{script.read_text()}\n\n{lines}")
    before = example.rows()
    example.run("update", "v1.1", "--yes", env={"DIE": "1"}).exited(-9)
    assert len(example.files()) == 14
    assert example.run("check").exited(7).stdout.startswith("interrupted")
    example.run("recover").succeeded()
    assert (example.files(), example.folders(), example.rows()) == ({}, [], before)
    example.run("update", "v1.1", "--yes", env={"DIE": "1"}).exited(-9)
    example.run("update", "--yes").succeeded()
    module("demo").verify(example.url, module("tracklib.recordings").path_of, example.data)


def test_the_models_are_what_the_revisions_lead_to(example):
    example.run("update", "--yes").succeeded()
    example.alembic("check").succeeded()


def test_env_py_is_the_stock_one(tmp_path, example, project):
    """Only the lines that every application fills in differ."""
    stock = (project.root / "migrations" / "env.py").read_text().splitlines()
    ours = (example.root / "docs" / "example" / "migrations" / "env.py").read_text().splitlines()
    assert [line for line in ours if line not in stock] == [
        "from tracklib.models import Base",
        "target_metadata = Base.metadata",
    ]


@pytest.mark.parametrize("command", ["status", "check", "history", "heads", "graph", "show gzip", "update --dry-run"])
def test_a_fresh_checkout_can_be_looked_at(tmp_path, command):
    example = Example.copy(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts)
    done = example.run(*command.split())
    assert done.exited({"check": 3, "update --dry-run": 1}.get(command, 0)).output
    assert sorted(path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts) == before


def test_the_demo_ends_well_as_often_as_it_is_run(tmp_path):
    example = Example.copy(tmp_path)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "docs/example/demo.py"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Each recording is, byte for byte, the one that was put in.\n")
    assert example.version == "v1.2"


def test_the_demo_notices_a_missing_recording(example):
    demo, path_of = module("demo"), module("tracklib.recordings").path_of
    example.run("update", "--yes").succeeded()
    lost = next(path for path in sorted(example.data.rglob("*.gz")))
    lost.unlink()
    with pytest.raises(SystemExit, match="is missing"):
        demo.verify(example.url, path_of, example.data)


def test_rides_are_gpx_and_always_the_same():
    rides = module("rides")
    first = list(rides.make_up(9))
    assert list(rides.make_up(9)) == first
    assert [ride.gpx is None for ride in first] == [False] * 7 + [True, False]
    points = ET.fromstring(first[0].gpx).findall(".//{http://www.topografix.com/GPX/1/1}trkpt")
    assert len(points) >= 120
    assert all(47 < float(point.get("lat")) < 51 for point in points)
