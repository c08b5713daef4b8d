"""Configurations as applications really have them: Alembic's, Flask-Migrate's, PasteDeploy's, or built in code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from support.projects import Project

SEEN = "self.files.write('seen', repr(sorted(config.items())))"


def written(project: Project, up_pre: str = "self.files.write('one', '1')") -> Project:
    project.revision("aaaa", None, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
    project.update("one", (), "aaaa", up_pre=up_pre)
    return project


def moved(project: Project, text: str, *, ini: Path | None = None) -> None:
    """Replace the INI file by other configuration."""
    project.ini.unlink()
    path = ini or project.root / "pyproject.toml"
    path.write_text(text)


def test_pyproject_alone_configures_both(project: Project) -> None:
    written(project)
    moved(
        project,
        '[tool.alembic]\nscript_location = "%(here)s/migrations"\n'
        '[tool.fietsupdate]\nupdates = ["%(here)s/updates"]\ndata_dir = "%(here)s/data"\n',
    )
    env_py = project.root / "migrations" / "env.py"
    text = env_py.read_text().replace(
        "config.get_section(config.config_ini_section, {})", f"{{'sqlalchemy.url': {project.url!r}}}"
    )
    env_py.write_text(text)
    project.run("update", "--yes").succeeded()
    assert project.run("check").code == 0
    assert (project.data / "one").read_text() == "1"


def test_flask_migrate_s_folder_needs_no_script_location(project: Project) -> None:
    """Flask-Migrate keeps alembic.ini beside env.py and leaves script_location out."""
    written(project)
    text = project.ini.read_text().replace("%(here)s/", "%(here)s/../")
    lines = [line for line in text.splitlines() if not line.startswith("script_location")]
    moved(project, "\n".join(lines) + "\n", ini=project.root / "migrations" / "alembic.ini")
    project.run("-c", "migrations/alembic.ini", "update", "--yes").succeeded()
    assert project.run("check", "-c", "migrations/alembic.ini").code == 0


def test_paste_deploy_s_settings_reach_the_hooks(project: Project) -> None:
    written(project, SEEN)
    with project.ini.open("a") as ini:
        ini.write("settings_section = app:main\n\n[app:main]\nuse = egg:app\napp.title = Tracks in %(here)s\n")
    text = project.ini.read_text()
    lines = [line for line in text.splitlines() if line != "settings_section = app:main"]
    lines.insert(lines.index("[fietsupdate]") + 1, "settings_section = app:main")
    project.ini.write_text("\n".join(lines) + "\n")
    project.run("update", "--yes").succeeded()
    seen = (project.data / "seen").read_text()
    assert f"('app.title', 'Tracks in {project.root}')" in seen
    assert f"('sqlalchemy.url', '{project.url}')" in seen
    assert f"('fietsupdate.data_dir', '{project.data}')" in seen


def test_an_application_that_builds_alembic_s_config_in_code(project: Project) -> None:
    written(project)
    (project.root / "application.py").write_text(
        "from alembic.config import Config\n"
        "def alembic_config():\n"
        "    config = Config()\n"
        f"    config.set_main_option('script_location', {str(project.root / 'migrations')!r})\n"
        f"    config.set_main_option('sqlalchemy.url', {project.url!r})\n"
        "    return config\n"
    )
    moved(
        project,
        "[fietsupdate]\nupdates = %(here)s/updates\ndata_dir = %(here)s/data\n"
        "alembic_config = application:alembic_config\n",
        ini=project.root / "app.ini",
    )
    environment = {"PYTHONPATH": str(project.root)}
    project.run("-c", "app.ini", "update", "--yes", env=environment).succeeded()
    assert project.run("-c", "app.ini", "check", env=environment).code == 0


def test_setup_gives_the_application_s_context_and_settings(make_project: Callable[..., Project]) -> None:
    project = written(make_project("application_context"), SEEN)
    project.run("update", "--yes").succeeded()
    assert "('application.name', 'example')" in (project.data / "seen").read_text()


def test_the_environment_outranks_the_file(project: Project) -> None:
    written(project)
    other = project.root / "elsewhere"
    other.mkdir()
    project.run("update", "--yes", env={"FIETSUPDATE_DATA_DIR": str(other)}).succeeded()
    assert (other / "one").read_text() == "1"
    assert project.version is None


def test_a_version_file_of_another_name_or_none(make_project: Callable[..., Project]) -> None:
    named = written(make_project(section={"version_file": "STATE"}, name="named"))
    named.run("update", "--yes").succeeded()
    assert (named.data / "STATE").read_text() == "one"
    without = written(make_project(section={"version_file": ""}, name="without"))
    without.run("update", "--yes").succeeded()
    assert sorted(path.name for path in without.data.iterdir()) == [".fietsupdate", "one"]
    assert without.run("check").code == 0


def test_the_module_runs_like_the_command(project: Project) -> None:
    assert project.run("--version").succeeded().stdout.startswith("fietsupdate ")


def test_autogenerate_writes_revision_and_script_or_neither(make_project: Callable[..., Project]) -> None:
    table = "sa.Table('t', metadata, sa.Column('id', sa.Integer, primary_key=True))"
    models = f"import sqlalchemy as sa\nmetadata = sa.MetaData()\n{table}\n"
    project = make_project(models=models)
    versions = project.root / "migrations" / "versions"
    project.run("revision", "one", "-m", "make t", "--autogenerate").succeeded()
    assert len(list(versions.glob("*.py"))) == 1
    project.run("update", "--yes").succeeded()
    assert "t" in project.database.tables()
    project.run("revision", "one", "--autogenerate").exited(2)
    assert len(list(versions.glob("*.py"))) == 1


def test_the_life_of_a_project_from_init_to_release(make_project: Callable[..., Project]) -> None:
    """init, an update, two branches, their merge, a release: each script loads and runs."""
    project = make_project()
    text = project.ini.read_text()
    project.ini.write_text(text[: text.index("[fietsupdate]")])
    project.updates.rmdir()
    project.run("init").succeeded()
    assert "already" in project.run("init").succeeded().stdout
    project.run("revision", "left", "-m", "left").succeeded()
    base = next(project.updates.glob("*.py")).stem
    root = project.run("heads", "--json").succeeded().json
    assert root, base
    previous = project.run("show", "left", "--json").succeeded().json["previous"]
    project.run("revision", "right", "--previous", *previous).succeeded()
    assert "has 2 heads: 'left', 'right'" in project.run("update", "--yes").exited(1).stderr
    project.run("revision", "joined", "--merge").succeeded()
    project.run("revision", "--release", "1.0").succeeded()
    project.run("update", "--yes").succeeded()
    assert project.version == "1.0"
    project.run("downgrade", "base", "--yes").succeeded()
    assert project.version == ""
