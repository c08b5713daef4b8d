"""What broke the original updater about scripts and their graph, and what holds here."""

from __future__ import annotations

import pytest

from fietsupdate.planning.broken import read_broken
from fietsupdate.planning.metadata import Fault
from support.notes import hooks, notes, revisions, traced

READ = (("status",), ("check",), ("heads",), ("graph",), ("show", "v1"))
CHANGE = (("update", "--yes"), ("downgrade", "--yes", "base"), ("revision", "v9", "-m", "ninth"))


@pytest.mark.parametrize("command", [*READ, *CHANGE], ids=lambda command: command[0])
def test_a_cycle_is_named_by_every_command_that_needs_the_graph(project, command):
    """v1 - v2 - v3 - v2."""
    notes(project, 1)
    project.update("v2", ["v1", "v3"], "r2", **traced(project, "v2"))
    project.update("v3", "v2", "r3", **traced(project, "v3"))
    result = project.run(*command).exited(1)
    assert "cycle" in result.stderr
    assert "v2" in result.stderr
    assert "v3" in result.stderr
    assert project.traces() == []


@pytest.mark.parametrize("command", [("status",), ("update", "--yes")], ids=lambda command: command[0])
def test_an_unknown_previous_is_named_with_file_line_and_id(project, command):
    """V2 comes after an update that nobody knows."""
    notes(project, 1)
    path = project.update("v2", ["v1", "zzz"], "r2", **traced(project, "v2"))
    line = path.read_text().splitlines().index("previous = ['v1', 'zzz']") + 1
    result = project.run(*command).exited(1)
    assert "zzz" in result.stderr
    assert f"upd_v2.py:{line}" in result.stderr
    assert project.traces() == []


@pytest.mark.parametrize("command", [("status",), ("update", "--yes")], ids=lambda command: command[0])
def test_a_duplicate_id_is_named_with_both_files(project, command):
    notes(project, 1)
    project.update("v1", (), "r1", filename="upd_another.py", **traced(project, "another"))
    result = project.run(*command).exited(1)
    assert "v1" in result.stderr
    assert "upd_v1.py" in result.stderr
    assert "upd_another.py" in result.stderr
    assert project.traces() == []


def test_what_editors_and_python_leave_behind_is_ignored(project):
    notes(project, 1)
    text = (project.updates / "upd_v1.py").read_text().replace("v1", "leftover")
    for name in ("upd_b.py.orig", "upd_b.txt", "upd_b.pyc", "upd_b.py~", ".upd_b.py.swp", "#upd_b.py#", ".#upd_b.py"):
        (project.updates / name).write_text(text)
    assert project.run("status", "--json").succeeded().json["pending"] == ["v1"]
    project.run("update", "--yes").succeeded()
    assert project.traces() == hooks("v1")


BAD = {
    "syntax error": ("previous = ['v1'\nupdate_id = 'v2'\nalembic_revision = None\n", None),
    "no update_id": ("previous = ['v1']\nalembic_revision = None\nclass Up: pass\n", None),
    "no Up": ("update_id = 'v2'\nprevious = ['v1']\nalembic_revision = None\n", None),
    "computed value": ("previous = []\nalembic_revision = None\nupdate_id = 'v' + '2'\nclass Up: pass\n", 3),
}


@pytest.mark.parametrize("command", [("status",), ("update", "--yes")], ids=lambda command: command[0])
@pytest.mark.parametrize("fault", BAD)
def test_a_script_that_cannot_be_read_is_named_before_anything_runs(project, fault, command):
    notes(project, 1)
    text, line = BAD[fault]
    (project.updates / "upd_bad.py").write_text(text)
    result = project.run(*command).exited(1)
    assert f"upd_bad.py:{line}" if line else "upd_bad.py:" in result.stderr
    assert project.traces() == []
    assert not project.database.file.exists()


def test_all_scripts_that_cannot_be_read_are_named_at_once(project):
    notes(project, 1)
    for number, (text, _) in enumerate(BAD.values()):
        (project.updates / f"upd_bad{number}.py").write_text(text)
    message = project.run("update", "--yes").exited(1).stderr
    assert [number for number in range(len(BAD)) if f"upd_bad{number}.py:" in message] == list(range(len(BAD)))


