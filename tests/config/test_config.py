"""The configuration: what is read from where, who outranks whom, and what a mistake is answered with."""

import subprocess
import sys
from pathlib import Path

import pytest

from fietsupdate.config.application import activated
from fietsupdate.config.config import Config, Settings, find_files, load_callable, load_config
from fietsupdate.config.keys import KEYS
from fietsupdate.errors import ConfigError
from fietsupdate.model import Folder, Policy

INI = """\
[alembic]
script_location = %(here)s/alembic

[fietsupdate]
updates = %(here)s/updates
data_dir = %(here)s/data
"""


@pytest.fixture
def project(tmp_path):
    """An ordinary project: alembic.ini with our section, and the folder of update scripts."""
    (tmp_path / "updates").mkdir()
    (tmp_path / "alembic.ini").write_text(INI)
    return tmp_path


@pytest.fixture
def module(tmp_path):
    """Write a module beside alembic.ini that `activated` can import; it is forgotten afterwards."""
    written = []

    def write(source, name="appconf"):
        (tmp_path / f"{name}.py").write_text(source)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def load(folder, *files, **wishes) -> Config:
    return load_config(files, **{"environ": {}, "cwd": folder, **wishes})


def section(folder, lines, *, alembic="[alembic]\nprepend_sys_path = %(here)s\npath_separator = os\n"):
    """Write an alembic.ini whose [fietsupdate] section says these lines, too."""
    (folder / "updates").mkdir(exist_ok=True)
    (folder / "alembic.ini").write_text(f"{alembic}\n[fietsupdate]\nupdates = updates\n{lines}\n")


# Where the files are found


def test_alembic_ini_in_the_working_directory_is_read(project):
    config = load(project)
    assert (config.ini, config.toml) == (project / "alembic.ini", None)
    assert config.here == project
    assert config.updates == (str(project / "updates"),)
    assert config.data_dir == project / "data"
    assert config.alembic_section == "alembic"


def test_what_the_file_leaves_out_has_a_default(project):
    config = load(project)
    assert (config.setup, config.alembic_config, config.version_file) == ("", "", "VERSION")
    assert (config.guard, config.lock_timeout, config.backup_dir) == (True, 600.0, None)
    assert (dict(config.extra_dirs), config.x, config.prepend_sys_path) == ({}, (), ())


def test_a_named_file_is_read_from_anywhere(project, tmp_path_factory):
    config = load(tmp_path_factory.mktemp("elsewhere"), project / "alembic.ini")
    assert config.data_dir == project / "data"


def test_a_name_is_relative_to_the_working_directory(project):
    assert load(project.parent, f"{project.name}/alembic.ini").ini == project / "alembic.ini"


@pytest.mark.parametrize("variable", ["FIETSUPDATE_CONFIG", "ALEMBIC_CONFIG"])
def test_a_variable_names_the_file(project, tmp_path_factory, variable):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert load(elsewhere, environ={variable: str(project / "alembic.ini")}).here == project


def test_our_variable_outranks_that_of_alembic(project):
    environ = {"FIETSUPDATE_CONFIG": "alembic.ini", "ALEMBIC_CONFIG": "not_there.ini"}
    assert load(project, environ=environ).ini == project / "alembic.ini"


def test_a_named_file_outranks_the_variables(project):
    assert load(project, "alembic.ini", environ={"FIETSUPDATE_CONFIG": "not_there.ini"}).here == project


