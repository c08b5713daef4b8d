"""tracklib 1.1.

Date created: 2025-09-20 08:02:33
"""

from fietsupdate import UpdateScript

update_id = "v1.1"
previous = ["gpx_on_disk"]
alembic_revision = "9a4d20c6e1b7"
atomic = True


class Up(UpdateScript):
    """Only names the release."""


class Down(UpdateScript):
    """Only names the release."""
