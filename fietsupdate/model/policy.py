"""When a run makes a backup by itself."""

from __future__ import annotations

import enum


class Policy(enum.StrEnum):
    """When an automatic backup is made."""

    AUTO = "auto"
    """A dump of the database, before each update that is not atomic on this database."""
    FULL = "full"
    """A backup of both halves, before every run that has updates to run."""
    NEVER = "never"
