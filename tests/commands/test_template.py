"""New scripts and `init`: what is written always loads, overwrites nothing, and is there whole or not at all."""

import ast
import errno
import io
import os
import resource
import subprocess
import sys
from datetime import datetime

import alembic.command
import pytest
from alembic.config import Config as AlembicConfig
from hypothesis import given
from hypothesis import strategies as st

from fietsupdate.commands.init import init
from fietsupdate.commands.template import ScriptDraft, ScriptKind, new_id, render, write
from fietsupdate.config.application import activated
from fietsupdate.config.config import find_files, load_config
from fietsupdate.errors import ConfigError, FilesError, ScriptError, UsageError
from fietsupdate.model import Folder
from fietsupdate.planning.loader import load
from fietsupdate.planning.metadata import read_script

CREATED = datetime(2026, 11, 21, 21, 0, 37)  # noqa: DTZ001  # the administrator's own clock

IDS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", fullmatch=True).filter(
    lambda text: text not in {"head", "heads", "base"}
)
REVISIONS = st.from_regex(r"[0-9a-f]{4,40}", fullmatch=True)
MESSAGES = st.text(max_size=60) | st.text(alphabet="\"'\\\n\r\t {}%#x", max_size=30)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "updates"
    path.mkdir()
    return Folder("updates", path)


@pytest.fixture
def no_file_longer_than():
    """Let writes beyond so many bytes fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def draft(update_id="30ppwg8zi4ujb46f", message="", **more) -> ScriptDraft:
    return ScriptDraft(update_id, CREATED, message, **more)


def tree(path):
    return {str(file.relative_to(path)): file.is_file() and file.read_bytes() for file in path.rglob("*")}


def test_a_script_tells_everything_that_it_was_asked_to(folder):
    path = write(
        draft(message="Move GPX data out of the database.", previous=("v0.4.0",), alembic_revisions=("c939800af428",)),
        folder,
    )
    assert path == folder.path / "upd_20261121_30ppwg8zi4ujb46f.py"
    assert path.read_text().startswith(
        '"""Move GPX data out of the database.\n\nDate created: 2026-11-21 21:00:37\n"""\n\n'
        "from fietsupdate import Settings, UpdateScript\n\n"
        'update_id = "30ppwg8zi4ujb46f"\nprevious = ["v0.4.0"]\nalembic_revision = "c939800af428"\natomic = True\n'
    )
    (update,) = load([folder])
    assert (update.update_id, update.previous) == ("30ppwg8zi4ujb46f", ("v0.4.0",))
    assert (update.alembic_revisions, update.atomic, update.has_down) == (("c939800af428",), True, True)
    assert (update.summary, update.baseline) == ("Move GPX data out of the database.", False)


@pytest.mark.parametrize(
    ("revisions", "line"),
    [((), "alembic_revision = None\n"), (("a",), 'alembic_revision = "a"\n'), (("a", "b"), '_revision = ["a", "b"]\n')],
)
def test_alembic_revisions_are_none_one_or_several(revisions, line):
    assert line in render(draft(alembic_revisions=revisions))


def test_both_hooks_of_both_classes_are_typed():
    classes = [node for node in ast.parse(render(draft())).body if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes] == ["Up", "Down"]
    for node in classes:
        hooks = [hook for hook in node.body if isinstance(hook, ast.FunctionDef)]
        assert [hook.name for hook in hooks] == ["pre_alembic", "post_alembic"]
        assert {ast.unparse(hook.args) for hook in hooks} == {"self, config: Settings"}


@pytest.mark.parametrize("kind", [ScriptKind.RELEASE, ScriptKind.MERGE, ScriptKind.BASELINE])
def test_releases_merges_and_baselines_have_no_hooks(folder, kind):
    path = write(draft(kind=kind), folder)
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    assert [[type(part) for part in node.body] for node in classes] == [[ast.Expr], [ast.Expr]]
    assert load([folder])[0].baseline == (kind is ScriptKind.BASELINE)


@pytest.mark.parametrize("kind", ScriptKind)
def test_a_script_runs_as_python(kind):
    names = {}
    exec(compile(render(draft(message="x", kind=kind)), "script.py", "exec"), names)
    assert names["Up"].__bases__ == names["Down"].__bases__
    names["Up"]().pre_alembic({})
    names["Down"]().post_alembic({})


@given(
    update_id=IDS, message=MESSAGES, previous=st.lists(IDS, unique=True, max_size=9), kind=st.sampled_from(ScriptKind)
)
def test_a_script_says_what_was_meant_whatever_the_message(update_id, message, previous, kind):
    asked = draft(update_id, message, previous=tuple(previous), kind=kind)
    content = render(asked).encode()
    update = read_script(content, "script.py", "updates")
    assert (update.update_id, update.previous) == (update_id, tuple(previous))
    text = ast.get_docstring(ast.parse(content), clean=False)
    lines = [line.expandtabs().rstrip() for line in message.strip().splitlines()]
    if any(lines):
        assert text == "\n".join(lines) + "\n\nDate created: 2026-11-21 21:00:37\n"


def test_scripts_are_as_the_formatter_writes_them(tmp_path):
    pytest.importorskip("ruff")
    long_ids = tuple(f"an_id_of_some_length_{number}" for number in range(5))
    messages = [
        "",
        "Plain.",
        'say "hi"',
        '"',
        '"""',
        "a\\",
        "one\n\n  two\n\tthree  ",
        "é ü 中",
        "\x00\x1b",
        "'" * 4,
        'x"',
    ]
    for number, message in enumerate(messages):
        for kind in ScriptKind:
            text = render(draft(f"u{number}", message, previous=long_ids[: number % 6], kind=kind))
            (tmp_path / f"{kind}_{number}.py").write_text(text)
    (tmp_path / "longest.py").write_text(render(draft("x" * 64, alembic_revisions=("r" * 64,), previous=("y" * 64,))))
    ran = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr


