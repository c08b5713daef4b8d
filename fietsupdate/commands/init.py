"""`init`: add update scripts to an existing Alembic setup, completely or not at all.

The configuration file is only appended to, and otherwise keeps every byte. The resulting text is parsed before it is
written. Running `init` again changes nothing, and says that the setup is there already.
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

from fietsupdate.commands.template import ScriptDraft, ScriptKind, new_id, write
from fietsupdate.config.files import Ini, Toml
from fietsupdate.config.keys import TOML_TABLE, converted, gather
from fietsupdate.errors import ConfigError, FilesError
from fietsupdate.filesystem.posix.ownership import give_owner
from fietsupdate.model import Folder
from fietsupdate.planning.loader import load

DATA = "data"
LIKELY = ("uploads", "media", "files", "storage")
"""Folders in which applications keep their files, besides `DATA`."""


@dataclass(frozen=True, slots=True)
class Initialised:
    """The result of `init`."""

    file: Path
    """The configuration file."""
    section: str
    """The section in it, without brackets."""
    folder: Path | None = None
    """The folder of the update scripts; ``None`` if fietsupdate was set up already."""
    script: Path | None = None
    """The baseline script; ``None`` if the folder contained scripts already."""
    data_dir: str = ""
    """The data directory, as it is written in the file."""
    other_data_dirs: tuple[str, ...] = ()
    """Other existing folders that could be the data directory."""

    @property
    def already(self) -> bool:
        """Whether there was nothing to do."""
        return self.folder is None


def init(
    ini: Path | None,
    toml: Path | None,
    *,
    created: datetime,
    alembic_section: str = "alembic",
    heads: Sequence[str] = (),
    data_dir: str = "",
    alembic_config: str = "",
) -> Initialised:
    """Add our section to Alembic's file, and make the folder of update scripts with a baseline script.

    Args:
        ini: The INI file, as `fietsupdate.config.config.find_files` found it.
        toml: The pyproject.toml likewise.
        created: The time for the script.
        alembic_section: Alembic's section in the INI file (``-n``).
        heads: Alembic's heads; the baseline script requires them.
        data_dir: The data directory, as it will be written in the file; "" for the first of `likely_data_dirs`.
        alembic_config: The callable that makes Alembic's configuration, if no file does.

    Raises:
        ConfigError: Alembic is not configured here, or the file would no longer be valid.
        FilesError: Something cannot be written. Then nothing was written.
    """
    target = _target(ini, toml, alembic_section, alembic_config)
    if done := _already(ini, toml, alembic_section):
        return done
    section = TOML_TABLE if isinstance(target, Toml) else _section(alembic_section)
    likely = [data_dir] if data_dir else _likely_data_dirs(target, section)
    values = {"updates": f"%(here)s/{_unused(target, section, 'updates')}", "data_dir": likely[0]}
    if isinstance(target, Ini) and target.has("app:main"):
        values["settings_section"] = "app:main"
    if alembic_config:
        values["alembic_config"] = alembic_config
    added = _addition(target, section, values)
    folder = _check(target, section, added)
    with _undone_on_failure() as created_paths:
        script = _baseline(folder, heads, created, created_paths)
        _append(target.path, added)
    return Initialised(target.path, section, folder, script, likely[0], tuple(likely[1:]))


def likely_data_dirs(ini: Path | None, toml: Path | None, alembic_section: str) -> tuple[str, ...]:
    """Return the possible data directories as they would be written: the existing folders, or the usual one."""
    target: Ini | Toml | None = Ini.read(ini) if ini else Toml.read(toml) if toml else None
    if target is None or _already(ini, toml, alembic_section):
        return ()
    section = TOML_TABLE if isinstance(target, Toml) else _section(alembic_section)
    return tuple(_likely_data_dirs(target, section))


def _section(alembic_section: str) -> str:
    return "fietsupdate" if alembic_section == "alembic" else f"fietsupdate:{alembic_section}"


def _target(ini: Path | None, toml: Path | None, alembic_section: str, alembic_config: str) -> Ini | Toml:
    """Return the file that configures Alembic; if both do, the INI file wins, as it does for Alembic.

    If a callable configures Alembic, either file will do.
    """
    if ini and (source := Ini.read(ini)).has(alembic_section):
        return source
    if toml and (table := Toml.read(toml)).table("tool.alembic") is not None:
        return table
    if alembic_config and (ini or toml):
        return Ini.read(ini) if ini else Toml.read(toml)  # type: ignore[arg-type]  # one of the two exists
    names = " or ".join(str(path) for path in (ini, toml) if path)
    raise ConfigError(
        f"Alembic is not configured: there is no [{alembic_section}] section in {names}.",
        stands="Nothing was written.",
        hint="Set it up with `alembic init alembic`, name its file with -c and its section with -n, or the callable "
        "that configures it with --alembic-config package.module:callable.",
    )


def _already(ini: Path | None, toml: Path | None, alembic_section: str) -> Initialised | None:
    section = _section(alembic_section)
    if ini and Ini.read(ini).has(section):
        return Initialised(ini, section)
    if toml and Toml.read(toml).table(TOML_TABLE) is not None:
        return Initialised(toml, TOML_TABLE)
    return None


def _likely_data_dirs(target: Ini | Toml, section: str) -> list[str]:
    """Return the existing folders or, if there are none, the usual one; folders of another instance are left out.

    Flask-Migrate's INI file is inside Alembic's folder, where data must not be. Then the folder around it is searched.
    """
    inside = (target.here / "env.py").is_file()
    around, below = (target.here.parent, "%(here)s/..") if inside else (target.here, "%(here)s")
    taken = _taken(target, section)
    there = [name for name in (DATA, *LIKELY) if (around / name).is_dir() and around / name not in taken]
    return [f"{below}/{name}" for name in there or [_unused(target, section, DATA, around)]]


def _unused(target: Ini | Toml, section: str, name: str, around: Path | None = None) -> str:
    """Return a folder's name that no other configuration beside this one uses: instances share neither half."""
    own, taken = section.partition(":")[2] or target.path.stem, _taken(target, section)
    return next(one for one in (name, f"{name}-{own}", f"{name}-{own}-2") if (around or target.here) / one not in taken)


