"""Fixtures and ready tests for an application's own update scripts: docs/guides/testing-updates.md.

pytest loads this module wherever fietsupdate is installed, so it imports nothing but pytest; what the fixtures need is
imported when they are asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from fietsupdate.config.config import Config
    from fietsupdate.testing.instance import TemporaryInstance
    from fietsupdate.testing.upgrades import Upgrades

Fill = Callable[["TemporaryInstance"], object]
"""A function that puts data into an instance."""
Releases = Mapping[str, str | Sequence[str] | None] | Sequence[str] | None
"""Versions; or versions with the last updates of each; None for the bounds of the version hooks' ranges."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the plugin's options to pytest."""
    group = parser.getgroup("fietsupdate")
    group.addoption(
        "--fietsupdate-server",
        metavar="URL",
        help="Make the databases of throw-away instances on this server (postgresql://..., mysql://...).",
    )
    group.addoption(
        "--fietsupdate-release",
        action="store_true",
        help="Let test_released_scripts_are_unchanged record the checksums of all update scripts.",
    )
    parser.addini("fietsupdate_config", "Configuration files, relative to the root directory.", type="args")
    parser.addini("fietsupdate_server", "As --fietsupdate-server.")
    parser.addini(
        "fietsupdate_versions", "Released versions, one a line; `0.4 = ID` names the last update.", "linelist"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to record a release when the recording test is not among the tests.

    Raises:
        pytest.UsageError: Nothing would be recorded.
    """
    recorder = "test_released_scripts_are_unchanged"
    if config.getoption("--fietsupdate-release") and not any(item.name == recorder for item in items):
        raise pytest.UsageError(
            f"--fietsupdate-release: {recorder} is not among the tests; "
            f"add 'from fietsupdate.pytest_plugin import {recorder}'"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str, str] | None:
    """Show the updates that are skipped: pytest hides the skipped subtests of a passed test."""
    is_ours = report.nodeid.endswith("::test_every_update_goes_up_down_up") and hasattr(report, "context")
    return ("skipped", "s", "SKIPPED") if is_ours and report.skipped else None


# -- fixtures


@pytest.fixture(scope="session")
def fietsupdate_config(pytestconfig: pytest.Config) -> Config:
    """Return the project's own configuration, read in pytest's root directory as the commands read it."""
    from fietsupdate.config.config import load_config

    with _told():
        return load_config(pytestconfig.getini("fietsupdate_config"), cwd=pytestconfig.rootpath)


@pytest.fixture
def fietsupdate_environ() -> Mapping[str, str]:
    """Return environment variables that are set while code of the application runs; to be overridden."""
    return {}


@pytest.fixture
def fietsupdate_data() -> Mapping[str, Fill]:
    """Return functions that put data into an instance once it is at an update, by the update's id; to be overridden.

    They are called with the `fietsupdate_instance`. ``base`` is the instance before its first update, ``baseline`` the
    one at the script with ``baseline = True``, ``lessons==0.4`` a new installation of that version.
    """
    return {}


@pytest.fixture
def fietsupdate_versions(pytestconfig: pytest.Config) -> Releases:
    """Return the released versions between which version hooks are tested.

    Override this fixture, or list the versions in pytest's configuration. A mapping names the last updates of each
    version as well. None stands for versions on both sides of every bound of the hooks' ranges.
    """
    lines: list[str] = pytestconfig.getini("fietsupdate_versions")
    pairs = (line.partition("=") for line in lines)
    return {version.strip(): ids.split() or None for version, _, ids in pairs} or None


