"""The plugin tests version hooks: on every way between releases, none on a new installation, killed anywhere."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import alembic.command  # noqa: F401  # pytester forgets what is imported for the first time inside
import pytest

import fietsupdate.config.hook_modules
import fietsupdate.testing.upgrades  # noqa: F401
from fietsupdate.model import Update
from fietsupdate.planning.graph import Graph, build
from fietsupdate.planning.version_hooks import VersionHook
from fietsupdate.testing.releases import releases_of
from support.databases import POSTGRESQL, SQLITE, _require, create, server_url
from support.paths import DOCS
from support.projects import Project
from support.versions import Versioned, install

pytest_plugins = ["pytester"]

READY = (
    "test_version_hooks_on_every_upgrade_path",
    "test_version_hooks_leave_a_new_installation_alone",
    "test_version_hooks_survive_a_kill",
)
PATHS = READY[0]
ROWS = """
for row in script.connection.execute(sa.text("SELECT id FROM t")).all():
    script.files.write(f"{row.id}.txt", "row")
"""
CONFTEST = """
import pytest
import sqlalchemy as sa

@pytest.fixture
def fietsupdate_data():
    def rows(*numbers):
        def fill(instance):
            with instance.connect() as connection:
                for number in numbers:
                    connection.execute(sa.text(f"INSERT INTO t (id) VALUES ({number})"))
        return fill
    return {"lessons==0.1": rows(1), "lessons==0.4": rows(4, 5)}
"""


class Lessons:
    """A project at 0.7 with hooks, and pytest in it. v0.1 brings a table, v0.7 a column."""

    def __init__(self, pytester: pytest.Pytester, kind: str = SQLITE) -> None:
        self.pytester = pytester
        project = Project.create(
            pytester.path,
            create(SQLITE, pytester.path),
            section={"distribution": "lessons", "version_hooks": "lesson_hooks"},
        )
        self.app = Versioned(project, None)  # type: ignore[arg-type]  # no command is run
        project.revision("aaaa", None, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
        project.revision("bbbb", "aaaa", "op.add_column('t', sa.Column('title', sa.String(20)))")
        project.update("v0.1", (), "aaaa")
        project.update("v0.7", "v0.1", "bbbb")
        install(project, "0.7")
        pytester.makepyfile(conftest=CONFTEST)
        if kind != SQLITE:
            pytester.makeini(f"[pytest]\nfietsupdate_server = {server_url(kind).render_as_string(False)}\n")

    def hooks(self, *texts: str) -> Lessons:
        """Write the hooks."""
        self.app.hooks("".join(texts), "lesson_hooks")
        return self

    def hook(self, name: str, ranges: str, body: str = ROWS) -> str:
        """Write one hook, as text."""
        return self.app.hook(name, ranges, body.strip())

    def run(self, *names: str, text: str = "", options: tuple[str, ...] = ()) -> pytest.RunResult:
        """Run some of the ready tests, and tests of its own."""
        (self.pytester.path / "test_updates.py").write_text(
            f"from fietsupdate.pytest_plugin import {', '.join((*names, 'version_kill_sweep'))}\n"
            f"{textwrap.dedent(text)}"
        )
        return self.pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rsf", *options, "test_updates.py")

    def said(self, *names: str, text: str = "") -> str:
        """Run what fails, and give what it says, as one line."""
        done = self.run(*names, text=text)
        assert done.ret == 1, done.stdout.str()
        return " ".join(done.stdout.str().split())


@pytest.fixture
def lessons(pytester: pytest.Pytester) -> Lessons:
    return Lessons(pytester)


# -- what a sound application shows


def test_a_sound_application_passes_on_every_way_and_hooks_for_every_change_run_at_each(lessons: Lessons) -> None:
    """Released: 0.1, 0.4, 0.7, by the bounds of the ranges. A way begins with the data of its first release."""
    lessons.hooks(
        lessons.hook("folders", 'old="<0.4", new=">=0.4"'),
        lessons.hook(
            "titles", 'old="<0.7", new=">=0.7"', "script.connection.execute(sa.text(\"UPDATE t SET title = 'x'\"))"
        ),
        lessons.hook("static", "every=True", "script.files.write('static', config['fietsupdate.data_dir'])"),
    )
    text = """
        test_few_kills = version_kill_sweep(every=200)
    """
    done = lessons.run(*READY[:2], text=text, options=("-v",))
    assert done.parseoutcomes() == {"passed": 3, "subtests": 4}, done.stdout.str()
    ways = [line.partition("[")[2].partition("]")[0] for line in done.outlines if "SUBPASSED" in line]
    assert ways == ["0.1 -> 0.4 -> 0.7", "0.1 -> 0.4", "0.1 -> 0.7", "0.4 -> 0.7"]
    ran = lessons.app.project.traces()[:11]
    assert ran == [
        *("folders", "static", "titles", "static"),
        *("folders", "static"),
        *("folders", "titles", "static"),
        *("titles", "static"),
    ]
    assert list(lessons.app.project.data.iterdir()) == []


def test_a_sound_application_passes_on_a_server(pytester: pytest.Pytester) -> None:
    """Copies of a new installation and of an empty database lie beside each other there."""
    _require(POSTGRESQL)
    lessons = Lessons(pytester, POSTGRESQL)
    lessons.hooks(lessons.hook("folders", 'old="<0.7"'))
    lessons.run(PATHS).assert_outcomes(passed=1)
    assert lessons.app.project.traces() == ["folders"]


def test_where_there_is_nothing_to_test_the_reason_is_told(lessons: Lessons) -> None:
    lessons.hooks("def helper(): ...\n")
    done = lessons.run(*READY)
    assert done.parseoutcomes() == {"skipped": 3}
    done.stdout.fnmatch_lines(["*version_hooks names no module, and no plugin, that has version hooks*"])
    ini = lessons.app.project.ini
    ini.write_text(ini.read_text().replace("distribution = lessons\nversion_hooks = lesson_hooks\n", ""))
    done = lessons.run(PATHS)
    assert done.parseoutcomes() == {"skipped": 1}
    done.stdout.fnmatch_lines(["*the configuration names no distribution: no version is followed*"])


# -- each ready test can fail


def test_a_hook_that_fails_on_one_way_only_is_told_with_the_way_and_one_that_never_runs_by_name(
    lessons: Lessons,
) -> None:
    lessons.hooks(
        lessons.hook("folders", 'old="<0.4", new=">=0.4"'),
        lessons.hook("once", 'old="<0.7", new=">=0.7"', "script.files.remove('4.txt')"),
        lessons.hook("dead", 'old=">=0.7", new="<0.4"'),
    )
    done = lessons.run(PATHS)
    said = " ".join(done.stdout.str().split())
    assert done.parseoutcomes() == {"failed": 4}
    assert "[0.1 -> 0.7]" in said
    assert "[0.1 -> 0.4]" not in said
    assert "Version hook lesson_hooks:once failed at" in said
    assert "No upgrade between the releases 0.1, 0.4, 0.7 runs these version hooks:" in said
    assert "lesson_hooks:dead (old '>=0.7', new '<0.4') Correct their ranges" in said


def test_a_new_installation_that_is_not_well_without_its_hooks_is_told(lessons: Lessons) -> None:
    lessons.hooks(lessons.hook("folders", 'old="<0.4", new=">=0.4"'))
    lessons.app.project.update("v0.7", "v0.1", "bbbb", up_post="raise ValueError('not today')")
    assert "ValueError: not today" in lessons.said(READY[1])


HOOKS = """
@version_upgrade(old_version="<0.4", new_version=">=0.4")
def plain():
    with sa.create_engine(os.environ["LESSONS_URL"], poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("INSERT INTO t (id) VALUES (9)"))
    for number in range(20):
        Path(os.environ["LESSONS_HOME"], f"{number}.txt").write_text("made")

