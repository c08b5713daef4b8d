"""An update that is at work in another process, and waits until a test lets it go on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import TypeVar

from fietsupdate.filesystem import run_file
from support.notes import revisions
from support.projects import Project

Answer = TypeVar("Answer")

PATIENCE = 30.0
FORKS = "import os\nchild = os.fork()\nif not child: os._exit(0)\nos.waitpid(child, 0)\n"
SLOW = "import fietsupdate.script\nfietsupdate.script.PROGRESS_INTERVAL = 0\n"


def until(answer: Callable[[], Answer]) -> Answer:
    """Ask again and again, and return the first answer that is one."""
    end = time.monotonic() + PATIENCE
    while not (found := answer()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


class Gate:
    """A FIFO at which the post hook of the update ``convert`` waits, when 61 of 100 tracks are done."""

    def __init__(self, project: Project, *, head: str = "") -> None:
        self.project = project
        self.path = project.root / "gate"
        os.mkfifo(self.path)
        revisions(project)
        loop = f"for number in self.progress(range(100), description='tracks'):\n    if number == 61: {self.code}"
        project.update("first", (), "r1")
        project.update("convert", "first", "r2", up_post=f"{SLOW}{FORKS}{loop}", head=head)

    @property
    def code(self) -> str:
        """What waits."""
        return f"open({str(self.path)!r}).read()"

    def reached(self) -> object:
        """Return whether the update waits, and has told that."""
        seen = run_file.read_run(self.project.data)
        return seen is not None and seen.state.done == 61

    def open(self) -> None:
        """Let it go on."""
        self.path.write_text("")


def grow_old(project: Project, seconds: float) -> None:
    """Let the last heartbeat of a stopped run be so long ago."""
    file = project.data / ".fietsupdate" / "run.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, "beat": round((time.monotonic() - seconds) * 1000)}))