def test_no_file_at_all_says_what_was_looked_for(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.message == (
        f"There is no configuration: neither alembic.ini nor pyproject.toml is in {tmp_path}."
    )
    assert caught.value.hint == "Name it with `fietsupdate -c FILE` or in FIETSUPDATE_CONFIG."


def test_the_hint_knows_where_flask_migrate_keeps_its_file(tmp_path):
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations/alembic.ini").write_text("[alembic]\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert "`fietsupdate -c migrations/alembic.ini`" in caught.value.hint


@pytest.mark.parametrize(
    ("files", "environ", "asked"),
    [(["gone.ini"], {}, "-c"), ([], {"FIETSUPDATE_CONFIG": "gone.ini"}, "FIETSUPDATE_CONFIG")],
)
def test_a_missing_file_is_named_with_whoever_named_it(project, files, environ, asked):
    with pytest.raises(ConfigError) as caught:
        load(project, *files, environ=environ)
    assert caught.value.message == f"There is no file {project / 'gone.ini'}, which {asked} names."


def test_two_ini_files_are_refused(project):
    (project / "other.ini").write_text(INI)
    with pytest.raises(ConfigError, match=r"one \.ini file is read"):
        load(project, "alembic.ini", "other.ini")


def test_both_kinds_of_file_are_found_together(project):
    (project / "pyproject.toml").write_text("")
    assert find_files((), environ={}, cwd=project) == (project / "alembic.ini", project / "pyproject.toml")


# Who outranks whom


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"option": "1", "variable": "2", "ini": "3", "toml": "4"}, 1.0),
        ({"variable": "2", "ini": "3", "toml": "4"}, 2.0),
        ({"ini": "3", "toml": "4"}, 3.0),
        ({"toml": "4"}, 4.0),
        ({}, 600.0),
        ({"variable": "", "ini": "3"}, 3.0),
        ({"option": "1", "toml": "4"}, 1.0),
    ],
)
def test_option_then_variable_then_ini_then_toml(tmp_path, given, expected):
    section(tmp_path, f"lock_timeout = {given.get('ini', '')}")
    (tmp_path / "pyproject.toml").write_text(
        f"[tool.fietsupdate]\nlock_timeout = {given['toml']}\n" if "toml" in given else ""
    )
    config = load(
        tmp_path,
        options={"lock_timeout": given["option"]} if "option" in given else {},
        environ={"FIETSUPDATE_LOCK_TIMEOUT": given["variable"]} if "variable" in given else {},
    )
    assert config.lock_timeout == expected


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("updates", "/a\n/b", ("/a", "/b")),
        ("data_dir", "/d", Path("/d")),
        ("settings_section", "alembic", None),
        ("setup", "m:f", "m:f"),
        ("version_file", "", ""),
        ("data_version_file", ".data_version", ".data_version"),
        ("extra_dirs", "media=/m", {"media": Path("/m")}),
        ("backup_dir", "/b", Path("/b")),
        ("backup", "full", Policy.FULL),
        ("keep", "all", None),
        ("guard", "off", False),
        ("lock_timeout", "0", 0.0),
        ("alembic_config", "m:g", "m:g"),
        ("distribution", "shop", "shop"),
        ("version_hooks", "shop.a\nshop.b", ("shop.a", "shop.b")),
        ("templates", "/t", Path("/t")),
        ("rehearsal_dir", "/r", Path("/r")),
        ("rehearsal", "dump", "dump"),
        ("checks", "shop.checks\nshop.more", ("shop.checks", "shop.more")),
        ("audit", "warn", "warn"),
        ("running", "pidof shop", "pidof shop"),
        ("notify", "logger -t shop", "logger -t shop"),
        ("maintenance", "/run/shop/maintenance", Path("/run/shop/maintenance")),
    ],
)
def test_every_key_can_be_given_by_option_and_by_variable(project, key, text, expected):
    by_option = load(project, options={key: text})
    by_variable = load(project, environ={f"FIETSUPDATE_{key.upper()}": text})
    assert by_option == by_variable
    assert by_option.overrides == {key}
    if expected is not None:
        assert getattr(by_option, key) == expected


def test_the_table_above_knows_every_key():
    parameters = test_every_key_can_be_given_by_option_and_by_variable.pytestmark[0].args[1]
    assert {row[0] for row in parameters} == set(KEYS)


def test_options_alone_are_enough_beside_an_alembic_section(tmp_path):
    (tmp_path / "alembic.ini").write_text("[alembic]\n")
    config = load(tmp_path, environ={"FIETSUPDATE_UPDATES": "updates", "FIETSUPDATE_DATA_DIR": "data"})
    assert (config.updates, config.data_dir) == ((str(tmp_path / "updates"),), tmp_path / "data")


