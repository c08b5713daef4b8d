"""The command line: parse, call the `fietsupdate.updater.Updater`, print."""

import os
import sys


def process() -> int:
    """Run the command line as this process, and return the command's exit code: the console script."""
    if "_FIETSUPDATE_COMPLETE" in os.environ:
        from fietsupdate.cli.complete import answer

        return answer()
    if "probe" in sys.argv[1:]:
        from fietsupdate.cli.quick import answered

        if (code := answered(sys.argv[1:])) is not None:
            return code
    from fietsupdate.cli.main import process as run

    return run()
