r"""Several packages of updates in one instance: who joins, how they are told apart, and how a target names one.

The application of most tests: two folders of its own, linked.

    core     c1 --- c2 --- c3
                \
    shop          s1 --- s2          wiki (alone)   w1
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fietsupdate import Updater
from fietsupdate.errors import ConfigError, TargetError
from support.projects import Project

UPDATES = "core shop wiki"


@pytest.fixture
def linked(make_project) -> Project:
    """Give the application of three packages, nothing applied."""
    project = make_project(section={"updates": "".join(f"\n    %(here)s/{name}" for name in UPDATES.split())})
    for update_id, previous in {"c1": (), "c2": "c1", "c3": "c2", "s1": "c1", "s2": "s1", "w1": ()}.items():
        folder = {"c": "core", "s": "shop", "w": "wiki"}[update_id[0]]
        project.update(update_id, previous, None, folder=folder, up_pre=project.trace(update_id))
    return project


def updater(project: Project, **options: str) -> Updater:
    return Updater.from_config(project.ini, options=options)


def current(project: Project) -> tuple[str, ...]:
    return updater(project).status().current


# who joins


def install(folder: Path, name: str, entry_points: str, version: str = "1.0") -> None:
    """Install a distribution into a folder of the import path, as pip would."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[fietsupdate.updates]\n{entry_points}\n")


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """Give a folder of installed packages."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def billing(site, make_project) -> Project:
    """Give a project, and an installed package that publishes the updates b1 and b2."""
    install(site, "acme-billing", "billing = acme_billing:updates")
    (site / "acme_billing").mkdir()
    (site / "acme_billing" / "__init__.py").write_text("raise AssertionError('imported')")
    project = make_project(section={"updates": "\n    %(here)s/updates\n    billing:"})
    project.update("b1", (), None, folder=site / "acme_billing" / "updates")
    project.update("b2", "b1", None, folder=site / "acme_billing" / "updates")
    project.update("a1", "b1", None)
    return project


def test_a_package_joins_by_the_name_under_which_it_publishes_its_folder(billing):
    done = updater(billing).update()
    assert done.done == ("b1", "a1", "b2")
    assert [package.name for package in updater(billing).status().packages] == ["updates", "billing"]


def test_it_does_not_join_by_being_installed(billing):
    billing.update("a1", (), None)
    status = updater(billing, updates=str(billing.updates)).status()
    assert [update.update_id for update in status.pending] == ["a1"]


def test_from_a_real_command_line(billing, site):
    told = billing.run("update", "billing:heads", "--yes", env={"PYTHONPATH": str(site)}).succeeded()
    assert "[2/2] Applying b2" in told.stdout


@pytest.mark.parametrize("folder", ["billing", "billing:"])
def test_a_new_script_goes_to_a_package_by_the_name_that_is_configured(billing, site, folder):
    written = billing.run("revision", "b3", "--folder", folder, env={"PYTHONPATH": str(site)}).succeeded()
    assert Path(written.stdout.strip()).parent == site / "acme_billing" / "updates"


@pytest.mark.parametrize(
    ("value", "folder"),
    [("acme_more", "acme_more"), ("acme_more:updates", "acme_more/updates"), ("acme_more:db.own", "acme_more/db/own")],
)
def test_an_entry_point_names_a_package_or_a_folder_in_it(site, make_project, value, folder):
    install(site, "acme-more", f"more = {value}")
    project = make_project(section={"updates": "more:"})
    (site / "acme_more").mkdir()
    (site / "acme_more" / "__init__.py").touch()
    path = project.update("m1", (), None, folder=site / folder)
    assert updater(project).graph().updates["m1"].path == path


def test_a_name_that_nobody_publishes_is_an_error_that_names_those_that_are(billing):
    with pytest.raises(ConfigError) as caught:
        updater(billing, updates="biling:").status()
    assert caught.value.message == (
        "updates = biling: no installed package publishes its updates under the name 'biling', did you mean 'billing'?"
    )
    assert "Published in this Python: billing." in caught.value.hint


def test_a_name_that_two_packages_publish_is_an_error_that_names_both(billing, site):
    install(site, "zen-billing", "billing = zen_billing:updates")
    with pytest.raises(ConfigError) as caught:
        updater(billing).status()
    assert caught.value.message == (
        "updates = billing: several installed packages publish their updates under this name: "
        "acme-billing, zen-billing."
    )


@pytest.mark.parametrize(
    ("value", "missing"),
    [
        ("lost_module:updates", "lost_module is not installed in this Python."),
        ("acme_billing:nothing", "there is no folder {site}/acme_billing/nothing."),
        ("acme-billing:updates", "it is not written as package:folder."),
    ],
)
def test_an_entry_point_that_points_nowhere_is_told_with_who_published_it(billing, site, value, missing):
    install(site, "acme-lost", f"lost = {value}")
    with pytest.raises(ConfigError) as caught:
        updater(billing, updates="lost:").status()
    said = f"updates = lost: the entry point lost = {value} of acme-lost points nowhere: {missing.format(site=site)}"
    assert caught.value.message == said
    assert "`pip install --force-reinstall acme-lost`" in caught.value.hint


def test_a_published_name_without_its_colon_is_told(billing):
    with pytest.raises(ConfigError) as caught:
        updater(billing, updates=str(billing.root / "billing")).status()
    assert caught.value.hint == (
        "An installed package publishes its updates under this name: write it with a colon, billing:"
    )


def test_a_folder_and_a_package_of_one_name_are_told_apart(billing):
    (billing.root / "billing").mkdir()
    with pytest.raises(ConfigError, match="two folders would both be called billing"):
        updater(billing, updates=f"{billing.root / 'billing'}\nbilling:").status()


# what is told


def test_status_tells_how_far_each_package_is(linked):
    updater(linked).update("s1")
    told = linked.run("status").succeeded().stdout
    assert "Packages  core  at c1; 2 updates waiting, up to c3\n" in told
    assert "          shop  at s1; 1 update waiting, up to s2\n" in told
    assert "          wiki  no update yet; 1 update waiting, up to w1\n" in told
    waiting = told.partition("Waiting, in this order")[2]
    assert [line.split()[1] for line in waiting.splitlines() if line.strip()[:1].isdigit()] == [
        "core:c2",
        "core:c3",
        "shop:s2",
        "wiki:w1",
    ]


def test_status_as_json_has_the_packages(linked):
    updater(linked).update("s1")
    assert linked.run("status", "--json").json["packages"] == {
        "core": {"current": ["c1"], "heads": ["c3"], "pending": ["c2", "c3"], "applied": 1},
        "shop": {"current": ["s1"], "heads": ["s2"], "pending": ["s2"], "applied": 1},
        "wiki": {"current": [], "heads": ["w1"], "pending": ["w1"], "applied": 0},
    }


def test_one_folder_is_told_without_its_name(project):
    project.update("v1", (), None)
    told = project.run("status").succeeded().stdout
    assert "Packages" not in told
    assert "updates:v1" not in told


def test_history_of_what_is_applied_is_told_package_by_package(linked):
    updater(linked).update("w1")
    updater(linked).update("s1")
    lines = linked.run("history", "--applied").succeeded().stdout.splitlines()
    assert lines[0].split() == ["update", "applied", "(UTC)", "what"]
    assert [line.split()[0] for line in lines[1:] if line] == ["core:", "c1", "shop:", "s1", "wiki:", "w1"]
    document = linked.run("history", "--applied", "--json").json["applied"]
    assert [(one["update_id"], one["package"], one["direction"]) for one in document] == [
        ("w1", "wiki", "up"),
        ("c1", "core", "up"),
        ("s1", "shop", "up"),
    ]
    assert all(one["known"] and one["finished_at"].endswith("Z") for one in document)


def test_what_a_stamp_recorded_along_has_no_time_of_its_own(linked):
    updater(linked).stamp(["s1"])
    applied = updater(linked).applied()
    assert [(one.update_id, one.entry and one.entry.direction) for one in applied] == [("c1", None), ("s1", "stamp")]
    assert "c1      recorded " in linked.run("history", "--applied").succeeded().stdout


def test_history_of_what_waits_is_told_package_by_package_with_its_place_in_the_order(linked):
    updater(linked).update("c2")
    lines = linked.run("history", "--pending").succeeded().stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:] if line] == [
        ["core:"], ["1", "c3"], ["shop:"], ["2", "s1"], ["3", "s2"], ["wiki:"], ["4", "w1"],
    ]  # fmt: skip
    pending = linked.run("history", "--pending", "--json").json["pending"]
    assert [one["update_id"] for one in pending] == ["c3", "s1", "s2", "w1"]


def test_history_says_when_there_is_nothing(project):
    assert project.run("history", "--applied").stdout == "No update is applied.\n"
    assert project.run("history", "--pending").stdout == "No update is waiting.\n"
    project.run("history", "--pending", "--applied").exited(2)


def test_the_graph_is_drawn_package_by_package(linked):
    updater(linked).update("s1")
    told = linked.run("graph", env={"PYTHONIOENCODING": "ascii"}).succeeded().stdout
    assert told == (
        "core:\n"
        "o  c3  Update c3.\n"
        "o  c2  Update c2.\n"
        "*  c1  Update c1.\n"
        "\n"
        "shop:\n"
        "o  s2  Update s2.\n"
        "*  s1 (current)  (after core:c1)  Update s1.\n"
        "\n"
        "wiki:\n"
        "o  w1  Update w1.\n"
        "\n"
        "* applied  o pending\n"
    )


# targets


@pytest.mark.parametrize(
    ("target", "done"),
    [
        ("core:heads", ["c1", "c2", "c3"]),
        ("core:head", ["c1", "c2", "c3"]),
        ("shop:heads", ["c1", "s1", "s2"]),
        ("shop:s1", ["c1", "s1"]),
        ("shop:+1", ["c1", "s1"]),
        ("wiki:w", ["w1"]),
        ("wiki:heads", ["w1"]),
    ],
)
def test_update_of_a_package_brings_what_it_builds_on_and_nothing_else(linked, target, done):
    assert list(updater(linked).update(target).done) == done


@pytest.mark.parametrize(
    ("target", "done", "left"),
    [
        ("core:c2", ["c3"], ("c2", "s2", "w1")),
        ("core:c1", ["s2", "s1", "c3", "c2"], ("c1", "w1")),
        ("shop:base", ["s2", "s1"], ("c3", "w1")),
        ("core:base", ["s2", "s1", "c3", "c2", "c1"], ("w1",)),
        ("shop:-1", ["s2"], ("c3", "s1", "w1")),
        ("wiki:-1", ["w1"], ("c3", "s2")),
    ],
)
def test_downgrade_in_a_package_reverts_also_what_depends_on_it_elsewhere(linked, target, done, left):
    updater(linked).update()
    report = updater(linked).downgrade(target)
    assert sorted(report.done) == sorted(done)
    assert current(linked) == left


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shop:c1", "shop has no update 'c1'; core has it."),
        ("shop:zzz", "shop has no update 'zzz'."),
        ("shoop:heads", "No package or folder of updates is called 'shoop'."),
        ("shop:-1", "'shop:-1' goes backwards."),
        ("shop:base", "'shop:base' is behind every update."),
        ("wiki:+2", "'wiki:+2' goes too far: 1 update is pending."),
    ],
)
def test_a_target_that_cannot_be_is_told(linked, target, message):
    with pytest.raises(TargetError) as caught:
        updater(linked).update(target)
    assert caught.value.message == message


def test_two_heads_of_one_package_stop_only_it(linked):
    linked.update("c4", "c2", None, folder="core")
    told = linked.run("update", "core:head", "--yes").exited(1)
    assert "The folder 'core' has 2 heads: 'c3', 'c4'." in told.told
    linked.run("update", "wiki:head", "--yes").succeeded()
    linked.run("update", "core:heads", "--yes").succeeded()


@pytest.mark.parametrize("name", ["acme_shop:updates", "acme_shop"])
def test_a_folder_in_a_package_is_named_whole_or_by_its_package(site, make_project, name):
    (site / "acme_shop").mkdir()
    (site / "acme_shop" / "__init__.py").touch()
    project = make_project(section={"updates": "\n    acme_shop:updates\n    %(here)s/updates"})
    project.update("x1", (), None, folder=site / "acme_shop" / "updates")
    project.update("a1", (), None)
    assert updater(project).update(f"{name}:heads").done == ("x1",)


def test_a_name_that_fits_two_folders_is_refused(make_project):
    project = make_project(section={"updates": "\n    %(here)s/one/updates\n    %(here)s/two/updates"})
    for name in ("one", "two"):
        project.update(name, (), None, folder=f"{name}/updates")
    with pytest.raises(TargetError, match="'updates' could be one/updates or two/updates"):
        updater(project).update("updates:heads")
    assert updater(project).update("two/updates:heads").done == ("two",)


def test_stamp_and_show_take_the_name_of_a_package_too(linked):
    assert updater(linked).stamp(["shop:heads", "wiki:w1"]).current == ("s2", "w1")
    assert linked.run("show", "shop:s").exited(2).stderr
    assert json.loads(linked.run("show", "wiki:w", "--json").succeeded().stdout)["update_id"] == "w1"


# ghosts


def test_a_package_that_was_removed_leaves_ghosts_and_both_ways_out_are_told(linked):
    updater(linked).update()
    removed = updater(linked, updates=f"{linked.root / 'core'}\n{linked.root / 'wiki'}")
    status = removed.status()
    assert (status.state, status.unknown) == ("too_new", ("s1", "s2"))
    [problem] = status.problems
    assert problem.hint == (
        "If the code is older than the data, or a package is missing: install what has s1, s2. Only if the "
        "scripts were deleted on purpose, and what they did shall stay: type `fietsupdate stamp c3 w1`, which forgets "
        "them."
    )
    assert [one.update_id for one in removed.applied() if one.update is None] == ["s1", "s2"]


def test_ghosts_stand_in_the_history_and_in_the_graph(linked):
    updater(linked).update()
    for path in (linked.root / "wiki").glob("*.py"):
        path.unlink()
    lines = linked.run("history", "--applied").succeeded().stdout.splitlines()
    assert lines[-2] == "without a script:"
    assert lines[-1].startswith("w1 ")
    assert lines[-1].endswith("applied, but there is no such script")
    assert "? w1  (applied; no script is known)" in linked.run("graph").succeeded().stdout


def test_what_the_hint_says_forgets_them(linked):
    updater(linked).update()
    for path in (linked.root / "shop").glob("*.py"):
        path.unlink()
    linked.run("update", "--yes").exited(1)
    linked.run("stamp", "c3", "w1", "--yes").succeeded()
    linked.run("check").succeeded()
    assert updater(linked).update().done == ()


def test_a_package_can_be_taken_back_before_it_goes(linked):
    updater(linked).update()
    linked.run("downgrade", "shop:base", "--yes").succeeded()
    for path in (linked.root / "shop").glob("*.py"):
        path.unlink()
    linked.run("check").succeeded()
