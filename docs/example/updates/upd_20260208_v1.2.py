"""tracklib 1.2: compressed recordings, and tags with tables of their own.

Date created: 2026-02-08 09:25:18
"""

from fietsupdate import UpdateScript

update_id = "v1.2"
previous = ["gzip", "tags"]
alembic_revision = "b81e3d57a9c6"
atomic = True


class Up(UpdateScript):
    """Only names the release."""


class Down(UpdateScript):
    """Only names the release."""
