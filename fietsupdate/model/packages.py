"""The position of an instance package by package: each folder of update scripts is a package of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PackageStatus:
    """The position of the updates of one folder."""

    name: str
    """The folder as the configuration names it."""
    current: tuple[str, ...]
    """Its applied updates with no applied update of the same folder after them."""
    heads: tuple[str, ...]
    """Its updates with no update of the same folder after them."""
    pending: tuple[str, ...]
    """Its pending updates, in the order in which they will run."""
    applied: int
    """How many of its updates are applied."""
