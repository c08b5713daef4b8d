"""Version hooks with the real command: which run, in which order, once, and what a failing one leaves."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fietsupdate.planning.version_hooks import NOT_ATOMIC
from support.databases import ATOMIC_KINDS, KINDS, MARIADB, SQLITE
from support.versions import Versioned, install
from support.zygote import Zygote

FAIL = "script.files.write('half.txt', 'half')\nif Path('fail').exists():\n    raise RuntimeError('the cause')"
BELOW = 'old="<0.7"'


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture
def make(tmp_path: Path, make_database, zygote: Zygote) -> Callable[..., Versioned]:
    """Give a function that writes a project at version 0.1, with one update, applied there."""

    def made(kind: str = SQLITE, **options: str) -> Versioned:
        app = Versioned.create(tmp_path, make_database(kind), zygote, **options)
        app.hooks("")
        app.project.revision("aaaa", None, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
        app.project.update("v1", (), "aaaa")
        app.update()
        return app

    return made


@pytest.fixture
def make_lessons(tmp_path: Path, make_database, zygote: Zygote) -> Callable[[str], Versioned]:
    """Give a function that copies the Kolibri-like application, in use since 0.1."""

    def made(kind: str = SQLITE) -> Versioned:
        app = Versioned.lessons(tmp_path, make_database(kind), zygote)
        app.update("v0.1")
        app.project.database.execute("INSERT INTO channel (id, name) VALUES (1, 'algebra'), (2, 'botany')")
        for number in (1, 2):
            path = app.project.data / "content" / f"{number}.bin"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"content {number}")
        (app.project.data / "cache").mkdir()
        return app

    return made


def files(app: Versioned) -> dict[str, str]:
    paths = [path for path in sorted(app.project.data.rglob("*")) if path.is_file()]
    found = {path.relative_to(app.project.data).as_posix(): path.read_text() for path in paths}
    return {name: text for name, text in found.items() if name != "VERSION" and not name.startswith(".fietsupdate")}


def forget_versions(app: Versioned) -> None:
    """Let the ledger be as one of an instance from before there was a distribution."""
    app.project.database.execute("UPDATE fietsupdate_ledger SET app_version = ''")
    ledger = app.project.data / ".fietsupdate" / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"app_version":"0.1"', '"app_version":""'))


def three(app: Versioned, body: str = FAIL) -> None:
    """Write three hooks for 0.7, of which the second does `body`."""
    write = "script.files.write('{0}.txt', '{0}')\nscript.connection.execute(sa.text('INSERT INTO t VALUES ({1})'))"
    text = app.hook("one", BELOW, write.format("one", 1))
    text += app.hook("two", BELOW, f"{write.format('two', 2)}\n{body}")
    app.hooks(text + app.hook("three", BELOW, write.format("three", 3)))


# -- the Kolibri-like application


@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_whoever_skips_versions_gets_what_both_ends_ask_for(kind: str, make_lessons) -> None:
    """From 0.1 to 0.7: the update, the hooks of the application as they are defined, the plugin's, the version."""
    app = make_lessons(kind).install("0.7")
    assert app.status()["version"] == {
        "distribution": "lessons",
        "installed": "0.7",
        "recorded": "0.1",
        "hooks": [
            "lessons.upgrades:a_folder_for_each_channel",
            "lessons.upgrades:thumbnails",
            "lessons_quizzes.upgrades:shout",
        ],
    }
    app.update()
    assert app.ledger() == [
        ("up", "v0.1", "0.1"),
        ("up", "v0.7", "0.7"),
        ("version", "lessons.upgrades:a_folder_for_each_channel", "0.7"),
        ("version", "lessons.upgrades:thumbnails", "0.7"),
        ("version", "lessons_quizzes.upgrades:shout", "0.7"),
        ("version", "lessons==0.7", "0.7"),
    ]
    assert app.project.database.execute("SELECT id, name, icon, title FROM channel ORDER BY id") == [
        (1, "algebra", 1, "ALGEBRA"),
        (2, "botany", 1, "BOTANY"),
    ]
    assert files(app) == {
        f"channels/{number}/{name}": text
        for number, word in ((1, "algebra"), (2, "botany"))
        for name, text in (
            ("content.bin", f"content {number}"),
            ("thumbnail.txt", word[0]),
            ("title.txt", word.upper()),
        )
    }
    assert (app.project.data / "cache").is_dir()  # only 0.3 to 0.6 have one
    assert app.run("check").code == 0