@pytest.mark.parametrize(
    "update_id", ["", "../x", "a b", ".a", "-1", "a/b", "a\n", "ä", "x" * 65, "head", "heads", "base"]
)
def test_what_is_no_id_is_refused(update_id):
    with pytest.raises(UsageError, match="cannot name an update"):
        draft(update_id)


def test_ids_made_up_are_valid_and_differ():
    made = {new_id() for _ in range(200)}
    assert len(made) == 200
    assert all(draft(one).update_id == one and len(one) == 16 and one[0].isalpha() for one in made)


def test_nothing_is_overwritten(folder):
    first = write(draft(message="first"), folder)
    before = tree(folder.path)
    with pytest.raises(ScriptError) as caught:
        write(draft(message="second"), folder)
    assert caught.value.message == f"{first} exists already."
    assert caught.value.stands == "Nothing was written."
    assert tree(folder.path) == before


def test_a_folder_that_cannot_be_written_is_named(folder):
    folder.path.rmdir()
    with pytest.raises(FilesError, match=f"{folder.path}/.* cannot be written: No such file or directory"):
        write(draft(), folder)


def test_what_would_not_load_is_not_written(folder):
    with pytest.raises(ScriptError, match="alembic_revision 'a b' is not the id of a revision"):
        write(draft(alembic_revisions=("a b",)), folder)
    assert tree(folder.path) == {}


def test_a_script_that_is_half_written_is_not_there(folder, no_file_longer_than):
    no_file_longer_than(100)
    with pytest.raises(FilesError, match=r"upd_20261121_30ppwg8zi4ujb46f\.py cannot be written: File too large"):
        write(draft(), folder)
    assert tree(folder.path) == {}


