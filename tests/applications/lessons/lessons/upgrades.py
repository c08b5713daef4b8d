"""What has to happen when the version of lessons changes."""

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript, version_upgrade

CHANNELS = sa.text("SELECT id, name FROM channel ORDER BY id")


@version_upgrade(old="<0.4", new=">=0.4")
def a_folder_for_each_channel(script: UpdateScript, config: Settings) -> None:
    """Give each channel a folder of its own."""
    for row in script.connection.execute(CHANNELS):
        script.files.move(f"content/{row.id}.bin", f"channels/{row.id}/content.bin")


@version_upgrade(old="<0.6.4", new=">=0.6.4")
def thumbnails(script: UpdateScript, config: Settings) -> None:
    """Make a thumbnail for each channel."""
    for row in script.progress(script.connection.execute(CHANNELS), description="thumbnails"):
        script.files.write(f"channels/{row.id}/thumbnail.txt", row.name[:1])
        script.connection.execute(sa.text("UPDATE channel SET icon = :icon WHERE id = :id"), {"icon": 1, "id": row.id})


@version_upgrade(old=">=0.3,<0.7", new=">=0.7")
def forget_the_cache(script: UpdateScript, config: Settings) -> None:
    """Remove what only 0.3 to 0.6 have written, where anybody used it."""
    if script.files.exists("cache"):
        script.files.remove("cache")
