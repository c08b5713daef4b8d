"""The format of times in events, in the ledger and in every file of fietsupdate."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    """Return the time, UTC, with milliseconds: ``2026-01-31T23:59:59.000Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown_time(iso: str) -> str:
    """Return such a time as messages show it, to the second: ``2026-01-31 23:59:59 UTC``."""
    return f"{column_time(iso)} UTC"


def column_time(iso: str) -> str:
    """Return such a time for a column of a table whose title says UTC: ``2026-01-31 23:59:59``."""
    return iso[:19].replace("T", " ")
