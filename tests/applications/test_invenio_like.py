r"""A repository of three packages, built like an Invenio instance: see ``tests/projects/invenio_like``.

records       records_1 ------ records_2
|                \
    buckets       buckets_1 -------- buckets_2
|                   \
    communities   communities_1 ----- communities_2
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from fietsupdate import Updater
from fietsupdate.errors import ChecksFailedError
from fietsupdate.testing import content as trees
from support.databases import ATOMIC_KINDS, Database
from support.paths import TESTS
from support.projects import Project

HERE = TESTS / "projects" / "invenio_like"
ORDER = ("records_1", "records_2", "buckets_1", "buckets_2", "communities_1", "communities_2")
FIRST = {1: '{"title": "Bikes"}', 2: '{"title": "Tides"}'}


class Repository(Project):
    """An instance of it: a copy, with a database and a data directory of its own."""

    @classmethod
    def copy(cls, root: Path, database: Database) -> Repository:
        shutil.copytree(HERE, root, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        ini = root / "alembic.ini"
        line = "sqlalchemy.url = sqlite:///%(here)s/repository.db\n"
        assert line in ini.read_text()
        ini.write_text(ini.read_text().replace(line, f"sqlalchemy.url = {database.url.replace('%', '%%')}\n"))
        (root / "data").mkdir()
        return cls(root, database, url=database.url)

    @property
    def updater(self) -> Updater:
        return Updater.from_config(self.ini)

    def at_first_release(self) -> Repository:
        """Bring it to the first update of the records, with two of them."""
        self.updater.update("records_1")
        with self.database.connect() as connection:
            for number, text in FIRST.items():
                title = text[11:-2]
                row = {"id": number, "title": title, "json": text}
                connection.execute(sa.text("INSERT INTO records (id, title, json) VALUES (:id, :title, :json)"), row)
        return self

    def content(self) -> dict[str, bytes]:
        """Map the files of the data directory to their content, the updater's own left out."""
        return trees.contents(self.data, exclude=[".fietsupdate", "VERSION"])

    def names(self) -> list[str]:
        return [update.update_id for update in self.updater.status().pending]


@pytest.fixture(params=ATOMIC_KINDS)
def repository(request, tmp_path, make_database) -> Repository:
    """Give an instance where nothing is applied, on SQLite and on PostgreSQL."""
    return Repository.copy(tmp_path / "repository", make_database(request.param))


@pytest.fixture
def one(tmp_path, sqlite) -> Repository:
    """Give one on SQLite, where the database makes no difference."""
    return Repository.copy(tmp_path / "repository", sqlite)


def test_the_packages_make_one_graph_in_topological_order(one):
    graph = one.updater.graph()
    assert graph.folders == ("records", "buckets", "communities")
    assert graph.dag.order == ORDER
    for update in graph.ordered:
        assert all(ORDER.index(previous) < ORDER.index(update.update_id) for previous in update.previous)


def test_everything_runs_from_an_empty_database_and_an_empty_data_directory(repository):
    report = repository.updater.update()
    assert report.done == ORDER
    assert repository.updater.status().state == "okay"
    assert repository.alembic_version() == ["buc1", "com1", "rec2"]
    assert repository.content() == {"communities/zenodo/logo.svg": b"<svg/>", "communities/index.txt": b""}


def test_data_moves_through_all_packages_and_back(repository):
    repository.at_first_release()
    report = repository.updater.update()
    assert report.done == ORDER[1:]
    assert report.warnings == ()
    content = repository.content()
    assert {path: text.decode() for path, text in content.items() if path.startswith("files/")} == {
        f"files/{number}/metadata.json": text for number, text in FIRST.items()
    }
    assert content["communities/index.txt"] == b"Bikes\nTides"
    sizes = repository.database.execute("SELECT id, size FROM records ORDER BY id")
    assert sizes == [(number, len(text)) for number, text in FIRST.items()]
    repository.updater.downgrade("records_1")
    assert repository.content() == {}
    assert dict(repository.database.execute("SELECT id, json FROM records")) == FIRST
    assert repository.alembic_version() == ["rec1"]


def test_one_package_is_updated_with_what_it_builds_on_and_nothing_else(one):
    assert one.updater.update("buckets:heads").done == ("records_1", "records_2", "buckets_1", "buckets_2")
    assert one.alembic_version() == ["buc1", "rec2"]
    assert one.names() == ["communities_1", "communities_2"]


