"""Who is told what happens while it happens, and what is told where nobody listens."""

from __future__ import annotations

from collections.abc import Callable

from fietsupdate.model import Event

Listener = Callable[[Event], None]


def ignore(*_told: object) -> None:
    """Do nothing with what is told."""
