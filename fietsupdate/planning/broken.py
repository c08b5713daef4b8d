"""Read the metadata of a script that is not valid Python any more.

A syntax error in a hook must not prevent `status`, nor an update that does not need that hook. So the lines that assign
metadata are read one by one. The script counts only if all required metadata can be read; it is never run.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fietsupdate.model import Update
from fietsupdate.planning.metadata import METADATA, Fault, FaultsError, read_script

_ASSIGNMENT = re.compile(rf"(?:{'|'.join(sorted(METADATA))})\s*(?::[^=]+)?=")
_CLASS = re.compile(r"class\s+(Up|Down)\b")
_HOOK = re.compile(r"\s+def references\(")
LONGEST_VALUE = 200
"""The most lines that one value may span; a bracket that is never closed is not searched to the end of the file."""


def read_broken(source: bytes, path: Path, folder: str, fault: Fault) -> Update | None:
    """Return the update that a broken script describes, or ``None`` where its metadata cannot be read either.

    Args:
        source: The script as it lies on disk.
        path: The path of the script.
        folder: The name of its folder.
        fault: The syntax error.
    """
    text = source.decode("utf-8", "replace")
    skeleton = "\n".join(_skeleton(text.splitlines()))
    try:
        update = read_script(skeleton.encode(), path, folder)
    except FaultsError:
        return None
    has_hook = any(map(_HOOK.match, text.splitlines()))
    declares = replace(update.declares, has_hook=True) if has_hook else update.declares
    return replace(update, checksum=hashlib.sha256(source).hexdigest(), broken=str(fault), declares=declares)


def _skeleton(lines: list[str]) -> Iterator[str]:
    """Yield the assignments of metadata, each on its own line of the script, and empty classes."""
    number = 0
    while number < len(lines):
        taken = 1
        if _ASSIGNMENT.match(lines[number]):
            taken = _length(lines, number)
            yield from lines[number : number + taken]
        elif match := _CLASS.match(lines[number]):
            yield f"class {match[1]}: pass"
        else:
            yield ""
        number += taken


def _length(lines: list[str], start: int) -> int:
    """Return how many lines the assignment spans that begins here; 1 where it is never complete."""
    for end in range(start + 1, min(start + LONGEST_VALUE, len(lines)) + 1):
        try:
            ast.parse("\n".join(lines[start:end]))
        except (SyntaxError, ValueError):
            continue
        return end - start
    return 1