def test_a_rotten_import_in_an_applied_script_stops_nobody(project):
    """v1 (applied, its import is gone) - v2."""
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    path = project.updates / "upd_v1.py"
    path.write_text("import module_that_is_gone\n" + path.read_text())
    project.update("v2", "v1", "r2", **traced(project, "v2"))
    status = project.run("status", "--json").succeeded().json
    assert (status["state"], status["current"], status["pending"]) == ("outdated", ["v1"], ["v2"])
    project.run("check").exited(3)
    project.run("history").succeeded()
    project.run("update", "--yes").succeeded()
    assert project.traces() == hooks("v1", "v2")


def test_a_rotten_import_in_a_script_to_run_is_found_before_the_others_run(project):
    """v1 - v2 (rotten): both pending."""
    notes(project, 1)
    project.update("v2", "v1", "r2", head="import module_that_is_gone", **traced(project, "v2"))
    message = project.run("update", "--yes").exited(1).stderr
    assert "upd_v2.py" in message
    assert "module_that_is_gone" in message
    assert project.traces() == []
    project.run("update", "--yes", "v1").succeeded()
    assert project.traces() == hooks("v1")


def test_two_folders_each_go_to_their_own_head(make_project):
    """Folder updates: v1 - v2; folder plugin: p1."""
    project = notes(make_project(section={"updates": "\n  %(here)s/updates\n  %(here)s/plugin"}), 2)
    project.update("p1", (), None, folder="plugin", **traced(project, "p1"))
    project.run("update", "--yes").succeeded()
    assert sorted((project.version or "").splitlines()) == ["p1", "v2"]
    assert sorted(project.traces()) == sorted(hooks("v1", "v2", "p1"))
    project.run("update", "--yes").succeeded()
    project.run("check").succeeded()


def test_two_heads_in_one_folder_are_named_with_the_way_to_merge_them(project):
    """v1 - v2, v1 - w2."""
    notes(project, 2)
    project.update("w2", "v1", None, **traced(project, "w2"))
    result = project.run("update", "--yes")
    assert result.code in (1, 2)
    assert "v2" in result.stderr
    assert "w2" in result.stderr
    assert "--merge" in result.stderr
    assert project.traces() == []
    project.run("update", "--yes", "heads").succeeded()
    assert sorted((project.version or "").splitlines()) == ["v2", "w2"]


def test_two_heads_that_are_both_applied_are_nothing_to_do(project):
    """v1 - v2, v1 - w2: all applied."""
    notes(project, 2)
    project.update("w2", "v1", None, **traced(project, "w2"))
    project.run("update", "--yes", "heads").succeeded()
    ran = project.traces()
    project.run("update", "--yes").succeeded()
    project.run("check").succeeded()
    assert project.traces() == ran


def branched(project):
    """Write two Alembic branches and an update for each of them and for the merge.

    Alembic: r1 - a2 - m3, r1 - b2 - m3.  Updates: v1 (r1) - va (a2) - vm (m3), v1 - vb (b2) - vm.
    """
    project.revision("r1", None, 'op.create_table("t", sa.Column("id", sa.Integer))', 'op.drop_table("t")')
    for side in "ab":
        add, drop = f'op.add_column("t", sa.Column("{side}", sa.Integer))', f'op.drop_column("t", "{side}")'
        project.revision(f"{side}2", "r1", add, drop)
    project.revision("m3", ["a2", "b2"])
    project.update("v1", (), "r1", **traced(project, "v1"))
    project.update("va", "v1", "a2", **traced(project, "va"))
    project.update("vb", "v1", "b2", **traced(project, "vb"))
    project.update("vm", ["va", "vb"], "m3", **traced(project, "vm"))


def test_updates_with_different_alembic_revisions_can_be_merged(any_project):
    branched(any_project)
    any_project.run("update", "--yes").succeeded()
    assert any_project.traces() == hooks("v1", "va", "vb", "vm")
    assert any_project.alembic_version() == ["m3"]
    assert any_project.version == "vm"


