"""The application's version is the unit of going back: which backups are made, what they are called, which is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.versions import Versioned
from support.zygote import Zygote

BELOW = 'old="<0.7"'
FAIL = "if Path('fail').exists():\n    raise RuntimeError('the cause')"


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture
def app(tmp_path: Path, make_database, zygote: Zygote) -> Versioned:
    """Write an application at version 0.1, with one update, applied there, a row and a file."""
    made = Versioned.create(tmp_path, make_database(), zygote)
    made.hooks("")
    made.project.environment["FIETSUPDATE_BACKUP"] = "auto"
    made.project.revision("aaaa", None, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
    made.project.update("v1", (), "aaaa")
    made.update()
    made.project.database.execute("INSERT INTO t VALUES (1)")
    (made.project.data / "of").write_text("0.1")
    return made


def backups(app: Versioned) -> list[dict]:
    """Return what the backups say of themselves, newest first."""
    return app.run("backup", "list", "--json").succeeded().json["backups"]


def suffixes(app: Versioned) -> list[str]:
    """Return what is behind the time in their names."""
    return [one["name"].split("-", 2)[2] for one in backups(app)]


def used_by_0_2(app: Versioned) -> tuple[str, str]:
    """Change to 0.2, use that, and back it up; return the backups of 0.1 and of 0.2."""
    app.install("0.2").update()
    app.project.database.execute("INSERT INTO t VALUES (2)")
    (app.project.data / "of").write_text("0.2")
    app.run("backup").succeeded()
    new, old = backups(app)
    return old["name"], new["name"]


# -- a version change makes one first


def test_both_halves_are_copied_before_a_change_of_version_also_where_no_update_waits(app: Versioned) -> None:
    app.install("0.2")
    folder = app.project.data / ".fietsupdate" / "backups"
    plan = app.run("update", "--dry-run", "--json").succeeded().json["plan"]
    assert (len(plan["steps"]), plan["backup"]) == (1, {"scope": "full", "folder": str(folder)})
    assert "first both halves are copied to" in " ".join(app.run("update", "--dry-run").stdout.split())
    assert backups(app) == []
    app.update()
    assert "Nothing to do" in app.update().stdout
    [made] = backups(app)
    assert made["name"].endswith("-0.1-to-0.2")
    assert (made["app_version"], made["to_version"], made["half_way_to"]) == ("0.1", "0.2", "")
    assert " 0.1 to 0.2  v1" in app.run("backup", "list").stdout


def test_none_is_made_where_nobody_wants_one_or_there_is_nothing_to_go_back_to(app: Versioned) -> None:
    app.install("0.2").update("--no-backup")
    app.project.environment["FIETSUPDATE_BACKUP"] = "never"
    app.install("0.3").update()
    assert app.status()["version"]["recorded"] == "0.3"
    assert backups(app) == []


def test_without_a_distribution_none_is_made_and_none_has_a_version(app: Versioned) -> None:
    ini = app.project.ini.read_text()
    app.project.ini.write_text(ini.replace("distribution = lessons\nversion_hooks = hooks\n", ""))
    app.project.database.execute("UPDATE fietsupdate_ledger SET app_version = ''")
    ledger = app.project.data / ".fietsupdate" / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"app_version":"0.1"', '"app_version":""'))
    app.project.update("v2", "v1", "aaaa")
    app.install("0.2").update()
    assert backups(app) == []
    app.run("backup").succeeded()
    assert suffixes(app) == ["v2"]
    assert "version" not in app.run("backup", "list").stdout


def test_what_is_half_changed_is_not_taken_for_the_old_version(app: Versioned) -> None:
    """Kolibri's third start with a failing function has pushed out the last good backup."""
    app.hooks(app.hook("one", BELOW) + app.hook("two", BELOW, FAIL))
    (app.project.root / "fail").touch()
    app.install("0.7").run("update", "--yes").exited(1)
    app.run("update", "--yes").exited(1)
    assert suffixes(app) == ["0.1-to-0.7"]  # the second run had nothing of 0.1 to copy any more
    app.project.environment["FIETSUPDATE_BACKUP"] = "full"
    app.run("update", "--yes").exited(1)
    assert suffixes(app) == ["v1", "0.1-to-0.7"]
    assert " 0.1, half way to 0.7  v1" in app.run("backup", "list").stdout
    app.install("0.1")
    restored = app.run("restore", "--latest", "--yes").succeeded()
    assert "Passed over, as it is too new: backup " in restored.output
    assert "Restored " in restored.stdout
    assert (app.run("check").code, [row[1] for row in app.ledger()]) == (0, ["v1"])


