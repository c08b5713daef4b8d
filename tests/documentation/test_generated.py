"""Pages made from the program, beside the reference: error codes, the Python API, the manual page."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import fietsupdate

TOP = Path(__file__).resolve().parents[2]
RUN = "run: python docs/tools/generate_reference.py"


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(str(TOP / "docs" / "tools"))
    import generate_errors
    import generate_man

    return {"errors": generate_errors, "man": generate_man}


@pytest.mark.parametrize("name", ["errors", "man"])
def test_the_page_says_what_the_program_says(tools, name):
    assert tools[name].PAGE.read_text(encoding="utf-8") == tools[name].page(), RUN


def test_every_code_that_is_set_on_one_error_is_on_the_page(tools):
    """Codes of classes are found by themselves; these are looked for in the source."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (TOP / "fietsupdate").rglob("*.py"))
    assert set(re.findall(r'^ +\w+\.code = "(\w+)"', sources, re.MULTILINE)) == set(tools["errors"].OWN)


def test_every_public_name_and_every_call_of_the_updater_is_on_the_page():
    """Errors are there by their module."""
    page = (TOP / "docs" / "reference" / "python-api.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"auto(?:class|function):: fietsupdate\.(\w+)$", page, re.MULTILINE))
    public = {name for name in fietsupdate.__all__ if not name.endswith(("__", "Error"))}
    assert public - shown == set()
    members = re.search(r"autoclass:: fietsupdate\.Updater\n   :members: (.*?)\n```", page, re.DOTALL)[1]
    assert set(re.findall(r"\w+", members)) == {name for name in dir(fietsupdate.Updater) if not name.startswith("_")}


def test_the_notes_of_a_release_are_its_part_of_the_changelog(monkeypatch):
    monkeypatch.syspath_prepend(str(TOP / "docs" / "tools"))
    from release_notes import notes

    text = "# Changelog\n\n## 1.1.0 (unreleased)\n\n- new\n\n## 1.0.0 (2026-12-01)\n\n### Updates\n\n- first\n"
    assert notes(text, "1.0.0") == "### Updates\n\n- first\n"
    with pytest.raises(ValueError, match="unreleased"):
        notes(text, "1.1.0")
    with pytest.raises(ValueError, match="no version 1"):
        notes(text, "1")
    changelog = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(fietsupdate.__version__)} \(", changelog, re.MULTILINE)


def test_troff_reads_the_manual_page(tools):
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-ww", "-b", "-man", "-Tascii", tools["man"].PAGE], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "fietsupdate check" in re.sub(r".\x08|\x1b\[\d*m", "", done.stdout)