def test_an_empty_version_file_turns_it_off(tmp_path):
    section(tmp_path, "version_file =")
    assert load(tmp_path).version_file == ""


# Values


def test_paths_in_a_file_are_relative_to_its_folder(project, tmp_path_factory):
    (project / "alembic.ini").write_text("[alembic]\n[fietsupdate]\nupdates = updates\ndata_dir = ../data\n")
    config = load(tmp_path_factory.mktemp("elsewhere"), project / "alembic.ini")
    assert config.updates == (str(project / "updates"),)
    assert config.data_dir == project.parent / "data"


def test_paths_in_options_are_relative_to_the_working_directory(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    config = load(elsewhere, project / "alembic.ini", options={"data_dir": "data"})
    assert config.data_dir == elsewhere / "data"


def test_updates_stand_one_a_line_and_may_lie_in_packages(tmp_path):
    section(tmp_path, "")
    (tmp_path / "alembic.ini").write_text(
        "[alembic]\n[fietsupdate]\nupdates =\n    updates\n\n    # a comment\n    plugin.data:updates\n"
    )
    assert load(tmp_path).updates == (str(tmp_path / "updates"), "plugin.data:updates")


def test_a_folder_named_twice_is_refused(tmp_path):
    section(tmp_path, "    ./updates/")
    with pytest.raises(ConfigError, match=rf"updates names {tmp_path}/updates twice"):
        load(tmp_path)


def test_extra_dirs_have_names(tmp_path):
    section(tmp_path, "extra_dirs =\n  media = /srv/media\n  mail=mail=box")
    assert load(tmp_path).extra_dirs == {"media": Path("/srv/media"), "mail": tmp_path / "mail=box"}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("guard = perhaps", "'perhaps'; it must be true or false."),
        ("backup = sometimes", "'sometimes'; it must be auto, full or never."),
        ("keep = 0", "'0'; it must be a number of backups, 1 or more, or all."),
        ("keep = many", "'many'; it must be a number of backups, 1 or more, or all."),
        ("lock_timeout = soon", "'soon'; it must be a number of seconds, 0 or more."),
        ("lock_timeout = -1", "'-1'; it must be a number of seconds, 0 or more."),
        ("lock_timeout = nan", "'nan'; it must be a number of seconds, 0 or more."),
        ("setup = myapp", "'myapp'; it must be a callable, written package.module:name."),
        ("extra_dirs = /srv/media", "'/srv/media'; it must be one `name=folder` a line."),
        ("version_file = ../VERSION", "'../VERSION'; it must be the name of a file inside the data directory, or "),
        ("data_version_file = ../x", "'../x'; it must be the name of a file inside the data directory, or empty"),
        ("version_file = /VERSION", "'/VERSION'; it must be the name of a file inside the data directory, or "),
        ("data_dir = a\n  b", "'a\\nb'; it must be one line of text."),
    ],
)
def test_an_impossible_value_is_told_with_file_line_and_key(tmp_path, line, wanted):
    section(tmp_path, line)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    key = line.partition(" ")[0]
    assert caught.value.message.startswith(f"{tmp_path}/alembic.ini:7: {key} is {wanted}")


def test_an_impossible_variable_is_named(project):
    with pytest.raises(ConfigError) as caught:
        load(project, environ={"FIETSUPDATE_GUARD": "maybe"})
    assert caught.value.message == ("The environment variable FIETSUPDATE_GUARD is 'maybe'; it must be true or false.")


# Mistakes in the file


def test_a_misspelt_key_gets_a_suggestion(tmp_path):
    section(tmp_path, "datadir = /srv/data")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.message == (
        f"{tmp_path}/alembic.ini:7: [fietsupdate] has no key 'datadir', did you mean 'data_dir'?"
    )


def test_an_unknown_key_lists_the_known_ones(tmp_path):
    section(tmp_path, "colour = green")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.message == f"{tmp_path}/alembic.ini:7: [fietsupdate] has no key 'colour'."
    assert "updates, data_dir, settings_section" in caught.value.hint


