"""Patterns of paths below a root, as update scripts write them: ``tracks/**``, ``media:previews/*.png``."""

from __future__ import annotations

import re
from functools import cache

_ROOT = re.compile(r"([A-Za-z0-9_-]+):(.*)", re.DOTALL)
_FOREIGN = frozenset({"", ".", "..", ".fietsupdate"})
"""Parts that lead out of a root, or into our own folder, or nowhere."""


def divided(text: str) -> tuple[str, str]:
    """Return the name of the root and the pattern below it; "" is the data directory."""
    found = _ROOT.fullmatch(text)
    return (found[1], found[2]) if found else ("", text)


def is_below_root(pattern: str) -> bool:
    """Return whether a pattern, or a path, stays below its root and out of our own folder."""
    return _FOREIGN.isdisjoint(pattern.split("/")) and "\0" not in pattern


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the regular expression for the complete path of a file: ``*`` is a part of a name, ``**`` any folders."""
    *above, last = pattern.split("/")
    folders = "".join(r"(?:[^/]+/)*" if part == "**" else f"{_part(part)}/" for part in above)
    return re.compile(folders + (".+" if last == "**" else _part(last)), re.DOTALL)


def folder_of(pattern: str) -> str:
    """Return the folder of all paths that a pattern can match, with a slash at its end; "" is the root."""
    parts = pattern.split("/")
    plain = next((number for number, part in enumerate(parts) if "*" in part or "?" in part), len(parts) - 1)
    return "".join(f"{part}/" for part in parts[:plain])


def is_whole_folder(pattern: str) -> bool:
    """Return whether a pattern matches everything in its folder, at any depth."""
    return pattern == f"{folder_of(pattern)}**"


def _part(text: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(letter, re.escape(letter)) for letter in text)