def test_an_application_that_fails_at_each_start_keeps_the_first_copy_and_the_last(app: Versioned) -> None:
    """Restarted again and again, it fills no disk, and the copy from before anything was tried stays."""
    app.hooks(app.hook("one", BELOW, FAIL))
    (app.project.root / "fail").touch()
    app.install("0.7")
    made = []
    for _ in range(4):
        app.run("update", "--yes").exited(1)
        made.append(backups(app)[0]["name"])
    assert [one["name"] for one in backups(app)] == [made[3], made[0]]
    assert made[0].endswith("-0.1-to-0.7")


def test_the_copy_of_both_halves_is_the_way_back_from_a_hook_that_is_not_atomic(app: Versioned) -> None:
    own = "engine = sa.create_engine(config['sqlalchemy.url'])\nwith engine.begin() as c:\n    c.execute(sa.text({}))"
    app.hooks(app.hook("one", f"{BELOW}, atomic=False", own.format("'INSERT INTO t VALUES (7)'") + "\n" + FAIL))
    (app.project.root / "fail").touch()
    app.install("0.7").run("update", "--yes").exited(1)
    assert suffixes(app) == ["0.1-to-0.7"]  # no dump beside it
    assert f"fietsupdate restore {backups(app)[0]['name']}" in app.status()["problems"][0]["hint"]


def test_a_version_s_signs_are_safe_in_the_name_of_a_folder(app: Versioned) -> None:
    app.install("1!2.0+local.build").update()
    assert suffixes(app) == ["0.1-to-1_2.0+local.build"]


# -- going back


def test_latest_is_the_newest_backup_that_the_installed_code_fits(app: Versioned) -> None:
    old, new = used_by_0_2(app)
    assert app.run("restore", "--latest", "--dry-run", "--json").json["backup"]["name"] == new
    app.install("0.1")
    plan = app.run("restore", "--latest", "--dry-run", "--json").succeeded().json
    reason = f"The backup {new} holds data that lessons 0.2 has changed; lessons 0.1 is installed, which is older."
    assert (plan["backup"]["name"], plan["too_new"], plan["passed_over"]) == (old, {new: reason}, {})
    shown = app.run("restore", "--latest", "--dry-run").stdout
    assert f"Passed over, as it is too new: backup {new}: {reason}\n" in shown
    assert "when the instance was at v1, of version 0.1 to 0.2:" in shown
    assert f"Restored {old}" in app.run("restore", "--latest", "--yes").succeeded().stdout
    assert app.run("check").stdout == "okay: up to date\n"
    assert app.project.database.execute("SELECT id FROM t") == [(1,)]
    assert (app.project.data / "of").read_text() == "0.1"


def test_a_backup_that_is_newer_than_the_code_is_refused_with_the_one_that_fits(app: Versioned) -> None:
    old, new = used_by_0_2(app)
    app.install("0.1")
    refused = app.run("restore", new, "--yes", "--json").exited(1).events[-1]["error"]
    assert refused["code"] == "too_new"
    assert f"the newest one that lessons 0.1 fits: `fietsupdate restore {old}`" in refused["hint"]
    assert f"`fietsupdate restore {old}`" in app.status()["problems"][0]["hint"]
    app.run("restore", old, "--yes").succeeded()
    assert app.run("check").code == 0
    app.run("restore", new, "--yes", "--despite", "version").succeeded()
    assert app.run("check").code == 4
    app.install("0.0.9")  # which fits none
    assert "There is none that lessons 0.0.9 fits. Install lessons 0.2" in app.run("restore", "--latest", "-y").told
    assert "fietsupdate restore" not in app.status()["problems"][0]["hint"]


def test_the_ledger_in_a_backup_says_its_version_also_where_the_manifest_does_not(app: Versioned) -> None:
    """The manifests of before have neither field; one of half an upgrade names the old version."""
    app.hooks(app.hook("one", BELOW) + app.hook("two", BELOW, FAIL))
    (app.project.root / "fail").touch()
    app.project.environment["FIETSUPDATE_BACKUP"] = "full"
    app.install("0.7")
    for _ in range(2):
        app.run("update", "--yes").exited(1)
    half, old = (Path(one["path"]) for one in backups(app))
    for path in (half / "manifest.json", old / "manifest.json"):
        manifest = json.loads(path.read_text())
        path.write_text(
            json.dumps({key: manifest[key] for key in manifest if key not in {"to_version", "half_way_to"}})
        )
    assert [one["app_version"] for one in backups(app)] == ["0.1", "0.1"]
    app.install("0.1")
    assert app.run("restore", "--latest", "--dry-run", "--json").json["backup"]["name"] == old.name