def test_a_misspelt_variable_gets_a_suggestion(project):
    with pytest.raises(ConfigError, match="FIETSUPDATE_DATADIR means nothing, did you mean FIETSUPDATE_DATA_DIR"):
        load(project, environ={"FIETSUPDATE_DATADIR": "/srv"})


def test_variables_that_only_share_the_prefix_are_nobodys_mistake(project):
    assert load(project, environ={"FIETSUPDATE_YES": "1", "FIETSUPDATE_DEMO": "x"}) == load(project)


def test_a_key_with_a_dot_belongs_to_the_application(tmp_path):
    section(tmp_path, "thumbnails.size = 200")
    assert load(tmp_path).settings["thumbnails.size"] == "200"


def test_a_missing_section_is_told_with_the_command_that_adds_it(tmp_path):
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = alembic\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.message == f"There is no [fietsupdate] section in {tmp_path}/alembic.ini."
    assert caught.value.hint == "Run `fietsupdate init` to add it."


def test_a_section_without_updates_is_told_what_to_add(tmp_path):
    (tmp_path / "alembic.ini").write_text("[alembic]\n\n[fietsupdate]\ndata_dir = data\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.message == f"{tmp_path}/alembic.ini:3: [fietsupdate] has no `updates`."


def test_a_misspelt_alembic_section_gets_a_suggestion(project):
    with pytest.raises(ConfigError, match=r"there is no \[alembik\] section in .*alembic.ini, did you mean 'alembic'?"):
        load(project, section="alembik")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("updates = x\n", ":1: text before the first [section]: 'updates = x'."),
        ("[alembic]\nnonsense\n", ":2: not `key = value`, and not a [section]: nonsense"),
        ("[alembic]\n[alembic]\n", ":2: the section [alembic] is there a second time."),
        ("[alembic]\na = 1\na = 2\n", ":3: the section [alembic] has 'a' a second time."),
        (
            "[alembic]\n[fietsupdate]\nupdates = %(hier)s/u\n",
            ":3: updates uses %(hier)s, which stands neither in [fietsupdate] nor in [DEFAULT].",
        ),
        ("[alembic]\n[fietsupdate]\nupdates = 100%\n", ":3: updates has a percent sign that starts no %(name)s."),
        ("[alembic]\n[fietsupdate]\nupdates = %(updates)s\n", ":3: updates refers to itself."),
    ],
)
def test_a_mistake_in_the_ini_is_told_with_file_and_line(tmp_path, text, message):
    (tmp_path / "alembic.ini").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.message.startswith(f"{tmp_path}/alembic.ini{message}")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "alembic.ini").write_bytes(b"[alembic]\n\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"alembic\.ini is not text: byte 10"):
        load(tmp_path)


# pyproject.toml

PYPROJECT = """\
[tool.alembic]
script_location = "%(here)s/alembic"
prepend_sys_path = ["."]

[tool.fietsupdate]
updates = ["%(here)s/updates", "plugin:updates"]
data_dir = "%(here)s/data"
guard = false
lock_timeout = 2.5
"thumbnails.size" = 200

[tool.fietsupdate.extra_dirs]
media = "%(here)s/media"
"""


def test_pyproject_alone_is_enough(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    config = load(tmp_path)
    assert (config.ini, config.toml, config.here) == (None, tmp_path / "pyproject.toml", tmp_path)
    assert config.updates == (str(tmp_path / "updates"), "plugin:updates")
    assert (config.data_dir, config.guard, config.lock_timeout) == (tmp_path / "data", False, 2.5)
    assert config.extra_dirs == {"media": tmp_path / "media"}
    assert config.prepend_sys_path == (tmp_path,)
    assert config.settings["thumbnails.size"] == 200


def test_ini_and_pyproject_complete_each_other(tmp_path):
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "alembic.ini").write_text("[fietsupdate]\ndata_dir = /srv/data\n")
    config = load(tmp_path)
    assert config.updates == (str(tmp_path / "updates"), "plugin:updates")
    assert config.data_dir == Path("/srv/data")
    assert config.settings["data_dir"] == "/srv/data"


def test_a_toml_table_can_be_the_settings_section(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        PYPROJECT.replace("guard = false", 'settings_section = "tool.myapp"')
        + '[tool.myapp]\nsize = 3\nat = "%(here)s"\n'
    )
    assert load(tmp_path).settings == {"size": 3, "at": str(tmp_path)}


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[tool.fietsupdate\n", ":1: this is not TOML: "),
        (PYPROJECT.replace("guard", "gard"), ":8: [tool.fietsupdate] has no key 'gard', did you mean 'guard'?"),
        (PYPROJECT.replace("false", '"perhaps"'), ":8: guard is 'perhaps'; it must be true or false."),
        (PYPROJECT.replace("2.5", "true"), ":9: lock_timeout is True; it must be a number of seconds, 0 or more."),
        (PYPROJECT.replace('"plugin:updates"', "3"), ":6: updates is ['"),
        (PYPROJECT.replace("s/data", "x/data"), ":7: data_dir cannot be interpolated: "),
        ("[tool]\nfietsupdate = 3\n", ": tool.fietsupdate is 3; it must be a table, written [tool.fietsupdate]."),
    ],
)
def test_a_mistake_in_pyproject_is_told_with_file_and_line(tmp_path, toml, message):
    (tmp_path / "pyproject.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert caught.value.message.startswith(f"{tmp_path}/pyproject.toml{message}")


# Layouts


def test_flask_migrates_ini_needs_no_script_location(tmp_path):
    """migrations/alembic.ini holds logging only; env.py lies beside it."""
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    (migrations / "alembic.ini").write_text(
        "[alembic]\n# template used to generate migration files\n"
        "[fietsupdate]\nupdates = ../updates\ndata_dir = ../data\n"
    )
    config = load(tmp_path, "migrations/alembic.ini")
    assert config.here == migrations
    assert config.updates == (str(tmp_path / "updates"),)


PASTE = """\
[DEFAULT]
debug = false
home = %(here)s

[app:main]
use = egg:myapp
sqlalchemy.url = sqlite:///%(here)s/app.sqlite
myapp.data_dir = %(home)s/data
myapp.file = %(__file__)s
Mixed_Case = yes
set debug = true
get myapp.home = home

[alembic]
script_location = myapp:alembic

[fietsupdate]
updates = updates
data_dir = data
settings_section = app:main
"""


def test_a_pastedeploy_section_is_read_as_pyramid_reads_it(tmp_path):
    (tmp_path / "production.ini").write_text(PASTE)
    settings = load(tmp_path, "production.ini").settings
    assert settings["sqlalchemy.url"] == f"sqlite:///{tmp_path}/app.sqlite"
    assert settings["myapp.data_dir"] == f"{tmp_path}/data"
    assert settings["myapp.file"] == str(tmp_path / "production.ini")
    assert settings["Mixed_Case"] == "yes"
    assert (settings["debug"], settings["myapp.home"]) == ("true", str(tmp_path))
    assert (settings["here"], settings["__file__"]) == (str(tmp_path), str(tmp_path / "production.ini"))


def test_a_pastedeploy_section_builds_on_another_file(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base/base.ini").write_text(
        "[DEFAULT]\nplace = base\n[app:main]\nat = %(here)s\nplaced = %(place)s %(town)s\ncolour = red\n"
    )
    (tmp_path / "production.ini").write_text(
        PASTE.replace("egg:myapp", "config:base/base.ini").replace("[DEFAULT]", "[DEFAULT]\ntown = Delft")
        + "[app:other]\ncolour = blue\n"
    )
    settings = load(tmp_path, "production.ini").settings
    assert (settings["at"], settings["colour"]) == (f"{tmp_path}/base", "red")
    assert settings["placed"] == "base Delft"
    assert settings["myapp.data_dir"] == f"{tmp_path}/data"


def test_a_pastedeploy_section_builds_on_another_section(tmp_path):
    (tmp_path / "p.ini").write_text(PASTE.replace("egg:myapp", "other") + "[app:other]\ncolour = blue\ndebug = 3\n")
    settings = load(tmp_path, "p.ini").settings
    assert (settings["colour"], settings["debug"]) == ("blue", "true")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("main", ":6: the files and sections named by `use` go in a circle."),
        ("nobody", ":6: {0}/p.ini has no section [app:nobody]."),
        ("config:p.ini#nobody", ":6: {0}/p.ini has no section [app:nobody]."),
    ],
)
def test_a_pastedeploy_section_that_builds_on_nothing_is_refused(tmp_path, use, message):
    (tmp_path / "p.ini").write_text(PASTE.replace("egg:myapp", use))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "p.ini")
    assert caught.value.message == f"{tmp_path}/p.ini{message.format(tmp_path)}"


