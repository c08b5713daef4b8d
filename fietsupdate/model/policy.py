"""The policies of a run: for automatic backups, and for the comparison of rows with files."""

from __future__ import annotations

import enum


class Policy(enum.StrEnum):
    """The policies for automatic backups."""

    AUTO = "auto"
    """A dump of the database, before each update that is not atomic on this database."""
    FULL = "full"
    """A backup of both halves, before every run that has updates to run."""
    NEVER = "never"


class AuditPolicy(enum.StrEnum):
    """The policies for rows and files that do not match after an update, but did before."""

    OFF = "off"
    """Nothing is compared."""
    WARN = "warn"
    """Differences are reported."""
    STRICT = "strict"
    """Differences fail the update."""
