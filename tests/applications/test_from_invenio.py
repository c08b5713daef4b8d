"""An application with recipes of Invenio's upgrader is taken over by the page docs/guides/from-invenio.md alone."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from support.databases import SQLITE, Database
from support.paths import DOCS
from support.projects import Project

PAGE = DOCS / "guides" / "from-invenio.md"
BLOCK = re.compile(
    r"^```\{code-block\} \w+\n:caption: (\S+)\n\n(.*?)^```$|^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL
)

RELEASE = (
    "CREATE TABLE records (id INTEGER PRIMARY KEY, title VARCHAR(100))",
    "CREATE TABLE communities (name VARCHAR(50) PRIMARY KEY, logo TEXT)",
    "CREATE TABLE upgrade (upgrade VARCHAR(255) PRIMARY KEY, applied DATETIME)",
    "INSERT INTO records VALUES (1, 'Fahrräder'), (2, '')",
    "INSERT INTO communities VALUES ('zenodo', '<svg/>')",
    "INSERT INTO upgrade VALUES ('records_release_1_0_0', '2015-09-30'), ('communities_release_1_0_0', '2015-09-30')",
)
"""An instance of release 1.0.0."""

ROWS = "SELECT name, logo FROM communities"
PENDING = "fietsupdate history --pending"


def actions(name: str | None, text: str | None, commands: str | None) -> list[tuple[str, str]]:
    """Return a file and its text, or each command with an empty name."""
    return [(name, text or "")] if name else [("", line) for line in (commands or "").splitlines()]


class Steps:
    """The page, carried out from its top to its end."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        (root / "data").mkdir()
        database = Database(SQLITE, f"sqlite:///{root / 'repository.db'}", "repository")
        for statement in RELEASE:
            database.execute(statement)
        self.project = Project(root, database)
        self.printed: list[tuple[str, str]] = []
        self.left = [
            action for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8")) for action in actions(*match.groups())
        ]

    def until(self, command: str = "") -> Steps:
        """Write files and type commands, up to a command; without one, to the end."""
        while self.left and self.left[0] != ("", command):
            name, text = self.left.pop(0)
            if not name:
                self._type(text)
                continue
            path = self.project.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    def _type(self, line: str) -> None:
        program, *words = shlex.split(line)
        if program == "alembic":
            result = self.project.alembic(*words)
        else:  # a process of its own where something warns: the warm one ignores Python's warnings
            result = self.project.run(*words, input="" if "--answer" in words else None)
        self.printed.append((line, result.succeeded().stdout))

    def said(self, command: str) -> str:
        """Return what a command has printed."""
        return next(text for line, text in self.printed if line == command)


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path / "repository")


def test_the_page_takes_a_repository_over_with_its_data(steps: Steps) -> None:
    project = steps.until().project
    pending = steps.said(PENDING).split()
    assert [word for word in pending if word in {"records_languages", "communities_logos"}] == [
        "records_languages",
        "communities_logos",
    ]
    update = steps.said("fietsupdate update --yes --answer language=de")
    assert "Which language do old titles have? de" in update
    assert update.endswith("1 warning:\n  - 1 records have no title\n")
    assert "release_1_0_0" in steps.said("fietsupdate history --applied")
    # It went up, down, and up again, the second time by the default.
    assert project.database.execute("SELECT language FROM records") == [("en",), ("en",)]
    assert (project.data / "logos" / "zenodo.svg").read_text() == "<svg/>"
    assert steps.said("fietsupdate check").startswith("okay")
    answers = [entry.get("answers") for entry in project.run("history", "--json").succeeded().json["entries"]]
    assert answers[:-2] == [None, {"language": "de"}, None, None, None, {"language": "en"}, None]
    assert project.run("status", "--json").succeeded().json["current"] == ["1.1.0"]
    recipe = next((project.root / "records" / "updates").glob("*records_keywords.py")).read_text()
    assert "previous = ['records_languages']" in recipe.replace('"', "'")


def test_what_the_recipe_checked_is_checked_and_what_fails_leaves_nothing_half_done(steps: Steps) -> None:
    project = steps.until(PENDING).project
    (project.root / "workers.pid").touch()
    for command in (["update", "--dry-run", "--checks"], ["update", "--yes"]):
        refused = project.run(*command).exited(1)
        assert "The workers still run; Stop them: systemctl stop workers" in refused.told
    (project.root / "workers.pid").unlink()
    (project.data / "logos").write_text("in the way")
    project.run("update", "--yes").exited(1)
    assert project.database.execute(ROWS) == [("zenodo", "<svg/>")]
    (project.data / "logos").unlink()
    project.run("update", "--yes").succeeded()
    project.run("downgrade", "release_1_0_0", "--yes").succeeded()
    assert project.database.execute(ROWS) == [("zenodo", "<svg/>")]
    assert not (project.data / "logos").exists()


def test_the_recipes_are_written_as_their_documentation_says(steps: Steps) -> None:
    recipes = [text for name, text in steps.left if "/upgrades/" in name]
    for text in recipes:
        tree = ast.parse(text)
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert {"info", "do_upgrade"} <= names <= {"info", "do_upgrade", "estimate", "pre_upgrade", "post_upgrade"}
        assert any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "depends_on" for node in tree.body)
    assert len(recipes) == 2
