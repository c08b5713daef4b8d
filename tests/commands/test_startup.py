"""`ensure_current` and `require_current`: what an application may rely on when it starts."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fietsupdate import FietsupdateError, NotCurrentError, Updater, UpdateState, ensure_current, require_current
from fietsupdate.errors import RefusedError
from support.databases import POSTGRESQL, SQLITE
from support.notes import hooks, notes
from support.projects import Project, Result, result_of
from support.versions import install

WORKERS = 4
STARTS = """
import logging
from fietsupdate import ensure_current
logging.basicConfig(level=logging.INFO, format="%(message)s")
ensure_current("alembic.ini")
print("started")
"""


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """Let the logger tell everything."""
    logger = logging.getLogger("fietsupdate")
    before, logger.level = logger.level, logging.DEBUG
    yield
    logger.level = before


def worker(project: Project) -> subprocess.Popen[str]:
    """Start a process that serves something, once its instance is up to date."""
    return subprocess.Popen(
        [sys.executable, "-c", STARTS],
        cwd=project.root,
        env=project._environment(None),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def in_a_thread(work: Callable[[], object]) -> None:
    """Do something in a thread; what it raises is raised here."""
    raised: list[Exception] = []

    def caught() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=caught)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


# -- ensure_current


def test_what_waits_is_applied_and_told_to_the_log(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    notes(project, 2)
    report = ensure_current(project.ini)
    assert (report.done, report.current) == (("v1", "v2"), ("v2",))
    assert project.traces() == hooks("v1", "v2")
    told = [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "fietsupdate"]
    assert ("INFO", "Planned: v1, v2") in told
    assert ("INFO", "[2/2] Applying v2  Update v2.") in told
    assert ("DEBUG", "Alembic revision r2") in told
    assert told[-1] == ("INFO", "Finished. Current: v2")
    events = [record.fietsupdate for record in caplog.records if record.name == "fietsupdate"]
    assert events[-1]["done"] == ["v1", "v2"]


@pytest.mark.parametrize("variant", ["stock", "async"])
def test_it_works_while_an_event_loop_runs(variant: str, make_project: Callable[..., Project]) -> None:
    project = notes(make_project(variant), 1)

    async def main() -> None:
        with pytest.raises(NotCurrentError):
            require_current(Updater.from_config(project.ini))
        ensure_current(project.ini)
        require_current(Updater.from_config(project.ini))

    asyncio.run(main())
    assert project.traces() == hooks("v1")


def test_it_works_in_any_thread_and_leaves_signal_handlers_alone(project: Project) -> None:
    handler = "repr(signal.getsignal(signal.SIGTERM))"
    look = f"import signal\nPath({str(project.root / 'handler')!r}).write_text({handler})"
    project.update("one", up_pre=look)
    in_a_thread(lambda: ensure_current(project.ini))
    assert (project.root / "handler").read_text() == repr(signal.getsignal(signal.SIGTERM))
    assert Updater.from_config(project.ini).state() is UpdateState.OKAY


def test_several_threads_at_once_run_every_hook_once(project: Project) -> None:
    notes(project, 2)
    threads = [threading.Thread(target=ensure_current, args=[project.ini]) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert project.traces() == hooks("v1", "v2")


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
def test_of_several_workers_one_updates_and_all_start(kind: str, make_project: Callable[..., Project]) -> None:
    project = notes(make_project(kind=kind), 2)
    workers = [worker(project) for _ in range(WORKERS)]
    results = [result_of(one).succeeded() for one in workers]
    assert [result.stdout for result in results] == ["started\n"] * WORKERS
    assert sum("Applying v1" in result.stderr for result in results) == 1
    assert project.traces() == hooks("v1", "v2")


def test_a_worker_that_waits_says_for_whom(project: Project) -> None:
    for name in ("inside", "go"):
        os.mkfifo(project.root / name)
    inside, go = project.root / "inside", project.root / "go"
    project.update("one", up_pre=f"open({str(inside)!r}, 'w').close(); open({str(go)!r}).close()")
    with worker(project) as first:
        inside.open().close()
        with worker(project) as second:
            assert second.stderr is not None
            assert second.stderr.readline().startswith(f"Waiting for another updater: process {first.pid} on ")
            go.open("w").close()
            results: list[Result] = [result_of(first), result_of(second)]
    assert [result.succeeded().stdout for result in results] == ["started\n"] * 2


def test_on_a_current_instance_it_is_one_look_and_no_lock(project: Project) -> None:
    notes(project, 1)
    ensure_current(project.ini)
    (project.data / ".fietsupdate" / "lock").unlink()
    env_py = project.root / "migrations" / "env.py"
    env_py.write_text(f"{project.trace('look')}\n{env_py.read_text()}")
    before = project.tree()
    report = ensure_current(project.ini)
    assert (report.done, report.current) == ((), ("v1",))
    assert project.traces() == [*hooks("v1"), "look"]
    assert project.tree() == before
    assert not (project.data / ".fietsupdate" / "lock").exists()


def test_a_failing_update_does_not_let_the_application_start(project: Project) -> None:
    """A traceback is all that some logs will show; so what stands, and what to do, are notes of the error."""
    project.update("one", up_pre="self.files.write('x', 'x'); raise RuntimeError('the cause')")
    with pytest.raises(FietsupdateError, match="RuntimeError: the cause") as caught:
        ensure_current(project.ini)
    stands = "Nothing of one stands: it was rolled back, and its file changes are undone."
    assert caught.value.__notes__ == [stands, caught.value.hint]
    assert not (project.data / "x").exists()


def test_both_halves_are_copied_before_where_the_configuration_wants_it(make_project, tmp_path: Path) -> None:
    section = {"backup": "full", "backup_dir": str(tmp_path / "backups")}
    project = notes(make_project(section=section), 1)
    ensure_current(project.ini)
    project.update("v2", "v1", "r2")
    ensure_current(project.ini)
    [backup] = Updater.from_config(project.ini).backups().backups
    assert backup.manifest.current == ("v1",)


@pytest.mark.parametrize("place", ["env.py", "setup", "hook"])
def test_an_application_that_is_made_for_the_update_does_not_update_again(place: str, make_project) -> None:
    """env.py imports the models, and with them the module that updates when it is imported."""
    project = notes(make_project(section={"setup": "application:made"} if place == "setup" else {}), 1)
    call = f"ensure_current({str(project.ini)!r}); require_current({str(project.ini)!r})"
    module = f"from fietsupdate import ensure_current, require_current\n{call}\ndef made(): {call}\n"
    (project.root / "application.py").write_text(module)
    if place == "env.py":
        env_py = project.root / "migrations" / "env.py"
        env_py.write_text(f"import application\n{env_py.read_text()}")
    if place == "hook":
        project.update("v2", "v1", "r1", up_pre="import application")
    project.run("update", "--yes", "--lock-timeout", "0").succeeded()
    assert project.traces() == hooks("v1")
    project.run("check").succeeded()


# -- require_current


def test_an_outdated_instance_is_refused_with_both_positions_and_the_command(project: Project) -> None:
    notes(project, 2)
    Updater.from_config(project.ini).update("v1")
    with pytest.raises(NotCurrentError) as caught:
        require_current(project.ini)
    error = caught.value
    assert error.message == "The instance is outdated: it is at v1, and this code has updates up to v2."
    assert error.hint == f"Type `fietsupdate -c {project.ini} update`, then start the application again."
    assert (error.code, error.status.state) == ("outdated", UpdateState.OUTDATED)
    assert project.traces() == hooks("v1")


def test_an_instance_of_newer_code_is_refused_with_what_to_install(project: Project) -> None:
    notes(project, 2)
    ensure_current(project.ini)
    (project.updates / "upd_v2.py").unlink()
    with pytest.raises(NotCurrentError) as caught:
        require_current(project.ini)
    assert caught.value.message.startswith(
        "The instance is too_new: it is at v1, v2, and this code has updates up to v1. The instance has had v2, which"
    )
    assert "install what has v2" in caught.value.hint
    with pytest.raises(FietsupdateError, match="The instance has had v2"):
        ensure_current(project.ini)


def test_versions_of_the_application_are_named_too(make_project, monkeypatch: pytest.MonkeyPatch) -> None:
    project = notes(make_project(section={"distribution": "lessons"}), 1)
    monkeypatch.chdir(project.root)  # alembic.ini puts it on the import path
    install(project, "0.1")
    ensure_current(project.ini)
    project.update("v2", "v1", "r2")
    install(project, "0.2")
    with pytest.raises(NotCurrentError) as caught:
        require_current(project.ini)
    assert caught.value.message == (
        "The instance is outdated: it is at v1, and this code has updates up to v2. "
        "lessons 0.2 is installed; the data belongs to 0.1."
    )
    ensure_current(project.ini)
    install(project, "0.1")
    with pytest.raises(NotCurrentError, match=r"changed by lessons 0\.2, and lessons 0\.1 is installed, which is"):
        require_current(project.ini)


def test_while_another_process_updates_it_is_refused(project: Project) -> None:
    notes(project, 1)
    body = (
        "from pathlib import Path\n"
        "from fietsupdate import NotCurrentError, require_current\n"
        f"try:\n    require_current({str(project.ini)!r})\n"
        f"except NotCurrentError as error:\n    Path({str(project.root / 'said')!r}).write_text(error.message)\n"
    )
    run = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {body!r}])"
    project.update("v2", "v1", up_pre=run)
    ensure_current(project.ini)
    said = (project.root / "said").read_text()
    assert said.startswith("The instance is updating: ")
    assert f", pid {os.getpid()} on " in said


def test_a_running_command_that_sees_the_starting_process_is_told(make_project: Callable[..., Project]) -> None:
    project = notes(make_project(section={"running": f"kill -0 {os.getpid()}"}), 1)
    with pytest.raises(RefusedError, match="The application is running: `kill -0 ") as caught:
        ensure_current(project.ini)
    assert "If the command takes this process, which only starts, for one that serves" in caught.value.__notes__[-1]


def test_the_command_names_the_section_but_not_what_may_be_secret(project: Project) -> None:
    notes(project, 1)
    text = project.ini.read_text().replace("[alembic]", "[second]").replace("[fietsupdate]", "[fietsupdate:second]")
    project.ini.write_text(text)
    with pytest.raises(NotCurrentError) as caught:
        require_current(Updater.from_config(project.ini, section="second", x=["url=postgresql://me:secret@db/app"]))
    assert f"`fietsupdate -c {project.ini} -n second -x url=... update`" in caught.value.hint


# -- the process belongs to the application


def test_the_applications_logging_stays_whatever_env_py_configures(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    """env.py calls `fileConfig`, which would close handlers, silence loggers and let our events go nowhere.

    And `dictConfig`. What the application itself configures, in a module that env.py is the first to import, is done.
    """
    project = notes(make_project("file_config"), 1)
    env = project.root / "migrations" / "env.py"
    configure = "from logging.config import dictConfig\ndictConfig({{'version': 1, 'incremental': True, {}}})\n"
    level = configure.format("'root': {'level': 60}")
    env.write_text(f"import first_imported\n{level}{env.read_text()}")
    text = configure.format("'loggers': {'a part of the application': {'level': 50}}")
    (project.root / "first_imported.py").write_text(text)
    monkeypatch.syspath_prepend(project.root)
    own, told = logging.getLogger("an application of its own"), logging.Handler()
    told.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    seen: list[str] = []
    root = logging.getLogger()
    root.addHandler(told)
    try:
        handlers, level = list(root.handlers), root.level
        ensure_current(project.ini)
        assert (root.handlers, root.level, own.disabled) == (handlers, level, False)
        assert logging.getLogger("a part of the application").level == logging.CRITICAL
        assert "[1/1] Applying v1  Update v1." in seen
        assert "phase pre" in seen
    finally:
        root.removeHandler(told)


def test_alembics_loggers_have_their_levels_back(project: Project) -> None:
    names = ("alembic", "alembic.runtime.migration")
    before = [logging.getLogger(name).level for name in names]
    notes(project, 1)
    ensure_current(project.ini)
    assert [logging.getLogger(name).level for name in names] == before
