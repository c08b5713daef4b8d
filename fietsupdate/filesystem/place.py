"""The name of a file in any root, in the form of the command line and of messages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fietsupdate.errors import UsageError
from fietsupdate.filesystem.layout import HOME


class Place(NamedTuple):
    """A file or folder, named by its root and its path."""

    root: str
    """The name of the further root; "" for the data directory."""
    path: str
    """The path relative to the root."""

    @property
    def shown(self) -> str:
        """The form for the command line and messages: ``media:avatars/1.png``.

        Without a name, below the data directory.
        """
        return f"{self.root}:{self.path}" if self.root else self.path


def placed(text: str, roots: Mapping[str, Path]) -> Place:
    """Return the file or folder that an argument of the command line names.

    Args:
        text: A path below the data directory; ``NAME:PATH`` for one below a further root; or an absolute path in any.
        roots: The roots by name; "" is the data directory.

    Raises:
        UsageError: The path is in none of the roots, is a root itself, or does not belong to the application.
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