def _taken(target: Ini | Toml, section: str) -> set[Path]:
    """Return the folders that other configurations in the same folder, and other sections of the same file, name."""
    taken: set[Path] = set()
    for path in sorted(target.here.glob("*.ini")):
        with suppress(ConfigError, OSError):  # the file of another program
            ini = Ini.read(path)
            ours = [name for name in ini.parser.sections() if name.partition(":")[0] == "fietsupdate"]
            for name in ours:
                if (path, name) != (target.path, section):
                    texts = [ini.get(name, key) or "" for key in ("updates", "data_dir")]
                    taken.update(Path(os.path.normpath(path.parent / line)) for line in "\n".join(texts).split())
    return taken


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
    """Parse the file as it will be, and return the folder of update scripts that it names."""
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


def _baseline(folder: Path, heads: Sequence[str], created: datetime, created_paths: list[Path]) -> Path | None:
    """Make the folder, and the baseline script unless the folder contains scripts already."""
    if not folder.exists():
        folder.mkdir()
        created_paths.append(folder)
        give_owner(folder, folder.parent.stat())
    place = Folder(folder.name, folder)
    if load([place]):
        return None
    draft = ScriptDraft(new_id(), created, alembic_revisions=tuple(heads), kind=ScriptKind.BASELINE)
    script = write(draft, place)
    created_paths.append(script)
    return script


@contextmanager
def _undone_on_failure() -> Iterator[list[Path]]:
    created_paths: list[Path] = []
    try:
        yield created_paths
    except BaseException as error:
        for path in reversed(created_paths):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            what = f"{error.filename or 'A file'} cannot be written: {error.strerror}."
            raise FilesError(what, stands="Nothing was written.") from error
        raise


def _append(path: Path, text: str) -> None:
    """Append the text in one call; if the disk is too full for all of it, remove the part that was written."""
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
