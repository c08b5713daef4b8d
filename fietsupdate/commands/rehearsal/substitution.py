"""Point an entered configuration at a clone: what names the real instance names the clone instead."""

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


def substituted(
    application: Application, data_dir: Path, extra_dirs: Mapping[str, Path], redirect: Redirect
) -> Application:
    """Return the same application with a clone in place of the real instance.

    Paths into the data directory and the further roots, and URLs of the real database, are replaced in the settings and
    the ``-x`` arguments, wherever they stand in a text. No other part of the real instance is used: no backup is made,
    no maintenance file is written, and `running` is not called.

    Args:
        application: The real instance.
        data_dir: The clone of its data directory.
        extra_dirs: The clones of its further roots, by name.
        redirect: The clone of its database.
    """
    config = application.config
    substitution = substitution_of(application, data_dir, extra_dirs, redirect)
    settings = type(application.settings)(
        {**substitution.value(dict(application.settings)), DATA_DIR: str(data_dir)}, config.settings_origin
    )
    return replace(
        application,
        data_dir=data_dir,
        settings=settings,
        config=replace(
            config,
            data_dir=data_dir,
            extra_dirs=dict(extra_dirs),
            settings=substitution.value(dict(config.settings)),
            x=tuple(substitution.argument(argument) for argument in config.x),
            backup_dir=None,
            backup=Policy.NEVER,
            running="",
            notify="",
            maintenance=None,
            redirect=redirect,
        ),
    )


def substitution_of(
    application: Application, data_dir: Path, extra_dirs: Mapping[str, Path], redirect: Redirect
) -> Substitution:
    """Return the replacements; arguments as for `substituted`."""
    dirs = {application.config.extra_dirs[name]: clone for name, clone in extra_dirs.items()}
    return Substitution({application.data_dir: data_dir, **dirs, **files_of(redirect)}, redirect)


def substituted_ini(text: str, here: Path, substitution: Substitution) -> str:
    """Return the text of an INI file that names the clone, and that may be placed in any folder.

    Args:
        text: The real text.
        here: The real file's folder, for which ``%(here)s`` stands.
        substitution: The replacements.
    """
    folder = str(here).replace("%", "%%")
    text = text.replace("%(here)s", folder)
    text = re.sub(r"(?m)^(use\s*=\s*config:)(?!/)", lambda match: f"{match[1]}{folder}/", text)
    return re.sub(
        r"(?m)^([^#;=:\s][^=:\n]*[=:][ \t]*)(\S.*?)[ \t]*$",
        lambda found: f"{found[1]}{_escaped(found[2], substitution)}",
        text,
    )


def _escaped(value: str, substitution: Substitution) -> str:
    plain = value.replace("%%", "%")
    other = substitution.text(plain)
    return value if other == plain else other.replace("%", "%%")


class Substitution:
    """Replaces the names of the real instance by those of the clone."""

    def __init__(self, paths: Mapping[Path, Path], redirect: Redirect) -> None:
        self._pointed = redirect
        named = {str(real): str(clone) for real, clone in paths.items()}
        named = {os.path.realpath(real): clone for real, clone in named.items()} | named
        self._clones = {quote(real): quote(clone) for real, clone in named.items()} | named  # as in ``file:`` URIs
        longest_first = sorted(self._clones, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, longest_first))})(?![\w.-])")

    def value(self, value: Any) -> Any:
        """Replace in a setting of any type; an object of an unknown type is kept."""
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
        """Replace in environment variables, which child processes inherit."""
        before = {}
        for name, value in list(os.environ.items()):
            if (other := self.text(value)) != value:
                before[name], os.environ[name] = value, other
        try:
            yield
        finally:
            os.environ.update(before)

    def argument(self, text: str) -> str:
        """Replace in the value of a ``key=value``."""
        key, equals, value = text.partition("=")
        return f"{key}{equals}{self.text(value)}"

    def text(self, text: str) -> str:
        """Replace in a text."""
        if "://" in text and (url := redirected_url(text, self._pointed)) is not None:
            return url
        return self._pattern.sub(lambda match: self._clones[match[1]], text)
