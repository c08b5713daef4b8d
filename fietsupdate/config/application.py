"""The application around an instance: import path, `setup` and folders.

All changes to the process are undone at the end.

The values that `setup` returns join the settings and outrank the files. ``fietsupdate.data_dir`` among them names the
data directory, unless an option or the environment names it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from fietsupdate.config.config import Config, Settings, described, load_callable
from fietsupdate.config.files import nearest
from fietsupdate.config.keys import package_folder, published_name
from fietsupdate.errors import ConfigError
from fietsupdate.model import Folder
from fietsupdate.process import logging_kept

DATA_DIR = "fietsupdate.data_dir"
"""The setting that tells hooks the data directory; always present."""
URL = "sqlalchemy.url"
"""The setting that tells hooks the URL that env.py opened."""
IMPORTABLE = "It must be an importable package; prepend_sys_path of the Alembic section adds import paths."
"""The hint for a package that the configuration names and Python does not find."""

_at_work: ContextVar[bool] = ContextVar("fietsupdate_at_work", default=False)


@dataclass(frozen=True, slots=True)
class Application:
    """The application that a configuration describes, while `activated` is entered."""

    config: Config
    settings: Settings
    data_dir: Path
    folders: tuple[Folder, ...]
    app_version: str = ""
    """The version of the configured distribution that is installed; "" where none is configured."""

    def with_url(self, url: str) -> Application:
        """Return the application with the database's URL among its settings."""
        return replace(self, settings=self.settings.joined({URL: url}))


@contextmanager
def activated(config: Config) -> Iterator[Application]:
    """Make the application importable, call its `setup`, and find folders and data directory.

    At exit `sys.path` and Python's logging are restored, and the context that `setup` returned is left. That context
    cannot swallow an exception of the caller.

    Raises:
        ConfigError: `setup` fails, a folder does not exist, or no source names the data directory.
    """
    before, token = list(sys.path), _at_work.set(True)
    sys.path[:0] = [str(path) for path in config.prepend_sys_path]
    try:
        with logging_kept(), _set_up(config.setup) as values:
            yield _site(config, values)
    finally:
        sys.path[:] = before
        _at_work.reset(token)


def is_at_work() -> bool:
    """Return whether this code runs inside an activated configuration: it was called by `setup`, env.py or a hook."""
    return _at_work.get()


def _site(config: Config, values: Mapping[str, Any]) -> Application:
    data_dir = config.data_dir
    if DATA_DIR in values and "data_dir" not in config.overrides:
        data_dir = config.here / Path(values[DATA_DIR])
    if data_dir is None:
        raise ConfigError(
            f"No data directory is named: {config.file_names} has no data_dir.",
            hint="Add it to the section: data_dir = %(here)s/data. Or set FIETSUPDATE_DATA_DIR.",
        )
    settings = Settings({**config.settings, **values, DATA_DIR: str(data_dir)}, config.settings_origin)
    folders = _folders(config)
    return Application(config, settings, data_dir, folders, _app_version(config))


def _app_version(config: Config) -> str:
    if not config.distribution:
        named = {"version_hooks": ", ".join(config.version_hooks), "data_version_file": config.data_version_file}
        for key, text in named.items():
            if not text:
                continue
            raise ConfigError(
                f"{key} = {text}: no distribution is named whose version that is.",
                hint="Name the application's distribution: distribution = NAME",
            )
        return ""
    if config.release is not None:
        return config.release.version
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(config.distribution) or ""
    except PackageNotFoundError:
        raise ConfigError(
            f"distribution = {config.distribution}: no distribution of that name is installed in this Python.",
            hint="`pip list` shows the names; an application that is not installed has no version.",
        ) from None


def _folders(config: Config) -> tuple[Folder, ...]:
    folders = tuple(_folder(name, config.here) for name in config.updates)
    names = [folder.name for folder in folders]
    for name in names:
        if names.count(name) > 1:
            places = " and ".join(str(folder.path) for folder in folders if folder.name == name)
            raise ConfigError(
                f"updates: two folders would both be called {name}: {places}.",
                hint="Rename the folder of the application, or name the package's as package:folder.",
            )
    return folders


def _folder(name: str, here: Path) -> Folder:
    """Return a folder of update scripts; below the folder of the configuration, its name is the relative path."""
    key, inside = published_name(name), package_folder(name)
    if key:
        return Folder(key, _published(key))
    path = _package(inside[0], f"updates = {name}", IMPORTABLE) / inside[1] if inside else Path(name)
    if not path.is_dir():
        raise _no_folder(path)
    if not inside and path.is_relative_to(here) and path != here:
        name = str(path.relative_to(here))
    return Folder(name, path)


def _published(key: str) -> Path:

    publication = published(key)
    path = _package(publication.package, publication.said, publication.hint) / publication.folder
    if not path.is_dir():
        if any(parent.is_file() for parent in path.parents):
            raise _no_folder(path)
        raise ConfigError(f"{publication.said}: there is no folder {path}.", hint=publication.hint)
    return path


