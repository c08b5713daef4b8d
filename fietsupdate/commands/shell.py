"""Runs commands that the configuration names: in a shell, with a time limit, out of reach of Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

NO_ANSWERS = {126: "it cannot be executed", 127: "there is no such command"}
"""Exit codes of the shell itself: they say nothing about the application."""

ENDED_BY_SIGNAL = range(129, 193)
"""How a shell tells that its command was killed."""


def exit_code(command: str, folder: Path, limit: float, given: bytes | None = None) -> tuple[int, str]:
    """Run a command in a shell; return its exit code, and why that is no answer, or "" if it is one.

    Args:
        command: For ``/bin/sh``.
        folder: The folder that it works in.
        limit: Seconds after which it is ended, with all its children.
        given: What it can read from its standard input.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=folder,
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us; and a hanging command is ended with all its children
    ) as shell:
        try:
            shell.communicate(given, timeout=limit)
            code = shell.returncode
        except subprocess.TimeoutExpired:
            return 0, f"not within {limit:g} seconds"
        finally:
            if shell.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)
    if code < 0 or code in ENDED_BY_SIGNAL:
        return code, "it was ended by a signal"
    return code, NO_ANSWERS.get(code, "")