def test_a_downgrade_past_a_merge_reverts_the_dependants_only(any_project):
    branched(any_project)
    any_project.run("update", "--yes").succeeded()
    any_project.run("downgrade", "--yes", "va").succeeded()
    assert any_project.traces()[8:] == hooks("vm", direction="down")
    assert any_project.alembic_version() == ["a2", "b2"]
    assert sorted((any_project.version or "").splitlines()) == ["va", "vb"]
    any_project.run("downgrade", "--yes", "v1").succeeded()
    assert sorted(any_project.traces()[10:]) == sorted(hooks("va", "vb", direction="down"))
    assert any_project.alembic_version() == ["r1"]
    assert any_project.version == "v1"


def test_alembic_is_never_taken_back_under_a_sibling_that_stays_applied(any_project):
    """v1 (r1) - v2 (r2), v1 - w2 (r2): r2 belongs to both."""
    revisions(any_project)
    any_project.update("v1", (), "r1", **traced(any_project, "v1"))
    any_project.update("v2", "v1", "r2", **traced(any_project, "v2"))
    any_project.update("v3", "v2", "r3", **traced(any_project, "v3"))
    any_project.update("w2", "v1", "r2", **traced(any_project, "w2"))
    any_project.run("update", "--yes", "heads").succeeded()
    any_project.run("downgrade", "--yes", "v2").succeeded()
    assert any_project.alembic_version() == ["r2"]
    assert sorted((any_project.version or "").splitlines()) == ["v2", "w2"]


def test_a_revision_stays_while_one_that_builds_on_it_is_needed(project):
    """v1 (r1) - v2 (r2) - v3, v1 - w2 (r3, which comes after r2): w2 stays applied and needs r2."""
    revisions(project)
    project.update("v1", (), "r1", **traced(project, "v1"))
    project.update("v2", "v1", "r2", **traced(project, "v2"))
    project.update("w2", "v1", "r3", **traced(project, "w2"))
    project.update("v3", "v2", "r2", **traced(project, "v3"))
    project.run("update", "--yes", "heads").succeeded()
    project.run("downgrade", "--yes", "v2").succeeded()
    assert project.alembic_version() == ["r3"]
    assert sorted((project.version or "").splitlines()) == ["v2", "w2"]


def test_the_first_update_can_be_reverted_with_its_revision_and_hooks(any_project):
    notes(any_project, 2)
    any_project.run("update", "--yes").succeeded()
    any_project.run("downgrade", "--yes", "base").succeeded()
    assert any_project.traces()[4:] == hooks("v2", "v1", direction="down")
    assert any_project.alembic_version() == []
    assert "notes" not in any_project.database.tables()
    assert any_project.run("status", "--json").succeeded().json["current"] == []


def test_the_order_of_updates_does_not_depend_on_the_hash_seed(project):
    """V1 - twelve siblings - merge."""
    revisions(project)
    siblings = [f"s{number}" for number in (7, 3, 11, 1, 9, 5, 12, 2, 10, 4, 8, 6)]
    project.update("v1", (), "r1")
    for sibling in siblings:
        project.update(sibling, "v1")
    project.update("merge", siblings)
    orders = [project.run("status", "--json", env={"PYTHONHASHSEED": seed}).json["pending"] for seed in ("0", "1", "7")]
    assert orders[0] == ["v1", *sorted(siblings), "merge"]
    assert orders[1:] == [orders[0], orders[0]]


def test_a_script_may_have_dots_in_its_name_and_dataclasses_inside(project):
    revisions(project)
    project.update(
        "v0.5.0",
        (),
        "r1",
        filename="upd_20230112_v0.5.0.py",
        head="from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass Note:\n    id: int",
        up_pre=f"assert Note(1).id == 1\nassert __file__.endswith('v0.5.0.py')\n{project.trace('ran')}",
    )
    project.run("update", "--yes").succeeded()
    assert project.traces() == ["ran"]
    assert project.version == "v0.5.0"


