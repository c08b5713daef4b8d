"""The imports of an update script while it is loaded, and why one of them fails, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Import(NamedTuple):
    """A module that a script imports unconditionally at module level."""

    line: int
    module: str
    """The module's full name; for a relative import, the part after the dots."""
    name: str = ""
    """The name that is imported from it; "" for ``import module`` and for ``*``."""
    is_relative: bool = False


@dataclass(frozen=True, slots=True)
class FailingImport:
    """The first import of a script that cannot be found."""

    update_id: str
    path: Path
    line: int
    missing: str
    """The missing module or name, in words."""
    applied: bool
