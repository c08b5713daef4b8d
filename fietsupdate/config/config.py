"""Read one frozen `Config` from alembic.ini, pyproject.toml, the environment and options; nothing else happens.

A key is taken from the first of these sources that has it: an option, ``FIETSUPDATE_<KEY>``, the INI file,
pyproject.toml. (The values that ``setup`` returns rank between environment and files, see
`fietsupdate.config.application`.) Relative paths in a file are relative to the file's folder, those in options and
environment to the working directory. Alembic's own ``prepend_sys_path`` keeps Alembic's meaning: relative to the
working directory.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fietsupdate.config.files import Ini, Toml, nearest
from fietsupdate.config.keys import TOML_TABLE, GivenValue, converted, gather
from fietsupdate.errors import ConfigError
from fietsupdate.model import Policy
from fietsupdate.model.policy import AuditPolicy


@dataclass(frozen=True, slots=True)
class Redirect:
    """The clone of a database in a rehearsal, which env.py must open in place of the real one."""

    url: str = field(repr=False)
    """The clone's URL."""
    real: str = field(repr=False)
    """The URL that env.py would open without the rehearsal."""
    mark: str
    """The mark that is written in the clone and not in the real database."""
    ini: Path | None = None
    """A copy of the INI file that names the clone, for an env.py that reads the file itself."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release of the application that a test treats as the installed one."""

    version: str
    updates: frozenset[str] | None = None
    """Ids of its update scripts; ``None`` for all scripts that exist."""

    def brings(self, update_id: str) -> bool:
        """Return whether the release contains the script of an update."""
        return self.updates is None or update_id in self.updates


@dataclass(frozen=True, slots=True)
class Config:
    """The content of the configuration, with absolute paths only.

    `fietsupdate.config.application.activated` applies it.
    """

    ini: Path | None
    toml: Path | None
    alembic_section: str
    here: Path
    """The folder of the INI file or, without an INI file, of pyproject.toml."""
    updates: tuple[str, ...]
    """Absolute folders, ``package:folder``, or ``name:``, under which an installed package publishes its folder."""
    data_dir: Path | None
    """``None`` when `setup` must name it."""
    settings: Mapping[str, Any] = field(repr=False)
    """The section that hooks receive as ``config``, interpolated."""
    settings_origin: str = ""
    """Where `settings` come from, for messages."""
    setup: str = ""
    version_file: str = "VERSION"
    """Relative to the data directory; "" for none."""
    extra_dirs: Mapping[str, Path] = field(default_factory=dict)
    backup_dir: Path | None = None
    """``None`` for the default folder in the data directory."""
    backup: Policy = Policy.AUTO
    """When an update makes an automatic backup."""
    keep: int | None = 5
    """How many backups of both halves are kept; ``None`` for all."""
    guard: bool = True
    rehearsal_dir: Path | None = None
    """The folder of clones for rehearsals; ``None`` to choose a folder with enough space."""
    rehearsal: str = "auto"
    """How a server's database is cloned: ``auto``, or ``dump``, which lets other programs connect meanwhile."""
    redirect: Redirect | None = None
    """Set while a rehearsal runs."""
    release: Release | None = None
    """Set in a test that stands for another release than the installed one."""
    lock_timeout: float = 600.0
    """Seconds; 0 does not wait."""
    alembic_config: str = ""
    distribution: str = ""
    """The application's distribution, whose version the ledger records; "" for none."""
    version_hooks: tuple[str, ...] = ()
    """Modules with version hooks; ``name:``, under which a plugin publishes one; callables that return such lines."""
    data_version_file: str = ""
    """The file in which an earlier upgrader kept the version of the data, relative to the data directory; "" for none.
    """
    templates: Path | None = None
    """The project's own templates for new scripts."""
    checks: tuple[str, ...] = ()
    """Modules of the application with checks before and after a run."""
    audit: AuditPolicy = AuditPolicy.STRICT
    """What an update does about rows and files that do not match after it, and did before."""
    running: str = ""
    """A shell command; exit code 0 means that the application is running."""
    notify: str = ""
    """A shell command that is called when a run begins, ends and fails."""
    maintenance: Path | None = None
    """The file that exists while the instance is being changed."""
    x: tuple[str, ...] = ()
    prepend_sys_path: tuple[Path, ...] = ()
    overrides: frozenset[str] = frozenset()
    """The keys that come from an option or from the environment; these outrank `setup`."""

    @property
    def file_names(self) -> str:
        """The paths of the configuration files, for messages."""
        return " and ".join(str(path) for path in (self.ini, self.toml) if path)


