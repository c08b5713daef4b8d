"""The start of the program: `--help`, `--version` and `status` against `alembic --help` and `alembic current`.

Run it with ``python benchmarks/cli_start.py``; a number of rounds may follow. Each round runs every command once, one
after the other, so that a busy moment of the machine hits them all; the medians are compared. Where other programs
run beside it, the time of the processor is the better witness.

The project is made for the occasion: ``alembic init``, one revision, one update, a SQLite file, up to date.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ALEMBIC = (sys.executable, "-m", "alembic")
OURS = (sys.executable, "-m", "fietsupdate")

COMMANDS = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "alembic --help": (*ALEMBIC, "--help"),
    "fietsupdate --help": (*OURS, "--help"),
    "fietsupdate --version": (*OURS, "--version"),
    "alembic current": (*ALEMBIC, "current"),
    "fietsupdate status": (*OURS, "status"),
    "fietsupdate check": (*OURS, "check"),
}

PAIRS = (
    ("fietsupdate --help", "alembic --help"),
    ("fietsupdate --version", "alembic --help"),
    ("fietsupdate status", "alembic current"),
    ("fietsupdate check", "alembic current"),
)

UPDATE = '''\
"""The only update."""

from fietsupdate import UpdateScript

update_id = "v1"
previous = []
alembic_revision = "{revision}"
atomic = True


class Up(UpdateScript): ...


class Down(UpdateScript): ...
'''


def run(command: tuple[str, ...], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as an installed program runs: with its bytecode at hand, here in a folder of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FIETSUPDATE_", "PYTHON"))}
    environ = {**kept, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def make_project(folder: Path) -> None:
    must(run((*ALEMBIC, "init", "alembic"), folder))
    ini = folder / "alembic.ini"
    text = ini.read_text().replace("driver://user:pass@localhost/dbname", "sqlite:///%(here)s/app.sqlite")
    ini.write_text(f"{text}\n[fietsupdate]\nupdates = %(here)s/updates\ndata_dir = %(here)s/data\n")
    (folder / "data").mkdir()
    (folder / "updates").mkdir()
    must(run((*ALEMBIC, "revision", "-m", "first", "--rev-id", "aaa111"), folder))
    (folder / "updates" / "upd_v1.py").write_text(UPDATE.format(revision="aaa111"))
    must(run((*OURS, "update", "--yes"), folder))


def must(result: subprocess.CompletedProcess[str]) -> None:
    if result.returncode:
        sys.exit(f"{' '.join(result.args)} failed:\n{result.stdout}{result.stderr}")


def measure(folder: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Give the median wall and processor time of each command, in seconds."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for number in range(rounds + 1):
        for name, command in COMMANDS.items():
            start, before = time.perf_counter(), processor_time()
            must(run(command, folder))
            if number:  # the first round only fills caches
                times[name].append((time.perf_counter() - start, processor_time() - before))
    return {name: tuple(map(statistics.median, zip(*seen, strict=True))) for name, seen in times.items()}


def processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        make_project(Path(name))
        medians = measure(Path(name), rounds)
    for command, (wall, processor) in medians.items():
        print(f"{command:24} {wall * 1000:7.0f} ms, of the processor {processor * 1000:5.0f} ms")
    for ours, theirs in PAIRS:
        wall, processor = (one / other for one, other in zip(medians[ours], medians[theirs], strict=True))
        print(f"{ours} / {theirs}: {wall:.2f} (processor: {processor:.2f})")


if __name__ == "__main__":
    main()