def test_a_missing_settings_section_gets_a_suggestion(tmp_path):
    (tmp_path / "p.ini").write_text(PASTE.replace("= app:main", "= app:mein"))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "p.ini")
    assert caught.value.message == (
        f"{tmp_path}/p.ini:20: settings_section names the section [app:mein], which is not in {tmp_path}/p.ini, "
        "did you mean 'app:main'?"
    )


def test_another_alembic_section_has_a_section_of_ours(tmp_path):
    (tmp_path / "alembic.ini").write_text(
        INI + "[tenant]\nprepend_sys_path = tenants\n[fietsupdate:tenant]\nupdates = u\ndata_dir = t\n[archive]\n"
    )
    assert load(tmp_path, section="tenant").data_dir == tmp_path / "t"
    assert load(tmp_path, section="tenant").prepend_sys_path == (tmp_path / "tenants",)
    assert load(tmp_path, section="archive").data_dir == tmp_path / "data"


# Alembic's own key

ALEMBICS_PATHS = [
    "prepend_sys_path = .",
    "prepend_sys_path =",
    "",
    "prepend_sys_path = a b, c:d",
    "prepend_sys_path = %(here)s/a:b c\npath_separator = os",
    "prepend_sys_path = a ; b;\npath_separator = ;",
    "prepend_sys_path = a b\npath_separator = space",
    "prepend_sys_path =\n  a\n  b c\npath_separator = newline",
]