class Settings(Mapping[str, Any]):
    """The mapping that hooks receive as ``config``: the application's settings, read-only.

    Always contains ``fietsupdate.data_dir`` and, once the database is known, ``sqlalchemy.url``. Its ``repr`` masks
    values that may hold a secret, so that a traceback or a log may show it.

    Args:
        values: The settings.
        origin: Where they come from; named by the error for a missing key.
    """

    __slots__ = ("_origin", "_values")

    def __init__(self, values: Mapping[str, Any], origin: str = "") -> None:
        self._values = dict(values)
        self._origin = origin

    def __getitem__(self, key: str) -> Any:
        try:
            return self._values[key]
        except KeyError:
            raise KeyError(f"no {key!r} in {self._origin or 'the settings'}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        pairs = ", ".join(f"{key!r}: {_shown(key, value)}" for key, value in self._values.items())
        return f"Settings({{{pairs}}})"

    def joined(self, values: Mapping[str, Any]) -> Settings:
        """Return the same settings with these values added or replaced."""
        return Settings({**self._values, **values}, self._origin)


_SECRET_KEY = re.compile(r"pass|pwd|secret|token|key|salt|credential|auth|url|uri|dsn", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"://[^/\s]*@")


def _shown(key: str, value: object) -> str:
    text = repr(value)
    return "'***'" if _SECRET_KEY.search(str(key)) or _SECRET_VALUE.search(text) else text


def load_config(
    files: Sequence[str | os.PathLike[str]] = (),
    *,
    section: str | None = None,
    x: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Config:
    """Read the configuration. No module is imported, and no file is read but the configuration files.

    Args:
        files: An INI file, a pyproject.toml, or one of each; if empty, see `find_files`.
        section: Alembic's section in the INI file (``-n``). If there is a section ``[fietsupdate:<section>]``, it is
            used in place of ``[fietsupdate]``.
        x: ``key=value`` pairs for env.py (``-x``).
        options: Values of keys that outrank everything else; text, as in the INI file.
        environ: Used in place of `os.environ`.
        cwd: Used in place of the working directory.

    Raises:
        ConfigError: A file is missing or malformed, a key is unknown or has an impossible value.
    """
    environ, cwd = os.environ if environ is None else environ, cwd or Path.cwd()
    ini_path, toml_path = find_files(files, environ=environ, cwd=cwd)
    ini, toml = Ini.read(ini_path) if ini_path else None, Toml.read(toml_path) if toml_path else None
    alembic_section = section or "alembic"
    own_section = _own_section(ini, alembic_section)
    given = gather(ini, toml, own_section, options=options or {}, environ=environ, cwd=cwd)
    _check_updates(given, ini, toml, own_section, cwd)
    _check_alembic(given, ini, toml, alembic_section)
    settings, origin = _settings(ini, toml, own_section, given.get("settings_section"))
    return Config(
        ini=ini_path,
        toml=toml_path,
        alembic_section=alembic_section,
        here=next(path.parent for path in (ini_path, toml_path) if path),
        settings=settings,
        settings_origin=origin,
        x=tuple(x),
        prepend_sys_path=tuple(cwd / path for path in _prepend_sys_path(ini, toml, alembic_section)),
        overrides=frozenset(key for key, value in given.items() if value.overrides),
        **{"data_dir": None, **converted(given)},
    )


def find_files(
    files: Sequence[str | os.PathLike[str]] = (), *, environ: Mapping[str, str], cwd: Path
) -> tuple[Path | None, Path | None]:
    """Return the INI file and the pyproject.toml to read, at least one of them, found as Alembic finds them.

    Without `files`, ``FIETSUPDATE_CONFIG`` or ``ALEMBIC_CONFIG`` names a file. A kind of file that is not named is
    taken from the working directory, if it exists there.

    Raises:
        ConfigError: A named file does not exist, two of a kind are named, or there is none at all.
    """
    named, asked = [os.fspath(file) for file in files], "-c"
    for variable in ("FIETSUPDATE_CONFIG", "ALEMBIC_CONFIG"):
        if not named and environ.get(variable):
            named, asked = [environ[variable]], variable
    files_by_kind: dict[str, Path] = {}
    for name in named:
        kind = "pyproject.toml" if name.endswith(".toml") else "alembic.ini"
        if not (cwd / name).is_file():
            raise ConfigError(f"There is no file {cwd / name}, which {asked} names.")
        if kind in files_by_kind:
            raise ConfigError(
                f"{asked} names both {files_by_kind[kind]} and {name}; one {Path(name).suffix} file is read."
            )
        files_by_kind[kind] = Path(os.path.normpath(cwd / name))
    for kind in ("alembic.ini", "pyproject.toml"):
        if kind not in files_by_kind and (cwd / kind).is_file():
            files_by_kind[kind] = cwd / kind
    if not files_by_kind:
        raise ConfigError(
            f"There is no configuration: neither alembic.ini nor pyproject.toml is in {cwd}.", hint=_elsewhere(cwd)
        )
    return files_by_kind.get("alembic.ini"), files_by_kind.get("pyproject.toml")


def load_callable(text: str, key: str) -> Callable[..., Any]:
    """Import ``package.module:name``.

    Args:
        text: The callable to import; `name` may have dots.
        key: The key of the configuration that names it, for messages.

    Raises:
        ConfigError: The module cannot be imported, has no such name, or the object cannot be called.
    """
    module_name, _, path = text.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{key} = {text}: importing {module_name} failed: {described(error)}.",
            hint="Is the application installed in this Python? prepend_sys_path of the Alembic section adds folders.",
        ) from error
    for name in path.split("."):
        if not hasattr(value, name):
            raise ConfigError(f"{key} = {text}: {module_name} has no {path!r}{nearest(name, dir(value)) or '.'}")
        value = getattr(value, name)
    if not callable(value):
        raise ConfigError(f"{key} = {text}: {path} is {type(value).__name__}, which cannot be called.")
    return value  # type: ignore[no-any-return]


def described(error: BaseException) -> str:
    """Return an exception in one line: its type and its text."""
    return f"{type(error).__name__}: {said(error)}".rstrip(": .")


def said(error: BaseException) -> str:
    """Return the text of an exception; several texts, as a check raises for several faults, joined by semicolons."""
    several = len(error.args) > 1 and all(isinstance(text, str) for text in error.args)
    return "; ".join(error.args) if several and type(error).__str__ is Exception.__str__ else str(error)


def command_line(config: Config, command: str) -> str:
    """Return the command line for this configuration, independent of the working directory."""
    words = ["fietsupdate"]
    named = [config.ini, config.toml if config.ini is None or config.toml != Path.cwd() / "pyproject.toml" else None]
    for path in filter(None, named):
        words += ["-c", str(path)]
    words += ["-n", config.alembic_section] if config.alembic_section != "alembic" else []
    for pair in config.x:
        words += ["-x", f"{pair.partition('=')[0]}=..."]  # the value may be a URL with its password
    return shlex.join([*words, command])


def _own_section(ini: Ini | None, alembic_section: str) -> str:
    special = f"fietsupdate:{alembic_section}"
    return special if ini and ini.has(special) else "fietsupdate"


def _both(ini: Ini | None, toml: Toml | None) -> str:
    return " and ".join(str(source.path) for source in (ini, toml) if source)


def _elsewhere(cwd: Path) -> str:
    """Return a hint that shows how to name the configuration; Flask-Migrate keeps it in a folder of its own."""
    below = "migrations/alembic.ini"
    file = below if (cwd / below).is_file() else "FILE"
    return f"Name it with `fietsupdate -c {file}` or in FIETSUPDATE_CONFIG."


def _check_updates(
    given: Mapping[str, GivenValue], ini: Ini | None, toml: Toml | None, section: str, cwd: Path
) -> None:
    if "updates" in given:
        return
    sources = _both(ini, toml)
    if ini and ini.has(section):
        where = f"{ini.where(section)}: [{section}] has"
    elif toml and toml.table(TOML_TABLE) is not None:
        where = f"{toml.where(TOML_TABLE)}: [{TOML_TABLE}] has"
    else:
        hint = "Run `fietsupdate init` to add it."
        if not (ini and ini.has("alembic")) and not (toml and toml.table("tool.alembic") is not None):
            hint = f"Run `fietsupdate init` where Alembic is configured. {_elsewhere(cwd)}"
        raise ConfigError(f"There is no [{section}] section in {sources}.", hint=hint)
    raise ConfigError(
        f"{where} no `updates`.", hint="Name the folder of the update scripts: updates = %(here)s/updates"
    )


def _check_alembic(given: Mapping[str, GivenValue], ini: Ini | None, toml: Toml | None, section: str) -> None:
    if "alembic_config" in given or (ini and ini.has(section)):
        return
    if toml and toml.table("tool.alembic") is not None and (section == "alembic" or not ini):
        return
    close = nearest(section, ini.parser.sections()) if ini else ""
    raise ConfigError(
        f"Alembic is not configured: there is no [{section}] section in {_both(ini, toml)}{close or '.'}",
        hint="Name Alembic's section with -n, its file with -c, or set it up with `alembic init`. Where the "
        "application configures Alembic in code: `fietsupdate init --alembic-config package.module:callable`.",
    )


def _settings(
    ini: Ini | None, toml: Toml | None, own_section: str, named: GivenValue | None
) -> tuple[Mapping[str, Any], str]:
    """Return the settings for hooks and where they come from: an INI section, or a TOML table by its dotted name."""
    if not named:
        own_table = (toml.table(TOML_TABLE) if toml else None) or {}
        own = ini.settings(own_section) if ini and ini.has(own_section) else {}
        return {**own_table, **own}, f"[{own_section}] of {_both(ini, toml)}"
    name = named.text()
    if ini and ini.has(name):
        return ini.settings(name), f"[{name}] of {ini.path}"
    table = toml.table(name) if toml else None
    if toml and table is not None:
        return table, f"[{name}] of {toml.path}"
    names = _both(ini, toml)
    close = nearest(name, ini.parser.sections()) if ini else ""
    raise ConfigError(f"{named.where} names the section [{name}], which is not in {names}{close or '.'}")


_SEPARATORS = {"space": " ", "newline": "\n", "os": os.pathsep, ":": ":", ";": ";"}


def _prepend_sys_path(ini: Ini | None, toml: Toml | None, section: str) -> Sequence[str]:
    """Read the key exactly as `alembic.config.Config.get_prepend_sys_paths_list` does (alembic 1.20)."""
    text = ini.get(section, "prepend_sys_path") if ini and ini.has(section) else None
    if not ini or not text:
        value = ((toml.table("tool.alembic") if toml else None) or {}).get("prepend_sys_path") or []
        return [value] if isinstance(value, str) else value
    separator = ini.get(section, "path_separator")
    if separator is None:
        return re.split(r", *|(?: +)|\:", text)
    if separator not in _SEPARATORS:
        known = ", ".join(_SEPARATORS)
        raise ConfigError(
            f"{ini.where(section, 'path_separator')}: path_separator is {separator!r}, not one of {known}."
        )
    return [part.strip() for part in text.split(_SEPARATORS[separator]) if part]
