"""Compress the recordings, and keep a checksum of each.

Date created: 2026-01-17 21:52:00
"""

import gzip
import hashlib

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript

update_id = "gzip"
previous = ["v1.1"]
alembic_revision = "c5078be91f34"
atomic = True

references = [{"table": "tracks", "path": "tracks/{id}/track.gpx.gz", "where": "size is not null"}]

tracks = sa.table(
    "tracks",
    sa.column("id", sa.Integer()),
    sa.column("size", sa.Integer()),
    sa.column("sha256", sa.String()),
)
recorded = sa.select(tracks.c.id, tracks.c.sha256).where(tracks.c.size.is_not(None))


class Up(UpdateScript):
    def post_alembic(self, config: Settings) -> None:
        ids = self.connection.scalars(recorded.with_only_columns(tracks.c.id)).all()
        total = 0
        for id_ in self.progress(ids, description="recordings"):
            path = f"tracks/{id_}/track.gpx"
            if self.files.exists(path):  # where this is not atomic (MariaDB), it may have come half the way before
                gpx = self.files.read_bytes(path)
                self.files.write(f"{path}.gz", gzip.compress(gpx, mtime=0))
                self.files.remove(path)
            else:
                gpx = gzip.decompress(self.files.read_bytes(f"{path}.gz"))
            checksum = hashlib.sha256(gpx).hexdigest()
            self.connection.execute(tracks.update().where(tracks.c.id == id_).values(sha256=checksum))
            total += len(gpx)
        self.tell(f"{len(ids)} recordings of {total:,} bytes are compressed now.")

    def verify(self, config: Settings) -> None:
        for row in self.connection.execute(recorded):
            gpx = gzip.decompress(self.files.read_bytes(f"tracks/{row.id}/track.gpx.gz"))
            if hashlib.sha256(gpx).hexdigest() != row.sha256:
                raise ValueError(f"track {row.id}: what was compressed is not what comes out")


class Down(UpdateScript):
    def pre_alembic(self, config: Settings) -> None:
        rows = self.connection.execute(recorded).all()
        for row in self.progress(rows, description="recordings"):
            gpx = gzip.decompress(self.files.read_bytes(f"tracks/{row.id}/track.gpx.gz"))
            if hashlib.sha256(gpx).hexdigest() != row.sha256:
                raise ValueError(f"track {row.id}: the recording is damaged; restore its file first")
            self.files.write(f"tracks/{row.id}/track.gpx", gpx)
            self.files.remove(f"tracks/{row.id}/track.gpx.gz")
