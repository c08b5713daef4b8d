"""What hooks move out of the data directory, or into it, or change by a symlink that leads out, is not lost unsaid."""

import os
import shutil
import tempfile
from itertools import count
from pathlib import Path

import pytest

from fietsupdate.filesystem.guard.guard import Guard
from fietsupdate.filesystem.transaction import FileTransaction
from support.file_transactions import begin, fill, ours, picture, recover, run_killed


@pytest.fixture
def data_dir(tmp_path):
    return fill(tmp_path)


@pytest.fixture
def before(data_dir):
    return picture(data_dir)


@pytest.fixture
def inbox(data_dir):
    """A folder on another file system, with files that were there before."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == data_dir.stat().st_dev:
        pytest.skip("there is no other file system")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        place = Path(folder)
        (place / "tree").mkdir()
        (place / "tree" / "a").write_text("precious tree")
        (place / "upload").write_text("precious upload")
        yield place


@pytest.fixture
def told():
    return []


@pytest.fixture
def failed(data_dir, before, told):
    """Runs a hook that fails at its end, and gives what undoing it reports."""

    def run(hook):
        transaction = begin(data_dir)
        with pytest.raises(ZeroDivisionError), Guard(told.append).watching(transaction):
            _fail_after(hook)
        found = transaction.play_back()
        assert picture(data_dir) == before
        return found

    return run


def _fail_after(hook):
    hook()
    raise ZeroDivisionError


def by_reading(source, target):
    target.write_bytes(source.read_bytes())
    source.unlink()


def by_copying(source, target):
    shutil.copy2(source, target)
    os.remove(source)


def after_a_rename(source, target):
    source.rename(source.with_suffix(".taken"))
    by_copying(source.with_suffix(".taken"), target)


def and_removed(source, target):
    """It is converted, say, and the original is no longer wanted."""
    shutil.move(source, target.with_suffix(".tiff"))
    shutil.copy(target.with_suffix(".tiff"), target)
    target.with_suffix(".tiff").unlink()


@pytest.mark.parametrize("move", [shutil.move, by_reading, by_copying, after_a_rename, and_removed])
def test_what_comes_from_another_file_system_and_has_no_other_copy_is_set_aside(data_dir, inbox, failed, move):
    found = failed(lambda: move(inbox / "upload", data_dir / "upload"))
    assert "precious upload" in [path.read_text() for path in found]
    assert os.listdir(inbox) == ["tree"]


def test_so_is_a_whole_folder(data_dir, inbox, failed):
    found = failed(lambda: shutil.move(inbox / "tree", data_dir / "tree"))
    assert [path.read_text() for path in found] == ["precious tree"]


def test_what_was_removed_outside_is_known_after_a_crash(data_dir, before, inbox):
    def work():
        transaction = begin(data_dir)
        with Guard(print).watching(transaction):
            shutil.move(inbox / "upload", data_dir / "upload")

    for number in count(1):
        killed = run_killed(work, number)
        transaction = FileTransaction.reopen(data_dir)
        texts = transaction.beyond.texts if transaction else ()
        found = transaction.play_back() if transaction else ()
        assert picture(data_dir) == before, number
        if not (inbox / "upload").exists():
            assert [path.read_text() for path in found] == ["precious upload"], number
            assert texts == (f"{inbox}/upload, outside of the data directory, was removed; that is not undone.",)
            (inbox / "upload").write_text("precious upload")
        shutil.rmtree(data_dir / ".fietsupdate" / "found", ignore_errors=True)
        if not killed:
            break
    assert number > 10


def test_copies_and_files_of_the_hooks_own_are_deleted_as_ever(data_dir, inbox, failed, told):
    def hook():
        shutil.copytree(inbox / "tree", data_dir / "tree")
        with tempfile.TemporaryDirectory(dir=inbox) as folder:
            Path(folder, "draft").write_text("draft")
            shutil.move(Path(folder, "draft"), data_dir / "made")

    assert failed(hook) == ()
    assert told == []


def deleted(data_dir, folder):
    shutil.move(data_dir / "one", folder)
    shutil.move(data_dir / "tracks", folder)
    shutil.rmtree(folder)


def deleted_in_part(data_dir, folder):
    shutil.move(data_dir / "tracks", folder)
    shutil.rmtree(f"{folder}/tracks/1")
    os.unlink(f"{folder}/tracks/2/big")
    Path(folder, "tracks", "2", "big").mkdir()
    Path(folder, "tracks", "other").unlink()


def overwritten(data_dir, folder):
    os.rename(data_dir / "VERSION", f"{folder}/x")
    Path(folder, "x").write_text("overwritten")
    os.rename(data_dir / "tracks", f"{folder}/tracks")
    Path(folder, "tracks", "1", "track.gpx").write_text("overwritten")
    os.truncate(f"{folder}/tracks/2/big", 5)
    os.chmod(f"{folder}/tracks/2/big", 0o600)


def and_back(data_dir, folder):
    os.rename(data_dir / "VERSION", f"{folder}/x")
    Path(folder, "x").write_text("overwritten")
    os.rename(f"{folder}/x", data_dir / "VERSION")
    os.rename(data_dir / "tracks", f"{folder}/tracks")
    (Path(folder) / "tracks" / "2" / "big").unlink()
    os.rename(f"{folder}/tracks", data_dir / "tracks")
    (data_dir / "tracks" / "1" / "track.gpx").write_text("overwritten")


def by_a_program(data_dir, folder):
    os.rename(data_dir / "VERSION", f"{folder}/x")
    os.rename(data_dir / "tracks", f"{folder}/tracks")
    os.system(f"rm -r {folder}/x {folder}/tracks")


@pytest.mark.parametrize("work", [deleted, deleted_in_part, overwritten, and_back, by_a_program])
def test_what_is_moved_out_and_lost_there_comes_back(data_dir, before, failed, work):
    with tempfile.TemporaryDirectory(dir=data_dir.parent, ignore_cleanup_errors=True) as folder:
        found = failed(lambda: work(data_dir, folder))
    assert {path.read_bytes()[:11] for path in found if path.is_file()} <= {b"overwritten", bytes(range(5))}
    assert ours(data_dir) == [] or found


def test_what_somebody_puts_into_a_folder_that_was_moved_out_is_set_aside(data_dir, failed):
    with tempfile.TemporaryDirectory(dir=data_dir.parent) as folder:

        def hook():
            os.rename(data_dir / "tracks", f"{folder}/tracks")
            Path(folder, "tracks", "1", "note").write_text("new")

        found = failed(hook)
    assert [(path.name, path.read_text()) for path in found] == [("note", "new")]


def test_moved_out_and_committed_it_stays_out(data_dir, told):
    with tempfile.TemporaryDirectory(dir=data_dir.parent) as folder:
        transaction = begin(data_dir)
        with Guard(told.append).watching(transaction):
            os.rename(data_dir / "tracks", f"{folder}/tracks")
            os.rename(data_dir / "VERSION", f"{folder}/x")
        transaction.seal()
        transaction.finish()
        assert Path(folder, "tracks", "1", "track.gpx").read_text() == "<gpx/>"
        assert Path(folder, "x").stat().st_nlink == 1
    assert ours(data_dir) == []
    assert told == []


def test_killed_at_any_call_of_a_move_out_everything_comes_back(data_dir, before):
    with tempfile.TemporaryDirectory(dir=data_dir.parent) as folder:

        def work():
            transaction = begin(data_dir)
            with Guard(print).watching(transaction):
                os.rename(data_dir / "tracks", f"{folder}/tracks")
                shutil.rmtree(f"{folder}/tracks/1")
                os.rename(data_dir / "VERSION", f"{folder}/x")
                Path(folder, "x").write_text("overwritten")

        for number in count(1):
            killed = run_killed(work, number)
            run_killed(lambda: recover(data_dir), 1 + 5 * number % 37)  # playback is killed, too
            recover(data_dir)
            assert picture(data_dir) == before, number
            assert ours(data_dir) == [], number
            Path(folder, "x").unlink(missing_ok=True)
            if not killed:
                break
    assert number > 20


@pytest.mark.parametrize("way", ["folder", "file", "descriptor", "resolved"])
def test_a_change_by_a_symlink_that_leads_out_is_told(data_dir, told, tmp_path, way):
    disk = tmp_path / "disk"
    disk.mkdir()
    (disk / "a.jpg").write_text("x")
    (data_dir / "media").symlink_to(disk)
    (data_dir / "settings").symlink_to(disk / "a.jpg")

    def by_descriptor():
        folder = os.open(data_dir / "media", os.O_RDONLY)
        os.rename("a.jpg", "b.jpg", src_dir_fd=folder, dst_dir_fd=folder)
        os.close(folder)

    ways = {
        "folder": lambda: (data_dir / "media" / "a.jpg").rename(data_dir / "media" / "b.jpg"),
        "file": lambda: (data_dir / "settings").write_text("y"),
        "descriptor": by_descriptor,
        "resolved": ((data_dir / "media").resolve() / "a.jpg").unlink,
    }
    transaction = begin(data_dir)
    with Guard(told.append).watching(transaction):
        ways[way]()
    link = "settings" if way == "file" else "media"
    [text] = told
    assert text.startswith(
        f"The hook changes {disk}/a.jpg, which {data_dir}/{link} leads to, out of the data directory;"
    )
    assert text in transaction.beyond.texts
    transaction.play_back()


def test_what_is_changed_elsewhere_is_nobodys_business(data_dir, told, tmp_path):
    (data_dir / "media").symlink_to("tracks")
    transaction = begin(data_dir)
    with Guard(told.append).watching(transaction):
        (tmp_path / "elsewhere").write_text("x")
        (data_dir / "media" / "new").write_text("x")
    assert told == []
    assert transaction.beyond.texts == ()
    assert transaction.play_back() == ()


def test_a_failed_update_claims_nothing_of_files_that_a_symlink_leads_to(project, tmp_path):
    (tmp_path / "nas").mkdir()
    (tmp_path / "nas" / "a.jpg").write_text("x")
    project.update("v1")
    project.run("update", "--yes").succeeded()
    (project.data / "media").symlink_to(tmp_path / "nas")
    rename = "(self.data_dir / 'media/a.jpg').rename(self.data_dir / 'media/b.jpg'); raise RuntimeError"
    project.update("v2", "v1", up_post=rename)
    told = project.run("update", "--yes").exited(1).told
    assert "as they were before" not in told
    assert f"which {project.data}/media leads to, out of the data directory; that is not undone." in told


def test_recovery_claims_no_more_than_the_command_that_was_killed_knew(project):
    project.update(
        "v1", up_post="import subprocess\nsubprocess.run(['true'])\nos.kill(os.getpid(), 9)", head="import os"
    )
    project.run("update", "--yes").exited(-9)
    assert (
        "The hook starts true; what other programs change is not undone." in project.run("recover").succeeded().output
    )
