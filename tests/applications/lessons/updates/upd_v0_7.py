"""Titles."""

from fietsupdate import UpdateScript

update_id = "v0.7"
previous = ["v0.1"]
alembic_revision = "c2"
atomic = True


class Up(UpdateScript):
    pass


class Down(UpdateScript):
    pass
