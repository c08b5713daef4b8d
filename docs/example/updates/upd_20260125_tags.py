"""Give tags tables of their own.

The data stays in the database, so Alembic's revision moves it: there is nothing left for hooks to do.

Date created: 2026-01-25 15:31:05
"""

from fietsupdate import UpdateScript

update_id = "tags"
previous = ["v1.1"]
alembic_revision = "6e92d4fa0c58"
atomic = True


class Up(UpdateScript):
    """Only Alembic has something to do."""


class Down(UpdateScript):
    """Only Alembic has something to do."""