@pytest.mark.parametrize("lines", ALEMBICS_PATHS)
@pytest.mark.filterwarnings("ignore:No path_separator:DeprecationWarning")
def test_prepend_sys_path_means_what_it_means_to_alembic(tmp_path, lines):
    from alembic.config import Config as AlembicConfig

    section(tmp_path, "", alembic=f"[alembic]\n{lines}\n")
    (tmp_path / "pyproject.toml").write_text('[tool.alembic]\nprepend_sys_path = ["%(here)s/from_toml", "x"]\n')
    alembic = AlembicConfig(str(tmp_path / "alembic.ini"), toml_file=str(tmp_path / "pyproject.toml"))
    cwd = tmp_path / "cwd"
    config = load(cwd, tmp_path / "alembic.ini", tmp_path / "pyproject.toml")
    assert config.prepend_sys_path == tuple(cwd / path for path in alembic.get_prepend_sys_paths_list())


def test_an_unknown_path_separator_is_refused(tmp_path):
    section(tmp_path, "", alembic="[alembic]\nprepend_sys_path = .\npath_separator = comma\n")
    with pytest.raises(ConfigError, match=r"alembic.ini:3: path_separator is 'comma', not one of space, newline"):
        load(tmp_path)


def test_reading_the_configuration_imports_nothing_heavy():
    program = (
        "import sys, fietsupdate.config.config, fietsupdate.config.application; "
        "print([name for name in ('alembic', 'sqlalchemy', 'rich', 'jinja2', 'typer') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


# Settings


def test_settings_are_a_mapping():
    settings = Settings({"a": 1, "b": 2})
    assert dict(settings) == {"a": 1, "b": 2}
    assert settings.get("c", 3) == 3


def test_a_missing_setting_is_told_with_its_origin():
    with pytest.raises(KeyError) as caught:
        Settings({"myapp.size": 1}, "[app:main] of production.ini")["myapp.siez"]
    assert caught.value.args == ("no 'myapp.siez' in [app:main] of production.ini",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sqlalchemy.url", "sqlite:///hidden"),
        ("session.secret", "hidden"),
        ("SMTP_PASSWORD", "hidden"),
        ("api_key", "hidden"),
        ("broker", "amqp://user:hidden@host/"),
    ],
)
def test_the_repr_of_settings_hides_secrets(key, value):
    assert repr(Settings({key: value, "size": 3})) == f"Settings({{{key!r}: '***', 'size': 3}})"


