"""Keep each note as a file."""

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript

update_id = "v2"
previous = ["v1"]
alembic_revision = "r2"
atomic = True


class Up(UpdateScript):
    def pre_alembic(self, config: Settings) -> None:
        for row in self.connection.execute(sa.text("SELECT id, text FROM note")):
            self.files.write(f"{row.id}.txt", row.text)
