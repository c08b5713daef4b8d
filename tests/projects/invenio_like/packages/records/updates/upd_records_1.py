"""The records."""

from fietsupdate import UpdateScript

update_id = "records_1"
previous = []
alembic_revision = "rec1"
atomic = True


class Up(UpdateScript):
    """Only the table."""


class Down(UpdateScript):
    """Only the table."""
