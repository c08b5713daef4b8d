"""`fietsupdate revision`: what a new script says, where it goes, and that what fails leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fietsupdate import Updater
from fietsupdate.errors import ConfigError, DatabaseError, FietsupdateError, ScriptError, UsageError
from support.projects import Project

MODELS = """\
import sqlalchemy as sa

metadata = sa.MetaData()
sa.Table("notes", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.String(100)))
"""


def updater(project: Project, **options: str) -> Updater:
    return Updater.from_config(project.ini, options=options)


def scripts(project: Project) -> set[Path]:
    """Name every Python file that a developer would find."""
    found = {path for path in project.root.rglob("*.py") if "__pycache__" not in path.parts}
    return {path.relative_to(project.root) for path in found if path.parent != project.root}


@pytest.fixture
def modelled(make_project, monkeypatch) -> Project:
    """Give a project with a model that no revision knows yet."""
    project = make_project(models=MODELS)
    monkeypatch.chdir(project.root)
    return project


@pytest.fixture
def three(make_project) -> Project:
    """Give a project of three packages: core has two heads, shop one that depends on core, wiki none."""
    folders = "".join(f"\n    %(here)s/{name}" for name in ("core", "shop", "wiki"))
    project = make_project(section={"updates": folders})
    (project.root / "wiki").mkdir()
    project.revision("r1", None)
    project.revision("x1", None)
    project.update("c1", (), "r1", folder="core")
    project.update("c2", "c1", None, folder="core")
    project.update("c3", "c1", None, folder="core")
    project.update("s1", "c2", "x1", folder="shop")
    return project


# one step for both


def test_autogenerate_writes_the_revision_and_the_script_that_names_it(modelled):
    before = scripts(modelled)
    told = modelled.run("revision", "first", "-m", "Add the notes.", "--autogenerate").succeeded()
    new = scripts(modelled) - before
    [revision] = [path for path in new if path.parts[0] == "migrations"]
    [script] = [path for path in new if path.parts[0] == "updates"]
    assert told.stdout == f"{modelled.root / script}\n"
    assert "op.create_table('notes'" in (modelled.root / revision).read_text()
    found = updater(modelled).graph().updates["first"]
    assert (found.summary, found.alembic_revisions) == ("Add the notes.", (revision.name.partition("_")[0],))
    modelled.run("update", "--yes").succeeded()
    assert "notes" in modelled.database.tables()


def refusing_formatter(project: Project) -> None:
    hook = "[post_write_hooks]\nhooks = no\nno.type = no_such_formatter\n"
    project.ini.write_text(f"{project.ini.read_text().replace('[post_write_hooks]', '[unused]')}\n{hook}")


def broken_model(project: Project) -> None:
    (project.root / "models.py").write_text("import no_such_module_anywhere")


def two_alembic_heads(project: Project) -> None:
    project.revision("r1", None)
    project.revision("x1", None)


def database_behind(project: Project) -> None:
    project.revision("r1", None)


def taken(project: Project) -> None:
    project.update("first", (), None)


def broken_template(project: Project) -> None:
    (project.root / "templates").mkdir()
    (project.root / "templates" / "update_script.py.j2").write_text("{{ no_such_name }}")
    project.ini.write_text(f"{project.ini.read_text()}templates = %(here)s/templates\n")


def full_disk(project: Project) -> None:
    """Let something have the name of the script already."""
    import datetime as dt

    path = project.updates / f"upd_{dt.date.today():%Y%m%d}_first.py"  # noqa: DTZ011  # as the script is named
    path.mkdir()


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (refusing_formatter, "Alembic does not write a revision"),
        (broken_model, "ModuleNotFoundError"),
        (two_alembic_heads, "Alembic does not write a revision"),
        (database_behind, "Target database is not up to date"),
        (taken, "There is an update first already"),
        (broken_template, "the template is broken: UndefinedError: 'no_such_name' is undefined."),
        (full_disk, "exists already"),
    ],
)
def test_when_one_fails_neither_is_left(modelled, breaks, message):
    breaks(modelled)
    before = scripts(modelled)
    told = modelled.run("revision", "first", "-m", "Add the notes.", "--autogenerate")
    assert told.code in {1, 2}
    assert message in told.told
    assert scripts(modelled) == before


def test_several_alembic_heads_are_told_with_the_way_out(modelled):
    two_alembic_heads(modelled)
    modelled.alembic("upgrade", "heads").succeeded()
    with pytest.raises(DatabaseError) as caught:
        updater(modelled).revision("first", autogenerate=True)
    assert caught.value.hint == "Join the heads of the Alembic tree first: `alembic merge heads`."
    assert caught.value.stands == "Nothing was written."


# what it comes after


def test_a_release_depends_on_all_heads_of_all_folders_and_names_the_alembic_heads(three):
    three.run("revision", "--release", "1.2.0", "--folder", "wiki").succeeded()
    release = updater(three).graph().updates["1.2.0"]
    assert set(release.previous) == {"c3", "s1"}
    assert (release.folder, release.alembic_revisions) == ("wiki", ("r1", "x1"))
    assert [update.update_id for update in updater(three).heads()] == ["1.2.0"]
    assert updater(three).update("1.2.0").current == ("1.2.0",)
    assert three.alembic_version() == ["r1", "x1"]


def test_a_merge_joins_the_heads_of_its_folder(three):
    three.run("revision", "joined", "--merge", "--folder", "core", "-m", "Join.").succeeded()
    assert set(updater(three).graph().updates["joined"].previous) == {"c2", "c3"}
    assert updater(three).graph().heads_of("core") == ("joined",)
    with pytest.raises(UsageError, match=r"nothing to merge: the folder core has one head, joined\.$"):
        updater(three).revision("again", merge=True, folder="core")


def test_without_a_word_about_two_heads_nothing_is_written(three):
    before = scripts(three)
    with pytest.raises(UsageError, match="several heads: c2, c3"):
        updater(three).revision("c4", folder="core")
    assert scripts(three) == before


def test_previous_names_what_it_comes_after_also_in_other_folders(three):
    three.run("revision", "w1", "--folder", "wiki", "--previous", "c3", "--previous", "shop:s").succeeded()
    assert updater(three).graph().updates["w1"].previous == ("c3", "s1")


def test_a_folder_is_named_where_there_are_several(three):
    with pytest.raises(UsageError, match="several folders") as caught:
        updater(three).revision("n1")
    assert caught.value.hint == "Name one: --folder core"
    path = updater(three).revision("n1", folder="shop")
    assert path.parent == three.root / "shop"
    assert updater(three).graph().updates["n1"].previous == ("s1",)
    with pytest.raises(UsageError, match="'shoop' is not a configured folder"):
        updater(three).revision("n2", folder="shoop")


def test_a_script_that_exists_is_never_overwritten(project):
    path = updater(project).revision("one")
    path.write_text(path.read_text().replace('update_id = "one"', 'update_id = "other"'))
    mine = path.read_text()
    with pytest.raises(ScriptError, match="exists already"):
        updater(project).revision("one", previous=["other"])
    assert path.read_text() == mine


# the project's own templates


@pytest.fixture
def templated(make_project) -> Project:
    """Give a project with an empty folder of templates."""
    project = make_project(section={"templates": "%(here)s/templates"})
    (project.root / "templates").mkdir()
    return project


def template(project: Project, text: str, name: str = "update_script.py.j2") -> Path:
    path = project.root / "templates" / name
    path.write_text(text)
    return path


OWN = '''\
"""{{ docstring }}"""

# Copyright the shop. Kind: {{ draft.kind }}.
from shop.updates import Base

{% include "metadata.py.j2" %}


class Up(Base):
    pass
'''


def test_the_projects_own_template_overrides_ours(templated):
    template(templated, OWN)
    path = updater(templated).revision("one", message="Do it.")
    assert path.read_text() == (
        '"""Do it."""\n\n# Copyright the shop. Kind: update_script.\nfrom shop.updates import Base\n\n'
        'update_id = "one"\nprevious = []\nalembic_revision = None\natomic = True\n\n\nclass Up(Base):\n    pass\n'
    )
    assert not updater(templated).graph().updates["one"].has_down


def test_the_others_stay_ours(templated):
    template(templated, OWN)
    path = updater(templated).revision("1.0", release=True)
    assert "Copyright" not in path.read_text()


def test_what_ours_include_can_be_overridden_too(templated):
    template(templated, '{% include "fietsupdate/metadata.py.j2" %}\nbaseline = False', "metadata.py.j2")
    text = updater(templated).revision("one").read_text()
    assert "atomic = True\nbaseline = False\n" in text


def saying(metadata: str) -> str:
    """Give a template that says something of its own in place of what was asked for."""
    return OWN.replace('{% include "metadata.py.j2" %}', metadata)


OTHER_ID = saying('update_id = "x"\nprevious = []\nalembic_revision = None')
OTHER_REVISION = saying('update_id = {{ update_id }}\nprevious = []\nalembic_revision = "r9"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% if %}", "update_script.py.j2:1: the template is broken: TemplateSyntaxError"),
        ("\n\n{{ draft.no_such_field.name }}", "update_script.py.j2:3: the template is broken: UndefinedError"),
        ("{{ 1 // 0 }}", "update_script.py.j2:1: the template is broken: ZeroDivisionError"),
        ('{% include "nowhere.j2" %}', "update_script.py.j2:1: the template is broken: TemplateNotFound: nowhere.j2"),
        ("class Up: pass", "makes a script that does not load.\n"),
        ("{{ docstring }}", "makes a script that does not load.\n"),
        (OWN.replace("class Up(Base):\n    pass\n", ""), "makes a script that does not load.\n"),
        (OTHER_ID, "its update_id would be 'x'"),
        (OTHER_REVISION, "its alembic_revision would be ('r9',)"),
    ],
)
def test_a_broken_template_is_an_error_that_leaves_nothing(templated, text, message):
    template(templated, text)
    with pytest.raises(FietsupdateError) as caught:
        updater(templated).revision("one")
    assert message in caught.value.message
    assert caught.value.stands == "Nothing was written."
    assert list(templated.updates.iterdir()) == []


def test_a_template_that_is_not_text_is_an_error(templated):
    template(templated, "").write_bytes(b"\xff\xfe")
    with pytest.raises(ScriptError, match="the template is broken: UnicodeDecodeError"):
        updater(templated).revision("one")


def test_a_folder_without_any_template_is_an_error_as_a_misspelt_name_would_be_passed_over(templated):
    template(templated, OWN, "update.py.j2")
    with pytest.raises(ConfigError) as caught:
        updater(templated).revision("one")
    assert "none of the files there has the name of a template" in caught.value.message
    assert "update_script.py.j2" in caught.value.hint
    (templated.root / "templates" / "update.py.j2").unlink()
    (templated.root / "templates").rmdir()
    with pytest.raises(ConfigError, match="There is no folder"):
        updater(templated).revision("one")
