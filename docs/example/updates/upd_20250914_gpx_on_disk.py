"""Move the recordings out of the database, into tracks/<id>/track.gpx.

Date created: 2025-09-14 10:11:47
"""

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript

update_id = "gpx_on_disk"
previous = ["v1.0"]
alembic_revision = "9a4d20c6e1b7"
atomic = True

# From here on each track that was recorded has its file, and no file is there without a track.
references = [{"table": "tracks", "path": "tracks/{id}/track.gpx", "where": "size is not null", "size": "size"}]
owned = ["tracks/**"]

# Never the application's models: they describe the tables of today.
# This script needs those of its own time.
tracks = sa.table(
    "tracks",
    sa.column("id", sa.Integer()),
    sa.column("size", sa.Integer()),
    sa.column("gpx", sa.LargeBinary()),
)


class Up(UpdateScript):
    def pre_alembic(self, config: Settings) -> None:
        recorded = sa.select(tracks.c.id, tracks.c.gpx).where(tracks.c.gpx.is_not(None))
        rows = self.connection.execute(recorded, execution_options={"yield_per": 20})
        for row in self.progress(rows, description="tracks"):
            self.files.write(f"tracks/{row.id}/track.gpx", row.gpx)

    def verify(self, config: Settings) -> None:
        """The revision has measured each recording before it dropped them: the files must fit."""
        sizes = sa.select(tracks.c.id, tracks.c.size).where(tracks.c.size.is_not(None))
        for row in self.connection.execute(sizes):
            written = len(self.files.read_bytes(f"tracks/{row.id}/track.gpx"))
            if written != row.size:
                raise ValueError(f"track {row.id}: {written} bytes on disk, {row.size} in the database")


class Down(UpdateScript):
    def post_alembic(self, config: Settings) -> None:
        ids = self.connection.scalars(sa.select(tracks.c.id)).all()
        for id_ in self.progress(ids, description="tracks"):
            if self.files.exists(f"tracks/{id_}/track.gpx"):
                gpx = self.files.read_bytes(f"tracks/{id_}/track.gpx")
                self.connection.execute(tracks.update().where(tracks.c.id == id_).values(gpx=gpx))
                self.files.remove(f"tracks/{id_}")
        if self.files.exists("tracks") and not any(self.files.iterdir("tracks")):
            self.files.remove("tracks")