@version_upgrade(old_version="<0.7", new_version=">=0.7")
def starts_a_program(script, config):
    import subprocess
    subprocess.run(["touch", str(script.data_dir / "left")], check=True)
    for number in range(20):
        script.files.write(f"{number}.txt", "made")
"""


def test_a_hook_that_does_not_survive_a_kill_is_told_with_what_it_left(lessons: Lessons) -> None:
    """As Kolibri's are, the first works on connections of its own, so it runs again after half of its work."""
    lessons.hooks(HOOKS)
    text = """
        import pytest

        @pytest.fixture
        def fietsupdate_environ(fietsupdate_database_url, fietsupdate_data_dir):
            return {"LESSONS_HOME": str(fietsupdate_data_dir), "LESSONS_URL": fietsupdate_database_url}

        test_plain = version_kill_sweep("0.1", "0.4", every=40)
        test_left = version_kill_sweep("0.4", "0.7", every=40)
        test_unknown = version_kill_sweep("0.3")
        test_back = version_kill_sweep("0.7", "0.4")
    """
    said = lessons.said(text=text)
    assert "lessons==0.4 cannot be run again" in said
    assert "UNIQUE constraint failed" in said
    assert "the instance is neither as before lessons==0.7 nor as after it." in said
    assert "file left is there, and should not be" in said
    assert "Change files with script.files and rows with script.connection" in said
    assert "There is no release 0.3; fietsupdate_versions has 0.1, 0.4, 0.7." in said
    assert "0.4 is no newer release than 0.7." in said


# -- the page, on the Kolibri-like application


def test_what_the_page_shows_passes_on_the_sample_application(pytester: pytest.Pytester) -> None:
    page = (DOCS / "guides" / "testing-updates.md").read_text(encoding="utf-8")
    section = page.partition("## Version hooks\n")[2].partition("\n## ")[0]
    imports, data, own = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    [releases] = re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    app = Versioned.lessons(pytester.path, create(SQLITE, pytester.path), None)  # type: ignore[arg-type]
    app.install("0.7")
    (app.project.root / "conftest.py").write_text(data)
    (app.project.root / "pytest.ini").write_text(releases)
    (app.project.root / "test_updates.py").write_text(imports + own)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patched:
        patched.chdir(app.project.root)
        done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-v", "-k", "upgrade_path or folder")
    assert done.ret == 0, done.stdout.str()
    ways = [line.partition("[")[2].partition("]")[0] for line in done.outlines if "SUBPASSED" in line]
    assert ways[:2] == ["0.1 -> 0.4 -> 0.6.4 -> 0.7", "0.1 -> 0.4"]
    assert len(ways) == 7