def test_step_by_step_each_version_runs_its_own(make_lessons) -> None:
    app = make_lessons()
    app.project.updates.joinpath("upd_v0_7.py").rename(app.project.root / "later.py")
    app.install("0.4").update()
    (app.project.root / "later.py").rename(app.project.updates / "upd_v0_7.py")
    app.install("0.7").update()
    assert [(update_id, version) for direction, update_id, version in app.ledger() if direction == "version"] == [
        ("lessons.upgrades:a_folder_for_each_channel", "0.4"),
        ("lessons==0.4", "0.4"),
        ("lessons.upgrades:thumbnails", "0.7"),
        ("lessons.upgrades:forget_the_cache", "0.7"),
        ("lessons_quizzes.upgrades:shout", "0.7"),
        ("lessons==0.7", "0.7"),
    ]
    assert not (app.project.data / "cache").exists()


@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_on_a_fresh_installation_none_runs_and_the_version_is_recorded(
    kind: str, tmp_path: Path, make_database, zygote: Zygote
) -> None:
    app = Versioned.lessons(tmp_path, make_database(kind), zygote).install("0.7")
    assert app.run("update", "--dry-run", "--json").json["plan"]["steps"][-1]["update_id"] == "v0.7"
    app.update()
    assert app.ledger() == [("up", "v0.1", "0.7"), ("up", "v0.7", "0.7")]
    status = app.status()
    assert (status["state"], status["version"]["recorded"], status["version"]["hooks"]) == ("okay", "0.7", [])
    assert "Nothing to do" in app.update().stdout


def test_after_create_all_and_a_stamp_none_runs(tmp_path: Path, make_database, zygote: Zygote) -> None:
    app = Versioned.lessons(tmp_path, make_database(), zygote).install("0.7")
    app.project.alembic("upgrade", "heads").succeeded()
    app.run("stamp", "v0.7", "--yes").succeeded()
    assert app.status()["version"]["recorded"] == "0.7"
    assert "Nothing to do" in app.update().stdout


# -- once, in order


def test_the_order_is_that_of_the_configuration_then_of_the_definitions(make) -> None:
    app = make(modules="second\n    lessons.y:\n    first\n    lessons.x:")
    app.hooks(app.hook("d", BELOW) + app.hook("c", BELOW), "second")
    app.hooks(f"from second import d\n{app.hook('b', BELOW)}{app.hook('a', BELOW)}", "first")
    app.hooks(app.hook("y", BELOW), "plugin_y")
    app.hooks(app.hook("x", BELOW), "plugin_x")
    install(app.project, "1.0", "plugin-a", "lessons.x = plugin_x\nlessons.y = plugin_y")
    app.install("0.7").update()
    assert app.project.traces() == ["d", "c", "y", "b", "a", "x"]


def test_a_hook_runs_once_however_often_the_version_moves(make) -> None:
    app = make()
    app.hooks(app.hook("always", 'new=">=0.2"'))
    for version in ("0.2", "0.3", "0.4"):
        app.install(version).update()
    assert app.project.traces() == ["always"]
    assert [row[1] for row in app.ledger()][-4:] == ["hooks:always", "lessons==0.2", "lessons==0.3", "lessons==0.4"]


def test_a_release_candidate_runs_the_hooks_of_its_release_and_the_release_those_written_since(make) -> None:
    app = make()
    early = app.hook("early", 'old="<1.0", new=">=1.0"')
    app.hooks(early)
    app.install("1.0rc1").update()
    assert app.project.traces() == ["early"]
    app.hooks(early + app.hook("late", 'old="<1.0", new=">=1.0"'))
    app.install("1.0").update()
    assert app.project.traces() == ["early", "late"]


def test_a_rehearsal_there_and_back_needs_a_way_back_of_updates_but_not_of_the_version(make) -> None:
    """A new version alone, a new version with an update, and one with a hook, which nobody can revert."""
    app = make().install("0.7")
    alone = app.run("rehearse", "--round-trip", "--json").succeeded().json["rehearsal"]
    assert ([one["update_id"] for one in alone["updates"]], alone["round_trip"]) == (["lessons==0.7"], None)
    app.project.update("v2", "v1", up_pre="self.files.write('a', 'a')", down_pre="self.files.remove('a')")
    trip = app.run("rehearse", "--round-trip", "--json").succeeded().json["rehearsal"]["round_trip"]
    assert (trip["restored"], [one["update_id"] for one in trip["down"]]) == (True, ["v2"])
    app.hooks(app.hook("one", BELOW))
    refused = app.run("rehearse", "--round-trip").exited(1)
    assert "Version hook hooks:one cannot be reverted" in refused.told
    assert "lessons==0.7 cannot" not in refused.told


