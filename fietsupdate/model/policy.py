"""What a run does by itself: backups, and the comparison of rows with files."""

from __future__ import annotations

import enum


class Policy(enum.StrEnum):
    """When an automatic backup is made."""

    AUTO = "auto"
    """A dump of the database, before each update that is not atomic on this database."""
    FULL = "full"
    """A backup of both halves, before every run that has updates to run."""
    NEVER = "never"


class AuditPolicy(enum.StrEnum):
    """What an update does about rows and files that do not match after it, and did before."""

    OFF = "off"
    """Nothing is compared."""
    WARN = "warn"
    """They are told."""
    STRICT = "strict"
    """They fail the update."""
