"""An instance for one test: its own database and data directory, without any connection to a real instance.

env.py is pointed at the temporary database as in a rehearsal: a connection to a database without our mark is refused,
so a test with a wrong setup cannot change real data.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fietsupdate.commands.rehearsal.substitution import substituted
from fietsupdate.config.application import activated
from fietsupdate.config.config import Config, Redirect, Release
from fietsupdate.database.redirect import environment_pointed
from fietsupdate.errors import EnvPyError
from fietsupdate.model import BASE, Report, Status
from fietsupdate.planning.graph import Graph
from fietsupdate.testing import databases
from fietsupdate.testing.content import Dump, Node, description, tree
from fietsupdate.updater import Updater

if TYPE_CHECKING:
    import sqlalchemy

BASELINE = "baseline"
"""The name under which `TemporaryInstance.data` may address the script with ``baseline = True``."""
OURS = ".fietsupdate"
"""The folder in a data directory that belongs to fietsupdate itself."""

T = TypeVar("T")


@dataclass(frozen=True)
class TemporaryInstance:
    """An installed application that a test may change freely. `make` makes one.

    Attributes:
        config: The project's configuration, pointed at this instance.
        url: The temporary database, for SQLAlchemy and with a blocking driver.
        top: The working directory of commands, as for an administrator.
        environ: Environment variables that are set while any code of the application runs.
        data: Functions that put data into the instance, by the id of the update after which each is called.
    """

    config: Config
    url: str = field(repr=False)
    top: Path
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    data: Mapping[str, Callable[[TemporaryInstance], object]] = field(default_factory=dict, repr=False)

    @property
    def data_dir(self) -> Path:
        """The data directory."""
        if self.config.data_dir is None:
            raise AssertionError("make() has given it one")
        return self.config.data_dir

    @property
    def extra_dirs(self) -> Mapping[str, Path]:
        """The further roots, by name."""
        return self.config.extra_dirs

    # -- what the commands do

    @property
    def updater(self) -> Updater:
        """The updater of this instance, for calls that have no method here."""
        return Updater(self.config)

    def update(self, target: str | None = None, *, answers: Mapping[str, str] | None = None) -> Report:
        """Apply pending updates, up to the target; see `fietsupdate.Updater.update`."""
        return self.run(lambda: self.updater.update(target, answers=answers))

    def downgrade(self, target: str, *, answers: Mapping[str, str] | None = None) -> Report:
        """Revert the updates after the target; see `fietsupdate.Updater.downgrade`."""
        return self.run(lambda: self.updater.downgrade(target, below_baseline=True, answers=answers))

    def status(self) -> Status:
        """Return the status of the instance; see `fietsupdate.Updater.status`."""
        return self.run(self.updater.status)

    def with_version(self, version: str, *update_ids: str) -> TemporaryInstance:
        """Return this instance as another release of the application sees it.

        Its `update` takes it to that version: it applies the updates that the release brings, and runs the version
        hooks for that upgrade.

        Args:
            version: The version that counts as the installed one.
            update_ids: Exact ids of the last updates that the release brings; without any it brings all.
        """
        ids = frozenset(self.graph().dag.ancestors(update_ids)) if update_ids else None
        return replace(self, config=replace(self.config, release=Release(version, ids)))

    def graph(self) -> Graph:
        """Read all update scripts."""
        return self.run(self.updater.graph)

    def update_through(self, *update_ids: str) -> None:
        """Apply updates with all their predecessors, one by one, and put in the data for each.

        Args:
            update_ids: Exact ids.
        """
        dag = self.graph().dag
        if not self.status().applied:
            self.put_in(BASE)
        for update_id in dag.sort(dag.ancestors(update_ids)):
            if update_id not in self.status().applied:
                self.update(update_id)
                self.put_in(update_id)

    def put_in(self, update_id: str) -> None:
        """Put in the data for an instance at this update.

        Args:
            update_id: ``base`` is before all. `data` may call the baseline script ``baseline``, whatever its id.
        """
        fill = self.data.get(update_id)
        if fill is None and BASELINE in self.data and update_id != BASE and self.graph().updates[update_id].baseline:
            fill = self.data[BASELINE]
        if fill is not None:
            fill(self)

    # -- the state of the instance

    @contextlib.contextmanager
    def connect(self) -> Iterator[sqlalchemy.Connection]:
        """Yield a new SQLAlchemy connection in a transaction that commits; afterwards, nothing stays open."""
        with databases.connect(self.url) as connection:
            yield connection

    def tree(self) -> dict[str, Node]:
        """Return every path of the data directory and of the further roots, with its properties.

        Our own files, ``.fietsupdate`` and VERSION, are left out, and so is a database in the data directory.

        Paths in a further root begin with its name and a colon: ``media:1.png``.
        """
        left_out = (OURS, self.config.version_file, *self._database_files())
        return {
            f"{prefix}{path}": node
            for prefix, root in self._roots()
            for path, node in tree(root, exclude=left_out).items()
        }

    def contents(self) -> dict[str, bytes]:
        """Return the bytes of every file that `tree` names, for expectations that are written by hand."""
        roots = dict(self._roots())
        contents = {}
        for path, node in self.tree().items():
            prefix, colon, rest = path.partition(":")
            root, name = (roots[f"{prefix}:"], rest) if colon and f"{prefix}:" in roots else (self.data_dir, path)
            if node.kind == "file":
                contents[path] = (root / name).read_bytes()
        return contents

    def dump(self) -> Dump:
        """Return schema and rows of the application's tables; see `fietsupdate.testing.content.description`."""
        left_out = self.run(lambda: databases.bookkeeping(self.config))
        with self.connect() as connection:
            return description(connection, left_out)

    def _database_files(self) -> Iterator[str]:
        """Yield the SQLite files in the data directory, relative to it."""
        if databases.is_file(self.url) and databases.file_of(self.url).is_relative_to(self.data_dir):
            name = str(databases.file_of(self.url).relative_to(self.data_dir))
            yield from (f"{name}{ending}" for ending in databases.SQLITE_FILES)

    def _roots(self) -> Iterator[tuple[str, Path]]:
        yield "", self.data_dir
        for name, root in self.extra_dirs.items():
            yield f"{name}:", root

    # -- around every run of the application's code

    def run(self, call: Callable[[], T]) -> T:
        """Call a function in the surroundings that the application expects.

        The environment, the working directory and the logging of this process are restored afterwards. Within a running
        event loop the function is called in a thread, as an async env.py starts a loop of its own.
        """
        with surroundings(self.top, self.environ, self.config.redirect):
            if not _in_event_loop():
                return call()
            with ThreadPoolExecutor(1) as threads:
                return threads.submit(call).result()

    def whole_environ(self) -> dict[str, str]:
        """Return the environment for a separate process."""
        with surroundings(self.top, self.environ, self.config.redirect):
            return dict(os.environ)


