"""An instance for one test: its own database and data directory, and nothing that leads to a real one.

env.py is pointed at the throw-away database as for a rehearsal: a connection that does not show its mark is refused,
so a test that is set up wrongly changes nothing of anybody's.
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
"""What `TemporaryInstance.data` may call the script with ``baseline = True``."""
OURS = ".fietsupdate"
"""What of a data directory belongs to fietsupdate itself."""

T = TypeVar("T")


@dataclass(frozen=True)
class TemporaryInstance:
    """An installed application that a test may do anything to. `make` makes one.

    Attributes:
        config: The project's configuration, aimed at this instance.
        url: The throw-away database, for SQLAlchemy and with a driver that blocks.
        top: The folder in which commands run, as an administrator's do.
        environ: Environment variables that are set while anything of the application runs.
        data: What puts data into it, by the id of the update after which it is to be called.
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
        """The updater of this instance, for what has no method here."""
        return Updater(self.config)

    def update(self, target: str | None = None, *, answers: Mapping[str, str] | None = None) -> Report:
        """Apply what waits, up to the target; see `fietsupdate.Updater.update`."""
        return self.run(lambda: self.updater.update(target, answers=answers))

    def downgrade(self, target: str, *, answers: Mapping[str, str] | None = None) -> Report:
        """Revert what came after the target; see `fietsupdate.Updater.downgrade`."""
        return self.run(lambda: self.updater.downgrade(target, below_baseline=True, answers=answers))

    def status(self) -> Status:
        """Return where the instance is; see `fietsupdate.Updater.status`."""
        return self.run(self.updater.status)

    def with_version(self, version: str, *update_ids: str) -> TemporaryInstance:
        """Return this instance as another release of the application finds it.

        Its `update` takes it to that version: it applies the updates that the release brings, and runs the version
        hooks for the way there.

        Args:
            version: The version that is taken for the installed one.
            update_ids: Exact ids of the last updates that the release brings; without any it brings all.
        """
        ids = frozenset(self.graph().dag.ancestors(update_ids)) if update_ids else None
        return replace(self, config=replace(self.config, release=Release(version, ids)))

    def graph(self) -> Graph:
        """Read all update scripts."""
        return self.run(self.updater.graph)

    def update_through(self, *update_ids: str) -> None:
        """Apply updates with all that they build on, one by one, and put the data in on the way.

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
        """Put in the data that belongs into an instance at this update.

        Args:
            update_id: ``base`` is before all. `data` may call the baseline script ``baseline``, whatever its id.
        """
        fill = self.data.get(update_id)
        if fill is None and BASELINE in self.data and update_id != BASE and self.graph().updates[update_id].baseline:
            fill = self.data[BASELINE]
        if fill is not None:
            fill(self)

    # -- what it holds

    @contextlib.contextmanager
    def connect(self) -> Iterator[sqlalchemy.Connection]:
        """Yield a fresh SQLAlchemy connection in a transaction that commits; nothing stays open afterwards."""
        with databases.connect(self.url) as connection:
            yield connection

    def tree(self) -> dict[str, Node]:
        """Return every path of the data directory and of the further roots, with all that it is.

        What is ours is left out, ``.fietsupdate`` and VERSION, and so is the database, where it lies there.

        Paths in a further root begin with its name and a colon: ``media:1.png``.
        """
        left_out = (OURS, self.config.version_file, *self._database_files())
        return {
            f"{prefix}{path}": node
            for prefix, root in self._roots()
            for path, node in tree(root, exclude=left_out).items()
        }

    def contents(self) -> dict[str, bytes]:
        """Return the bytes of every file that `tree` names: for expectations that are written out by hand."""
        roots = dict(self._roots())
        contents = {}
        for path, node in self.tree().items():
            prefix, colon, rest = path.partition(":")
            root, name = (roots[f"{prefix}:"], rest) if colon and f"{prefix}:" in roots else (self.data_dir, path)
            if node.kind == "file":
                contents[path] = (root / name).read_bytes()
        return contents

    def dump(self) -> Dump:
        """Describe schema and rows of the application's tables; see `fietsupdate.testing.content.description`."""
        left_out = self.run(lambda: databases.bookkeeping(self.config))
        with self.connect() as connection:
            return description(connection, left_out)

    def _database_files(self) -> Iterator[str]:
        """Yield the SQLite files that lie in the data directory, relative to it."""
        if databases.is_file(self.url) and databases.file_of(self.url).is_relative_to(self.data_dir):
            name = str(databases.file_of(self.url).relative_to(self.data_dir))
            yield from (f"{name}{ending}" for ending in databases.SQLITE_FILES)

    def _roots(self) -> Iterator[tuple[str, Path]]:
        yield "", self.data_dir
        for name, root in self.extra_dirs.items():
            yield f"{name}:", root

    # -- around everything that runs code of the application

    def run(self, call: Callable[[], T]) -> T:
        """Call something of ours where the application finds what it expects.

        The environment, the working directory and the logging of this process are as before when it returns. Inside of
        a running event loop it is called in a thread, as an async env.py starts a loop of its own.
        """
        with surroundings(self.top, self.environ, self.config.redirect):
            if not _in_event_loop():
                return call()
            with ThreadPoolExecutor(1) as threads:
                return threads.submit(call).result()

    def whole_environ(self) -> dict[str, str]:
        """Return the environment for a process of its own."""
        with surroundings(self.top, self.environ, self.config.redirect):
            return dict(os.environ)


@contextlib.contextmanager
def empty_database(config: Config, server: str, folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database, with the driver that env.py is written for; drop it afterwards.

    Args:
        config: The project's configuration.
        server: The URL of a server on which to make it; without one, it is a SQLite file.
        folder: Takes the file.

    Raises:
        DatabaseError: the server is not there, or does not let us.
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
        data_dir: An empty data directory, or where to make one; further roots are made beside it.
        url: An empty database.
        top: The folder in which commands run.
        environ: Environment variables for the application.
        data: What puts data into it, by update id.

    Raises:
        EnvPyError: env.py opens another database; nothing was changed there.
        FietsupdateError: the project's configuration does not work.
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
    """Let the application find its folder and its environment; put back what it does to this process."""
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
    """Keep pytest's log handlers: env.py calls fileConfig, which takes all away and disables loggers."""
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
