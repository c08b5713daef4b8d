"""The first release."""

from fietsupdate import UpdateScript

update_id = "v1"
previous = []
alembic_revision = "r1"
atomic = True


class Up(UpdateScript):
    pass
