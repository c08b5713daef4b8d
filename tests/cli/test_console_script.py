"""The installed command exits with the same code as `python -m fietsupdate`: entry points and units rely on it."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

SCRIPT = "import sys; from importlib.metadata import EntryPoint; sys.exit(EntryPoint({!r}, {!r}, {!r}).load()())"
"""What an installer writes into the console script."""


@pytest.mark.parametrize(
    ("words", "code"), [("--version", 0), ("status --nonsense", 2), ("check", 3), ("check -c missing.ini", 1)]
)
def test_the_console_script_exits_with_the_code_of_the_command(project, words, code):
    project.update("first")
    (point,) = entry_points(group="console_scripts", name="fietsupdate")
    written = Path(sys.executable).parent / "fietsupdate"
    as_written = [sys.executable, "-c", SCRIPT.format(point.name, point.value, point.group)]
    command = [written] if written.exists() else as_written
    done = subprocess.run([*command, *words.split()], cwd=project.root, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
