"""Where tracklib 2.0 keeps the recordings, and how it reads them."""

import gzip
import hashlib
from pathlib import Path

from tracklib.models import Track


def path_of(track: Track, data_dir: Path) -> Path:
    return data_dir / "users" / str(track.user_id) / "tracks" / str(track.id) / "track.gpx.gz"


def read(track: Track, path: Path) -> bytes | None:
    """Give the GPX document of a track, or ``None`` for a ride that nobody recorded.

    Raises:
        ValueError: the file is not the one that the database describes.
    """
    if track.sha256 is None:
        return None
    gpx = gzip.decompress(path.read_bytes())
    if hashlib.sha256(gpx).hexdigest() != track.sha256:
        raise ValueError(f"the recording of track {track.id} is damaged")
    return gpx
