"""``python -m fietsupdate``: the same program, whoever owns the name of the console script."""

import sys

from fietsupdate.cli.main import process

if __name__ == "__main__":
    sys.exit(process())
