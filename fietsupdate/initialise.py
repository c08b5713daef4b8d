"""`init`: give an existing Alembic setup its update scripts, all of it or nothing.

The configuration file is appended to and otherwise stays byte for byte what it was; what results is read back before
it reaches the disk. Whoever runs it again is told that it is done already.
"""

from __future__ import annotations

import errno
import locale
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fietsupdate.errors import ConfigError, FilesError
from fietsupdate.filesystem.owner import give_owner
from fietsupdate.keys import TOML_TABLE, converted, gather
from fietsupdate.model import Folder
from fietsupdate.planning.loader import load
from fietsupdate.scaffold import Draft, Kind, new_id, write
from fietsupdate.sources import Ini, Toml

UPDATES = "%(here)s/updates"


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `init` did."""

    file: Path
    """The configuration file."""
    section: str
    """The section in it, without brackets."""
    folder: Path | None = None
    """The folder of the update scripts; ``None`` when everything was there already."""
    script: Path | None = None
    """The baseline script; ``None`` when the folder had scripts already."""

    @property
    def already(self) -> bool:
        """Tell whether there was nothing to do."""
        return self.folder is None


def init(
    ini: Path | None,
    toml: Path | None,
    *,
    created: datetime,
    alembic_section: str = "alembic",
    heads: Sequence[str] = (),
    data_dir: str = "",
) -> Initialised:
    """Add our section where Alembic is configured, the folder of the update scripts, and a baseline script.

    Args:
        ini: The INI file, as `fietsupdate.config.find_files` found it.
        toml: The pyproject.toml likewise.
        created: The time of day.
        alembic_section: Alembic's section in the INI file (``-n``).
        heads: Alembic's heads; the baseline script requires them.
        data_dir: The data directory, as it shall stand in the file; "" for ``data`` beside Alembic's folder.

    Raises:
        ConfigError: Alembic is not configured here, or the file would not be valid any more.
        FilesError: Something cannot be written. Then nothing was.
    """
    target = _target(ini, toml, alembic_section)
    if done := _already(ini, toml, alembic_section):
        return done
    values = {"updates": UPDATES, "data_dir": data_dir or _usual_data_dir(target)}
    if isinstance(target, Ini) and target.has("app:main"):
        values["settings_section"] = "app:main"
    section = TOML_TABLE if isinstance(target, Toml) else _section(alembic_section)
    added = _addition(target, section, values)
    folder = _check(target, section, added)
    with _undone_on_failure() as made:
        script = _baseline(folder, heads, created, made)
        _append(target.path, added)
    return Initialised(target.path, section, folder, script)


def _section(alembic_section: str) -> str:
    return "fietsupdate" if alembic_section == "alembic" else f"fietsupdate:{alembic_section}"


def _target(ini: Path | None, toml: Path | None, alembic_section: str) -> Ini | Toml:
    """Give the file in which Alembic is configured; where it is both, the INI file wins, as it does for Alembic."""
    if ini and (source := Ini.read(ini)).has(alembic_section):
        return source
    if toml and (table := Toml.read(toml)).table("tool.alembic") is not None:
        return table
    shown = " or ".join(str(path) for path in (ini, toml) if path)
    raise ConfigError(
        f"Alembic is not configured: there is no [{alembic_section}] section in {shown}.",
        stands="Nothing was written.",
        hint="Set it up with `alembic init alembic`, or name its file with -c and its section with -n.",
    )


def _already(ini: Path | None, toml: Path | None, alembic_section: str) -> Initialised | None:
    section = _section(alembic_section)
    if ini and Ini.read(ini).has(section):
        return Initialised(ini, section)
    if toml and Toml.read(toml).table(TOML_TABLE) is not None:
        return Initialised(toml, TOML_TABLE)
    return None


def _usual_data_dir(target: Ini | Toml) -> str:
    """Flask-Migrate's INI file lies inside of Alembic's folder; data has no place there."""
    return "%(here)s/../data" if (target.here / "env.py").is_file() else "%(here)s/data"


def _addition(target: Ini | Toml, section: str, values: dict[str, str]) -> str:
    newline = "\r\n" if b"\r\n" in target.path.read_bytes() else "\n"
    start = ["", ""] if target.text and not target.text.endswith("\n") else [""]
    if isinstance(target, Toml):
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
    else:
        lines = [f"{key} = {value}" for key, value in values.items()]
    return newline.join([*start, f"[{section}]", *lines, ""])


def _toml(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _check(target: Ini | Toml, section: str, added: str) -> Path:
    """Read the file as it will be, and give the folder that it names."""
    text = target.text + added.replace("\r\n", "\n")
    try:
        new = Toml.of(target.path, text) if isinstance(target, Toml) else Ini.of(target.path, text)
        given = gather(*_pair(new), section, options={}, environ={}, cwd=target.here)
        values = converted(given)
    except ConfigError as error:
        error.stands = "Nothing was written."
        raise
    return Path(values["updates"][0])


def _pair(source: Ini | Toml) -> tuple[Ini | None, Toml | None]:
    return (source, None) if isinstance(source, Ini) else (None, source)


def _baseline(folder: Path, heads: Sequence[str], created: datetime, made: list[Path]) -> Path | None:
    """Make the folder, and the script unless there are scripts: then the application has its first one already."""
    if not folder.exists():
        folder.mkdir()
        made.append(folder)
        give_owner(folder, folder.parent.stat())
    place = Folder(folder.name, folder)
    if load([place]):
        return None
    draft = Draft(new_id(), created, alembic_revisions=tuple(heads), kind=Kind.BASELINE)
    script = write(draft, place)
    made.append(script)
    return script


@contextmanager
def _undone_on_failure() -> Iterator[list[Path]]:
    made: list[Path] = []
    try:
        yield made
    except BaseException as error:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            what = f"{error.filename or 'A file'} cannot be written: {error.strerror}."
            raise FilesError(what, stands="Nothing was written.") from error
        raise


def _append(path: Path, text: str) -> None:
    """Append in one call; if not everything fits on the disk, take back what did."""
    encoding = "utf-8" if path.suffix == ".toml" else locale.getencoding()
    with path.open("ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        content = text.encode(encoding)
        try:
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(size)
            raise