# -- how releases are known


def test_releases_are_named_by_a_fixture_too(lessons: Lessons) -> None:
    lessons.hooks(lessons.hook("folders", 'old="<0.4", new=">=0.4"'))
    text = """
        import pytest

        @pytest.fixture
        def fietsupdate_versions():
            return {"0.3": None, "0.5": "v0.7"}

        @pytest.fixture
        def fietsupdate_database_url(fietsupdate_data_dir):
            return f"sqlite:///{fietsupdate_data_dir}/app.db"  # it is not among the files below

        def test_an_own_way(fietsupdate_instance):
            old = fietsupdate_instance.with_version("0.1", "v0.1")
            old.update()
            assert old.status().heads == ("v0.1",)
            with old.connect() as connection:
                connection.exec_driver_sql("INSERT INTO t (id) VALUES (3)")
            new = old.with_version("0.7")
            assert new.update().done == ("v0.7", "lesson_hooks:folders", "lessons==0.7")
            assert new.contents() == {"3.txt": b"row"}
    """
    done = lessons.run(PATHS, text=text, options=("-v",))
    done.stdout.fnmatch_lines([f"*{PATHS}*[[]0.3 -> 0.5 -> 0.7[]]*"])
    assert done.ret == 0, done.stdout.str()


def graph(*ids: str) -> Graph:
    """Return updates in a row.

    first - second - ...
    """
    updates = [
        Update(name, ids[max(number - 1, 0) : number], (), "updates", Path(f"{name}.py"), "", atomic=True)
        for number, name in enumerate(ids)
    ]
    return build(updates, ["updates"])


def hook(old: str, new: str = "") -> VersionHook:
    return VersionHook(Update("m:f", (), (), "", Path("m.py"), "", atomic=True), old, new)


@pytest.mark.parametrize(
    ("ranges", "installed", "expected"),
    [
        ([("<0.4", ">=0.4")], "0.7", ["0", "0.4", "0.7"]),
        ([("<0.4", ">=0.9")], "0.7.dev3+g12", ["0", "0.4", "0.9"]),  # the hooks of the coming release
        ([("", "")], "0.7", ["0", "0.7"]),
        ([("<=0.4", ">0.5")], "1", ["0", "0.4", "0.4.0.1", "0.5", "0.5.0.1", "1"]),
        ([("==0.4.*", "")], "1.0rc1", ["0", "0.4", "0.5", "1.0"]),
        ([("~=0.4.2", "!=0.6")], "1", ["0", "0.4.2", "0.5", "0.6", "0.6.0.1", "1"]),
        ([("<1.0rc1", ""), (">=0.4", "")], "1.0", ["0", "0.4", "1.0rc1", "1.0"]),
        ([(">0.4.post1", "===what")], "1", ["0", "0.4.post1", "0.4.0.1", "1"]),
    ],
)
def test_without_a_word_releases_lie_on_both_sides_of_each_bound(ranges, installed: str, expected: list[str]) -> None:
    releases = releases_of(graph("first"), [hook(*one) for one in ranges], None, installed)
    assert [release.version for release in releases] == expected


def test_a_release_brings_the_updates_up_to_the_one_that_is_called_like_it() -> None:
    known = graph("20240101", "v0.2", "k2m8", "v0.4", "0.6.0", "newest")
    releases = releases_of(known, [hook("<0.4", ">=0.5")], None, "0.7")
    brought = {release.version: release.updates and known.dag.heads(release.updates) for release in releases}
    assert brought == {"0.2": ("v0.2",), "0.4": ("v0.4",), "0.5": ("v0.4",), "0.7": None}
    said = releases_of(known, [hook("<0.4")], {"0.1": ["k2m8"], "0.10": None, "0.9": None}, "0.7")
    assert [release.version for release in said] == ["0.1", "0.9", "0.10"]
    assert known.dag.heads(said[0].updates) == ("k2m8",)
    assert (said[0].brings("v0.2"), said[0].brings("v0.4"), said[2].brings("newest")) == (True, False, True)


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("0.4", "fietsupdate_versions is '0.4'; it must be a list of versions."),
        (["newest"], "'newest' is no version; write it as PEP 440 says"),
        (["0.7"], "There is one release only, 0.7: no upgrade path leads to it."),
    ],
)
def test_releases_that_make_no_sense_are_told(named, words: str) -> None:
    with pytest.raises(AssertionError, match=words.replace(".", r"\.")):
        releases_of(graph("first"), [hook("<0.4")], named, "0.7")