def test_a_target_that_leaves_updates_waiting_runs_no_hook(make) -> None:
    app = make()
    app.hooks(app.hook("one", BELOW))
    app.project.update("v2", "v1", "aaaa")
    app.project.update("v3", "v2", "aaaa", up_post=app.project.trace("v3"))
    app.install("0.7").update("v2")
    assert app.project.traces() == []
    app.update()
    assert app.project.traces() == ["v3", "one"]


def test_the_backup_before_names_the_version_that_the_data_belongs_to(make, tmp_path: Path) -> None:
    """Kolibri names it by the old version; here by both, as the manifest does."""
    app = make()
    folder = tmp_path / "backups"
    app.project.environment.update(FIETSUPDATE_BACKUP="full", FIETSUPDATE_BACKUP_DIR=str(folder))
    app.hooks(app.hook("one", BELOW))
    app.install("0.7").update()
    manifests = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/manifest.json")}
    [(name, manifest)] = manifests.items()
    assert name.endswith("-0.1-to-0.7")
    assert (manifest["app_version"], manifest["to_version"]) == ("0.1", "0.7")


# -- what a failing one leaves


@pytest.mark.parametrize("kind", ATOMIC_KINDS)
def test_a_failing_hook_is_undone_in_both_halves_and_the_next_run_begins_with_it(kind: str, make) -> None:
    app = make(kind).install("0.7")
    three(app)
    (app.project.root / "fail").touch()
    for _ in range(2):  # Kolibri repeats those before it at each start
        failed = app.run("update", "--yes").exited(1)
        assert "Version hook hooks:two failed at " in failed.told
        assert "RuntimeError: the cause" in failed.told
        assert "Nothing of hooks:two stands: it was rolled back, and its file changes are undone." in failed.told
        assert files(app) == {"one.txt": "one"}
        assert app.project.database.execute("SELECT id FROM t") == [(1,)]
        assert app.run("check").code == 3
        assert app.status()["version"]["hooks"] == ["hooks:two", "hooks:three"]
    (app.project.root / "fail").unlink()
    app.update()
    assert app.project.traces() == ["one", "two", "two", "two", "three"]
    assert [row[1] for row in app.ledger()] == ["v1", "hooks:one", "hooks:two", "hooks:three", "lessons==0.7"]
    assert app.project.database.execute("SELECT id FROM t ORDER BY id") == [(1,), (2,), (3,)]


def test_a_hook_that_was_killed_is_undone_and_comes_first_again(make) -> None:
    app = make().install("0.7")
    three(app, "import signal\nif Path('fail').exists():\n    os.kill(os.getpid(), signal.SIGKILL)")
    (app.project.root / "fail").touch()
    assert app.run("update", "--yes").code == -signal.SIGKILL
    status = app.run("status").succeeded().stdout
    assert "Version hook hooks:two was interrupted before the database committed it" in " ".join(status.split())
    (app.project.root / "fail").unlink()
    app.update()
    assert app.project.traces() == ["one", "two", "two", "three"]


def test_on_mariadb_an_interrupted_hook_is_gone_on_with(make) -> None:
    """A schema change commits; from then on it goes forward, whatever else waits."""
    app = make(MARIADB).install("0.7")
    ddl = "script.connection.execute(sa.text('CREATE TABLE IF NOT EXISTS u (id INTEGER)'))"
    three(app, f"{ddl}\nif Path('fail').exists():\n    raise RuntimeError('the cause')")
    text = (app.project.root / "hooks.py").read_text()
    (app.project.root / "hooks.py").write_text(text.replace("INSERT INTO t VALUES (2)", "REPLACE INTO t VALUES (2)"))
    (app.project.root / "fail").touch()
    failed = app.run("update", "--yes").exited(1)
    assert "hooks:two is half applied" in failed.told
    status = app.run("status", "--json").json
    assert status["state"] == "interrupted"
    assert "Version hook hooks:two was interrupted" in status["problems"][0]["message"]
    refused = app.run("downgrade", "base", "--yes")
    assert "The version hook hooks:two was interrupted; that must be finished" in refused.told
    app.install("0.1")
    away = app.project.root / "hooks.py"
    away.rename(app.project.root / "kept")
    app.hooks("")
    assert "Install the version of the application that has version hook hooks:two" in app.run("update", "--yes").told
    (app.project.root / "kept").rename(away)
    (app.project.root / "fail").unlink()
    app.install("0.7").update()
    assert app.project.traces() == ["one", "two", "two", "three"]
    assert [row[1] for row in app.ledger()] == ["v1", "hooks:one", "hooks:two", "hooks:three", "lessons==0.7"]


