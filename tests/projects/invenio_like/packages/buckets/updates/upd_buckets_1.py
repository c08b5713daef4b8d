"""A bucket for each record."""

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript

update_id = "buckets_1"
previous = ["records_1"]
alembic_revision = "buc1"
atomic = True

buckets = sa.table("buckets", sa.column("id", sa.Integer()), sa.column("record_id", sa.Integer()))


class Up(UpdateScript):
    def post_alembic(self, config: Settings) -> None:
        for number in self.connection.scalars(sa.select(buckets.c.record_id)).all():
            self.files.mkdir(f"files/{number}")


class Down(UpdateScript):
    def pre_alembic(self, config: Settings) -> None:
        if self.files.exists("files"):
            self.files.remove("files")
