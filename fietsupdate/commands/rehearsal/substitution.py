"""Aims an entered configuration at a clone: whatever in it leads to the real instance leads to the clone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fietsupdate.config.application import DATA_DIR, Application
from fietsupdate.config.config import Redirect
from fietsupdate.database.redirect import files_of, redirected_url
from fietsupdate.model import Policy


def substituted(site: Application, data_dir: Path, extra_dirs: Mapping[str, Path], pointed: Redirect) -> Application:
    """Return the same site with a clone in place of the real instance.

    Paths into the data directory and the further roots, and URLs of the real database, are replaced among the settings
    and the ``-x`` arguments, wherever they stand in a text. Nothing else of the real instance is asked or changed: no
    backup is made, no maintenance file, and nobody looks whether the application runs.

    Args:
        site: The real instance.
        data_dir: The clone of its data directory.
        extra_dirs: The clones of its further roots, by name.
        pointed: The clone of its database.
    """
    config = site.config
    aim = aim_of(site, data_dir, extra_dirs, pointed)
    settings = type(site.settings)({**aim.value(dict(site.settings)), DATA_DIR: str(data_dir)}, config.settings_origin)
    return replace(
        site,
        data_dir=data_dir,
        settings=settings,
        config=replace(
            config,
            data_dir=data_dir,
            extra_dirs=dict(extra_dirs),
            settings=aim.value(dict(config.settings)),
            x=tuple(aim.argument(argument) for argument in config.x),
            backup_dir=None,
            backup=Policy.NEVER,
            running="",
            maintenance=None,
            pointed=pointed,
        ),
    )


def aim_of(site: Application, data_dir: Path, extra_dirs: Mapping[str, Path], pointed: Redirect) -> Substitution:
    """Say what is replaced by what; arguments as for `substituted`."""
    dirs = {site.config.extra_dirs[name]: clone for name, clone in extra_dirs.items()}
    return Substitution({site.data_dir: data_dir, **dirs, **files_of(pointed)}, pointed)


def aimed_ini(text: str, here: Path, aim: Substitution) -> str:
    """Return the text of an INI file that leads to the clone, and that may lie anywhere.

    Args:
        text: The real one.
        here: Its folder, for which ``%(here)s`` stands.
        aim: What is replaced.
    """
    folder = str(here).replace("%", "%%")
    text = text.replace("%(here)s", folder)
    text = re.sub(r"(?m)^(use\s*=\s*config:)(?!/)", lambda found: f"{found[1]}{folder}/", text)
    return re.sub(
        r"(?m)^([^#;=:\s][^=:\n]*[=:][ \t]*)(\S.*?)[ \t]*$", lambda found: f"{found[1]}{_escaped(found[2], aim)}", text
    )


def _escaped(value: str, aim: Substitution) -> str:
    plain = value.replace("%%", "%")
    other = aim.text(plain)
    return value if other == plain else other.replace("%", "%%")


class Substitution:
    """Replaces what leads to the real instance."""

    def __init__(self, paths: Mapping[Path, Path], pointed: Redirect) -> None:
        self._pointed = pointed
        named = {str(real): str(clone) for real, clone in paths.items()}
        named = {os.path.realpath(real): clone for real, clone in named.items()} | named
        self._clones = {quote(real): quote(clone) for real, clone in named.items()} | named  # as in ``file:`` URIs
        longest_first = sorted(self._clones, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, longest_first))})(?![\w.-])")

    def value(self, value: Any) -> Any:
        """Replace in a setting, whatever it is made of; an object that we do not know stays."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Path):
            return type(value)(self.text(str(value)))
        if type(value) is dict:
            return {key: self.value(item) for key, item in value.items()}
        if type(value) in {list, tuple}:
            return type(value)(self.value(item) for item in value)
        return value

    @contextmanager
    def environment(self) -> Iterator[None]:
        """Replace in environment variables, which programs inherit."""
        before = {}
        for name, value in list(os.environ.items()):
            if (other := self.text(value)) != value:
                before[name], os.environ[name] = value, other
        try:
            yield
        finally:
            os.environ.update(before)

    def argument(self, text: str) -> str:
        """Replace in a ``key=value``."""
        key, equals, value = text.partition("=")
        return f"{key}{equals}{self.text(value)}"

    def text(self, text: str) -> str:
        """Replace in a text."""
        if "://" in text and (url := redirected_url(text, self._pointed)) is not None:
            return url
        return self._pattern.sub(lambda found: self._clones[found[1]], text)
