"""The home folder: the database, content, static files, the plugins that are active, and the server's PID."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

HOME = Path(os.environ.get("SCHOOLBOX_HOME", Path(__file__).parents[1] / "home"))


def execute(statement: str, *values: object) -> list[tuple[object, ...]]:
    """Run a statement on a connection of its own, as an ORM does; give the rows."""
    with closing(sqlite3.connect(HOME / "db.sqlite3", timeout=5)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def active_plugins() -> list[str]:
    """Name the plugins that were activated with ``schoolbox plugin enable``."""
    path = HOME / "plugins.json"
    return json.loads(path.read_text())["INSTALLED_PLUGINS"] if path.exists() else []
