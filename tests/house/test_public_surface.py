"""What people and programs rely on, pinned: names, commands, options, JSON documents, what lies on disk.

``surface.json`` beside this file is the list. What only adds to it is harmless; write the file anew, and say so in the
changelog::

    PYTHONPATH=tests python tests/house/test_public_surface.py
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from inspect import get_annotations
from pathlib import Path
from typing import Any

import pytest
import typer

import fietsupdate
from fietsupdate.cli.main import app
from support.databases import SQLITE, create
from support.notes import revisions
from support.paths import DATA
from support.projects import Project

PINNED = DATA / "surface.json"
EVENTS = ("update", "downgrade", "recover", "restore", "rehearse", "stamp")


def entry_points_of_ours() -> dict[str, str]:
    """Return the value of each entry point that the package declares, by group and name."""
    ours = distribution("fietsupdate").entry_points
    return {f"{one.group}: {one.name}": one.value for one in ours}


def commands() -> dict[str, list[str]]:
    """Return the arguments and options of each command."""
    return dict(_commands(typer.main.get_command(app), ""))


def _commands(command: Any, name: str) -> Iterator[tuple[str, list[str]]]:
    options = (
        one.opts + one.secondary_opts if one.param_type_name == "option" else [one.name] for one in command.params
    )
    yield name or "fietsupdate", sorted(option for several in options for option in several)
    for part, below in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(below, f"{name} {part}".strip())


def shape(value: Any, depth: int = 3) -> Any:
    """Return the keys of a JSON document, and those of the documents in it; data stands for itself as `...`."""
    if isinstance(value, list):
        return [shape(value[0], depth)] if value and isinstance(value[0], dict) else ["..."]
    if not isinstance(value, dict) or not depth:
        return "..."
    return {key: shape(one, depth - 1) for key, one in sorted(value.items())}


def documents(project: Project) -> dict[str, Any]:
    """Return the shapes of what the commands print with ``--json``, on the way through an instance's life."""
    first = project.run("update", "v1", "--yes", "--json").succeeded().events
    backup = project.run("backup", "--json").succeeded().events[-1]
    plan = project.run("update", "--dry-run", "--json").succeeded().json
    rehearsed = project.run("rehearse", "--json").succeeded().json
    project.run("update", "--yes").succeeded()
    project.update("v4", "v3", "r3", up_post="raise ValueError('not today')")
    failed = project.run("update", "--yes", "--json").exited(1).events[-1]
    reading = {
        name: shape(json.loads(project.run(*name.split(), "--json").stdout))
        for name in ("status", "history", "heads", "graph", "show v1", "backup list", "backup verify")
    }
    return {
        **reading,
        "update --dry-run": shape(plan),
        "update": {one["event"]: shape(one) for one in first},
        "update, failed": shape(failed),
        "backup": shape(backup),
        "rehearse": shape(rehearsed),
    }


def formats(project: Project) -> dict[str, Any]:
    """Return the keys of what lies on disk beside the files of the application."""
    home = project.data / ".fietsupdate"
    found = {
        "ledger.jsonl": shape(json.loads((home / "ledger.jsonl").read_text().splitlines()[0])),
        "rehearsals/last.json": shape(json.loads((home / "rehearsals" / "last.json").read_text())),
    }
    (backup,) = json.loads(project.run("backup", "list", "--json").stdout)["backups"]
    folder = Path(backup["path"])
    found["backup"] = sorted(path.name for path in folder.iterdir())
    found["manifest.json"] = shape(json.loads((folder / "manifest.json").read_text()))
    return found


def surface() -> dict[str, Any]:
    """Return everything that is pinned."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project.create(Path(folder) / "project", create(SQLITE, Path(folder)), "stock")
        revisions(project)
        for number in (1, 2, 3):
            work = f"self.files.write('notes/{number}', 'text')"
            project.update(f"v{number}", f"v{number - 1}" if number > 1 else (), f"r{number}", up_post=work)
        said = documents(project)
        return {
            "names": fietsupdate.__all__,
            "entry points": entry_points_of_ours(),
            "commands": commands(),
            "documents": said,
            "formats": formats(project),
        }


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return surface()


@pytest.mark.parametrize("part", ["names", "entry points", "commands", "documents", "formats"])
def test_what_people_rely_on_has_not_changed(found, part):
    assert found[part] == json.loads(PINNED.read_text())[part], "see the head of this file"


def test_every_name_is_there():
    for name in fietsupdate.__all__:
        assert getattr(fietsupdate, name) is not None
    with pytest.raises(AttributeError):
        fietsupdate.nothing  # noqa: B018  # the access is what is tested


def test_whatever_the_updater_takes_or_returns_is_public():
    methods = {name: value for name, value in vars(fietsupdate.Updater).items() if not name.startswith("_")}
    for base in fietsupdate.Updater.__mro__[1:-1]:
        methods.update({name: value for name, value in vars(base).items() if not name.startswith("_")})
    known = {
        *fietsupdate.__all__,
        "Any",
        "Callable",
        "Collection",
        "Iterable",
        "Iterator",
        "Mapping",
        "None",
        "Path",
        "Self",
        "Sequence",
    }
    known |= {"Emit", "Listener", "False", "True"}  # aliases of Callable
    for name, method in methods.items():
        function = getattr(method, "__func__", method)
        for parameter, annotation in get_annotations(function).items():
            used = set(re.findall(r"\b[A-Z]\w*", str(annotation)))
            assert used <= known, f"{name}({parameter}: {annotation}): {sorted(used - known)} not public"


if __name__ == "__main__":
    PINNED.write_text(f"{json.dumps(surface(), indent=1, sort_keys=True)}\n")
