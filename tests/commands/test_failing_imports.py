"""Imports of update scripts that lead nowhere are told by `status`, which runs nothing to find out."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fietsupdate import Updater, UpdateState
from fietsupdate.engine.imports import failing_imports
from fietsupdate.model.imports import Import
from fietsupdate.planning.metadata import read_script
from support.notes import notes

SCRIPT = "update_id = 'v1'\nalembic_revision = None\nclass Up: pass\nclass Down: pass\n"
BOOM = "raise SystemExit('it ran')\n"
"""Begins each module below: whoever runs it is told."""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Let an application be importable that must not be imported."""
    top = tmp_path / "lib"
    files = {
        "gallery/__init__.py": "",
        "gallery/models.py": "class Picture: pass\nif 1:\n    Later = 1\n\ndef f():\n    global Made\n    Made = 1\n",
        "gallery/old/__init__.py": "__path__.append('/elsewhere')\n",
        "gallery/lazy.py": "def __getattr__(name): return 1\n",
        "gallery/broken.py": "class Picture\n",
        "spaced/inner.py": "thing = 1\n",
    }
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(BOOM + text)
    monkeypatch.syspath_prepend(top)
    return top


def failing(head: str):
    update = read_script(f"{head}\n{SCRIPT}".encode(), Path("/srv/updates/upd_v1.py"), "updates")
    return failing_imports([update], ["v1"])


THERE = [
    "import os.path, sys",
    "from gallery.models import Picture, Later, Made",
    "from gallery import models",
    "from gallery.models import *",
    "from gallery.old.hidden import Picture",  # the package changes its own path
    "from gallery.lazy import Anything",
    "import spaced.inner",
    "from gallery import __file__, __doc__",
    "from spaced.inner import thing",
    "from email.mime import text",  # a package that may be loaded, and a module that may not
    "from fietsupdate import Settings, UpdateScript",  # given lazily
    "import alembic.op\nfrom sqlalchemy import text, select",
    "try:\n    import gone\nexcept ImportError:\n    gone = None",
    "if False:\n    import gone",
    "import sys\nsys.path.insert(0, '/srv/lib')\nimport gone",
    "from sys import path\nimport gone",
    "from __future__ import annotations",
]
MISSING = {
    "import gone": (1, "there is no module gone"),
    "import os\n\nimport gone.inside": (3, "there is no module gone"),
    "import gallery.gone": (1, "there is no module gallery.gone"),
    "from gallery.gone import Picture": (1, "there is no module gallery.gone"),
    "import gallery.models.inner": (1, "there is no module gallery.models.inner: gallery.models is no package"),
    "import json.gone": (1, "there is no module json.gone"),
    "from json import gone": (1, "json has no gone"),
    "from gallery.models import Photo": (1, "{top}/gallery/models.py has no Photo"),
    "from gallery import gone": (1, "{top}/gallery/__init__.py has no gone"),
    "from gallery.broken import Picture": (1, "{top}/gallery/broken.py:2 is not Python: expected ':'"),
    "from . import helpers": (1, "a relative import leads nowhere: a script belongs to no package"),
}


@pytest.mark.parametrize("head", THERE)
def test_what_is_there_or_cannot_be_known_is_not_told(package, head):
    assert failing(head) == ()
    assert not {name for name in sys.modules if name.startswith(("gallery", "spaced"))}


@pytest.mark.parametrize("head", MISSING)
def test_what_is_missing_is_told_with_its_line_and_nothing_runs(package, head):
    line, missing = MISSING[head]
    (one,) = failing(head)
    assert (one.update_id, one.line, one.applied) == ("v1", line, True)
    assert one.missing == missing.format(top=package)
    assert not {name for name in sys.modules if name.startswith(("gallery", "gone"))}


def test_five_thousand_scripts_cost_a_look_at_each_module(package):
    """0.02 s here: the modules are looked up once, whoever imports them."""
    (update,) = (read_script(SCRIPT.encode(), Path("/srv/updates/upd_v1.py"), "updates"),)
    imports = (Import(1, "gallery.models", "Picture"), Import(2, "json", "loads"), Import(3, "gone"))
    updates = [replace(update, update_id=f"v{number}", imports=imports) for number in range(5_000)]
    began = time.perf_counter()
    assert len(failing_imports(updates, ["v7"])) == 5_000
    assert time.perf_counter() - began < 1


def test_status_tells_a_rotten_import_as_what_it_is_and_check_answers_by_its_own_exit_codes(project, monkeypatch):
    """v1 (applied, what it imports is gone) - v2 (waits, and imports the same)."""
    helpers = project.root / "helpers_of_long_ago.py"
    helpers.write_text("thing = 1\n")
    head = "from helpers_of_long_ago import thing"
    path = project.update("v1", (), None, head=head)
    monkeypatch.syspath_prepend(project.root)
    updater = Updater.from_config(project.ini)
    updater.update()
    assert updater.status(imports=True).failing_imports == ()
    helpers.unlink()
    assert project.run("check").succeeded().stdout == "okay: up to date\n"
    project.update("v2", "v1", None, head=head)
    shown = " ".join(project.run("status").succeeded().stdout.split())
    line = path.read_text().splitlines().index(head) + 1
    message = f"{path}:{line}, and 1 more script: there is no module helpers_of_long_ago."
    assert f"Note {message} [import_missing]" in shown
    document = project.run("status", "--json").succeeded().json
    assert [(one["code"], one["message"], one["blocks"]) for one in document["problems"]] == [
        ("import_missing", message, False)
    ]
    told = [(one["update_id"], one["line"], one["applied"]) for one in document["failing_imports"]]
    assert told == [("v1", line, True), ("v2", line, False)]
    assert updater.status().problems == ()  # entry points and probes ask this, and have no use for it
    assert updater.state() is UpdateState.OUTDATED


def test_a_module_that_only_env_py_s_import_path_leads_to_is_there(project):
    """env.py puts a folder onto the import path, as many do; the hooks run after it."""
    notes(project, 1)
    (project.root / "lib").mkdir()
    (project.root / "lib" / "only_env_py_knows.py").write_text("thing = 1\n")
    env = project.root / "migrations" / "env.py"
    env.write_text(f"import sys\nsys.path.insert(0, {str(project.root / 'lib')!r})\n" + env.read_text())
    path = project.updates / "upd_v1.py"
    path.write_text("from only_env_py_knows import thing\n" + path.read_text())
    assert Updater.from_config(project.ini).status(imports=True).failing_imports == ()
    Updater.from_config(project.ini).update()
    assert project.version == "v1"
