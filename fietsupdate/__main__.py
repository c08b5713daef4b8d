"""``python -m fietsupdate``: runs the command without the console script, whose name another package may have taken."""

import sys

from fietsupdate.cli import process

if __name__ == "__main__":
    sys.exit(process())
