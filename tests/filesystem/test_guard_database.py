"""What leads to the application's SQLite database stays, whichever call would take it away."""

import os
import shutil

import pytest

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.guard.read_only import read_only
from fietsupdate.filesystem.paths import PathError, Paths, kept_out
from fietsupdate.filesystem.posix import descriptors
from support.file_transactions import begin, fill


@pytest.fixture
def data_dir(tmp_path):
    return fill(tmp_path)


@pytest.fixture
def database(data_dir):
    (data_dir / "var").mkdir()
    (data_dir / "var" / "app.db").write_text("rows")
    (data_dir / "var" / "app.db-wal").write_text("more rows")
    (data_dir / "var" / "note").write_text("a file beside it")
    return data_dir / "var" / "app.db"


WAYS = {
    "rmtree": lambda data_dir: shutil.rmtree(data_dir / "var"),
    "rename": lambda data_dir: os.rename(data_dir / "var", data_dir / "lib"),
    "move": lambda data_dir: shutil.move(data_dir / "var", data_dir.parent / "out"),
    "unlink": lambda data_dir: (data_dir / "var" / "app.db").unlink(),
    "unlink its log": lambda data_dir: (data_dir / "var" / "app.db-wal").unlink(),
    "replace": lambda data_dir: os.replace(data_dir / "one", data_dir / "var" / "app.db"),
    "write": lambda data_dir: (data_dir / "var" / "app.db").write_text("junk"),
    "truncate": lambda data_dir: os.truncate(data_dir / "var" / "app.db", 0),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_database_and_the_folder_that_holds_it_cannot_be_taken_away(data_dir, database, way):
    transaction = begin(data_dir, keep_out=[database])
    with pytest.raises(PathError, match="application's own database"), Guard(print).watching(transaction):
        WAYS[way](data_dir)
    assert database.read_text() == "rows"
    assert sorted(os.listdir(database.parent)) == ["app.db", "app.db-wal", "note"]
    assert transaction.play_back() == ()


def test_a_database_outside_of_the_data_directory_cannot_be_taken_away_either(data_dir, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "app.db").write_text("rows")
    transaction = begin(data_dir, keep_out=[folder / "app.db"])
    with Guard(print).watching(transaction):
        for call in (
            (folder / "app.db").unlink,
            lambda: shutil.rmtree(folder),
            lambda: folder.rename(tmp_path / "moved"),
        ):
            with pytest.raises(PathError, match="application's own database"):
                call()
    assert (folder / "app.db").read_text() == "rows"
    transaction.play_back()


@pytest.mark.parametrize("verb", [False, True])
def test_a_symlink_that_leads_to_the_database_stays(data_dir, database, tmp_path, verb):
    database.parent.rename(tmp_path / "disk")
    (data_dir / "var").symlink_to(tmp_path / "disk")
    transaction = begin(data_dir, keep_out=[database])
    with Guard(print).watching(transaction):
        with pytest.raises(PathError, match="leads to the application's own database"):
            transaction.files.remove("var") if verb else os.unlink(data_dir / "var")
        with pytest.raises(PathError, match="leads to the application's own database"):
            transaction.files.move("var", "x") if verb else os.rename(data_dir / "var", data_dir / "x")
    assert database.read_text() == "rows"
    transaction.play_back()


def test_links_that_lead_in_circles_lead_to_no_database(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("../" + tmp_path.name + "/a")
    assert {str(tmp_path / "a"), str(tmp_path / "b")} <= kept_out([tmp_path / "a" / "app.db"])


def test_only_our_own_folder_is_ours_not_what_begins_with_its_name(data_dir):
    paths = Paths(data_dir, ())
    assert paths.is_kept_out(f"{data_dir}/.fietsupdate/lock")
    assert paths.is_kept_out(f"{data_dir}/media/.fietsupdate/txn")
    assert not paths.is_kept_out(f"{data_dir}/.fietsupdate-export/x")
    assert not paths.is_kept_out(f"{data_dir}/a/.fietsupdaterc")


def test_a_descriptor_in_a_folder_that_begins_with_our_name_is_refused(data_dir):
    (data_dir / ".fietsupdate-export").mkdir()
    transaction = begin(data_dir)
    with (
        (data_dir / ".fietsupdate-export" / "x").open("w"),
        pytest.raises(FilesError, match=r"export/x is open for writing"),
        Guard(print).watching(transaction),
    ):
        pass
    transaction.play_back()


@pytest.mark.parametrize("proc", [True, False])
def test_a_path_relative_to_a_descriptor_is_inside_the_fence_also_without_proc(data_dir, monkeypatch, proc):
    if not proc:
        monkeypatch.setattr(descriptors, "_FOLDER", "/nowhere")
        monkeypatch.setattr(descriptors, "_LISTS", ("/nowhere", "/dev/fd"))
    folder = os.open(data_dir / "tracks", os.O_RDONLY)
    try:
        assert descriptors.path_of(folder) == str(data_dir / "tracks")
        with read_only([data_dir]) as fence:
            with pytest.raises(FilesError, match="belongs to the real instance"):
                os.unlink("other", dir_fd=folder)
            with pytest.raises(FilesError, match="belongs to the real instance"):
                os.close(os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=folder))
        assert list(fence.refused) == [f"{data_dir}/tracks/other", f"{data_dir}/tracks/new"]
    finally:
        os.close(folder)
    assert (data_dir / "tracks" / "other").exists()
