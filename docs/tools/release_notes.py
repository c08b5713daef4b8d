"""Print what CHANGELOG.md says of one version: the text of a release.

    python docs/tools/release_notes.py [VERSION]

Without VERSION it is that of the code. Exits with 1 when the changelog has no such version, or calls it unreleased.
"""

import re
import sys
from pathlib import Path

from fietsupdate import __version__

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


def notes(changelog: str, version: str) -> str:
    """Return the section of a version, without its heading.

    Raises:
        ValueError: There is none, or it is not released.
    """
    found = re.search(rf"^## {re.escape(version)}(?: ([^\n]*))?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"CHANGELOG.md has no version {version}.")
    if "unreleased" in (found[1] or ""):
        raise ValueError(f"CHANGELOG.md calls {version} unreleased: give it the date of the release.")
    return found[2].strip() + "\n"


def main(words: list[str]) -> int:
    try:
        sys.stdout.write(notes(CHANGELOG.read_text(encoding="utf-8"), words[0] if words else __version__))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