def test_one_package_is_taken_back_with_what_builds_on_it_and_nothing_else(one):
    one.at_first_release().updater.update()
    done = one.updater.downgrade("buckets:base").done
    assert done == ("communities_2", "communities_1", "buckets_2", "buckets_1")
    assert one.updater.status().current == ("records_2",)
    assert one.alembic_version() == ["rec2"]
    assert sorted(one.content()) == ["records/1.json", "records/2.json"]


def test_applied_and_pending_are_told_package_by_package(one):
    one.updater.update("buckets_1")
    applied = one.run("history", "--applied").succeeded().stdout
    assert [line.split()[0] for line in applied.splitlines()[1:] if line] == [
        "records:", "records_1", "buckets:", "buckets_1",
    ]  # fmt: skip
    pending = one.run("history", "--pending").succeeded().stdout
    assert [" ".join(line.split()[:2]) for line in pending.splitlines()[1:] if line] == [
        "records:", "1 records_2", "buckets:", "2 buckets_2", "communities:", "3 communities_1", "4 communities_2",
    ]  # fmt: skip


def test_all_pre_checks_are_made_before_any_change(one):
    one.at_first_release()
    (one.root / "workers.pid").touch()
    (one.data / "communities").mkdir()
    (one.data / "communities" / "locked").touch()
    before = one.content()
    with pytest.raises(ChecksFailedError) as caught:
        one.updater.plan(checks=True)
    script, application = caught.value.message.splitlines()
    assert "a curator has locked the communities" in script
    assert application == (
        "repository.checks.pre_check_workers failed: RuntimeError: the workers still run: type "
        "`systemctl stop repository-workers`."
    )
    with pytest.raises(ChecksFailedError):
        one.updater.update()
    assert one.content() == before
    assert one.updater.status().current == ("records_1",)


def test_post_checks_warn_of_what_is_not_as_it_should_be(one):
    one.at_first_release()
    report = one.updater.update("buckets_1")
    assert report.warnings == ("record 1 has no metadata file", "record 2 has no metadata file")
    assert one.updater.update().warnings == ()


def test_an_update_that_fails_leaves_the_others_and_is_run_again_alone(one):
    """Invenio's upgrader stops here with "inconsistent state. Please manually review"."""
    one.at_first_release()
    script = one.root / "packages" / "buckets" / "updates" / "upd_buckets_2.py"
    text = script.read_text()
    move = 'self.files.move(f"records/{number}.json", f"files/{number}/metadata.json")'
    script.write_text(text.replace(move, f"{move}\n            raise ValueError(number)", 1))
    told = one.run("update", "--yes").exited(1)
    assert "Nothing of buckets_2 stands: it was rolled back, and its file changes are undone." in told.told
    assert sorted(one.content()) == ["records/1.json", "records/2.json"]
    script.write_text(text)
    assert one.updater.update().done == ("buckets_2", "communities_1", "communities_2")


def test_a_package_that_does_not_join_is_not_run(one):
    ini = one.ini.read_text()
    one.ini.write_text(ini.replace("    communities:\n", ""))
    assert one.updater.update().done == ("records_1", "records_2", "buckets_1", "buckets_2")


def test_a_package_that_is_gone_leaves_ghosts_that_are_told(one):
    one.updater.update()
    one.ini.write_text(one.ini.read_text().replace("    communities:\n", ""))
    told = one.run("status").succeeded().stdout
    assert "communities_1, communities_2 (applied, but there is no such script)" in told
    assert "fietsupdate stamp buckets_2" in " ".join(told.split())
    one.run("update", "--yes").exited(1)
    one.run("stamp", "buckets_2", "--yes").succeeded()
    one.run("check").succeeded()


def test_a_repository_that_was_made_at_one_go_is_recorded_and_nothing_runs(repository):
    metadata = sa.MetaData()
    for name in ("records", "buckets", "communities"):
        sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True))
    with repository.database.connect() as connection:
        metadata.create_all(connection)
    repository.run("stamp", "heads", "--with-alembic", "--yes").succeeded()
    assert repository.alembic_version() == ["buc1", "com1", "rec2"]
    assert repository.updater.status().state == "okay"
    assert repository.updater.update().done == ()


def test_a_release_depends_on_all_ends(one):
    ini = one.ini.read_text()
    (one.root / "releases").mkdir()
    one.ini.write_text(ini.replace("    communities:\n", "    communities:\n    %(here)s/releases\n"))
    one.run("revision", "--release", "2.0", "--folder", "releases").succeeded()
    release = one.updater.graph().updates["2.0"]
    assert release.previous == ("communities_2",)
    assert release.alembic_revisions == ("buc1", "com1", "rec2")
    assert one.updater.update("2.0").done == (*ORDER, "2.0")
