"""What other programs read (docs/deploy, .github) is read by the parser of its kind, and the commands in it are run."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.projects import Project, Result

TOP = Path(__file__).resolve().parents[2]
FILES = TOP / "docs" / "deploy"
BIN = Path(sys.executable).parent

UNIT = FILES / "notes.service"

READY = """\
from fietsupdate.pytest_plugin import test_each_folder_has_one_head, test_every_script_loads

__all__ = ["test_each_folder_has_one_head", "test_every_script_loads"]
"""


def loaded(name: str) -> list[dict]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return list(yaml.safe_load_all((FILES / name).read_text(encoding="utf-8")))


def checked(program: str, *args: object) -> None:
    """Run a checker that was installed beside Python."""
    if not (BIN / program).exists():
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([BIN / program, *args], capture_output=True, text=True, check=False, cwd=FILES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "name"), [("vendor.compose-spec", "compose.yaml"), ("vendor.github-workflows", "updates.yaml")]
)
def test_the_file_fits_its_schema(schema, name):
    checked("check-jsonschema", "--builtin-schema", schema, name)


@pytest.mark.parametrize(
    ("schema", "pattern"), [("issue-forms", "[!c]*.yml"), ("issue-config", "config.yml")], ids=["forms", "config"]
)
def test_the_templates_of_issues_fit_their_schema(schema, pattern):
    files = sorted((TOP / ".github" / "ISSUE_TEMPLATE").glob(pattern))
    assert files
    checked("check-jsonschema", "--builtin-schema", f"vendor.github-{schema}", *files)


@pytest.mark.parametrize("name", ["kubernetes.yaml", "kubernetes-at-start.yaml"])
def test_the_kubernetes_objects_fit_their_schema(name):
    checked("kubernetes-validate", "--strict", name)


def test_the_dockerfile_has_no_fault():
    checked("hadolint", "Dockerfile")


def test_the_unit_has_no_fault(tmp_path):
    """Its programs are put where it looks for them, below another top."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("fietsupdate", "gunicorn"):
        (programs / name).symlink_to("/bin/true")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace("/srv/notes", str(tmp_path)), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_scripts_are_executable_and_of_the_shell():
    """The image copies it with its mode."""
    script = FILES / "entrypoint.sh"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["/bin/sh", "-n", script], check=False).returncode == 0


def ways() -> dict[str, list[str]]:
    """Return the command that updates, by the file that holds it."""
    _, start = UNIT.read_text(encoding="utf-8").split("ExecStartPre=")
    deployment = loaded("kubernetes.yaml")[0]["spec"]["template"]["spec"]
    return {
        "notes.service": ["fietsupdate", *shlex.split(start.splitlines()[0])[1:]],
        "compose.yaml": loaded("compose.yaml")[0]["services"]["update"]["entrypoint"],
        "kubernetes.yaml": deployment["initContainers"][0]["command"],
        "entrypoint.sh": [str(FILES / "entrypoint.sh"), "echo", "serves"],
    }


def in_project(project: Project, command: list[str]) -> Result:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=project.root,
        env=project._environment({"PATH": path}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(command, done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", ["notes.service", "compose.yaml", "kubernetes.yaml", "entrypoint.sh"])
def test_the_command_of_the_file_updates_once_and_the_gate_opens(project, name):
    project.update("first")
    gate = loaded("kubernetes.yaml")[0]["spec"]["template"]["spec"]["containers"][0]["startupProbe"]["exec"]["command"]
    in_project(project, gate).exited(1)
    assert "Current: first" in in_project(project, ways()[name]).succeeded().output
    in_project(project, gate).succeeded()
    assert "Applying" not in in_project(project, ways()[name]).succeeded().output


@pytest.mark.parametrize("name", ["notes.service", "compose.yaml", "kubernetes.yaml", "entrypoint.sh"])
def test_an_update_that_fails_keeps_the_application_from_starting(project, name):
    project.update("first", up_post="raise RuntimeError('no')")
    failed = in_project(project, ways()[name]).exited(1)
    assert "serves" not in failed.output
    assert "Nothing of first stands" in failed.told


def test_the_steps_of_the_workflow_run(project):
    """But the one that installs: here everything is installed."""
    project.update("first")
    (project.root / "tests").mkdir()
    (project.root / "tests" / "test_updates.py").write_text(READY, encoding="utf-8")
    steps = [step["run"] for step in loaded("updates.yaml")[0]["jobs"]["updates"]["steps"] if "run" in step]
    assert steps[0].startswith("pip install")
    for step in steps[1:]:
        in_project(project, ["bash", "-e", "-c", step]).succeeded()


def test_the_probes_of_the_container_that_updates_by_itself_answer(project):
    project.update("first")
    [container] = loaded("kubernetes-at-start.yaml")[0]["spec"]["template"]["spec"]["containers"]
    startup, liveness = (container[f"{kind}Probe"]["exec"]["command"] for kind in ("startup", "liveness"))
    in_project(project, startup).exited(1)
    in_project(project, liveness).succeeded()
    in_project(project, ways()["entrypoint.sh"]).succeeded()
    in_project(project, startup).succeeded()
    in_project(project, liveness).succeeded()
