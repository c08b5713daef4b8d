"""What an administrator sees on the terminal, who comes from Invenio's or Kolibri's upgrader; the real command runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from support.notes import notes, traced
from support.projects import Project


def on_terminal(project: Project, args: Sequence[str], prompt: bytes, typed: bytes) -> tuple[int, str]:
    """Run the command on a terminal of its own, answer its question, and give exit code and screen."""
    ours, its = os.openpty()
    command = [project.python, "-m", "fietsupdate", *args]
    child = subprocess.Popen(
        command, cwd=project.root, env=project._environment({"COLUMNS": "120"}), stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    screen = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        screen += chunk
        if typed and prompt in screen:
            os.write(ours, typed)
            typed = b""
    os.close(ours)
    return child.wait(), screen.decode().replace("\r\n", "\n")


def test_estimates_are_summed_and_told_before_the_question(project: Project) -> None:
    """Invenio: ``estimate()`` of all upgrades, in words, before somebody says yes."""
    notes(project, 1)
    for number, (seconds, size) in ((2, (90, 3_000_000)), (3, (30, 2_000_000))):
        more = f"def estimate(self, config): return {{'seconds': {seconds}, 'bytes': {size}}}"
        project.update(f"v{number}", f"v{number - 1}", f"r{number}", up_more=more, **traced(project, f"v{number}"))
    code, screen = on_terminal(project, ["update"], b"[y/n]", b"y\n")
    assert code == 0, screen
    before, _, _ = screen.partition("[y/n]")
    told = " ".join(before.split())
    assert "2 minutes" in told, told
    assert "5.0 MB" in told, told
    assert "3 updates applied" in screen


def test_a_backup_is_chosen_from_a_list_on_a_terminal(project: Project) -> None:
    """Kolibri: ``dbrestore --select``."""
    notes(project).run("update", "v1", "--yes").succeeded()
    project.run("backup").succeeded()
    project.run("update", "v2", "--yes").succeeded()
    project.run("backup").succeeded()
    listed = [one["name"] for one in project.run("backup", "list", "--json").json["backups"]]
    assert len(listed) == 2
    code, screen = on_terminal(project, ["restore", "--yes"], b"Which one?", b"2\n")
    assert code == 0, screen
    assert screen.index(listed[0]) < screen.index(listed[1]) < screen.index("Which one?")
    assert project.version == "v1"
    assert project.alembic_version() == ["r1"]
