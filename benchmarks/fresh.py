"""A fresh database with 300 updates and 300 revisions, against `alembic upgrade head` of the same tree.

Run it with ``python benchmarks/fresh.py``; numbers of updates and of rounds may follow. Both commands run as
processes, one after the other in every round; the medians are compared. Each update of ours is a transaction of its
own across both halves (journal, ledger, VERSION, read back afterwards), while Alembic runs all revisions in one.
"""

from __future__ import annotations

import argparse
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


def written(root: Path, number: int) -> None:
    """Write a project of this many revisions and updates."""
    run(root, "alembic", "init", "migrations")
    ini = root / "alembic.ini"
    text = ini.read_text().replace("driver://user:pass@localhost/dbname", f"sqlite:///{root}/database.sqlite")
    ini.write_text(f"{text}\n[fietsupdate]\nupdates = %(here)s/updates\ndata_dir = %(here)s/data\n")
    (root / "updates").mkdir()
    for index in range(1, number + 1):
        down = repr(f"r{index - 1}") if index > 1 else None
        previous = [f"u{index - 1}"] if index > 1 else []
        (root / f"migrations/versions/r{index}.py").write_text(REVISION.format(number=index, down=down))
        (root / f"updates/u{index}.py").write_text(SCRIPT.format(number=index, previous=previous))


def run(root: Path, module: str, *args: str) -> float:
    """Run a command in the project; give the seconds that it took."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", module, *args], cwd=root, check=True, capture_output=True)
    return time.perf_counter() - started


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
    times: dict[str, list[float]] = {"alembic": [], "fietsupdate": []}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        written(root, given.updates)
        for _ in range(given.rounds):
            emptied(root)
            times["alembic"].append(run(root, "alembic", "upgrade", "head"))
            emptied(root)
            times["fietsupdate"].append(run(root, "fietsupdate", "update", "--yes"))
    ours, theirs = statistics.median(times["fietsupdate"]), statistics.median(times["alembic"])
    print(f"{given.updates} updates: fietsupdate update {ours:.2f} s, alembic upgrade head {theirs:.2f} s")
    print(f"ratio: {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
