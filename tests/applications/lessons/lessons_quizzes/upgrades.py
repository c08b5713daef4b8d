"""The plugin's own part, published by an entry point."""

import sqlalchemy as sa

from fietsupdate import Settings, UpdateScript, version_upgrade


@version_upgrade(old="<0.7", new=">=0.7")
def shout(script: UpdateScript, config: Settings) -> None:
    """Write all names in capitals; needs the column that an update of 0.7 adds."""
    for row in script.connection.execute(sa.text("SELECT id, name FROM channel")).all():
        values = {"title": row.name.upper(), "id": row.id}
        script.connection.execute(sa.text("UPDATE channel SET title = :title WHERE id = :id"), values)
        script.files.write(f"channels/{row.id}/title.txt", row.name.upper())
