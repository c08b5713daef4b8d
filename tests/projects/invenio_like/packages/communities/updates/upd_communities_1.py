"""A logo for each community."""

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript

update_id = "communities_1"
previous = ["buckets_1"]
alembic_revision = "com1"
atomic = True

communities = sa.table("communities", sa.column("name", sa.String()))


class Up(UpdateScript):
    def post_alembic(self, config: Settings) -> None:
        for name in self.connection.scalars(sa.select(communities.c.name)).all():
            self.files.write(f"communities/{name}/logo.svg", "<svg/>")


class Down(UpdateScript):
    def pre_alembic(self, config: Settings) -> None:
        self.files.remove("communities")
