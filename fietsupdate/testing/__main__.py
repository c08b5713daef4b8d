"""``python -m fietsupdate.testing``: the ready-made checks that need no instance, without pytest, as a pre-commit hook.

Every script loads, each folder has one head, and released scripts are unchanged. Needs the application's environment,
because scripts import from it; opens no database and no data directory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence

from fietsupdate import __version__
from fietsupdate.config.application import activated
from fietsupdate.errors import FietsupdateError
from fietsupdate.planning.graph import Graph
from fietsupdate.process import stdout_on_stderr
from fietsupdate.testing import checks
from fietsupdate.updater import Updater


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the scripts of the project in the working directory.

    Args:
        arguments: The command line; by default that of the process.

    Returns:
        0, or 1 if a fault was found, which is printed.
    """
    parser = argparse.ArgumentParser(prog="python -m fietsupdate.testing", description=__doc__.splitlines()[0])
    parser.add_argument("-c", "--config", metavar="FILE", action="append", default=[], help="As for fietsupdate.")
    parser.add_argument("--version", action="version", version=f"fietsupdate {__version__}")
    words = parser.parse_args(arguments)
    faults, seen = [], 0
    try:
        updater = Updater.from_config(*words.config)
        graph = updater.graph()
        seen = len(graph.ordered)
        with stdout_on_stderr(), activated(updater.config):
            faults += checks.load_errors(graph)
        faults += [*_failed(checks.one_head, graph), *_failed(checks.released_unchanged, graph)]
    except FietsupdateError as error:
        faults.append(f"{error.message} {error.hint}".strip())
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    if not faults:
        sys.stdout.write(f"Update scripts without a fault: {seen}\n")
    return 1 if faults else 0


def _failed(check: Callable[[Graph], object], graph: Graph) -> Iterator[str]:
    try:
        check(graph)
    except AssertionError as error:
        yield str(error)


if __name__ == "__main__":
    sys.exit(main())