@pytest.fixture
def fietsupdate_database_url(
    pytestconfig: pytest.Config, fietsupdate_config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Yield the URL of an empty database that belongs to this test, with the driver that env.py is written for.

    The database is a SQLite file, or a database on the server of ``--fietsupdate-server``, which is dropped again.
    Override the fixture to use another database.
    """
    from fietsupdate.testing.instance import empty_database

    server = pytestconfig.getoption("--fietsupdate-server") or pytestconfig.getini("fietsupdate_server")
    with contextlib.ExitStack() as stack:
        with _told():
            database = empty_database(fietsupdate_config, server, tmp_path_factory.mktemp("fietsupdate-database"))
            url = stack.enter_context(database)
        yield url


@pytest.fixture
def fietsupdate_data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the instance's data directory, for an application that takes its path from the environment."""
    data_dir = tmp_path_factory.mktemp("fietsupdate") / "data"
    data_dir.mkdir()
    return data_dir


@pytest.fixture
def fietsupdate_instance(
    *,
    pytestconfig: pytest.Config,
    fietsupdate_config: Config,
    fietsupdate_database_url: str,
    fietsupdate_environ: Mapping[str, str],
    fietsupdate_data: Mapping[str, Fill],
    fietsupdate_data_dir: Path,
) -> TemporaryInstance:
    """Return a throw-away instance before its first update: see `fietsupdate.testing.instance.TemporaryInstance`."""
    from fietsupdate.testing.instance import make

    with _told():
        return make(
            fietsupdate_config,
            fietsupdate_data_dir,
            fietsupdate_database_url,
            top=pytestconfig.rootpath,
            environ=fietsupdate_environ,
            data=fietsupdate_data,
        )


# -- ready tests: an application imports those that it wants


def test_each_folder_has_one_head(fietsupdate_instance: TemporaryInstance) -> None:
    """`fietsupdate update` without a target refuses a folder with two heads."""
    from fietsupdate.testing import checks

    with _told():
        checks.one_head(fietsupdate_instance.graph())


def test_every_script_loads(fietsupdate_instance: TemporaryInstance) -> None:
    """Every script can be imported, and its classes can be instantiated and have their hooks."""
    from fietsupdate.testing import checks

    with _told():
        checks.scripts_load(fietsupdate_instance)


def test_update_from_empty_to_head(fietsupdate_instance: TemporaryInstance) -> None:
    """A new instance goes through all updates; `fietsupdate_data` puts data into it on the way."""
    from fietsupdate.testing import checks

    with _told():
        checks.update_to_head(fietsupdate_instance)


def test_every_update_goes_up_down_up(fietsupdate_instance: TemporaryInstance, subtests: pytest.Subtests) -> None:
    """Down restores the state before Up, in both halves; a script without Down is skipped."""
    from fietsupdate.model import BASE
    from fietsupdate.testing import checks

    with _told():
        updates = fietsupdate_instance.graph().ordered
    fietsupdate_instance.put_in(BASE)
    for update in updates:
        goes_on = False
        with subtests.test(update.update_id), _told():
            if not update.has_down:
                fietsupdate_instance.update_through(update.update_id)
                goes_on = True
                pytest.skip(f"{update.path.name} has no class Down: {update.update_id} cannot be reverted")
            checks.up_down_up(fietsupdate_instance, update)
            goes_on = True
        if not goes_on:
            return


def test_rows_and_files_match(fietsupdate_instance: TemporaryInstance) -> None:
    """After each update every row has its file, and every owned file its row, also those of `fietsupdate_data`."""
    from fietsupdate.testing import checks

    with _told():
        if reason := checks.rows_and_files_match(fietsupdate_instance):
            pytest.skip(reason)


def test_released_scripts_are_unchanged(fietsupdate_instance: TemporaryInstance, pytestconfig: pytest.Config) -> None:
    """Scripts that instances have run are unchanged, by their checksums in ``released.json``."""
    from fietsupdate.testing import checks, released

    with _told():
        graph = fietsupdate_instance.graph()
        if pytestconfig.getoption("--fietsupdate-release"):
            released.record(graph)
        if reason := checks.released_unchanged(graph):
            pytest.skip(reason)


def test_models_match_after_update(fietsupdate_instance: TemporaryInstance) -> None:
    """After the last update ``alembic check`` finds nothing to do."""
    from fietsupdate.testing import checks

    with _told():
        checks.models_match(fietsupdate_instance)


def test_version_hooks_on_every_upgrade_path(
    fietsupdate_instance: TemporaryInstance,
    fietsupdate_versions: Releases,
    subtests: pytest.Subtests,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Between any two releases, and through all of them, the hooks run without a fault; each hook runs somewhere."""
    from fietsupdate.testing.upgrades import described

    with _upgrades(fietsupdate_instance, fietsupdate_versions, tmp_path_factory) as upgrades:
        for way in upgrades.ways():
            with subtests.test(described(way)), _told():
                upgrades.go(way)
        with _told():
            upgrades.see_that_all_can_run()


def test_version_hooks_leave_a_new_installation_alone(
    fietsupdate_instance: TemporaryInstance,
    fietsupdate_versions: Releases,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A new installation of any release runs no version hook, and is up to date without them."""
    with _upgrades(fietsupdate_instance, fietsupdate_versions, tmp_path_factory) as upgrades, _told():
        for release in upgrades.releases:
            upgrades.install(release)


def version_kill_sweep(old: str = "", new: str = "", *, fill: Any = None, every: int = 1) -> Callable[..., None]:
    """Return a test that kills an upgrade wherever it changes anything; assign it to a name that begins with ``test_``.

    Works like `kill_sweep`, for all updates and version hooks between two releases: in the end each must have run once.

    Args:
        old: The version of the new installation that is upgraded; the oldest version if omitted.
        new: The version that it is upgraded to; the newest version if omitted. Without both, the fewest upgrade paths
            that run every hook are tested.
        fill: Puts data into the instance, in addition to `fietsupdate_data`; as for `kill_sweep`.
        every: Strike only every n-th event, for a quick run.
    """

    def test(
        request: pytest.FixtureRequest,
        fietsupdate_instance: TemporaryInstance,
        fietsupdate_versions: Releases,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        with _upgrades(fietsupdate_instance, fietsupdate_versions, tmp_path_factory) as upgrades:
            with _told():
                ways = [upgrades.way(old, new)] if old or new else upgrades.fewest_ways()
            for way in ways:
                with _told():
                    upgrades.ready(way)
                _put_in(fill, request, fietsupdate_instance)
                with _told():
                    upgrades.sweep(way, every=every)

    test.__doc__ = "Killed anywhere, each update and version hook of an upgrade has run once in the end."
    return test


test_version_hooks_survive_a_kill = version_kill_sweep()


@contextlib.contextmanager
def _upgrades(instance: TemporaryInstance, versions: Releases, folders: pytest.TempPathFactory) -> Iterator[Upgrades]:
    """Yield the object that takes the instance from release to release; skip where no version hooks are configured."""
    from fietsupdate.testing.releases import NothingToTestError
    from fietsupdate.testing.upgrades import Upgrades

    try:
        with _told():
            upgrades = Upgrades(instance, versions, folders.mktemp("fietsupdate-upgrades"))
    except NothingToTestError as reason:
        pytest.skip(str(reason))
    with upgrades:
        yield upgrades


def kill_sweep(update_id: str, *, fill: Any = None, every: int = 1) -> Callable[..., None]:
    """Return a test that kills an update wherever it changes anything; assign it to a name that begins with ``test_``.

    The instance is taken to right before the update and filled. Then a child process that runs the update is killed by
    SIGKILL right before its k-th file-changing call or SQL statement, for every k. Each time the instance is recovered,
    and must be as it was before the update or as it is after it.

    Args:
        update_id: The exact id.
        fill: Puts data into the instance: a fixture (or its name), which finds the instance in `fietsupdate_instance`;
            or a function, which is called with the instance. `fietsupdate_data` is put in as well.
        every: Strike only every n-th event, for a quick run.
    """

    def test(request: pytest.FixtureRequest, fietsupdate_instance: TemporaryInstance) -> None:
        from fietsupdate.planning.target import find
        from fietsupdate.testing.sweep import sweep

        with _told():
            graph = fietsupdate_instance.graph()
            update = graph.updates[find(graph, update_id)]
            fietsupdate_instance.update_through(*update.previous)
        _put_in(fill, request, fietsupdate_instance)
        with _told():
            sweep(fietsupdate_instance, update.update_id, every=every)

    test.__doc__ = f"Killed anywhere, {update_id} has happened, or not at all."
    return test


def _put_in(fill: Any, request: pytest.FixtureRequest, instance: TemporaryInstance) -> None:
    name = fill if isinstance(fill, str) else getattr(fill, "name", "")  # only a fixture has a name
    if name:
        request.getfixturevalue(name)
    elif fill is not None:
        fill(instance)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn errors into the text of a failed test, without a traceback through our own code, which would not help."""
    __tracebackhide__ = True
    from fietsupdate.errors import FietsupdateError

    words = ""
    try:
        yield
    except FietsupdateError as error:
        words = "\n".join(filter(None, (error.message, error.stands, error.hint)))
    except AssertionError as error:
        words = str(error)
    if not words:
        return
    try:
        pytest.fail(words, pytrace=False)
    except pytest.fail.Exception as failure:
        raise failure from None
