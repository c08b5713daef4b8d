"""The type of a listener of events, and a listener that ignores them."""

from __future__ import annotations

from collections.abc import Callable

from fietsupdate.model import Event

Listener = Callable[[Event], None]


def ignore(*_told: object) -> None:
    """Ignore the event."""
