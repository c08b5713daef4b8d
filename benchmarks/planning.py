"""Loading and planning 1,000 to 20,000 scripts, against a plain load-and-topological-sort of the same files.

Run it with ``python benchmarks/planning.py``; numbers of scripts may follow. Each time is the best of some rounds.

- ``ours``: `load` (every script parsed and checked, SHA-256 taken), `build` (the graph) and `plan_up` for a new
  instance, with the Alembic revisions of each step.
- ``plain``: the least that gives an order without running scripts: `ast.parse` and `ast.literal_eval` of the
  assignments, then `graphlib`. It checks nothing and its order is not promised to be the same tomorrow.
- ``exec``: the same with every script imported by path, as a loader does that runs scripts to read them.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path

from fietsupdate.model import Folder
from fietsupdate.planning.graph import build
from fietsupdate.planning.loader import load
from fietsupdate.planning.planner import plan_up
from fietsupdate.views import DatabaseView, FilesView

SCRIPT = '''\
"""Update number {number}.

Date created: 2026-11-21 21:00:37
"""

from __future__ import annotations

update_id = "{update_id}"
previous = {previous!r}
alembic_revision = "{revision}"
atomic = True


class Up:
    def pre_alembic(self, config):
        for row in self.progress(self.connection.execute(config["select_tracks"]), description="tracks"):
            self.files.write(f"tracks/{{row.id}}/track.gpx", row.gpx)

    def post_alembic(self, config): ...


class Down:
    def pre_alembic(self, config): ...

    def post_alembic(self, config): ...
'''

SCRIPTS_PER_REVISION = 10


def write_scripts(folder: Path, count: int) -> None:
    """Write a graph of branches of nine that merge at every tenth script."""
    for number in range(count):
        start = number - number % 10
        match number % 10:
            case 0:
                previous = [name(start - 5), name(start - 1)] if number else []
            case 1 | 6:
                previous = [name(start)]
            case _:
                previous = [name(number - 1)]
        text = SCRIPT.format(number=number, update_id=name(number), previous=previous, revision=revision(number))
        (folder / f"upd_{name(number)}.py").write_text(text)


def name(number: int) -> str:
    # Not in the order of the graph, so that sorting has something to do.
    return f"{number * 7919 % 100_003:06}"


def revision(number: int) -> str:
    return f"r{number // SCRIPTS_PER_REVISION:05}"


def ours(folder: Path, count: int) -> list[str]:
    graph = build(load([Folder("updates", folder)]), ["updates"])
    plan = plan_up(graph, new_database(count), new_files(folder), "heads")
    return [step.update.update_id for step in plan.steps]


def plain(folder: Path, _count: int) -> list[str]:
    parents = {}
    for path in folder.glob("*.py"):
        values = {
            statement.targets[0].id: ast.literal_eval(statement.value)
            for statement in ast.parse(path.read_bytes()).body
            if isinstance(statement, ast.Assign)
        }
        parents[values["update_id"]] = values["previous"]
    return list(TopologicalSorter(parents).static_order())


def executed(folder: Path, _count: int) -> list[str]:
    parents = {}
    for path in folder.glob("*.py"):
        spec = importlib.util.spec_from_file_location("script", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        parents[module.update_id] = module.previous
    return list(TopologicalSorter(parents).static_order())


def new_database(count: int) -> DatabaseView:
    revisions = [revision(number) for number in range(0, count, SCRIPTS_PER_REVISION)]
    return DatabaseView(
        dialect="sqlite",
        url="sqlite:///app.db",
        shown_url="sqlite:///app.db",
        alembic_current=(),
        revisions={one: (before,) if before else () for before, one in zip(["", *revisions], revisions, strict=False)},
        alembic_heads=(revisions[-1],),
        entries=(),
        has_ledger=False,
    )


def new_files(folder: Path) -> FilesView:
    return FilesView(data_dir=folder, exists=True, version=None, version_path=None, entries=(), has_ledger=False)


def best(work: Callable[[Path, int], list[str]], folder: Path, count: int, rounds: int) -> float:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        assert len(work(folder, count)) == count
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=[1_000, 2_000, 5_000, 10_000, 20_000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sys.dont_write_bytecode = True  # `exec` would otherwise measure compiled files from its second round on
    print(
        f"{'scripts':>8} {'ours':>9} {'plain':>9} {'exec':>9} {'ours/plain':>11} {'ours/exec':>10} {'µs a script':>12}"
    )
    costs = []
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_scripts(folder, count)
            mine, least, run = (best(work, folder, count, arguments.rounds) for work in (ours, plain, executed))
        costs.append(mine / count * 1e6)
        times = f"{mine:8.3f}s {least:8.3f}s {run:8.3f}s"
        print(f"{count:8,} {times} {mine / least:11.2f} {mine / run:10.2f} {costs[-1]:12.0f}")
    print(f"linearity: a script costs {costs[-1] / costs[0]:.2f} times as much among the most as among the fewest")


if __name__ == "__main__":
    main()