def test_a_script_without_our_base_class_and_each_hook_with_a_fresh_object(project):
    revisions(project)
    fresh = "assert not hasattr(self, 'mark')\nself.mark = True"
    project.update("v1", (), "r1", base="", atomic=None, **traced(project, "v1", up_pre=fresh, up_post=fresh))
    project.run("update", "--yes").succeeded()
    assert project.traces() == hooks("v1")


def test_hooks_get_the_application_s_settings_and_tell_the_user(make_project):
    project = make_project(section={"settings_section": "app:main"})
    revisions(project)
    project.ini.write_text(project.ini.read_text() + "\n[app:main]\nnotes.folder = %(here)s/notes\n")
    check = f"assert config['notes.folder'] == {str(project.root / 'notes')!r}, config['notes.folder']\n"
    check += f"assert config['sqlalchemy.url'] == {project.url!r}, config['sqlalchemy.url']\n"
    check += f"assert config['fietsupdate.data_dir'] == {str(project.data)!r}, config['fietsupdate.data_dir']\n"
    project.update("v1", (), "r1", up_pre=check + "self.tell('moving the notes')")
    assert "moving the notes" in project.run("update", "--yes").succeeded().output


@pytest.mark.parametrize("atomic", [True, None], ids=["atomic", "not atomic"])
def test_a_revision_tree_that_asks_for_the_connection_at_import_works(any_project, atomic):
    name = 'dialect = op.get_bind().dialect.name\nassert dialect in ("sqlite", "postgresql", "mysql", "mariadb")'
    any_project.revision("r1", None, 'op.create_table("t", sa.Column("id", sa.Integer))', head=name)
    any_project.update("v1", (), "r1", atomic=atomic, **traced(any_project, "v1"))
    status = any_project.run("status", "--json").succeeded().json
    assert (status["pending"], status["alembic"]["heads"]) == (["v1"], ["r1"])
    any_project.run("update", "--yes").succeeded()
    assert any_project.alembic_version() == ["r1"]


def test_an_applied_script_that_is_not_python_any_more_stops_nobody(project):
    """v1 (applied, then broken) - v2 - v3."""
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    path = project.updates / "upd_v1.py"
    path.write_text(path.read_text().replace("def post_alembic(self, config):", "def post_alembic(self, config"))
    project.run("check").succeeded()
    project.update("v2", "v1", "r2", **traced(project, "v2"))
    status = project.run("status", "--json").succeeded().json
    assert (status["state"], status["current"], status["pending"]) == ("outdated", ["v1"], ["v2"])
    (problem,) = [problem for problem in status["problems"] if problem["code"] == "script_broken"]
    assert problem["message"].startswith(f"{path}:")
    project.run("check").exited(3)
    project.run("graph").succeeded()
    project.run("update", "--yes").succeeded()
    refused = project.run("downgrade", "base", "--yes").exited(1).told
    assert f"{path}:" in refused
    assert project.version == "v2"
    project.run("downgrade", "v1", "--yes").succeeded()


def test_a_broken_script_that_waits_is_planned_around_by_a_target_before_it(project):
    """v1 - v2 (pending, its first line is none)."""
    notes(project, 2)
    path = project.updates / "upd_v2.py"
    path.write_text("this is no Python\n" + path.read_text())
    assert f"{path}:1: cannot be read as Python" in project.run("update", "--yes").exited(1).told
    project.run("update", "v1", "--yes").succeeded()
    project.run("check").exited(3)
    assert project.version == "v1"


@pytest.mark.parametrize("where", range(0, 400, 37))
def test_what_a_broken_script_says_is_never_read_wrongly(project, where):
    """Wherever the file is cut off, its metadata are either read as they were, or not at all."""
    source = project.update("v2", ["v0", "v1"], ["r1", "r2"], up_pre="x = 'previous = []'").read_bytes()[:where]
    path = project.updates / "upd_v2.py"
    found = read_broken(source, path, "updates", Fault(path, 1, "cut off"))
    if found is not None:
        assert (found.update_id, found.previous, found.alembic_revisions) == ("v2", ("v0", "v1"), ("r1", "r2"))
