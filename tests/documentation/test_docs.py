"""The documentation says what is so: sessions are really run, configurations load, commands and codes exist."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib

import pytest

from fietsupdate.cli.main import app
from fietsupdate.config import application, hook_modules
from fietsupdate.config.files import Ini, Toml
from fietsupdate.config.keys import KEYS, gather
from fietsupdate.errors import EXIT_CODES
from fietsupdate.model import UpdateState
from support.paths import TOP

DOCS = TOP / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("*/*.md"), TOP / "README.md"])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[pytest.param]:
    """Give the fenced blocks of a kind on all pages."""
    return [
        pytest.param(match[2], id=f"{page.stem}-{number}")
        for page in PAGES
        for number, match in enumerate(FENCE.finditer(page.read_text(encoding="utf-8")))
        if match[1] == kind
    ]


@pytest.fixture(scope="module")
def sessions():
    sys.path.append(str(DOCS / "tools"))
    try:
        import run_sessions

        yield run_sessions
    finally:
        sys.path.remove(str(DOCS / "tools"))


@pytest.mark.parametrize("page", ["docs/tutorial/tour.md", "docs/guides/from-kolibri.md", "README.md"])
def test_every_session_prints_what_the_page_shows(sessions, page):
    """`python docs/tools/run_sessions.py` writes the pages anew."""
    assert sessions.refreshed(TOP / page) == (TOP / page).read_text(encoding="utf-8")


def test_every_session_is_run(sessions):
    shown = {page for page in PAGES if "```console" in page.read_text(encoding="utf-8")}
    assert shown == set(sessions.PAGES)


@pytest.mark.parametrize("text", blocks("python"))
def test_python_is_python(text):
    ast.parse(text)


@pytest.mark.parametrize("text", blocks("sh"))
def test_commands_are_of_the_shell(text):
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", blocks("json"))
def test_json_is_json(text):
    """A block may show several lines of a stream."""
    assert [json.loads(line) for line in text.splitlines()] if text.startswith("{") else json.loads(text)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_is_yaml(text):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    assert list(yaml.safe_load_all(text))


@pytest.mark.parametrize("text", blocks("ini"))
def test_ini_is_understood(text, tmp_path):
    """A block without a section shows keys of ours."""
    ini = Ini.of(tmp_path / "alembic.ini", text if text.startswith("[") else f"[fietsupdate]\n{text}")
    assert gather(ini, None, "fietsupdate", options={}, environ={}, cwd=tmp_path)


@pytest.mark.parametrize("text", blocks("toml"))
def test_toml_is_understood(text, tmp_path):
    """A block with entry points, of a package that publishes something, shows none of our keys."""
    groups = tomllib.loads(text).get("project", {}).get("entry-points")
    if groups is not None:
        assert set(groups) <= {hook_modules.GROUP, application.GROUP}
        return
    assert gather(None, Toml.of(tmp_path / "pyproject.toml", text), "", options={}, environ={}, cwd=tmp_path)


def test_every_key_is_explained():
    headings = re.findall(
        r"^### (\w+)$", (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(headings) == sorted(KEYS)


def test_every_state_is_explained_with_its_exit_code():
    rows = re.findall(
        r"^\| `(\w+)` \| (\d) \|", (DOCS / "reference" / "states-and-exit-codes.md").read_text("utf-8"), re.MULTILINE
    )
    assert {UpdateState(name): int(code) for name, code in rows} == dict(EXIT_CODES)


def test_every_problem_is_explained():
    """The pure modules word all problems; their codes are the first arguments."""
    pure = [*(TOP / "fietsupdate" / "planning").glob("*.py"), TOP / "fietsupdate" / "backup" / "policy.py"]
    source = "\n".join(path.read_text(encoding="utf-8") for path in pure)
    made = set(re.findall(r'Problem\(\s*"(\w+)"', source)) | set(re.findall(r'code = "(\w+)" if', source))
    made |= set(re.findall(r' else "(\w+_older)"', source))
    table = (DOCS / "reference" / "states-and-exit-codes.md").read_text(encoding="utf-8").partition("## Problems")[2]
    assert set(re.findall(r"^\| `(\w+)` \| (?:problem|note) ", table, re.MULTILINE)) == made


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in PAGES])
def test_every_command_that_is_named_exists(page):
    known = {command.callback.__name__ for command in app.registered_commands}
    text = page.read_text(encoding="utf-8")
    code = [match[2] for match in FENCE.finditer(text) if match[1] in {"sh", "console"}]
    code += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    named = re.findall(r"(?:^|\$ |&& |\|\| )fietsupdate (?:-[cn] \S+ )?([a-z]+)", "\n".join(code), re.MULTILINE)
    assert set(named) <= known


TYPED = re.compile(r"""(?:hint=f?"|[`'(]|[Tt]ype )fietsupdate (?:-[cnx] [^\s`']+ )*([a-z]+)([^`'".,;\n]*)""")
"""A command in a text of the source: between marks, after ``type``, or as a whole hint."""


def test_what_a_message_tells_to_type_exists():
    """`docs/reference/commands.md` is written from the commands themselves."""
    reference = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## ([a-z]+(?: [a-z]+)?)\n(.*?)(?=^## )", reference, re.MULTILINE | re.DOTALL)
    options = {name: set(re.findall(r"`(-{1,2}[a-z-]+)", text)) for name, text in sections}
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (TOP / "fietsupdate").rglob("*.py"))
    typed = set(TYPED.findall(re.sub(r'"\n +f?"', "", sources)))
    assert len(typed) > 20
    for command, rest in sorted(typed):
        longer = " ".join([command, *rest.split()[:1]])
        known = options.get(longer) or options.get(command)
        assert known is not None, f"fietsupdate {command}"
        named = set(re.findall(r"(?<!\S)-{1,2}[a-z][a-z-]*", rest))
        assert named <= known, f"fietsupdate {command}{rest}"


@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in PAGES])
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", ["guides/when-it-breaks.md", "explanation/coming-from.md"])
def test_every_row_is_a_test(name):
    """Each row of these pages has a number, under which the tests are listed that show it."""
    page = (DOCS / name).read_text(encoding="utf-8")
    table, _, listed = page.partition("## The tests behind the rows")
    rows = re.findall(r"^\| (\d+) \| .+ \|$", table, re.MULTILINE)
    tests = dict(re.findall(r"^(\d+)\. (`test_.+`)$", listed, re.MULTILINE))
    assert rows == list(tests) == [str(number) for number in range(1, len(rows) + 1)]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (TOP / "tests").rglob("test_*.py"))
    written = set(re.findall(r"^def (test_\w+)\(", sources, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", listed)) - written == set()


def test_the_invariants_are_thirteen():
    page = (DOCS / "guides" / "when-it-breaks.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^(\d+)\. ", page.partition("## What always holds")[2].partition("\n## ")[0], re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 14)]


def test_every_module_that_the_map_of_the_house_names_is_there():
    text = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_*]+\.py)`", text))
    rooms = [TOP, TOP / "fietsupdate", TOP / "fietsupdate" / "filesystem"]
    assert len(named) > 20
    assert [name for name in sorted(named) if not any(list(room.glob(name)) for room in rooms)] == []
