"""The version hooks of a plugin take part when the instance activates it, by configuration or by the application."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.databases import MARIADB, SQLITE
from support.paths import DOCS
from support.versions import Versioned, install
from support.zygote import Zygote

BELOW = 'old="<0.7"'
FROM_TABLE = """
import sqlite3

def active(config):
    with sqlite3.connect(config["sqlalchemy.url"].partition("///")[2]) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM plugin ORDER BY name")]
"""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture
def make(tmp_path: Path, make_database, zygote: Zygote) -> Callable[..., Versioned]:
    """Return a function that writes a project at 0.1, with the plugins ``maps`` and ``quizzes`` installed."""

    def made(modules: str = "hooks", kind: str = SQLITE) -> Versioned:
        app = Versioned.create(tmp_path, make_database(kind), zygote, modules=modules)
        app.hooks(app.hook("own", BELOW))
        for name in ("maps", "quizzes"):
            app.hooks(app.hook(name, BELOW), f"lessons_{name}")
            install(app.project, "1.0", f"lessons-{name}", f"lessons.{name} = lessons_{name}")
        app.project.update("v1", ())
        app.update()
        return app

    return made


def configure(app: Versioned, before: str, after: str) -> None:
    """Change the configuration of an instance."""
    text = app.project.ini.read_text()
    assert f"version_hooks = {before}\n" in text
    app.project.ini.write_text(text.replace(f"version_hooks = {before}\n", f"version_hooks = {after}\n"))


# -- by configuration


def test_a_plugins_hooks_join_when_the_configuration_activates_it_and_not_by_being_installed(make) -> None:
    app = make("hooks\n    lessons.quizzes:").install("0.7")
    assert app.status()["version"]["hooks"] == ["hooks:own", "lessons_quizzes:quizzes"]
    app.update()
    assert app.project.traces() == ["own", "quizzes"]


def test_what_is_not_activated_is_not_even_imported_and_is_told_before_the_version_moves(make) -> None:
    """An instance that was configured when every installed plugin joined learns what to add."""
    app = make("hooks\n    lessons.quizzes:")
    app.hooks("raise RuntimeError('imported')", "lessons_maps")
    install(app.project, "1.0", "stranger", "other.maps = lessons_maps\nlessonsplus = lessons_maps")
    assert app.status()["problems"] == []
    app.install("0.7")
    [note] = app.status()["problems"]
    assert note["code"] == "plugins_inactive"
    assert note["message"] == (
        "Installed here, but not activated: lessons.maps. The version hooks of this plugin will not run when lessons "
        "goes from 0.1 to 0.7."
    )
    assert "add `lessons.maps:` to version_hooks" in note["hint"]
    assert app.run("check").code == 3
    plan = app.run("update", "--dry-run").succeeded().stdout
    assert "Without the hooks of lessons.maps: not activated here." in " ".join(plan.split())
    app.update()
    assert (app.project.traces(), app.status()["problems"]) == (["own", "quizzes"], [])


def test_a_plugin_that_is_activated_later_runs_its_hooks_for_the_coming_changes_of_version_only(make) -> None:
    app = make()
    app.install("0.7").update()
    configure(app, "hooks", "hooks\n    lessons.maps:")
    assert "Nothing to do" in app.update().stdout
    app.hooks(app.hook("maps", BELOW) + app.hook("next_maps", 'old="<0.8", new=">=0.8"'), "lessons_maps")
    app.install("0.8").update()
    assert app.project.traces() == ["own", "next_maps"]


def test_a_plugin_that_is_deactivated_runs_none_and_active_again_none_twice(make) -> None:
    app = make("hooks\n    lessons.maps:")
    always = app.hook("maps", 'new=">=0.2"')
    app.hooks(always, "lessons_maps")
    app.install("0.2").update()
    configure(app, "hooks\n    lessons.maps:", "hooks")
    app.hooks(always + app.hook("third", 'old="<0.3", new=">=0.3"'), "lessons_maps")
    app.install("0.3").update()
    configure(app, "hooks", "hooks\n    lessons.maps:")
    app.install("0.4").update()
    assert app.project.traces() == ["own", "maps"]


@pytest.mark.parametrize("line", ["Lessons_Maps:", "lessons.maps:\n    lessons_maps\n    lessons-maps:"])
def test_a_name_is_written_as_names_of_distributions_are_and_counts_once(make, line: str) -> None:
    app = make(line)
    app.install("0.7").update()
    assert app.project.traces() == ["maps"]


def test_an_activated_plugin_that_is_not_installed_is_an_error_that_names_it(make) -> None:
    app = make("hooks\n    lessons.map:")
    assert app.run("check").code == 0
    app.install("0.7")
    for command in (["update", "--yes"], ["status"], ["check"], ["update", "--dry-run"]):
        failed = app.run(*command).exited(1)
        assert (
            "version_hooks = lessons.map: no installed plugin publishes version hooks for lessons under the name "
            "'lessons.map', did you mean 'lessons.maps'?" in failed.told
        )
        assert "Nothing was changed." in failed.told
        assert "Published for lessons in this Python: lessons.maps, lessons.quizzes." in failed.told
        assert "Or take 'lessons.map:' out of version_hooks" in failed.told
    configure(app, "hooks\n    lessons.map:", "other.maps:")
    install(app.project, "1.0", "stranger", "other.maps = lessons_maps")  # of another application
    assert "no installed plugin publishes version hooks for lessons under" in app.run("status").exited(1).told
    assert (app.project.traces(), len(app.ledger())) == ([], 1)


def test_a_name_that_several_plugins_publish_is_refused_with_their_modules(make) -> None:
    app = make("lessons.maps:")
    app.hooks("", "atlas")
    install(app.project, "1.0", "lessons-atlas", "lessons.maps = atlas")
    failed = app.install("0.7").run("update", "--yes").exited(1)
    assert "under this name: atlas (of lessons-atlas), lessons_maps (of lessons-maps)." in failed.told
    configure(app, "lessons.maps:", "lessons_maps")
    app.update()
    assert app.project.traces() == ["maps"]


def test_what_is_neither_a_module_nor_a_plugin_nor_a_callable_is_refused_with_its_line(make) -> None:
    app = make("lessons.maps:").install("0.7")
    install(app.project, "1.0", "lessons-maps", "lessons.maps = lessons_maps:hooks")
    failed = app.run("update", "--yes").exited(1)
    assert "the entry point lessons.maps = lessons_maps:hooks of lessons-maps names no module." in failed.told
    configure(app, "lessons.maps:", "hooks/upgrades")
    failed = app.run("status").exited(1)
    assert ": version_hooks is 'hooks/upgrades'; it must be modules, `package.module`, names under which" in failed.told


# -- by a callable of the application


def test_the_application_says_which_plugins_are_active(make) -> None:
    """As Kolibri does, it keeps them with the instance's data: in a table, and in a file, as the page shows it."""
    app = make("hooks\n    plugins:active\n    page:active")
    page = (DOCS / "guides" / "version-hooks.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^```python\n# lessons/plugins.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    app.hooks(FROM_TABLE, "plugins")
    app.hooks(shown, "page")
    app.project.database.execute("CREATE TABLE plugin (name VARCHAR(50))")
    app.project.database.execute("INSERT INTO plugin VALUES ('lessons.quizzes:')")
    (app.project.data / "plugins.json").write_text('["lessons.maps"]')
    app.install("0.7")
    assert app.status()["version"]["hooks"] == ["hooks:own", "lessons_quizzes:quizzes", "lessons_maps:maps"]
    (app.project.data / "plugins.json").unlink()
    assert app.status()["problems"] == []  # the application has decided
    app.update()
    assert app.project.traces() == ["own", "quizzes"]


def test_a_set_has_an_order_and_none_means_no_plugin(make) -> None:
    app = make("plugins:active\n    none:active")
    app.hooks("def active(config): ...", "none")
    app.hooks(
        "def active(config): return {'lessons.quizzes:', 'hooks', 'lessons.maps:'}\ndef none(config): ...", "plugins"
    )
    app.install("0.7").update()
    assert app.project.traces() == ["own", "maps", "quizzes"]


WRONG = [
    ("1 / 0", "version_hooks = plugins:active failed: ZeroDivisionError: division by zero."),
    ("exit(0)", "version_hooks = plugins:active failed: SystemExit: 0."),
    ("return 'lessons.maps:'", "version_hooks = plugins:active returned 'lessons.maps:'; it must return a list"),
    ("return ['plugins:active']", "version_hooks = plugins:active returned 'plugins:active'; it must return"),
    ("return [Path('x')]", "version_hooks = plugins:active returned PosixPath('x'); it must return a list"),
    ("return ['gone.upgrades']", "version_hooks = plugins:active, which names gone.upgrades: importing"),
    ("return ['lessons.gone:']", "version_hooks = plugins:active, which names lessons.gone: no installed plugin"),
]


def test_whatever_is_wrong_with_the_answer_is_told_and_nothing_runs(make) -> None:
    app = make("hooks\n    plugins:active").install("0.7")
    for body, words in WRONG:
        app.hooks(f"def active(config):\n    print('on stdout')\n    {body}", "plugins")
        error = app.run("update", "--yes", "--json").exited(1).events[-1]["error"]
        assert words in error["message"]
        assert error["stands"] == "Nothing was changed."
    configure(app, "hooks\n    plugins:active", "hooks\n    hooks:actve")
    assert "version_hooks = hooks:actve: hooks has no 'actve'" in app.run("status").exited(1).told
    assert app.project.traces() == []


# -- in the middle of a hook


def test_an_interrupted_hook_whose_plugin_was_deactivated_asks_for_it_again(make) -> None:
    app = make("lessons.maps:", MARIADB)
    ddl = "script.connection.execute(sa.text('CREATE TABLE IF NOT EXISTS u (id INTEGER)'))"
    body = f"{ddl}\nif Path('fail').exists():\n    raise RuntimeError('the cause')"
    app.hooks(app.hook("maps", BELOW, body), "lessons_maps")
    (app.project.root / "fail").touch()
    app.install("0.7").run("update", "--yes").exited(1)
    (app.project.root / "fail").unlink()
    configure(app, "lessons.maps:", "lessons.quizzes:")
    asks = "see that version_hooks names its module or plugin"
    assert asks in app.run("update", "--yes").exited(1).told
    assert asks in app.status()["problems"][0]["hint"]
    configure(app, "lessons.quizzes:", "lessons.maps:")
    app.update()
    assert [row[1] for row in app.ledger()] == ["v1", "lessons_maps:maps", "lessons==0.7"]
