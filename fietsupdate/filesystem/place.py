"""Names a file of any root, as it is typed on a command line and told in messages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fietsupdate.errors import UsageError
from fietsupdate.filesystem.layout import HOME


class Place(NamedTuple):
    """A file or folder by its root and its path."""

    root: str
    """Name of the further root; "" for the data directory."""
    path: str
    """Relative to the root."""

    @property
    def shown(self) -> str:
        """How it is typed and told: ``media:avatars/1.png``; without a name, below the data directory."""
        return f"{self.root}:{self.path}" if self.root else self.path


def placed(text: str, roots: Mapping[str, Path]) -> Place:
    """Return which file or folder is meant by a word of the command line.

    Args:
        text: A path below the data directory; ``NAME:PATH`` for one below a further root; or an absolute path in any.
        roots: The roots by name; "" is the data directory.

    Raises:
        UsageError: it is in none of them, is one of them, or is not the application's.
    """
    root, path = _divided(text, roots)
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not parts:
        raise UsageError(f"{text!r} names a whole root; without --only everything is restored.")
    if ".." in parts or "\0" in path or HOME in parts:
        raise UsageError(f"{text!r} names no file of the application: it leads out of its root, or into {HOME}.")
    return Place(root, "/".join(parts))


def _divided(text: str, roots: Mapping[str, Path]) -> tuple[str, str]:
    if text.startswith("/"):
        given = {name: {str(path.absolute()), os.path.realpath(path)} for name, path in roots.items()}
        inside = [(root, name) for name, paths in given.items() for root in paths if f"{text}/".startswith(f"{root}/")]
        if not inside:
            shown = ", ".join(map(str, roots.values()))
            raise UsageError(f"{text!r} is in none of the folders that belong to the instance: {shown}.")
        root, name = max(inside, key=lambda one: len(one[0]))
        return name, text[len(root) :]
    name, colon, path = text.partition(":")
    return (name, path) if colon and name and name in roots else ("", text)
