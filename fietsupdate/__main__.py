"""``python -m fietsupdate``: the same program, whoever owns the name of the console script."""

import sys

from fietsupdate.cli import main

if __name__ == "__main__":
    sys.exit(main())
