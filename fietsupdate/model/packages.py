"""What an instance is at, package by package: each folder of update scripts is a package of its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PackageStatus:
    """How far the updates of one folder are."""

    name: str
    """The folder as the configuration names it."""
    current: tuple[str, ...]
    """Its applied updates with no applied update of the same folder after them."""
    heads: tuple[str, ...]
    """Its updates with no update of the same folder after them."""
    pending: tuple[str, ...]
    """Its updates that wait, in the order in which they will run."""
    applied: int
    """How many of its updates are applied."""
