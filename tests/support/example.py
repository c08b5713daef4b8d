"""The example application of the documentation, as a project of its own: a copy of docs/example and alembic.ini."""

from __future__ import annotations

import importlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import sqlalchemy as sa

from fietsupdate.testing import content as trees
from support.databases import SQLITE, Database
from support.paths import TOP
from support.projects import Project

ORDER = ("v1.0", "gpx_on_disk", "v1.1", "gzip", "tags", "v1.2", "v2.0")
"""The updates of the example, in the order in which they run."""
URL_LINE = "sqlalchemy.url = sqlite:///%(here)s/.demo/tracklib.db\n"


@dataclass
class Example(Project):
    """A checkout with nothing but the example in it."""

    @classmethod
    def copy(cls, root: Path, database: Database | None = None) -> Example:
        """Copy the example as it stands in the repository.

        Args:
            root: The folder of the copy; made if it is missing.
            database: In place of the one that alembic.ini names, ``.demo/tracklib.db``.
        """
        root.mkdir(parents=True, exist_ok=True)
        ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
        shutil.copytree(TOP / "docs" / "example", root / "docs" / "example", ignore=ignored)
        ini = (TOP / "alembic.ini").read_text(encoding="utf-8")
        assert URL_LINE in ini
        url = f"sqlite:///{root / '.demo' / 'tracklib.db'}"
        if database is not None:
            url = database.url
            ini = ini.replace(URL_LINE, f"sqlalchemy.url = {url.replace('%', '%%')}\n")
        (root / "alembic.ini").write_text(ini, encoding="utf-8")
        made = database or Database(SQLITE, url, "")
        return cls(root, made, url=url, environment={"FIETSUPDATE_BACKUP": "never"})

    @property
    def updates(self) -> Path:
        """The folder of update scripts."""
        return self.root / "docs" / "example" / "updates"

    @property
    def data(self) -> Path:
        """The data directory; the first update makes it."""
        return self.root / ".demo" / "data"

    def at_first_release(self) -> Example:
        """Bring the instance to v1.0, with rides in the database."""
        self.data.mkdir(parents=True)
        self.run("update", "v1.0", "--yes").succeeded()
        module("fill").fill(self.url)
        return self

    def files(self) -> dict[str, bytes]:
        """Map every file of the data directory to its content, the updater's own left out."""
        return trees.contents(self.data, exclude=[".fietsupdate", "VERSION"])

    def folders(self) -> list[str]:
        """List the folders of the data directory, the updater's own left out."""
        return [name for name, node in self.tree(exclude=[".fietsupdate"]).items() if node.kind == "dir"]

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Read the application's tables; a row is a mapping, as the order of columns may differ."""
        metadata = sa.MetaData()
        with self.database.connect() as connection:
            metadata.reflect(connection)
            return {
                table.name: [dict(row) for row in connection.execute(table.select().order_by(*table.c)).mappings()]
                for table in metadata.sorted_tables
                if not table.name.startswith(("fietsupdate", "alembic"))
            }


def module(name: str) -> ModuleType:
    """Import a module of the example: ``demo``, ``rides``, ``tracklib.recordings``."""
    folder = str(TOP / "docs" / "example")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)
