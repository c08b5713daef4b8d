"""Configuration files as they are written, with the line of each key.

Knows INI and TOML, `%(here)s` and PasteDeploy's way to write an application's settings, but not the meaning of any key.
Each fault in a file is a `ConfigError` that names the file and, if known, the line.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fietsupdate.errors import ConfigError

_MOST_INCLUDES = 20
"""The most PasteDeploy files that may `use` each other; more than this means that they form a circle."""


@dataclass(frozen=True, slots=True)
class Ini:
    """An INI file, read as Alembic reads it: option names in lower case, `%(here)s` for its own folder."""

    path: Path
    text: str = field(repr=False)
    parser: configparser.ConfigParser = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Ini:
        """Read a file.

        Raises:
            ConfigError: The file cannot be read, or is no INI file.
        """
        # "locale" is how Alembic and PasteDeploy read the file; all readers must see the same text.
        return cls.of(path, _read_text(path, "locale"))

    @classmethod
    def of(cls, path: Path, text: str) -> Ini:
        """Return the INI file with this text as its content."""
        return cls(path, text, _parse(path, text, {}))

    @property
    def here(self) -> Path:
        """The folder of the file."""
        return self.path.parent

    def has(self, section: str) -> bool:
        """Return whether the section exists."""
        return self.parser.has_section(section)

    def keys(self, section: str) -> tuple[str, ...]:
        """Return the keys that the section itself has; those of ``[DEFAULT]`` are left out."""
        return tuple(key for key in self.parser.options(section) if key not in self.parser.defaults())

    def get(self, section: str, key: str) -> str | None:
        """Return a value, interpolated; ``[DEFAULT]`` counts. ``None`` where the key is missing.

        Raises:
            ConfigError: An interpolation refers to a missing key.
        """
        try:
            return self.parser.get(section, key, fallback=None)
        except configparser.InterpolationError as error:
            raise _bad_interpolation(self, error) from error

    def where(self, section: str, key: str = "") -> str:
        """Return ``file:line`` of a key or, without one, of the section's header."""
        line = _ini_line(self.text, section, key)
        return f"{self.path}:{line}" if line else str(self.path)

    def settings(self, section: str) -> dict[str, str]:
        """Return a whole section, as an application reads it: ``[DEFAULT]`` included, the case of the keys kept.

        Sections of PasteDeploy work as in Pyramid: ``%(here)s``, ``%(__file__)s``, ``set key = ...``, ``get key =
        ...``, ``use = config:other.ini#name`` and ``use = another_section``.

        Raises:
            ConfigError: An interpolation refers to a missing key, or ``use`` names a file or section that does not
                exist.
        """
        return _settings(self, section, {}, _MOST_INCLUDES)


