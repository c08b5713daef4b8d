"""Lets four people use tracklib 1.0 for a while: puts users and rides into the database of an instance at v1.0."""

from pathlib import Path

import rides
import tracklib_1_0
from sqlalchemy import NullPool, create_engine
from sqlalchemy.orm import Session

HOME = Path(__file__).resolve().parents[2] / ".demo"
DATA = HOME / "data"
URL = f"sqlite:///{HOME / 'tracklib.db'}"
RIDES = 16


def fill(url: str) -> None:
    users = {name: tracklib_1_0.User(name=name) for name in rides.USERS}
    with Session(create_engine(url, poolclass=NullPool)) as session:
        session.add_all(users.values())
        for ride in rides.make_up(RIDES):
            track = tracklib_1_0.Track(title=ride.title, ridden_on=ride.day, tags=",".join(ride.tags), gpx=ride.gpx)
            users[ride.user].tracks.append(track)
        session.commit()
    print(f"{len(users)} users of tracklib 1.0 have put {RIDES} rides into the database.", flush=True)


if __name__ == "__main__":
    fill(URL)