def test_an_interrupted_hook_that_was_finished_by_hand_is_accepted(make) -> None:
    app = make(MARIADB).install("0.7")
    ddl = "script.connection.execute(sa.text('CREATE TABLE u (id INTEGER)'))"
    three(app, f"{ddl}\nraise RuntimeError('the cause')")
    assert "fietsupdate update" in app.run("update", "--yes").exited(1).told
    app.run("recover", "--accept", "--yes").succeeded()
    assert app.status()["version"]["hooks"] == ["hooks:three"]
    app.update()
    assert app.project.traces() == ["one", "two", "three"]
    assert [row[1] for row in app.ledger()] == ["v1", "hooks:one", "hooks:two", "hooks:three", "lessons==0.7"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_with_connections_of_its_own_says_so(kind: str, make) -> None:
    app = make(kind).install("0.7")
    own = (
        "engine = sa.create_engine(config['sqlalchemy.url'], poolclass=sa.NullPool)\nwith engine.begin() as c:\n    {}"
    )
    insert = "c.execute(sa.text('INSERT INTO t VALUES (7)'))"
    app.hooks(app.hook("own", f"{BELOW}, atomic=False", own.format(insert)))
    plan = app.run("update", "--dry-run", "--json").json["plan"]["steps"]
    assert (plan[0]["not_atomic"], plan[1]["not_atomic"]) == (NOT_ATOMIC, "")
    app.update()
    assert app.project.database.execute("SELECT id FROM t") == [(7,)]


def test_a_function_of_kolibri_s_runs_with_only_its_import_changed(make) -> None:
    """It knows no `script`, and has connections of its own: the transaction around it must not keep it waiting."""
    app = make().install("1.0.0")
    (app.project.root / "hooks.py").write_text(
        f"""
import logging
import sqlite3
from fietsupdate import version_upgrade

logger = logging.getLogger(__name__)

@version_upgrade(old_version="<0.6.4", new_version=">=1.0.0")
def big_leap_upgrade():
    \"\"\"Tell that a version was left out.\"\"\"
    logger.warning("You've just upgraded from a very old version to a very new version!")
    with sqlite3.connect({str(app.project.database.file)!r}, timeout=0.1) as connection:
        connection.execute("INSERT INTO t VALUES (7)")

@version_upgrade(old_version=">0.15.0,<0.18.0")
def never_here():
    raise AssertionError
"""
    )
    plan = app.run("update", "--dry-run", "--json").json["plan"]["steps"]
    assert [(step["update_id"], step["not_atomic"]) for step in plan] == [
        ("hooks:big_leap_upgrade", NOT_ATOMIC),
        ("lessons==1.0.0", ""),
    ]
    assert "You've just upgraded" in app.update().output
    assert app.project.database.execute("SELECT id FROM t") == [(7,)]
    assert "Nothing to do" in app.update().stdout


def test_the_files_of_a_version_are_copied_at_each_change_of_version_also_back(make) -> None:
    """Killed in the middle, it begins anew; what is recorded is told by `status`, and asked for by `check`."""
    app = make()
    body = (
        "from importlib.metadata import version\nscript.files.write('static.txt', version('lessons'))\n"
        "if Path('kill').exists():\n    import signal\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    app.hooks(app.hook("static", "every=True", body))
    app.install("0.2").update()
    app.install("0.3")
    (app.project.root / "kill").touch()
    assert app.run("update", "--yes").code == -signal.SIGKILL
    (app.project.root / "kill").unlink()
    app.update()
    assert files(app) == {"static.txt": "0.3"}
    app.install("0.2").run("stamp", "v1", "--yes").succeeded()
    assert (app.run("check").code, app.status()["version"]["hooks"]) == (3, ["hooks:static"])
    app.update()
    assert (files(app), app.run("check").code) == ({"static.txt": "0.2"}, 0)
    assert [row[1] for row in app.ledger()][-3:] == ["v1", "hooks:static", "lessons==0.2"]
    assert "Nothing to do" in app.update().stdout


def test_a_hook_that_repeats_runs_again_after_a_downgrade_and_the_others_do_not(make) -> None:
    app = make()
    app.hooks(app.hook("once", BELOW) + app.hook("again", f"{BELOW}, repeat=True"))
    app.install("0.7").update()
    app.install("0.6").run("stamp", "v1", "--yes").succeeded()
    assert app.run("check").code == 0
    app.install("0.7")
    assert app.status()["version"]["hooks"] == ["hooks:again"]
    app.update()
    assert app.project.traces() == ["once", "again", "again"]


# -- errors in the modules


def test_a_hook_that_nobody_could_call_is_told_with_file_and_line(make) -> None:
    app = make().install("0.7")
    app.hooks(f"\n@version_upgrade({BELOW})\ndef one(script): ...\n")
    failed = app.run("update", "--yes").exited(1)
    where = f"{app.project.root / 'hooks.py'}:6"
    assert f"{where}: hooks:one cannot be called: too many positional arguments." in failed.told
    assert "A version hook takes `script` and `config`, or nothing." in failed.told


@pytest.mark.parametrize("published", [False, True])
def test_an_import_error_in_a_hook_module_is_an_error_that_names_it(make, published: bool) -> None:
    """Kolibri swallows it and records the new version: the hook never runs."""
    app = make(modules="hooks\n    lessons.broken:" if published else "hooks\n    broken")
    app.hooks(app.hook("one", BELOW))
    app.hooks("import no_such_thing\n" + app.hook("two", BELOW), "broken")
    if published:
        install(app.project, "1.0", "plugin", "lessons.broken = broken")
    app.install("0.7")
    where = "version_hooks = lessons.broken, the entry point lessons.broken = broken of plugin"
    where = where if published else "version_hooks = broken"
    for command in (["update", "--yes"], ["status"], ["check"], ["update", "--dry-run"]):
        failed = app.run(*command).exited(1)
        assert f"{where}: importing the version hooks in broken failed: ModuleNotFoundError" in failed.told
        assert "No module named 'no_such_thing'" in failed.told
    assert (app.project.traces(), len(app.ledger())) == ([], 1)
    app.hooks(app.hook("two", BELOW), "broken")
    app.update()
    assert app.project.traces() == ["one", "two"]


def test_what_is_no_version_range_is_told_with_file_and_line(make) -> None:
    app = make().install("0.7")
    app.hooks('\n@version_upgrade(old="before 0.7")\ndef one(script, config): ...\n')
    failed = app.run("update", "--yes").exited(1)
    assert f"{app.project.root / 'hooks.py'}:6: old of hooks:one: Invalid specifier: 'before 0.7'." in failed.told


def test_a_distribution_that_is_not_installed_is_told(make) -> None:
    app = make()
    text = app.project.ini.read_text().replace("distribution = lessons", "distribution = lesson")
    app.project.ini.write_text(text)
    assert "distribution = lesson: no distribution of that name is installed" in app.run("status").exited(1).told
    app.project.ini.write_text(text.replace("distribution = lesson\n", ""))
    assert "version_hooks = hooks: no distribution is named whose version that is." in app.run("status").exited(1).told
    app.project.ini.write_text(
        app.project.ini.read_text().replace("version_hooks = hooks", "data_version_file = VERSIONS")
    )
    assert (
        "data_version_file = VERSIONS: no distribution is named whose version that is."
        in app.run("status").exited(1).told
    )


def test_a_version_that_cannot_be_compared_is_told(make) -> None:
    told = make().install("newest").run("update", "--yes").exited(1).told
    assert "distribution = lessons: its version 'newest' is none that could be compared." in told


# -- the version alone


def test_where_no_hook_is_for_it_the_instance_stays_okay_and_the_next_update_records_the_version(make) -> None:
    app = make()
    app.hooks(app.hook("one", 'old="<0.1"'))
    app.install("0.2")
    assert app.run("check").stdout == "okay: up to date\n"
    assert "Version   lessons 0.2 is installed; the data belongs to 0.1\n" in app.run("status").stdout
    assert "Recorded. Current: v1." in app.update().stdout
    assert app.ledger() == [("up", "v1", "0.1"), ("version", "lessons==0.2", "0.2")]
    assert "Version   lessons 0.2\n" in app.run("status").stdout


def test_an_instance_from_before_has_its_version_recorded_and_no_hook_runs(make) -> None:
    """Its ledger names no version: it cannot be told what has been crossed."""
    app = make()
    ini = app.project.ini.read_text()
    app.project.ini.write_text(ini.replace("distribution = lessons\nversion_hooks = hooks\n", ""))
    app.project.update("v2", "v1", "aaaa")
    app.update()
    forget_versions(app)
    app.project.ini.write_text(ini)
    app.hooks(app.hook("one", BELOW))
    app.install("0.7")
    assert "lessons 0.7; none is recorded yet" in app.run("status").stdout
    app.update()
    assert (app.project.traces(), app.ledger()[-1]) == ([], ("version", "lessons==0.7", "0.7"))


def test_the_version_that_an_earlier_upgrader_has_recorded_counts_until_the_ledger_says_more(make) -> None:
    """A failure in the middle is gone on with; afterwards nobody looks into the file any more."""
    app = make()
    forget_versions(app)
    ini = app.project.ini.read_text()
    app.project.ini.write_text(ini.replace("version_hooks", "data_version_file = .data_version\nversion_hooks"))
    (app.project.data / ".data_version").write_text("what")
    app.install("0.7")
    told = app.run("update", "--yes").exited(1).told
    assert "data_version_file = .data_version: 'what' in it is no version." in told
    (app.project.data / ".data_version").write_text("0.1\n")
    three(app)
    (app.project.root / "fail").touch()
    app.run("update", "--yes").exited(1)
    (app.project.root / "fail").unlink()
    app.update()
    assert app.project.traces() == ["one", "two", "two", "three"]
    (app.project.data / ".data_version").write_text("garbage")
    assert app.status()["version"]["recorded"] == "0.7"
    assert "Nothing to do" in app.update().stdout


@pytest.mark.parametrize("command", [["update", "--yes"], ["update", "--dry-run"], ["downgrade", "base", "--yes"]])
def test_older_code_on_newer_data_is_refused_naming_both_versions(make, command: list[str]) -> None:
    """Kolibri upgrades from the newer version to the older one."""
    app = make()
    app.install("0.10").update()
    app.install("0.9")
    before = app.project.tree()
    refused = app.run(*command).exited(1)
    assert "The instance was changed by lessons 0.10, and lessons 0.9 is installed, which is older." in refused.told
    assert app.run("check").code == 4
    assert app.project.tree() == before


def test_a_version_that_only_got_half_way_counts_too(make) -> None:
    app = make().install("0.7")
    three(app)
    (app.project.root / "fail").touch()
    app.run("update", "--yes").exited(1)
    app.install("0.1")
    assert "The instance was changed by lessons 0.7, and lessons 0.1 is installed" in app.run("status").stdout.replace(
        "\n         ", " "
    )


def test_a_stamp_by_the_older_code_says_that_the_data_was_taken_back(make) -> None:
    """Downgrade with the newer code, before installing the older."""
    app = make()
    app.project.update("v2", "v1", "aaaa")
    app.install("0.7").update()
    app.run("downgrade", "v1", "--yes").succeeded()
    (app.project.updates / "upd_v2.py").unlink()
    app.install("0.1")
    assert "fietsupdate stamp v1" in app.status()["problems"][0]["hint"]
    app.run("stamp", "v1", "--yes").succeeded()
    assert app.run("check").code == 0
    assert app.status()["version"]["recorded"] == "0.1"


def test_a_plan_shows_the_hooks_after_the_updates(make) -> None:
    app = make().install("0.7")
    app.hooks(app.hook("one", BELOW, '"""Do it."""'))
    app.project.update("v2", "v1", "aaaa")
    text = app.run("update", "--dry-run").stdout
    assert text.startswith("1 update will be applied, and 1 version hook will run:\n")
    assert "  2. run hooks:one" in text
    assert "  3. record lessons==0.7  Records the version; it was 0.1.\n" in text
    assert "outdated: 1 update waiting, up to v2; 1 version hook waiting, for lessons 0.7" in app.run("check").stdout
    assert "1 update applied, 1 version hook run in" in app.update().stdout