def test_the_repr_of_a_config_hides_its_settings(tmp_path):
    section(tmp_path, "mail.password = hunter2")
    assert "hunter2" not in repr(load(tmp_path))


# The application


def test_a_site_knows_folders_and_data_directory(project):
    with activated(load(project)) as site:
        assert site.folders == (Folder("updates", project / "updates"),)
        assert site.data_dir == project / "data"
        assert site.settings["fietsupdate.data_dir"] == str(project / "data")


def test_the_url_joins_the_settings_once_it_is_known(project):
    with activated(load(project)) as site:
        assert "sqlalchemy.url" not in site.settings
        assert site.with_url("sqlite:///x").settings["sqlalchemy.url"] == "sqlite:///x"


def test_the_import_path_is_put_back(project):
    section(project, "data_dir = data")
    before = list(sys.path)
    with activated(load(project)):
        assert sys.path[0] == str(project)
        sys.path.append("/left/behind")
    assert sys.path == before


def test_a_data_directory_that_nobody_names_is_refused(tmp_path):
    section(tmp_path, "")
    with pytest.raises(ConfigError) as caught, activated(load(tmp_path)):
        pass
    assert caught.value.message == f"No data directory is named: {tmp_path}/alembic.ini has no data_dir."
    assert "data_dir = %(here)s/data" in caught.value.hint


def test_setup_returns_settings_that_outrank_the_file(tmp_path, module):
    section(tmp_path, "setup = appconf:for_updates\nmyapp.size = 1\ndata_dir = data")
    module("def for_updates():\n    return {'myapp.size': 2, 'fietsupdate.data_dir': 'elsewhere'}\n")
    with activated(load(tmp_path)) as site:
        assert site.settings["myapp.size"] == 2
        assert site.data_dir == tmp_path / "elsewhere"


@pytest.mark.parametrize("wishes", [{"options": {"data_dir": "mine"}}, {"environ": {"FIETSUPDATE_DATA_DIR": "mine"}}])
def test_option_and_variable_outrank_setup(tmp_path, module, wishes):
    section(tmp_path, "setup = appconf:for_updates")
    module("def for_updates():\n    return {'fietsupdate.data_dir': '/elsewhere'}\n")
    with activated(load(tmp_path, **wishes)) as site:
        assert site.data_dir == tmp_path / "mine"
        assert site.settings["fietsupdate.data_dir"] == str(tmp_path / "mine")


CONTEXT = """\
from contextlib import contextmanager

seen = []

@contextmanager
def for_updates():
    seen.append("entered")
    try:
        yield {"fietsupdate.data_dir": "/srv/data"}
    finally:
        seen.append("left")

@contextmanager
def swallowing():
    try:
        yield None
    except ZeroDivisionError:
        pass

@contextmanager
def failing():
    try:
        yield None
    finally:
        raise OSError("no more room")

class App:
    class Context:
        def __enter__(self):
            return self
        def __exit__(self, *_):
            return None
    def context(self):
        return self.Context()

app = App()
"""


def test_setup_may_give_a_context(tmp_path, module):
    section(tmp_path, "setup = appconf:for_updates")
    module(CONTEXT)
    with activated(load(tmp_path)) as site:
        assert sys.modules["appconf"].seen == ["entered"]
        assert site.data_dir == Path("/srv/data")
    assert sys.modules["appconf"].seen == ["entered", "left"]


def test_a_context_that_yields_itself_gives_no_settings(tmp_path, module):
    """As Flask's application context does."""
    section(tmp_path, "setup = appconf:app.context\ndata_dir = data")
    module(CONTEXT)
    with activated(load(tmp_path)) as site:
        assert site.data_dir == tmp_path / "data"


