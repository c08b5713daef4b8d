"""The keys of ``[fietsupdate]``: the source of each value, and how it is converted.

Every value remembers where it was given, so that an error names file and line, or the option or variable.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from fietsupdate.config.files import Ini, Toml, nearest
from fietsupdate.errors import ConfigError
from fietsupdate.model import Policy
from fietsupdate.model.policy import AuditPolicy
from fietsupdate.model.questions import VARIABLE as ANSWERS

TOML_TABLE = "tool.fietsupdate"

_PACKAGE_FOLDER = re.compile(r"([A-Za-z_][\w.]*):(.+)")
_PUBLISHED = re.compile(r"([A-Za-z0-9][\w.-]*):")
_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_DIR_NAME = re.compile(r"[A-Za-z_][\w-]*")
_BOOLEANS = {"1": True, "yes": True, "true": True, "on": True, "0": False, "no": False, "false": False, "off": False}
_PREFIX = "FIETSUPDATE_"
_OTHER_VARIABLES = frozenset({"FIETSUPDATE_CONFIG", "FIETSUPDATE_YES"})
_MISSPELT = 0.93
"""The similarity at which a variable counts as a misspelling of ours: other programs may use our prefix, too."""


@dataclass(frozen=True, slots=True)
class GivenValue:
    """The value of one key, and where it was given."""

    value: Any
    where: str
    """Start of every message about it: ``/srv/app/alembic.ini:12: data_dir``, or an option, or a variable."""
    base: Path
    """The folder that relative paths in the value are relative to."""
    overrides: bool = False
    """Whether it comes from an option or the environment."""

    def refuse(self, wanted: str) -> NoReturn:
        """Raise the error that the value is not what the key requires."""
        raise ConfigError(f"{self.where} is {self.value!r}; it must be {wanted}.")

    def lines(self) -> tuple[str, ...]:
        """Return a list of lines: a TOML list, or text with one item a line."""
        items = self.value.splitlines() if isinstance(self.value, str) else self.value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            self.refuse("a list of texts")
        return tuple(item.strip() for item in items if item.strip())

    def text(self) -> str:
        """Return one line of text."""
        if not isinstance(self.value, str) or "\n" in self.value.strip():
            self.refuse("one line of text")
        return self.value.strip()

    def path(self, text: str) -> Path:
        """Return the absolute path for a path in the value."""
        return Path(os.path.normpath(self.base / Path(text).expanduser()))


def package_folder(text: str) -> tuple[str, str] | None:
    """Split ``package:folder``; ``None`` when the text is a path."""
    match = _PACKAGE_FOLDER.fullmatch(text)
    return (match[1], match[2]) if match else None


def published_name(text: str) -> str:
    """Return the name in ``name:``, under which an installed package publishes its folder; "" for any other text."""
    match = _PUBLISHED.fullmatch(text)
    return match[1] if match else ""


def is_callable(text: str) -> bool:
    """Return whether a text is ``package.module:name``, a callable of the application."""
    return _CALLABLE.fullmatch(text) is not None


def is_module(text: str) -> bool:
    """Return whether a text is the dotted name of a module."""
    return _MODULE.fullmatch(text) is not None


def gather(
    ini: Ini | None,
    toml: Toml | None,
    section: str,
    *,
    options: Mapping[str, str],
    environ: Mapping[str, str],
    cwd: Path,
) -> dict[str, GivenValue]:
    """Return the value of every given key from its highest-ranking source: option, variable, INI, TOML.

    Raises:
        ConfigError: A source has a key that does not exist.
    """
    ascending = chain(
        _from_toml(toml), _from_ini(ini, section), _from_environment(environ, cwd), _from_options(options, cwd)
    )
    # An empty value counts as no value, except for the key in which it has a meaning.
    return {key: given for key, given in ascending if key == "version_file" or given.value not in ("", [], {})}


def converted(given: Mapping[str, GivenValue]) -> dict[str, Any]:
    """Return the values as `fietsupdate.config.config.Config` holds them.

    Raises:
        ConfigError: A value is not what its key requires.
    """
    return {key: convert(given[key]) for key, convert in KEYS.items() if convert and key in given}


def _from_toml(toml: Toml | None) -> Iterator[tuple[str, GivenValue]]:
    for key, value in ((toml and toml.table(TOML_TABLE)) or {}).items():
        where = toml.where(TOML_TABLE, key)  # type: ignore[union-attr]  # there is a table
        if _is_ours(key, where, f"[{TOML_TABLE}]"):
            yield key, GivenValue(value, f"{where}: {key}", toml.here)  # type: ignore[union-attr]


def _from_ini(ini: Ini | None, section: str) -> Iterator[tuple[str, GivenValue]]:
    if not ini or not ini.has(section):
        return
    for key in ini.keys(section):
        _is_ours(key, ini.where(section, key), f"[{section}]")
    for key in KEYS:
        value = ini.get(section, key)
        if value is not None:
            yield key, GivenValue(value, f"{ini.where(section, key)}: {key}", ini.here)


def _is_ours(key: str, where: str, section: str) -> bool:
    """Return whether a key is ours; keys of the application have a dot. Raise ConfigError for a misspelt key."""
    if key in KEYS or "." in key:
        return key in KEYS
    raise ConfigError(
        f"{where}: {section} has no key {key!r}{nearest(key, KEYS) or '.'}",
        hint=f"Its keys are {', '.join(KEYS)}. Settings of the application need a dot in their name here (in TOML: in "
        "quotes), or a section of their own that settings_section names.",
    )


def _from_environment(environ: Mapping[str, str], cwd: Path) -> Iterator[tuple[str, GivenValue]]:
    ours = {f"{_PREFIX}{key.upper()}": key for key in KEYS}
    for variable, value in environ.items():
        if not variable.startswith(_PREFIX) or variable.startswith(ANSWERS):
            continue
        if variable in ours:
            yield ours[variable], GivenValue(value, f"The environment variable {variable}", cwd, overrides=True)
        elif variable not in _OTHER_VARIABLES and (close := get_close_matches(variable, ours, 1, _MISSPELT)):
            raise ConfigError(f"The environment variable {variable} means nothing, did you mean {close[0]}?")


def _from_options(options: Mapping[str, str], cwd: Path) -> Iterator[tuple[str, GivenValue]]:
    for key, value in options.items():
        if key not in KEYS:
            raise ConfigError(f"There is no option {key!r}{nearest(key, KEYS) or '.'}")
        yield key, GivenValue(value, f"The option {key}", cwd, overrides=True)


def _updates(given: GivenValue) -> tuple[str, ...]:
    folders = tuple(
        line if package_folder(line) or published_name(line) else str(given.path(line)) for line in given.lines()
    )
    for number, folder in enumerate(folders):
        if folder in folders[:number]:
            raise ConfigError(f"{given.where} names {folder} twice.")
    return folders


def _path(given: GivenValue) -> Path:
    return given.path(given.text())


def _callable(given: GivenValue) -> str:
    text = given.text()
    if not is_callable(text):
        given.refuse("a callable, written package.module:name")
    return text


def _distribution(given: GivenValue) -> str:
    if not _DISTRIBUTION.fullmatch(given.text()):
        given.refuse("the name of the application's distribution, as pip shows it")
    return given.text()


def _modules(given: GivenValue) -> tuple[str, ...]:
    names = given.lines()
    if not all(is_module(name) for name in names):
        given.refuse("modules, one `package.module` a line")
    return tuple(dict.fromkeys(names))


def _hook_modules(given: GivenValue) -> tuple[str, ...]:
    lines = given.lines()
    if not all(is_module(line) or is_callable(line) or published_name(line) for line in lines):
        given.refuse(
            "modules, `package.module`, names under which plugins publish theirs, `name:`, or callables that return "
            "such lines, `package.module:name`; one a line"
        )
    return tuple(dict.fromkeys(lines))


def _version_file(given: GivenValue) -> str:
    text = given.text()
    parts = PurePosixPath(text).parts
    if text and (text.startswith("/") or ".." in parts or ".fietsupdate" in parts or not parts):
        given.refuse("the name of a file inside the data directory, or empty for none")
    return text


def _extra_dirs(given: GivenValue) -> dict[str, Path]:
    if isinstance(given.value, dict):
        pairs = list(given.value.items())
    else:
        split = (line.partition("=") for line in given.lines())
        pairs = [(name.strip(), folder.strip()) for name, _, folder in split]
    dirs: dict[str, Path] = {}
    for name, folder in pairs:
        if not _DIR_NAME.fullmatch(name) or not isinstance(folder, str) or not folder:
            given.refuse("one `name=folder` a line")
        if name in dirs:
            raise ConfigError(f"{given.where} names {name!r} twice.")
        dirs[name] = given.path(folder)
    return dirs


def _guard(given: GivenValue) -> bool:
    if isinstance(given.value, bool):
        return given.value
    if str(given.value).strip().lower() not in _BOOLEANS:
        given.refuse("true or false")
    return _BOOLEANS[str(given.value).strip().lower()]


def _lock_timeout(given: GivenValue) -> float:
    try:
        seconds = math.nan if isinstance(given.value, bool) else float(given.value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not (0 <= seconds < math.inf):
        given.refuse("a number of seconds, 0 or more")
    return seconds


def _policy(given: GivenValue) -> Policy:
    try:
        return Policy(str(given.value).strip().lower())
    except ValueError:
        given.refuse("auto, full or never")


def _audit(given: GivenValue) -> AuditPolicy:
    try:
        return AuditPolicy(str(given.value).strip().lower())
    except ValueError:
        given.refuse("off, warn or strict")


def _way_of_cloning(given: GivenValue) -> str:
    if given.text() not in {"auto", "dump"}:
        given.refuse("auto or dump")
    return given.text()


def _keep(given: GivenValue) -> int | None:
    text = str(given.value).strip().lower()
    if text == "all":
        return None
    if not text.isascii() or not text.isdigit() or not int(text):
        given.refuse("a number of backups, 1 or more, or all")
    return int(text)


KEYS: Mapping[str, Callable[[GivenValue], Any] | None] = {
    "updates": _updates,
    "data_dir": _path,
    "settings_section": None,
    "setup": _callable,
    "version_file": _version_file,
    "extra_dirs": _extra_dirs,
    "backup_dir": _path,
    "rehearsal_dir": _path,
    "rehearsal": _way_of_cloning,
    "backup": _policy,
    "keep": _keep,
    "guard": _guard,
    "lock_timeout": _lock_timeout,
    "alembic_config": _callable,
    "distribution": _distribution,
    "version_hooks": _hook_modules,
    "data_version_file": _version_file,
    "templates": _path,
    "checks": _modules,
    "audit": _audit,
    "running": GivenValue.text,
    "notify": GivenValue.text,
    "maintenance": _path,
}
"""All keys of ``[fietsupdate]``. A key with a dot in its name belongs to the application."""