def test_a_file_system_without_hard_links_will_do(folder, monkeypatch):
    def refused(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    path = write(draft(message="first"), folder)
    assert tree(folder.path) == {path.name: render(draft(message="first")).encode()}
    with pytest.raises(ScriptError, match="exists already"):
        write(draft(message="second"), folder)
    assert tree(folder.path) == {path.name: render(draft(message="first")).encode()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root creates for others")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path):
    path = ini_project(tmp_path)
    os.chown(tmp_path, 1234, 1234)
    done = init(path, None, created=CREATED)
    assert [(made.stat().st_uid, made.stat().st_gid) for made in (done.folder, done.script)] == [(1234, 1234)] * 2


# init


ALEMBIC_INI = "# kept as it is\n[alembic]\nscript_location = %(here)s/alembic\n\n[loggers]\nkeys = root\n"


def ini_project(folder, text=ALEMBIC_INI):
    path = folder / "alembic.ini"
    path.write_bytes(text.encode())
    return path


def test_init_adds_section_folder_and_baseline(tmp_path):
    path = ini_project(tmp_path)
    done = init(path, None, created=CREATED, heads=("c939800af428",))
    assert path.read_text() == ALEMBIC_INI + ("\n[fietsupdate]\nupdates = %(here)s/updates\ndata_dir = %(here)s/data\n")
    with activated(load_config(environ={}, cwd=tmp_path)) as site:
        (update,) = load(site.folders)
        assert site.data_dir == tmp_path / "data"
    assert (update.baseline, update.alembic_revisions, update.previous) == (True, ("c939800af428",), ())
    assert (done.already, done.file, done.section) == (False, path, "fietsupdate")
    assert (done.folder, done.script) == (tmp_path / "updates", update.path)


def test_init_a_second_time_changes_nothing(tmp_path):
    path = ini_project(tmp_path)
    init(path, None, created=CREATED)
    before = tree(tmp_path)
    again = init(path, None, created=CREATED, heads=("other",))
    assert (again.already, again.file, again.section) == (True, path, "fietsupdate")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("text", [ALEMBIC_INI.rstrip(), ALEMBIC_INI.replace("\n", "\r\n"), "[alembic]\nx =\n  a\n  b"])
def test_init_appends_and_never_rewrites(tmp_path, text):
    path = ini_project(tmp_path, text)
    init(path, None, created=CREATED)
    content = path.read_bytes()
    assert content.startswith(text.encode())
    assert (b"\r\n" in content) == ("\r\n" in text)
    assert content.count(b"\n") == content.count(b"\r\n") or b"\r" not in content
    assert load_config(environ={}, cwd=tmp_path).data_dir == tmp_path / "data"


def test_init_writes_into_pyproject_where_alembic_is_configured_there(tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text('[tool.alembic]\nscript_location = "alembic"\n')
    done = init(None, path, created=CREATED, data_dir='/srv/"my" data')
    assert (done.file, done.section) == (path, "tool.fietsupdate")
    config = load_config(environ={}, cwd=tmp_path)
    assert (config.data_dir, config.updates) == (tmp_path / '/srv/"my" data', (str(tmp_path / "updates"),))
    assert init(None, path, created=CREATED).already


def test_init_prefers_the_ini_where_alembic_is_configured(tmp_path):
    """pyproject.toml of the build beside alembic.ini, or the other way around."""
    toml = tmp_path / "pyproject.toml"
    toml.write_text('[build-system]\nrequires = ["hatchling"]\n')
    ini = ini_project(tmp_path)
    assert init(ini, toml, created=CREATED).file == ini
    ini.write_text("[alembic_logging]\n")
    toml.write_text("[tool.alembic]\n")
    assert init(ini, toml, created=CREATED).file == toml


@pytest.mark.parametrize("template", ["generic", "async", "multidb", "pyproject", "pyproject_async"])
def test_init_follows_every_template_of_alembic(tmp_path, monkeypatch, template):
    monkeypatch.chdir(tmp_path)
    alembic_config = AlembicConfig("alembic.ini", toml_file="pyproject.toml", stdout=io.StringIO())
    alembic.command.init(alembic_config, "alembic", template=template)
    before = tree(tmp_path)
    done = init(*find_files(environ={}, cwd=tmp_path), created=CREATED)
    assert done.file.read_bytes().startswith(before[done.file.name])
    config = load_config(environ={}, cwd=tmp_path)
    assert (config.data_dir, config.prepend_sys_path) == (tmp_path / "data", (tmp_path,))
    with activated(config) as site:
        assert [update.path for update in load(site.folders)] == [done.script]


def test_init_keeps_the_data_of_flask_migrate_out_of_its_folder(tmp_path):
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations/env.py").touch()
    path = ini_project(tmp_path / "migrations", "# A generic, single database configuration.\n\n[alembic]\n")
    init(path, None, created=CREATED)
    config = load_config(["migrations/alembic.ini"], environ={}, cwd=tmp_path)
    assert config.data_dir == tmp_path / "data"
    assert config.updates == (str(tmp_path / "migrations/updates"),)


def test_init_hands_the_settings_of_a_pyramid_application_to_hooks(tmp_path):
    path = ini_project(tmp_path, "[app:main]\nmyapp.size = 3\n\n[alembic]\n")
    init(path, None, created=CREATED)
    assert load_config(environ={}, cwd=tmp_path).settings["myapp.size"] == "3"


def test_init_for_another_alembic_section_gets_a_section_of_its_own(tmp_path):
    path = ini_project(tmp_path, ALEMBIC_INI + "[tenant]\nscript_location = tenant\n")
    init(path, None, created=CREATED)
    assert (
        init(path, None, created=CREATED, alembic_section="tenant", data_dir="tenant").section == "fietsupdate:tenant"
    )
    assert load_config(section="tenant", environ={}, cwd=tmp_path).data_dir == tmp_path / "tenant"


def test_init_without_alembic_is_refused(tmp_path):
    path = ini_project(tmp_path, "[app:main]\n")
    with pytest.raises(ConfigError, match=r"there is no \[alembic\] section in .*/alembic\.ini\.") as caught:
        init(path, None, created=CREATED)
    assert "alembic init" in caught.value.hint
    assert tree(tmp_path) == {"alembic.ini": b"[app:main]\n"}


def test_init_leaves_a_folder_with_scripts_as_it_is(tmp_path):
    """The way in for an application whose scripts were written for another updater."""
    path = ini_project(tmp_path)
    (tmp_path / "updates").mkdir()
    write(draft("v1"), Folder("updates", tmp_path / "updates"))
    done = init(path, None, created=CREATED)
    assert (done.already, done.script) == (False, None)
    assert len(list((tmp_path / "updates").iterdir())) == 1


@pytest.mark.parametrize("data_dir", ["100%", "%(nowhere)s", "a\n  b", "a\nb = c"])
def test_init_refuses_a_data_dir_that_would_spoil_the_file(tmp_path, data_dir):
    path = ini_project(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(ConfigError) as caught:
        init(path, None, created=CREATED, data_dir=data_dir)
    assert caught.value.stands == "Nothing was written."
    assert tree(tmp_path) == before


def test_init_that_cannot_append_takes_everything_back(tmp_path, no_file_longer_than):
    """The file grows by ten bytes, then the disk is full."""
    path = ini_project(tmp_path, ALEMBIC_INI + "# padding\n" * 500)
    before = tree(tmp_path)
    no_file_longer_than(path.stat().st_size + 10)
    with pytest.raises(FilesError) as caught:
        init(path, None, created=CREATED)
    assert caught.value.message == f"{path} cannot be written: No space left on device."
    assert caught.value.stands == "Nothing was written."
    assert tree(tmp_path) == before