@dataclass(frozen=True, slots=True)
class Toml:
    """A TOML file."""

    path: Path
    text: str = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Toml:
        """Read a file.

        Raises:
            ConfigError: The file cannot be read, or is not TOML.
        """
        return cls.of(path, _read_text(path, "utf-8"))

    @classmethod
    def of(cls, path: Path, text: str) -> Toml:
        """Return the TOML file with this text as its content."""
        import tomllib

        try:
            return cls(path, text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            raise ConfigError(f"{path}{':' + line[1] if line else ''}: this is not TOML: {error}.") from error

    @property
    def here(self) -> Path:
        """The folder of the file."""
        return self.path.parent

    def table(self, name: str) -> Mapping[str, Any] | None:
        """Return the table with a dotted name, its strings interpolated; ``None`` where there is no such table.

        Raises:
            ConfigError: The name belongs to a value that is no table, or an interpolation refers to a missing key.
        """
        table: Any = self.data
        for part in name.split("."):
            if not isinstance(table, Mapping) or part not in table:
                return None
            table = table[part]
        if not isinstance(table, Mapping):
            raise ConfigError(f"{self.path}: {name} is {table!r}; it must be a table, written [{name}].")
        return {key: self._interpolated(value, f"{self.where(name, key)}: {key}") for key, value in table.items()}

    def where(self, table: str, key: str = "") -> str:
        """Return ``file:line`` of a key or, without one, of the table's header."""
        line = _ini_line(self.text, table, key)
        return f"{self.path}:{line}" if line else str(self.path)

    def _interpolated(self, value: Any, what: str) -> Any:
        """Replace ``%(here)s`` in strings, also inside of lists and tables, as Alembic does for its own keys."""
        if isinstance(value, list):
            return [self._interpolated(item, what) for item in value]
        if isinstance(value, dict):
            return {key: self._interpolated(item, what) for key, item in value.items()}
        if not isinstance(value, str):
            return value
        try:
            return value % {"here": self.here.as_posix()}
        except (KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{what} cannot be interpolated: {value!r}.",
                hint="Only %(here)s is known, the folder of the file. Write a percent sign as %%.",
            ) from error


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for a misspelt word, or "" when no known word is similar."""
    close = get_close_matches(word, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _read_text(path: Path, encoding: str) -> str:
    try:
        return path.read_text(encoding)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text: byte {error.start} is no {error.encoding}.") from error


def _parse(path: Path, text: str, defaults: Mapping[str, str], *, keep_case: bool = False) -> configparser.ConfigParser:
    own = {"here": path.parent.as_posix(), "__file__": str(path)}
    parser = configparser.ConfigParser({**{key: _escaped(value) for key, value in defaults.items()}, **own})
    if keep_case:
        parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text, str(path))
    except configparser.Error as error:
        raise _bad_syntax(path, error) from error
    return parser


def _escaped(value: str) -> str:
    return value.replace("%", "%%")


def _bad_syntax(path: Path, error: configparser.Error) -> ConfigError:
    match error:
        case configparser.MissingSectionHeaderError():
            return ConfigError(f"{path}:{error.lineno}: text before the first [section]: {error.line.strip()!r}.")
        case configparser.ParsingError(errors=[(line, text), *_]):
            return ConfigError(f"{path}:{line}: not `key = value`, and not a [section]: {text.strip(chr(39))}.")
        case configparser.DuplicateSectionError():
            return ConfigError(f"{path}:{error.lineno}: the section [{error.section}] is there a second time.")
        case configparser.DuplicateOptionError():
            return ConfigError(
                f"{path}:{error.lineno}: the section [{error.section}] has {error.option!r} a second time."
            )
        case _:
            return ConfigError(f"{path}: {error}")


def _bad_interpolation(ini: Ini, error: configparser.InterpolationError) -> ConfigError:
    where = ini.where(error.section, error.option)
    if isinstance(error, configparser.InterpolationMissingOptionError):
        return ConfigError(
            f"{where}: {error.option} uses %({error.reference})s, which stands neither in [{error.section}] nor in "
            f"[DEFAULT].",
            hint="Define it there, or write a percent sign that means itself as %%.",
        )
    if isinstance(error, configparser.InterpolationDepthError):
        return ConfigError(f"{where}: {error.option} refers to itself.")
    return ConfigError(
        f"{where}: {error.option} has a percent sign that starts no %(name)s.",
        hint="Write a percent sign that means itself as %%.",
    )


def _ini_line(text: str, section: str, key: str) -> int:
    """Return the line of a key, or of the section's header; 0 when it is written in an unexpected way."""
    inside, header = False, 0
    spelling = re.compile(rf"""["']?{re.escape(key)}["']?\s*[=:]""", re.IGNORECASE)
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\[\s*([^\]]+?)\s*\]", line):
            inside = match[1] == section
            header = header or (number if inside else 0)
        elif inside and key and spelling.match(line.strip()):
            return number
    return header


def _settings(ini: Ini, section: str, defaults: Mapping[str, str], includes: int) -> dict[str, str]:
    parser = _parse(ini.path, ini.text, defaults, keep_case=True)
    try:
        values = dict(parser.items(section))
    except configparser.InterpolationError as error:
        raise _bad_interpolation(ini, error) from error
    common = {key: value for key, value in values.items() if key in parser.defaults()}
    own = {key: value for key, value in values.items() if key not in common}
    changed = {key[4:].strip(): value for key, value in own.items() if key.startswith("set ")}
    plain = {key: value for key, value in own.items() if not key.startswith(("set ", "get "))}
    below = _used(ini, section, own.get("use", ""), common | changed, includes)
    itself = {"here": ini.here.as_posix(), "__file__": str(ini.path)}
    return {**common, **below, **plain, **changed, **_borrowed(ini, section, own, common | changed), **itself}


def _borrowed(ini: Ini, section: str, own: Mapping[str, str], common: Mapping[str, str]) -> dict[str, str]:
    """Return the values of ``get name = common_name``."""
    names = {key[4:].strip(): value for key, value in own.items() if key.startswith("get ")}
    for name, source in names.items():
        if source not in common:
            close = nearest(source, common) or "."
            raise ConfigError(f"{ini.where(section, f'get {name}')}: there is no {source!r} in [DEFAULT]{close}")
    return {name: common[source] for name, source in names.items()}


def _used(ini: Ini, section: str, use: str, common: Mapping[str, str], includes: int) -> dict[str, str]:
    """Return the settings of the section that an ``[app:...]`` section is based on, as PasteDeploy finds it."""
    kind, _, own_name = section.partition(":")
    if not use or kind not in {"app", "application"} or use.startswith(("egg:", "call:")):
        return {}
    where = ini.where(section, "use")
    if not includes:
        raise ConfigError(f"{where}: the files and sections named by `use` go in a circle.")
    source, name = ini, use
    if use.startswith("config:"):
        file, _, name = use.removeprefix("config:").partition("#")
        source = Ini.read(ini.here / file) if file else ini
    sections = [candidate for candidate in _candidates(name or own_name) if source.has(candidate)]
    if not sections:
        raise ConfigError(f"{where}: {source.path} has no section [app:{name or own_name}].")
    return _settings(source, sections[0], common, includes - 1)


def _candidates(name: str) -> tuple[str, ...]:
    return (f"app:{name}", f"application:{name}", name)