def test_a_context_cannot_swallow_the_failure_of_an_update(tmp_path, module):
    section(tmp_path, "setup = appconf:swallowing\ndata_dir = data")
    module(CONTEXT)
    with pytest.raises(ZeroDivisionError), activated(load(tmp_path)):
        raise ZeroDivisionError


def test_a_context_that_fails_does_not_hide_the_failure_of_an_update(tmp_path, module):
    section(tmp_path, "setup = appconf:failing\ndata_dir = data")
    module(CONTEXT)
    with pytest.raises(ZeroDivisionError) as caught, activated(load(tmp_path)):
        raise ZeroDivisionError
    assert caught.value.__notes__ == [
        "Then leaving the context of setup = appconf:failing failed: OSError: no more room."
    ]


def test_a_context_that_fails_at_the_end_says_that_the_work_is_done(tmp_path, module):
    section(tmp_path, "setup = appconf:failing\ndata_dir = data")
    module(CONTEXT)
    with pytest.raises(ConfigError) as caught, activated(load(tmp_path)):
        pass
    assert caught.value.message == "setup = appconf:failing: leaving its context failed: OSError: no more room."
    assert caught.value.stands == "Everything before it was finished."


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(): raise OSError('no keys')\n", "setup = appconf:f failed: OSError: no keys."),
        ("import sys\ndef f(): sys.exit(0)\n", "setup = appconf:f failed: SystemExit: 0."),
        ("import not_there\n", "setup = appconf:f: importing appconf failed: ModuleNotFoundError: No module named"),
        ("g = 1\n", "setup = appconf:f: appconf has no 'f'."),
        ("f = 1\n", "setup = appconf:f: f is int, which cannot be called."),
        ("def f(): return [1]\n", "setup = appconf:f returned list; it must be a mapping of settings, a context "),
        ("def f(): return {1: 2}\n", "setup = appconf:f returned dict; it must be a mapping of settings, a context "),
    ],
)
def test_a_setup_that_fails_is_named(tmp_path, module, source, message):
    section(tmp_path, "setup = appconf:f\ndata_dir = data")
    module(source)
    before = list(sys.path)
    with pytest.raises(ConfigError) as caught, activated(load(tmp_path)):
        pass
    assert caught.value.message.startswith(message)
    assert sys.path == before


def test_the_cause_of_a_failing_setup_is_kept(tmp_path, module):
    section(tmp_path, "setup = appconf:f\ndata_dir = data")
    module("def f(): raise OSError('no keys')\n")
    with pytest.raises(ConfigError) as caught, activated(load(tmp_path)):
        pass
    assert isinstance(caught.value.__cause__, OSError)


def test_a_callable_may_be_an_attribute_of_an_attribute():
    assert load_callable("os:path.join", "setup")("a", "b") == "a/b"


# Folders


def test_a_folder_inside_a_package_is_found_without_importing_it(tmp_path):
    package = tmp_path / "plugin_pkg"
    (package / "data/updates").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    section(tmp_path, "  plugin_pkg:data/updates\ndata_dir = data")
    with activated(load(tmp_path)) as site:
        assert site.folders[1] == Folder("plugin_pkg:data/updates", package / "data/updates")
    assert "plugin_pkg" not in sys.modules


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("not_installed:updates", "updates = not_installed:updates: not_installed is not installed in this Python."),
        ("not_installed.sub:updates", "updates = not_installed.sub:updates: looking for not_installed.sub failed: "),
        ("bisect:updates", "updates = bisect:updates: bisect is no package."),
    ],
)
def test_a_package_that_is_not_there_is_named(tmp_path, name, message):
    section(tmp_path, f"  {name}\ndata_dir = data")
    with pytest.raises(ConfigError) as caught, activated(load(tmp_path)):
        pass
    assert caught.value.message.startswith(message)


def test_a_folder_that_is_not_there_is_named(project):
    (project / "updates").rmdir()
    with (
        pytest.raises(ConfigError, match=f"There is no folder {project}/updates for update scripts"),
        activated(load(project)),
    ):
        pass
