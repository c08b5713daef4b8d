"""What an update script imports while it is loaded, and why one of these imports fails, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Import(NamedTuple):
    """A module that a script imports at its left margin, where nothing decides whether it does."""

    line: int
    module: str
    """Its full name; of a relative import what follows the dots."""
    name: str = ""
    """What is taken from it; "" for ``import module`` and for ``*``."""
    is_relative: bool = False


@dataclass(frozen=True, slots=True)
class FailingImport:
    """The first import of a script that was looked up and is not there."""

    update_id: str
    path: Path
    line: int
    missing: str
    """What is not there, in words."""
    applied: bool
