"""What the original updater did to an instance that was not as it expected, and what holds here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.databases import MARIADB, POSTGRESQL, SQLITE
from support.notes import hooks, notes, traced
from support.projects import Project, result_of


def forget(project: Project, update_id: str) -> None:
    """Put the code of an earlier release in place: it does not know the update."""
    (project.updates / f"upd_{update_id}.py").unlink()


def lose_ledgers(project: Project) -> None:
    """Make the instance one of before fietsupdate: what only VERSION tells."""
    shutil.rmtree(project.data / ".fietsupdate")
    for table in project.database.tables():
        if table.startswith("fietsupdate"):
            project.database.execute(f"DROP TABLE {table}")


def refused(project: Project, *words: str) -> None:
    """Assert that `update` refuses with these words, and changes nothing."""
    before, tree, ran = project.database.dump(), project.tree(), project.traces()
    told = project.run("update", "--yes").exited(1).told
    assert [word for word in words if word not in told] == [], told
    assert project.database.dump() == before
    assert project.tree() == tree
    assert project.traces() == ran


def state(project: Project) -> str:
    return project.run("status", "--json").succeeded().json["state"]


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL, MARIADB])
def test_ten_updaters_at_once_run_every_hook_once(kind, make_project):
    project = notes(make_project(kind=kind), 2)
    results = [result_of(child) for child in [project.start("update", "--yes") for _ in range(10)]]
    assert [result.code for result in results] == [0] * 10, "\n".join(result.output for result in results)
    assert project.traces() == hooks("v1", "v2")
    assert project.version == "v2"
    assert project.alembic_version() == ["r2"]


def test_data_of_a_newer_release_are_refused_with_both_versions(any_project):
    notes(any_project, 3)
    any_project.run("update", "--yes").succeeded()
    forget(any_project, "v3")
    assert state(any_project) == "too_new"
    any_project.run("check").exited(4)
    refused(any_project, "v3", "v2")


def test_a_version_file_of_a_newer_release_is_refused_too(project):
    """No ledger: VERSION names an update that this code knows, and one that it does not."""
    notes(project, 2)
    project.run("update", "--yes").succeeded()
    lose_ledgers(project)
    (project.data / "VERSION").write_text("v2\nv9")
    assert state(project) == "too_new"
    refused(project, "v9", "v2")


def test_a_version_file_that_is_not_ours_is_never_overwritten(project):
    notes(project, 2)
    (project.data / "VERSION").write_text("14.2\n")
    refused(project, "14.2", "version_file")
    assert project.version == "14.2\n"


def test_version_is_read_with_blanks_and_doubles_and_written_without(project):
    notes(project, 2)
    project.run("update", "--yes", "v1").succeeded()
    lose_ledgers(project)
    (project.data / "VERSION").write_text("  v1 \n\nv1\n")
    assert project.run("status", "--json").succeeded().json["current"] == ["v1"]
    project.run("update", "--yes").succeeded()
    assert project.version == "v2"
    assert project.traces() == hooks("v1", "v2")


def test_without_version_and_ledger_nothing_runs_again(any_project):
    notes(any_project, 2)
    any_project.run("update", "--yes").succeeded()
    lose_ledgers(any_project)
    (any_project.data / "VERSION").unlink()
    any_project.run("check").exited(5)
    refused(any_project, "fietsupdate stamp v2")
    any_project.run("stamp", "v2", "--yes").succeeded()
    any_project.run("check").succeeded()
    assert any_project.version == "v2"


def test_a_database_of_plain_alembic_is_refused_until_it_is_stamped(any_project):
    notes(any_project, 2)
    any_project.alembic("upgrade", "r1").succeeded()
    refused(any_project, "fietsupdate stamp v1")
    any_project.run("stamp", "v1", "--yes").succeeded()
    any_project.run("update", "--yes").succeeded()
    assert any_project.traces() == hooks("v2")
    assert any_project.alembic_version() == ["r2"]


def test_a_data_directory_without_its_ledger_asks_for_the_volume(any_project):
    notes(any_project, 1)
    any_project.run("update", "--yes").succeeded()
    shutil.rmtree(any_project.data)
    any_project.data.mkdir()
    assert state(any_project) == "drifted"
    any_project.run("check").exited(6)
    refused(any_project, "mounted")


def test_a_lost_version_file_runs_nothing_again(project):
    notes(project, 2)
    project.run("update", "--yes", "v1").succeeded()
    (project.data / "VERSION").unlink()
    project.run("update", "--yes").succeeded()
    assert project.traces() == hooks("v1", "v2")
    assert project.version == "v2"


def test_a_version_file_that_contradicts_the_ledger_is_drift(project):
    notes(project, 2)
    project.run("update", "--yes").succeeded()
    (project.data / "VERSION").write_text("v1")
    assert state(project) == "drifted"
    refused(project, "VERSION", "v1", "v2")


def test_a_database_behind_its_current_update_is_drift_with_the_way_to_mend_it(any_project):
    notes(any_project, 3)
    any_project.run("update", "--yes", "v2").succeeded()
    any_project.alembic("downgrade", "r1").succeeded()
    assert state(any_project) == "drifted"
    refused(any_project, "r2", "alembic upgrade r2")
    any_project.alembic("upgrade", "r2").succeeded()
    any_project.run("update", "--yes").succeeded()
    assert any_project.traces() == hooks("v1", "v2", "v3")


def test_a_database_past_the_revision_of_a_pending_update_is_drift_with_the_way_to_mend_it(any_project):
    notes(any_project, 2)
    any_project.run("update", "--yes", "v1").succeeded()
    any_project.alembic("upgrade", "r2").succeeded()
    assert state(any_project) == "drifted"
    refused(any_project, "v2", "r2", "alembic downgrade r1")
    any_project.alembic("downgrade", "r1").succeeded()
    any_project.run("update", "--yes").succeeded()
    assert any_project.traces() == hooks("v1", "v2")


def test_a_database_restored_alone_is_called_the_older_half(project):
    notes(project, 2)
    project.run("update", "--yes", "v1").succeeded()
    shutil.copy(project.database.file, project.root / "backup.sqlite")
    project.run("update", "--yes").succeeded()
    shutil.copy(project.root / "backup.sqlite", project.database.file)
    assert state(project) == "drifted"
    refused(project, "database is older")


def test_a_data_directory_restored_alone_is_called_the_older_half(any_project):
    notes(any_project, 2)
    any_project.run("update", "--yes", "v1").succeeded()
    shutil.copytree(any_project.data, any_project.root / "backup")
    any_project.run("update", "--yes").succeeded()
    shutil.rmtree(any_project.data)
    (any_project.root / "backup").rename(any_project.data)
    assert state(any_project) == "drifted"
    refused(any_project, "data directory is older")


def test_halves_of_two_instances_are_told_apart(make_project):
    first, second = notes(make_project(name="first"), 1), notes(make_project(name="second"), 1)
    for project in (first, second):
        project.run("update", "--yes").succeeded()
    shutil.copy(second.database.file, first.database.file)
    assert state(first) == "drifted"
    refused(first, "different instances")


def test_a_lost_sqlite_file_is_not_created_again(project):
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    project.database.file.unlink()
    for command in (["status"], ["check"], ["history"], ["update", "--yes"], ["update", "--dry-run"]):
        project.run(*command)
        assert not project.database.file.exists(), command
    refused(project, str(project.database.file))


def before_anything_changes(project: Project, *words: str) -> None:
    """Assert that `update` and ``update --dry-run`` fail alike, with these words, before a hook runs."""
    tree = project.tree()
    for command in (["update", "--yes"], ["update", "--dry-run"]):
        told = project.run(*command).exited(1).told
        assert [word for word in words if word not in told] == [], told
    assert project.traces() == []
    assert project.tree() == tree


def test_an_unknown_alembic_revision_is_found_before_anything_changes(project):
    notes(project, 1)
    path = project.update("v2", "v1", "r77", **traced(project, "v2"))
    before_anything_changes(project, "v2", "r77", path.name)


def test_an_unknown_alembic_revision_in_the_database_is_found_before_anything_changes(any_project):
    notes(any_project, 1)
    any_project.alembic("upgrade", "head").succeeded()
    any_project.database.execute("UPDATE alembic_version SET version_num = 'gone'")
    before_anything_changes(any_project, "gone")


@pytest.mark.parametrize("kind", [POSTGRESQL, MARIADB])
def test_an_unreachable_database_is_found_before_anything_changes(kind, make_project):
    project = notes(make_project(kind=kind), 1)
    there = sa.make_url(project.url)
    project.ini.write_text(project.ini.read_text().replace(f":{there.port}/", ":1/"))
    before_anything_changes(project, "127.0.0.1")
    assert project.run("status").exited(1).stdout == ""
    assert "Now: Nothing was changed. Next: See that `alembic current` works" in project.run("backup").exited(1).told


def test_a_missing_driver_is_found_before_anything_changes(project):
    notes(project, 1)
    project.ini.write_text(project.ini.read_text().replace("sqlite:///", "sqlite+module_that_is_gone:///"))
    before_anything_changes(project, "module_that_is_gone")


def test_a_missing_data_directory_is_found_before_anything_changes(project):
    notes(project, 1)
    project.data.rmdir()
    for command in (["update", "--yes"], ["update", "--dry-run"]):
        assert str(project.data) in project.run(*command).exited(1).told.replace("- ", "-")
    assert project.traces() == []
    assert not project.data.exists()


FILL_THE_DISK = """
import contextlib
disk = Path(config["fietsupdate.data_dir"]).resolve().parent
with contextlib.suppress(OSError):
    (disk / "filler").write_bytes(bytes(1024 * 1024))
