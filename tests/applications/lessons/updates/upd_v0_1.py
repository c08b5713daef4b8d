"""The first release."""

from fietsupdate import UpdateScript

update_id = "v0.1"
previous = []
alembic_revision = "c1"
atomic = True


class Up(UpdateScript):
    pass


class Down(UpdateScript):
    pass
