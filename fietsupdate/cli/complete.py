"""Completes command lines in a shell: commands, options, ids of updates, names of backups.

typer's own completion uses typer's parser, which this program replaces. The shell's script calls the program with the
words up to the cursor and `VARIABLE` in the environment, and gets one candidate a line. No module of the application is
imported and no database is asked; where the configuration cannot be read, commands and options are completed anyway.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import typer

from fietsupdate.cli.main import COMMANDS, build_app
from fietsupdate.cli.parser import spellings
from fietsupdate.cli.probe import KINDS

VARIABLE = "_FIETSUPDATE_COMPLETE"
"""Set by the scripts of the shells."""

_UPDATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "update": ("head", "heads"),
        "downgrade": ("base",),
        "rehearse": ("head", "heads"),
        "show": (),
        "stamp": ("head", "heads", "base"),
    }
)
"""Commands whose words are updates, and what else they may be."""
_BACKUPS = frozenset({"restore", "backup verify"})
_IDS = frozenset({"--previous"})
"""Options whose values are updates."""
_ID = re.compile(rb"""^update_id[ \t]*(?::[^=\n]*)?=[ \t]*["']([A-Za-z0-9_.-]+)["']""", re.MULTILINE)
_LARGEST = 1 << 20


def answer() -> int:
    """Print the candidates for the command line of this process, and return the exit code."""
    found = candidates(sys.argv[1:])
    sys.stdout.write("".join(f"{word}\n" for word in found))
    return 0


def candidates(words: Sequence[str]) -> list[str]:
    """Return what the last of these words may become, sorted.

    Args:
        words: Those after the program's name, up to the cursor; the last one may be empty.
    """
    *before, last = words or [""]
    app: Any = typer.main.get_command(build_app(_named(before)))
    names, option = _read(app, before)
    command = next((name for name in (" ".join(names[:2]), " ".join(names[:1])) if name in app.commands), "")
    found: Iterable[str]
    if option:
        found = _update_ids(before) if option in _IDS else ()
    elif last.startswith("-"):
        found = _options(app, command)
    elif not command:
        found = ("help", *(name.split()[0] for name in COMMANDS))
    else:
        found = _words(command, names[len(command.split()) :], before)
    return sorted({word for word in found if word.startswith(last)})


def _named(words: Sequence[str]) -> Mapping[str, Any]:
    """Return the commands that the words may mean; typer takes its time for each."""
    named = {name: command for name, command in COMMANDS.items() if name.split()[0] in words}
    return named or {"status": COMMANDS["status"]}


def _read(app: Any, before: Sequence[str]) -> tuple[list[str], str]:
    """Return the words that are no options, and the option that still lacks its value, or ""."""
    known = {name: param for command in (*app.commands.values(), app) for name, param in _spelt(command).items()}
    names, option = list[str](), ""
    for word in before:
        if option:
            option = ""
        elif word in known and not known[word].is_flag:
            option = word
        elif not word.startswith("-"):
            names.append(word)
    return names, option


def _options(app: Any, command: str) -> Iterator[str]:
    yield from _spelt(app)
    if command:
        yield from _spelt(app.commands[command])


def _spelt(command: Any) -> dict[str, Any]:
    return spellings(command, ["-h", "--help"])


def _words(command: str, given: Sequence[str], before: Sequence[str]) -> Iterator[str]:
    """Yield what the next word of a command may be."""
    if not given:
        yield from (name.split()[1] for name in COMMANDS if name.startswith(f"{command} "))
    if command == "probe" and not given:
        yield from KINDS
    if command in _UPDATES and (not given or command == "stamp"):
        yield from (*_UPDATES[command], *_update_ids(before))
    if command in _BACKUPS and not given:
        yield from _backups(before)


def _update_ids(before: Sequence[str]) -> Iterator[str]:
    """Yield the ids of the scripts in plain folders; no script is parsed."""
    from fietsupdate.config.keys import package_folder, published_name

    for folder in getattr(_config(before), "updates", ()):
        if package_folder(folder) or published_name(folder) or not os.path.isdir(folder):
            continue
        for path in Path(folder).glob("[!_.#]*.py"):
            try:
                with open(path, "rb") as file:
                    yield from (found.decode() for found in _ID.findall(file.read(_LARGEST)))
            except OSError:
                continue


def _backups(before: Sequence[str]) -> Iterator[str]:
    config = _config(before)
    if config is None or (config.backup_dir or config.data_dir) is None:
        return
    folder = config.backup_dir or config.data_dir / ".fietsupdate" / "backups"
    try:
        yield from (name for name in os.listdir(folder) if os.path.isdir(folder / name) and not name.startswith("."))
    except OSError:
        return


def _config(before: Sequence[str]) -> Any:
    """Read the configuration that the words name, or the usual one; ``None`` where that is not possible."""
    from fietsupdate.config.config import load_config
    from fietsupdate.errors import FietsupdateError

    pairs = list(pairwise(before))
    section = next((value for option, value in pairs if option in {"-n", "--name"}), None)
    try:
        return load_config([value for option, value in pairs if option in {"-c", "--config"}], section=section)
    except (FietsupdateError, OSError):
        return None
