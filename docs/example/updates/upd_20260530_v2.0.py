"""tracklib 2.0: each user's tracks lie in a folder of the user's own.

Date created: 2026-05-30 11:47:29
"""

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript

update_id = "v2.0"
previous = ["v1.2"]
alembic_revision = "b81e3d57a9c6"
atomic = True

references = [{"table": "tracks", "path": "users/{user_id}/tracks/{id}/track.gpx.gz", "where": "size is not null"}]
owned = ["users/**"]

tracks = sa.table(
    "tracks",
    sa.column("id", sa.Integer()),
    sa.column("user_id", sa.Integer()),
    sa.column("size", sa.Integer()),
)
recorded = sa.select(tracks.c.id, tracks.c.user_id).where(tracks.c.size.is_not(None))


class Up(UpdateScript):
    def check(self, config: Settings) -> None:
        """`users` is about to become ours: what stands there already came from somewhere else."""
        if (self.data_dir / "users").exists():
            raise FileExistsError(f"{self.data_dir / 'users'} exists already; move it away first")

    def pre_alembic(self, config: Settings) -> None:
        rows = self.connection.execute(recorded).all()
        for row in self.progress(rows, description="tracks"):
            self.files.move(f"tracks/{row.id}", f"users/{row.user_id}/tracks/{row.id}")
        if self.files.exists("tracks") and not any(self.files.iterdir("tracks")):
            self.files.remove("tracks")

    def verify(self, config: Settings) -> None:
        for row in self.connection.execute(recorded):
            if not self.files.exists(f"users/{row.user_id}/tracks/{row.id}/track.gpx.gz"):
                raise FileNotFoundError(f"track {row.id} has no recording in the folder of user {row.user_id}")


class Down(UpdateScript):
    def pre_alembic(self, config: Settings) -> None:
        rows = self.connection.execute(recorded).all()
        for row in self.progress(rows, description="tracks"):
            self.files.move(f"users/{row.user_id}/tracks/{row.id}", f"tracks/{row.id}")
        for pattern in ("users/*/tracks", "users/*", "users"):
            for folder in self.files.glob(pattern):
                if not any(self.files.iterdir(folder)):
                    self.files.remove(folder)
