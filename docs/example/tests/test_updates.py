"""What fietsupdate's pytest plugin tests, and what only tracklib can know."""

import gzip

import rides
from sqlalchemy import text

from fietsupdate.pytest_plugin import (
    kill_sweep,
    test_each_folder_has_one_head,
    test_every_script_loads,
    test_every_update_goes_up_down_up,
    test_models_match_after_update,
    test_released_scripts_are_unchanged,
    test_rows_and_files_match,
    test_update_from_empty_to_head,
)

__all__ = [
    "test_each_folder_has_one_head",
    "test_every_script_loads",
    "test_every_update_goes_up_down_up",
    "test_models_match_after_update",
    "test_released_scripts_are_unchanged",
    "test_rows_and_files_match",
    "test_update_from_empty_to_head",
]

# Without `every`, each single event is struck: before a release.
test_moving_the_recordings_survives_a_kill = kill_sweep("gpx_on_disk", every=97)


def test_every_recording_is_what_was_put_in(fietsupdate_instance):
    fietsupdate_instance.update_through("v2.0")
    with fietsupdate_instance.connect() as connection:
        tracks = {row.title: row for row in connection.execute(text("SELECT id, user_id, title FROM tracks"))}
    files = fietsupdate_instance.contents()
    recorded = [ride for ride in rides.make_up(16) if ride.gpx is not None]
    assert len(files) == len(recorded)
    for ride in recorded:
        track = tracks[ride.title]
        assert gzip.decompress(files[f"users/{track.user_id}/tracks/{track.id}/track.gpx.gz"]) == ride.gpx
