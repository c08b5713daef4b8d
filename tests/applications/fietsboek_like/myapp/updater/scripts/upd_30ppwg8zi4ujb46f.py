"""Revision upgrade script 30ppwg8zi4ujb46f.

This script moves the GPX data out of the database and puts them into the data
directory instead.
"""

from pathlib import Path

from myapp.updater.script import UpdateScript
from sqlalchemy import create_engine, text

update_id = "30ppwg8zi4ujb46f"
previous = [
    "v0.4.0",
]
alembic_revision = "c2"


class Up(UpdateScript):
    def pre_alembic(self, config):
        engine = create_engine(config["sqlalchemy.url"])
        data_dir = Path(config["myapp.data_dir"])
        with engine.connect() as connection:
            for row in connection.execute(text("SELECT id, gpx FROM tracks;")):
                self.tell(f"Moving GPX data for track {row.id} from database to disk")
                track_dir = data_dir / "tracks" / str(row.id)
                track_dir.mkdir(parents=True, exist_ok=True)
                (track_dir / "track.gpx").write_bytes(row.gpx)
        engine.dispose()

    def post_alembic(self, config):
        pass


class Down(UpdateScript):
    def pre_alembic(self, config):
        pass

    def post_alembic(self, config):
        engine = create_engine(config["sqlalchemy.url"])
        with engine.begin() as connection:
            for path in (Path(config["myapp.data_dir"]) / "tracks").iterdir():
                values = {"gpx": (path / "track.gpx").read_bytes(), "id": int(path.name)}
                connection.execute(text("UPDATE tracks SET gpx = :gpx WHERE id = :id;"), values)
                (path / "track.gpx").unlink()
        engine.dispose()
