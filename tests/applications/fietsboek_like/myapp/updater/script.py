"""The base class that the update scripts of the past import."""

import sys


class UpdateScript:
    """A base class, which knows how to tell the administrator something."""

    def tell(self, text: str) -> None:
        sys.stdout.write(f"    {text}\n")
