"""A fresh database with 300 updates and 300 revisions, against `alembic upgrade head` of the same tree.

Run it with ``python benchmarks/new_database.py``; numbers of updates and of rounds may follow. The commands run as
processes, one after the other in every round; the ratio is the median of those of the rounds. Each update of ours is a
transaction of its own across both halves (journal, ledger, VERSION, read back afterwards), with a visit of its own to
env.py, while Alembic enters env.py once. So there is a third: Alembic alone, entering env.py once for each revision, in
one process.

Where other programs run beside it, the time of the processor is the better witness.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = """\
from fietsupdate import UpdateScript

update_id = "u{number}"
previous = {previous}
alembic_revision = "r{number}"
atomic = True


class Up(UpdateScript): ...


class Down(UpdateScript): ...
"""
REVISION = """\
import sqlalchemy as sa
from alembic import op

revision = "r{number}"
down_revision = {down}


def upgrade():
    op.create_table("t{number}", sa.Column("id", sa.Integer, primary_key=True))


def downgrade():
    op.drop_table("t{number}")
"""


ONE_BY_ONE = """\
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory

config = Config("alembic.ini")
script = ScriptDirectory.from_config(config)
for revision in reversed(list(script.walk_revisions())):
    steps = lambda *_: [MigrationStep.upgrade_from_script(script.revision_map, revision)]
    with EnvironmentContext(config, script, fn=steps, destination_rev="heads", as_sql=False):
        script.run_env()
"""
COMMANDS = {
    "alembic upgrade head": ("-m", "alembic", "upgrade", "head"),
    "alembic, one by one": ("-c", ONE_BY_ONE),
    "fietsupdate update": ("-m", "fietsupdate", "update", "--yes"),
}


def written(root: Path, number: int) -> None:
    """Write a project of this many revisions and updates."""
    run(root, "-m", "alembic", "init", "migrations")
    ini = root / "alembic.ini"
    text = ini.read_text().replace("driver://user:pass@localhost/dbname", f"sqlite:///{root}/database.sqlite")
    ini.write_text(f"{text}\n[fietsupdate]\nupdates = %(here)s/updates\ndata_dir = %(here)s/data\n")
    (root / "updates").mkdir()
    for index in range(1, number + 1):
        down = repr(f"r{index - 1}") if index > 1 else None
        previous = [f"u{index - 1}"] if index > 1 else []
        (root / f"migrations/versions/r{index}.py").write_text(REVISION.format(number=index, down=down))
        (root / f"updates/u{index}.py").write_text(SCRIPT.format(number=index, previous=previous))


def run(root: Path, *args: str) -> tuple[float, float]:
    """Run Python in the project; give the seconds that it took, by the clock and of the processor."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *args], cwd=root, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, used


def emptied(root: Path) -> None:
    """Take the project back to a fresh database and an empty data directory."""
    (root / "database.sqlite").unlink(missing_ok=True)
    shutil.rmtree(root / "data", ignore_errors=True)
    (root / "data").mkdir()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("updates", type=int, nargs="?", default=300)
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    given = parser.parse_args()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        written(root, given.updates)
        for _ in range(given.rounds):
            for name, args in COMMANDS.items():
                emptied(root)
                times[name].append(run(root, *args))
    least = times["alembic upgrade head"]
    print(f"{given.updates} updates; by the clock, and of the processor:")
    for name, taken in times.items():
        wall, used = (statistics.median(each) for each in zip(*taken, strict=True))
        ratios = [
            [mine / theirs for mine, theirs in zip(*pair, strict=True)] for pair in zip(taken, least, strict=True)
        ]
        by_clock, of_processor = (statistics.median(each) for each in zip(*ratios, strict=True))
        print(f"{name:22} {wall:6.2f} s {used:6.2f} s   ratios {by_clock:.2f}, {of_processor:.2f}")


if __name__ == "__main__":
    main()