def _no_folder(path: Path) -> ConfigError:

    if archive := next((parent for parent in path.parents if parent.is_file()), None):
        return ConfigError(
            f"The update scripts in {path} lie inside of the archive {archive}, where they cannot be read.",
            hint="Install their package as a folder, as pip does: a script is a file that is read and run by its path.",
        )
    hint = "Create it, or correct `updates` in the configuration."
    if is_published(path.name):
        hint = f"An installed package publishes its updates under this name: write it with a colon, {path.name}:"
    return ConfigError(f"There is no folder {path} for update scripts; `updates` names it.", hint=hint)


def _package(package: str, said: str, hint: str) -> Path:
    """Return the folder of a package without importing the package itself; Python has to import its parents."""
    try:
        spec = importlib.util.find_spec(package)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{said}: looking for {package} failed: {described(error)}.", hint=hint) from error
    if spec is None or not spec.submodule_search_locations:
        what = "is no package" if spec else "is not installed in this Python"
        raise ConfigError(f"{said}: {package} {what}.", hint=hint)
    return Path(next(iter(spec.submodule_search_locations)))


@contextmanager
def _set_up(name: str) -> Iterator[Mapping[str, Any]]:
    if not name:
        yield {}
        return
    manager = _called(name)
    if not (hasattr(type(manager), "__enter__") and hasattr(type(manager), "__exit__")):
        yield _mapping(name, "returned", manager)
        return
    try:
        entered = manager.__enter__()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"setup = {name}: entering its context failed: {described(error)}.") from error
    with _leaving(name, manager):
        # Flask's application context yields itself.
        yield {} if entered is manager else _mapping(name, "yielded", entered)


def _called(name: str) -> Any:
    function = load_callable(name, "setup")
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise ConfigError(f"setup = {name} failed: {described(error)}.") from error


def _mapping(name: str, how: str, values: object) -> Mapping[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise ConfigError(
            f"setup = {name} {how} {type(values).__name__}; it must be a mapping of settings, a context manager that "
            "yields one, or None."
        )
    return values


@contextmanager
def _leaving(name: str, manager: Any) -> Iterator[None]:
    """Leave the context; the caller's exception is raised even if the context would swallow it or fails itself."""
    try:
        yield
    except BaseException as error:
        try:
            manager.__exit__(type(error), error, error.__traceback__)
        except (Exception, SystemExit) as second:  # noqa: BLE001  # it is told together with the first
            error.add_note(f"Then leaving the context of setup = {name} failed: {described(second)}.")
        raise
    try:
        manager.__exit__(None, None, None)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"setup = {name}: leaving its context failed: {described(error)}.",
            stands="Everything before it was finished.",
        ) from error


# -- Folders of update scripts that installed packages publish: entry points of the group `GROUP`.


GROUP = "fietsupdate.updates"
"""The group of entry points: ``shop = "shop:updates"`` publishes the folder ``updates`` of the package ``shop``."""


@dataclass(frozen=True, slots=True)
class Publication:
    """The content of one entry point."""

    package: str
    folder: str
    """The folder in the package; "" is the package's own folder."""
    said: str
    """The beginning of the message that the entry point is wrong."""
    hint: str
    """The hint of that message."""


def published(name: str) -> Publication:
    """Return the folder that is published under a name.

    Raises:
        ConfigError: No package publishes a folder under this name, several do, or the entry point is malformed.
    """
    entries = entry_points(group=GROUP, name=name)
    if len(entries) == 1:
        [entry] = entries
        return _read(entry)
    if entries:
        packages = ", ".join(sorted(provider(entry) for entry in entries))
        raise ConfigError(
            f"updates = {name}: several installed packages publish their updates under this name: {packages}.",
            hint=f"Name the folder of one of them, package:folder, in place of {name}:",
        )
    known = sorted({entry.name for entry in entry_points(group=GROUP)})
    close = nearest(name, known) or "."
    raise ConfigError(
        f"updates = {name}: no installed package publishes its updates under the name {name!r}{close}",
        hint=f"Published in this Python: {', '.join(known) or 'nothing'}. A package publishes its folder by an entry "
        f"point of the group {GROUP!r}.",
    )


def _read(entry: EntryPoint) -> Publication:
    by = provider(entry)
    said = f"updates = {entry.name}: the entry point {entry.name} = {entry.value} of {by} points nowhere"
    hint = (
        f"`pip install --force-reinstall {by}` mends a broken installation; where it does not, the fault is the "
        f"package's own. As long as none of its updates is applied, '{entry.name}:' can be taken out of `updates`."
    )
    if not entry.pattern.match(entry.value):
        raise ConfigError(f"{said}: it is not written as package:folder.", hint=hint)
    return Publication(entry.module, (entry.attr or "").replace(".", "/"), said, hint)  # None: no colon in the value


def is_published(name: str) -> bool:
    """Return whether an installed package publishes its updates under this name."""
    return bool(entry_points(group=GROUP, name=name))


def provider(entry: EntryPoint) -> str:
    """Return the package that an entry point belongs to, or its value where that is unknown."""
    return entry.dist.name if entry.dist is not None else entry.value
