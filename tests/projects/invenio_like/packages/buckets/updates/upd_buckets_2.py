"""Put the metadata of each record into its bucket."""

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript

update_id = "buckets_2"
previous = ["buckets_1", "records_2"]
alembic_revision = None
atomic = True

records = sa.table("records", sa.column("id", sa.Integer()))


class Up(UpdateScript):
    def pre_alembic(self, config: Settings) -> None:
        for number in self.connection.scalars(sa.select(records.c.id)).all():
            self.files.move(f"records/{number}.json", f"files/{number}/metadata.json")


class Down(UpdateScript):
    def post_alembic(self, config: Settings) -> None:
        for number in self.connection.scalars(sa.select(records.c.id)).all():
            self.files.move(f"files/{number}/metadata.json", f"records/{number}.json")
