"""Makes up rides: GPX documents of bicycle tours that nobody rode, the same ones each time.

A ride starts somewhere on the Upper Rhine, wanders in long bends over hills that are a sum of waves, and is recorded
every ten seconds. The rider climbs slowly and rolls down fast.
"""

import datetime as dt
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

METRES_PER_DEGREE = 111_320
INTERVAL = 10
"""Seconds between two points of a recording."""

USERS = ("alex", "kim", "robin", "sascha")
TOURS = ("Along the river", "Around the lake", "Over the pass", "To the ruin & back", "To work")
UNRECORDED = 8
"""On every eighth ride the battery was empty."""
TAGS = ("commute", "forest", "gravel", "night", "race", "train")


@dataclass(frozen=True)
class Point:
    latitude: float
    longitude: float
    elevation: float
    time: dt.datetime


@dataclass(frozen=True)
class Ride:
    user: str
    title: str
    day: dt.date
    tags: tuple[str, ...]
    gpx: bytes | None
    """The recording, if there is one."""


def make_up(count: int) -> Iterator[Ride]:
    """Give ``count`` rides; the n-th is always the same."""
    for number in range(count):
        chance = random.Random(number)
        title = f"{chance.choice(TOURS)} ({number + 1})"
        start = dt.datetime(2025, 3, 1, 6, 30, tzinfo=dt.UTC) + dt.timedelta(
            days=number * 2, minutes=chance.randrange(600)
        )
        yield Ride(
            user=USERS[number % len(USERS)],
            title=title,
            day=start.date(),
            tags=tuple(sorted(chance.sample(TAGS, chance.randrange(4)))),
            gpx=None if number % UNRECORDED == UNRECORDED - 1 else document(title, points(chance, start)).encode(),
        )


def points(chance: random.Random, start: dt.datetime) -> Iterator[Point]:
    latitude, longitude = 48.4 + chance.random(), 7.8 + chance.random()
    heading = chance.uniform(0, 2 * math.pi)
    bend = 0.0
    before = elevation(latitude, longitude)
    for number in range(chance.randrange(120, 480)):
        here = elevation(latitude, longitude)
        yield Point(latitude, longitude, here, start + dt.timedelta(seconds=number * INTERVAL))
        speed = min(max(6.0 - (here - before) * 0.35 + chance.gauss(0, 0.4), 1.5), 16.0)
        bend = 0.9 * bend + chance.gauss(0, 0.06)
        heading += bend
        distance = speed * INTERVAL / METRES_PER_DEGREE
        latitude += distance * math.cos(heading)
        longitude += distance * math.sin(heading) / math.cos(math.radians(latitude))
        before = here


def elevation(latitude: float, longitude: float) -> float:
    """Give the height of the made-up hills, in metres."""
    waves = ((210, 9.0, 7.0), (85, 31.0, 26.0), (24, 113.0, 97.0))
    return 430 + sum(height * math.sin(a * latitude) * math.cos(b * longitude) for height, a, b in waves)


def document(title: str, track: Iterator[Point]) -> str:
    """Give the GPX 1.1 document of a recording."""
    lines = "".join(
        f'      <trkpt lat="{point.latitude:.6f}" lon="{point.longitude:.6f}">'
        f"<ele>{point.elevation:.1f}</ele><time>{point.time:%Y-%m-%dT%H:%M:%SZ}</time></trkpt>\n"
        for point in track
    )
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<gpx version="1.1" creator="tracklib" xmlns="http://www.topografix.com/GPX/1/1">
  <trk>
    <name>{escape(title)}</name>
    <trkseg>
{lines}    </trkseg>
  </trk>
</gpx>
"""