@contextlib.contextmanager
def empty_database(config: Config, server: str, folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database, with the driver that env.py is written for; drop it afterwards.

    Args:
        config: The project's configuration.
        server: The URL of the server for it; without one, it is a SQLite file.
        folder: The folder for the file.

    Raises:
        DatabaseError: The server cannot be reached, or refuses.
    """
    if server:
        url = databases.create(server, f"fietsupdate_{os.getpid()}_{uuid.uuid4().hex[:8]}")
    else:
        url = f"sqlite:///{folder / 'database.sqlite'}"
    try:
        yield databases.with_driver_of(url, databases.configured_url(config))
    finally:
        databases.drop(url)


def make(
    config: Config,
    data_dir: Path,
    url: str,
    *,
    top: Path,
    environ: Mapping[str, str],
    data: Mapping[str, Callable[[TemporaryInstance], object]],
) -> TemporaryInstance:
    """Make an instance with an empty database and an empty data directory.

    Args:
        config: The project's configuration.
        data_dir: An empty data directory, or the path for one; further roots are made beside it.
        url: An empty database.
        top: The working directory of commands.
        environ: Environment variables for the application.
        data: Functions that put data into the instance, by update id.

    Raises:
        EnvPyError: env.py opens another database; nothing was changed there.
        FietsupdateError: The project's configuration does not work.
    """
    redirect = Redirect(url, databases.configured_url(config), str(uuid.uuid4()))
    databases.mark(url, redirect.mark)
    extra_dirs = {name: data_dir.parent / "dirs" / name for name in config.extra_dirs}
    for path in (data_dir, *extra_dirs.values()):
        path.mkdir(parents=True, exist_ok=True)
    with surroundings(top, environ, redirect), activated(config) as application:
        clone_config = substituted(application, data_dir, extra_dirs, redirect).config
    clone_config = replace(clone_config, overrides=clone_config.overrides | {"data_dir"})
    instance = TemporaryInstance(clone_config, databases.blocking(url), top, environ, data)
    try:
        instance.status()
    except EnvPyError as error:
        error.hint = (
            "env.py must open the database of the fixture fietsupdate_database_url. If it takes its URL from the "
            "environment, say so in a fixture fietsupdate_environ. " + error.hint
        )
        raise
    return instance


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def surroundings(top: Path, environ: Mapping[str, str], redirect: Redirect | None) -> Iterator[None]:
    """Set the application's folder and environment; restore everything of this process that it changes."""
    before = dict(os.environ)
    os.environ.update(environ)
    try:
        repointed = environment_pointed(redirect) if redirect is not None else contextlib.nullcontext()
        with contextlib.chdir(top), _logging_put_back(), repointed:
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _logging_put_back() -> Iterator[None]:
    """Keep pytest's log handlers: env.py calls fileConfig, which removes all handlers and disables loggers."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    loggers = [logger for logger in root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    enabled = [logger for logger in loggers if not logger.disabled]
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        for logger in enabled:
            logger.disabled = False
