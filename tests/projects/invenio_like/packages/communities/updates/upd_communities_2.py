"""Name the records that a community shows."""

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript

update_id = "communities_2"
previous = ["communities_1", "buckets_2"]
alembic_revision = None
atomic = True

records = sa.table("records", sa.column("title", sa.String()))


class Up(UpdateScript):
    def check(self, config: Settings) -> None:
        if (self.data_dir / "communities" / "locked").exists():
            raise RuntimeError("a curator has locked the communities")

    def post_alembic(self, config: Settings) -> None:
        titles = self.connection.scalars(sa.select(records.c.title).order_by(records.c.title)).all()
        self.files.write("communities/index.txt", "\n".join(titles))


class Down(UpdateScript):
    def pre_alembic(self, config: Settings) -> None:
        self.files.remove("communities/index.txt")
