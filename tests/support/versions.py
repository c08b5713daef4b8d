"""An application whose version changes: a distribution that is installed by writing its metadata, and hook modules."""

from __future__ import annotations

import shutil
from pathlib import Path

from support.databases import Database
from support.paths import APPLICATIONS
from support.projects import Project, Result
from support.zygote import Zygote

HEAD = "import os\nfrom pathlib import Path\nimport sqlalchemy as sa\nfrom fietsupdate import version_upgrade\n"


def install(project: Project, version: str, name: str = "lessons", entry_points: str = "") -> None:
    """Do what pip does: replace the distribution's metadata on the import path."""
    for old in project.root.glob(f"{name.replace('-', '_')}-*.dist-info"):
        shutil.rmtree(old)
    folder = project.root / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if entry_points:
        (folder / "entry_points.txt").write_text(f"[fietsupdate.version_hooks]\n{entry_points}\n")


class Versioned:
    """A project with a distribution, whose commands run from a warm process."""

    def __init__(self, project: Project, zygote: Zygote) -> None:
        self.project, self.zygote = project, zygote

    @classmethod
    def create(
        cls, folder: Path, database: Database, zygote: Zygote, *, modules: str = "hooks", version: str = "0.1"
    ) -> Versioned:
        """Write a project with the distribution ``lessons`` of this version, and without hooks."""
        section = {"distribution": "lessons", "version_hooks": modules}
        made = cls(Project.create(folder / "project", database, section=section), zygote)
        install(made.project, version)
        return made

    @classmethod
    def lessons(cls, folder: Path, database: Database, zygote: Zygote) -> Versioned:
        """Copy the Kolibri-like application, at 0.1 with its plugin active; its data comes with `fill`."""
        made = cls.create(folder, database, zygote, modules="lessons.upgrades\n    lessons.quizzes:")
        root, source = made.project.root, APPLICATIONS / "lessons"
        without = shutil.ignore_patterns("__pycache__")
        for name in ("lessons", "lessons_quizzes"):
            shutil.copytree(source / name, root / name, ignore=without)
        shutil.copytree(source / "versions", root / "migrations" / "versions", dirs_exist_ok=True, ignore=without)
        shutil.copytree(source / "updates", root / "updates", dirs_exist_ok=True, ignore=without)
        install(made.project, "1.0", "lessons-quizzes", "lessons.quizzes = lessons_quizzes.upgrades")
        return made

    def hooks(self, text: str, name: str = "hooks") -> None:
        """Write a hook module."""
        path = self.project.root.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + text)

    def hook(self, name: str, ranges: str, body: str = "pass") -> str:
        """Return the text of one hook, which leaves its name in the trace."""
        lines = [self.project.trace(name), *body.splitlines()]
        return f"\n@version_upgrade({ranges})\ndef {name}(script, config):\n" + "".join(f"    {one}\n" for one in lines)

    def install(self, version: str) -> Versioned:
        """Install another version; return the project itself."""
        install(self.project, version)
        return self

    def run(self, *args: str) -> Result:
        """Run a command."""
        return self.zygote.run(self.project, args)

    def update(self, *args: str) -> Result:
        """Update, and assert that it succeeds."""
        return self.run("update", *args, "--yes").succeeded()

    def status(self) -> dict:
        """Return the document of ``status --json``."""
        return self.run("status", "--json").succeeded().json

    def ledger(self) -> list[tuple[str, str, str]]:
        """Return direction, id and version of each entry, as both halves hold them."""
        entries = self.run("history", "--json").succeeded().json["entries"]
        rows = self.project.database.execute(
            "SELECT direction, update_id, app_version FROM fietsupdate_ledger WHERE status = 'done' ORDER BY seq"
        )
        told = [(entry["direction"], entry["update_id"], entry["app_version"]) for entry in entries]
        assert told == [tuple(row) for row in rows]
        return told
