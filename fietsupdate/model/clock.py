"""The format of times in events, in the ledger and in every file of fietsupdate."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """Return the time, UTC, with milliseconds: ``2026-01-31T23:59:59.000Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
