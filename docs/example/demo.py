"""Takes tracklib from its first release to its last and one step back, in .demo/ at the top of the checkout.

Every command is shown before it runs. At the end the recordings are read through the application itself: the demo
fails unless each of them is, byte for byte, what was put in.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import rides
from fill import DATA, HOME, RIDES, URL, fill
from sqlalchemy import NullPool, create_engine, select
from sqlalchemy.orm import Session
from tracklib import models, recordings

TOP = HOME.parent


def main() -> None:
    start_afresh()
    fietsupdate("status")
    fietsupdate("update", "v1.0", "--yes")
    say("$ python docs/example/fill.py")
    fill(URL)
    fietsupdate("status")
    fietsupdate("update", "--yes")
    show_files()
    fietsupdate("history")
    fietsupdate("status")
    verify(URL, recordings.path_of)
    fietsupdate("downgrade", "-1", "--yes")
    show_files()
    verify(URL, path_before_2_0)
    say("Each recording is, byte for byte, the one that was put in.")


def start_afresh() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    DATA.mkdir(parents=True)


def fietsupdate(*words: str) -> None:
    say(f"$ fietsupdate {' '.join(words)}")
    subprocess.run([sys.executable, "-m", "fietsupdate", *words], cwd=TOP, check=True)


def show_files() -> None:
    say(f"Files in {DATA.relative_to(TOP)}/, beside the updater's own:")
    for path in sorted(DATA.rglob("*")):
        if path.is_file() and ".fietsupdate" not in path.parts:
            print(f"{path.stat().st_size:8} bytes  {path.relative_to(DATA)}")


def verify(url: str, path_of: Callable[[models.Track, Path], Path], data_dir: Path = DATA) -> None:
    """Compare what tracklib reads with what was put in.

    Raises:
        SystemExit: a recording is missing, or something is not what was put in.
    """
    with Session(create_engine(url, poolclass=NullPool)) as session:
        tracks = {track.title: track for track in session.scalars(select(models.Track))}
        if len(tracks) != RIDES:
            sys.exit(f"{RIDES} rides were put in, {len(tracks)} are there")
        for ride in rides.make_up(RIDES):
            track = tracks[ride.title]
            path = path_of(track, data_dir)
            if track.sha256 and not path.is_file():
                sys.exit(f"{path} is missing")
            found = (track.user.name, track.ridden_on, tuple(tag.name for tag in track.tags))
            if (*found, recordings.read(track, path)) != (ride.user, ride.day, ride.tags, ride.gpx):
                sys.exit(f"{ride.title} is not what was put in")


def path_before_2_0(track: models.Track, data_dir: Path) -> Path:
    return data_dir / "tracks" / str(track.id) / "track.gpx.gz"


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
