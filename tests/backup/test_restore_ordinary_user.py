"""An ordinary user restores: what he cannot move is told before anything moves, and nothing comes back wider.

He is a number that no system knows, so he is in no group but his own.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.databases import SQLITE, create
from support.going_back import left_over, whole
from support.injection import USER
from support.notes import notes
from support.projects import Project
from support.zygote import Run, Zygote

ME, OTHER = 4712, 4713
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture
def project() -> Iterator[Project]:
    """Give the notes of an ordinary user, in a folder that others may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        root = Path(folder) / "project"
        media = Path(folder) / "media"
        media.mkdir()
        root.mkdir()
        database = create(SQLITE, root)
        project = notes(Project.create(root, database, section={"extra_dirs": f"media={media}"}), 1)
        project.environment[USER] = str(ME)
        (project.data / "tracks").mkdir()
        (project.data / "tracks" / "one").write_text("one")
        for place in (root, media):
            subprocess.run(["chown", "-R", f"{ME}:{ME}", place], check=True)
        yield project


def acl(*entries: tuple[int, int, int]) -> bytes:
    """Give an access control list as the kernel keeps it: tag, permissions and id of each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ANYBODY = 0xFFFFFFFF
LETS_OTHER_WRITE = acl((1, 7, ANYBODY), (2, 7, OTHER), (4, 7, ANYBODY), (16, 7, ANYBODY), (32, 0, ANYBODY))


LETS_OTHER_READ = acl((1, 6, ANYBODY), (2, 4, OTHER), (4, 0, ANYBODY), (16, 4, ANYBODY), (32, 0, ANYBODY))


def said(done: Run) -> str:
    """Give all output as one line: where it is wrapped does not matter."""
    return " ".join(done.output.split())


def backed_up(zygote: Zygote, project: Project) -> None:
    """Take the notes to their last update, and copy them."""
    zygote.run(project, ["update", "--yes"]).succeeded()
    zygote.run(project, ["backup"]).succeeded()


def test_closed_folders_links_between_roots_and_attributes_come_back(zygote: Zygote, project: Project) -> None:
    """A folder that its own mode closes goes out and comes in; a refused attribute takes no other one along."""
    data, media = project.data, project.root.parent / "media"
    (data / "tracks" / "two").write_text("two")
    os.link(data / "tracks" / "two", media / "also two")
    for name, value in (("security.test", b"x"), (ACCESS, LETS_OTHER_READ), ("user.z", b"z")):
        os.setxattr(data / "tracks" / "one", name, value)
    subprocess.run(["chown", "-R", f"{ME}:{ME}", data, media], check=True)
    os.chmod(data / "tracks", 0o555)
    backed_up(zygote, project)
    before = whole(project)
    (data / "tracks" / "one").write_text("changed")
    (data / "tracks" / "more").write_text("more")
    (media / "also two").unlink()
    os.chmod(data / "tracks", 0o500)
    done = zygote.run(project, ["restore", "--latest", "--yes"]).succeeded()
    assert "tracks/one comes back without security.test" in said(done)
    os.setxattr(data / "tracks" / "one", "security.test", b"x")
    assert whole(project) == before
    assert os.path.samefile(data / "tracks" / "two", media / "also two")
    assert left_over(project) == []


def test_nothing_is_open_to_more_than_before(zygote: Zygote, project: Project) -> None:
    """Neither to whom a folder's default list names, nor to this user's group in place of one that he is not in."""
    data = project.data
    zygote.run(project, ["update", "--yes"]).succeeded()
    (data / "theirs").write_text("for another group")
    os.chown(data / "theirs", ME, OTHER)
    os.chmod(data / "theirs", 0o660)
    for folder in (data, project.root):
        os.setxattr(folder, DEFAULT, LETS_OTHER_WRITE)
    os.setxattr(data / ".fietsupdate", DEFAULT, LETS_OTHER_WRITE)  # as where it is made after the data directory
    zygote.run(project, ["backup"]).succeeded()
    for path in (data / "tracks" / "one", data / "theirs"):
        path.unlink()
    done = zygote.run(project, ["restore", "--latest", "--yes"]).succeeded()
    assert "belonged to another user or group" in said(done)
    assert (data / "theirs").stat().st_mode & 0o777 == 0o600
    for path in (data / "tracks" / "one", data / "theirs", project.database.file):
        assert ACCESS not in os.listxattr(path), path
    assert os.getxattr(data, DEFAULT) == LETS_OTHER_WRITE


def test_what_cannot_be_moved_is_told_before_anything_moves(zygote: Zygote, project: Project, tmp_path: Path) -> None:
    """Another user's file in a sticky folder, his folder, and what may only be appended to."""
    data = project.data
    backed_up(zygote, project)
    (data / "his").write_text("of somebody else")
    os.chown(data / "his", OTHER, OTHER)

    def refused(*words: str, how: tuple[str, ...] = ("--yes",)) -> None:
        before = whole(project)
        told = zygote.run(project, ["restore", "--latest", *how]).exited(1).told
        assert all(word in told for word in (*words, "Nothing was changed.")), told
        assert whole(project) == before
        assert left_over(project) == []

    os.chmod(data, 0o1777)
    os.chown(data, OTHER, ME)
    refused(
        f"{data / 'his'} cannot be moved: it belongs to another user, and its folder is sticky.", how=("--dry-run",)
    )
    os.chmod(data, 0o770)
    os.chown(data, ME, ME)
    (data / "his").unlink()
    (data / "his").mkdir()
    os.chown(data / "his", OTHER, OTHER)
    refused(f"{data / 'his'} cannot be moved: this user may not write into it.")
    (data / "his").rmdir()
    if subprocess.run(["chattr", "+a", data / "tracks"], check=False, capture_output=True).returncode == 0:
        try:
            refused(f"{data / 'tracks'} cannot be moved: it is append-only (chattr +a).", "Take that flag away")
        finally:
            subprocess.run(["chattr", "-a", data / "tracks"], check=True)
    os.chown(project.database.file, OTHER, OTHER)
    project.database.file.chmod(0o644)
    refused(f"This user may not write the database {project.database.file}.", how=("--dry-run",))
    os.chown(project.database.file, ME, ME)
    zygote.run(project, ["restore", "--latest", "--yes"]).succeeded()


def test_what_may_be_moved_but_not_deleted_is_told_and_stops_nothing(zygote: Zygote, project: Project) -> None:
    """Another user's folder within one of this user's own."""
    backed_up(zygote, project)
    before = whole(project)
    his = project.data / "tracks" / "his"
    his.mkdir()
    (his / "note").write_text("not to be deleted by others")
    os.chown(his, OTHER, OTHER)
    done = zygote.run(project, ["restore", "--latest", "--yes"]).succeeded()
    assert "holds what this user may not delete: what was there before the restore." in said(done)
    assert whole(project) == before
    assert zygote.run(project, ["status", "--json"]).json["state"] == "okay"
    (kept,) = (project.data / ".fietsupdate" / "done").iterdir()
    assert (kept / "tracks" / "his" / "note").exists()
