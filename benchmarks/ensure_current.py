"""What an application pays at each start: `ensure_current` on a current instance, next to Alembic's own look.

Run it with ``python benchmarks/ensure_current.py``; a number of rounds may follow. It all happens in one process, with
everything imported, as in a worker that a server starts: `ensure_current`, `require_current`, and `alembic current`
called as a function, in turns; the medians are compared. The looks into env.py and the locks taken are counted.

The project is made for the occasion: ``alembic init``, a number of revisions, as many updates, a SQLite file.
"""

from __future__ import annotations

import argparse
import io
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import alembic.command
from alembic.config import Config

from fietsupdate import Updater, ensure_current, require_current
from fietsupdate.filesystem import lock

UPDATES = 50
REVISION = '''"""Revision {number}."""

revision = "r{number:04}"
down_revision = {down!r}


def upgrade():
    pass


def downgrade():
    pass
'''
UPDATE = '''"""Update {number}."""

from fietsupdate import UpdateScript

update_id = "v{number}"
previous = {previous!r}
alembic_revision = "r{number:04}"
atomic = True


class Up(UpdateScript): ...


class Down(UpdateScript): ...
'''
COUNTED = "import builtins\nbuiltins.looks = getattr(builtins, 'looks', 0) + 1\n"


def make_project(folder: Path, updates: int) -> Path:
    """Write a project and bring it up to date."""
    ini = folder / "alembic.ini"
    quiet = argparse.Namespace(quiet=True)
    alembic.command.init(Config(ini, stdout=io.StringIO(), cmd_opts=quiet), str(folder / "migrations"))
    text = ini.read_text().replace("driver://user:pass@localhost/dbname", "sqlite:///%(here)s/app.sqlite")
    ini.write_text(f"{text}\n[fietsupdate]\nupdates = %(here)s/updates\ndata_dir = %(here)s/data\n")
    for name in ("data", "updates"):
        (folder / name).mkdir()
    for number in range(1, updates + 1):
        down = f"r{number - 1:04}" if number > 1 else None
        revision = folder / "migrations" / "versions" / f"r{number:04}_.py"
        revision.write_text(REVISION.format(number=number, down=down))
        previous = [f"v{number - 1}"] if number > 1 else []
        (folder / "updates" / f"v{number}.py").write_text(UPDATE.format(number=number, previous=previous))
    Updater.from_config(ini).update()
    env_py = folder / "migrations" / "env.py"
    env_py.write_text(COUNTED + env_py.read_text())
    return ini


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Give the median wall and processor time of each call, in seconds; the calls take turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(rounds + 2):
        for name, call in calls.items():
            wall, processor = time.perf_counter(), time.process_time()
            call()
            if number > 1:  # the first rounds import and fill caches
                times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: tuple(map(statistics.median, zip(*seen, strict=True))) for name, seen in times.items()}


def count(ini: Path) -> tuple[int, int]:
    """Give how often one `ensure_current` enters env.py and takes the lock."""
    import builtins

    taken: list[object] = []
    real = lock.hold
    builtins.looks = 0  # type: ignore[attr-defined]
    lock.hold = lambda *args, **kw: taken.append(args) or real(*args, **kw)  # type: ignore[assignment,func-returns-value]
    try:
        ensure_current(ini)
    finally:
        lock.hold = real
    return builtins.looks, len(taken)  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", nargs="?", type=int, default=40)
    rounds = parser.parse_args().rounds
    logging.disable(logging.INFO)  # Alembic's remarks
    for updates in (1, UPDATES):
        with tempfile.TemporaryDirectory() as name:
            ini = make_project(Path(name), updates)
            calls = {
                "alembic current": lambda ini=ini: alembic.command.current(Config(ini, stdout=io.StringIO())),
                "ensure_current": lambda ini=ini: ensure_current(ini),
                "require_current": lambda ini=ini: require_current(ini),
            }
            medians = measure(calls, rounds)
            looks, locks = count(ini)
        print(f"{updates} revisions and updates; ensure_current: {looks} look into env.py, {locks} locks")
        for call, (wall, processor) in medians.items():
            ratios = [one / other for one, other in zip((wall, processor), medians["alembic current"], strict=True)]
            shown = f"to alembic current {ratios[0]:.2f} (processor {ratios[1]:.2f})"
            print(f"  {call:16} {wall * 1000:6.1f} ms, of the processor {processor * 1000:6.1f} ms; {shown}")


if __name__ == "__main__":
    main()
