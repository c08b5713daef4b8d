"""Move the metadata of records into files."""

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript

update_id = "records_2"
previous = ["records_1"]
alembic_revision = "rec2"
atomic = True

records = sa.table("records", sa.column("id", sa.Integer()), sa.column("json", sa.Text()))


class Up(UpdateScript):
    def pre_alembic(self, config: Settings) -> None:
        for row in self.progress(self.connection.execute(sa.select(records)), description="records"):
            self.files.write(f"records/{row.id}.json", row.json)


class Down(UpdateScript):
    def post_alembic(self, config: Settings) -> None:
        for number in self.connection.scalars(sa.select(records.c.id)).all():
            path = f"records/{number}.json"
            row = records.update().where(records.c.id == number)
            self.connection.execute(row.values(json=self.files.read_text(path)))
            self.files.remove(path)
        if self.files.exists("records"):
            self.files.remove("records")