"""


def mount(folder: Path, *options: str) -> None:
    """Mount a tmpfs, or skip where that is not allowed."""
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a tmpfs needs root and the right to mount")


@pytest.fixture
def small_disk(project):
    """Put the project's data directory, by way of a link, on a disk of 256 KiB of its own."""
    disk = project.root / "disk"
    disk.mkdir()
    mount(disk, "-o", "size=256k")
    project.data.rmdir()
    (disk / "data").mkdir()
    project.data.symlink_to(disk / "data")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_read_only_data_directory_is_found_before_anything_changes(project, small_disk):
    notes(project, 1)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    before_anything_changes(project, "data")


@pytest.mark.parametrize(
    "pre",
    [
        "self.files.write('large', bytes(1024 * 1024))",
        "Path(config['fietsupdate.data_dir'], 'large').write_bytes(bytes(1024 * 1024))",
        FILL_THE_DISK,
    ],
    ids=["by a verb", "by a plain call", "before VERSION is written"],
)
def test_a_full_disk_leaves_everything_as_it_was(project, small_disk, pre):
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    (project.data / "note.txt").write_text("kept")
    tree, before = project.tree(exclude=[".fietsupdate"]), project.database.dump(bookkeeping=False)
    project.update("v2", "v1", "r2", **traced(project, "v2", up_pre=pre))
    assert "No space left on device" in project.run("update", "--yes").exited(1).told
    assert project.version == "v1"
    assert project.tree(exclude=[".fietsupdate"]) == tree
    assert project.database.dump(bookkeeping=False) == before
    (small_disk / "filler").unlink(missing_ok=True)
    project.run("check").exited(3)
