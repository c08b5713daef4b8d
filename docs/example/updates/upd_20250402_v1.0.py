"""tracklib 1.0, the last release before update scripts were used.

Date created: 2025-04-02 19:30:12
"""

from fietsupdate import UpdateScript

update_id = "v1.0"
previous = []
alembic_revision = "3f1c8a5e7b02"
atomic = True
baseline = True


class Up(UpdateScript):
    """Nothing to do: an instance of today is at this update already."""


class Down(UpdateScript):
    """Nothing to do: before this update there was no update."""
