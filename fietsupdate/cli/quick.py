"""Answer probes from the standard library alone, in about the time that Python needs to start.

An orchestrator asks every few seconds, so the start must be fast: neither typer nor one of our rooms is imported, and
no dataclasses. This module answers only in the simple positive cases: no command runs, the running command gives signs
of life, or every script is applied. In every other case, and whenever anything is unusual (the configuration, an
option, a file that we would not write in this way), it gives no answer, and `fietsupdate.cli.probe` does the full
check.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace

from fietsupdate.filesystem.posix import locks, processes

HUNG = 20.0
"""The same value as in `fietsupdate.model.run_state`, whose import would take longer than this whole module."""
_YES = {"liveness": "alive", "readiness": "ready", "startup": "started"}
_SMALL = 1 << 16
_LARGEST = 1 << 24
"""The most bytes of a ledger or a script that are read here."""
_MATTER = frozenset({"UPDATES", "VERSION_FILE", "SETUP", "DISTRIBUTION", "VERSION_HOOKS", "DATA_VERSION_FILE"})
"""Keys whose environment variables need the full check."""
_PREVIOUS = re.compile(rb"^previous(?:[ \t]*:[^=\n]*)?[ \t]*=[ \t]*\[([^\]#\\]*)\]", re.MULTILINE)
_ID = re.compile(rb"""["']([^"'\n]+)["']""")
_TOOL = re.compile(
    rb"""tool["'\s]*\.["'\s]*(fietsupdate|alembic)|\[\s*["']?tool["']?\s*\]|^\s*tool\s*[.=]""", re.MULTILINE
)
_PLAIN = re.compile(r"[^~%]+")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class UnusualError(Exception):
    """A case that this module does not handle."""


class QuickSettings:
    """The values of a configuration that matter here."""

    def __init__(self, data_dir: str, version_file: str, updates: tuple[str, ...]) -> None:
        self.data_dir = data_dir
        self.version_file = version_file
        self.updates = updates


def answered(words: Sequence[str], environ: Mapping[str, str] = os.environ) -> int | None:
    """Answer a probe, and return the exit code; ``None``, with nothing printed, if the full check is needed.

    Args:
        words: The command line after the program's name.
        environ: The environment.
    """
    try:
        kind, file, as_json = _words(words)
        place = _place(file, environ)
        state, reason = _answer(kind, place)
        if sys.stdout is None or (as_json and reason.startswith("working")):
            return None
    except (UnusualError, OSError, ValueError, configparser.Error, KeyError, TypeError, AttributeError, RecursionError):
        return None
    document = {"probe": kind, "passed": True, "reason": reason, "state": state, "run": None}
    sys.stdout.write(f"{json.dumps(document) if as_json else f'{_YES[kind]}: {reason}'}\n")
    return 0


def _words(words: Sequence[str]) -> tuple[str, str, bool]:
    rest, kinds, file, as_json = list(words), [], "", False
    while rest:
        word = rest.pop(0)
        if word in {"-c", "--config"} and rest and not file:
            file = rest.pop(0)
        elif word == "--json":
            as_json = True
        else:
            kinds.append(word)
    if len(kinds) != 2 or kinds[0] != "probe" or kinds[1] not in _YES:  # noqa: PLR2004  # the command, what is asked
        raise UnusualError
    return kinds[1], file, as_json


def _place(file: str, environ: Mapping[str, str]) -> QuickSettings:
    """Read an INI file as `fietsupdate.config` does, if it is an ordinary one."""
    if any(environ.get(f"FIETSUPDATE_{key}") is not None for key in _MATTER):
        raise UnusualError
    name = file or environ.get("FIETSUPDATE_CONFIG") or environ.get("ALEMBIC_CONFIG") or "alembic.ini"
    path = os.path.normpath(os.path.join(os.getcwd(), name))
    if path.endswith(".toml"):
        raise UnusualError
    here = os.path.dirname(path)
    _check_toml()
    parser = configparser.ConfigParser({"here": here, "__file__": path})
    with open(path, encoding="locale") as text:
        parser.read_file(text)
    name = "fietsupdate:alembic" if parser.has_section("fietsupdate:alembic") else "fietsupdate"
    section = parser[name]
    if any(section.get(key.lower()) for key in _MATTER - {"UPDATES", "VERSION_FILE"}):
        raise UnusualError
    data_dir = environ.get("FIETSUPDATE_DATA_DIR", "")
    folders = tuple(line.strip() for line in section["updates"].splitlines() if line.strip())
    if any(":" in folder for folder in folders):
        raise UnusualError  # the folder belongs to a package
    return QuickSettings(
        _path(os.getcwd(), data_dir) if data_dir else _path(here, section["data_dir"]),
        section.get("version_file", "VERSION").strip(),
        tuple(_path(here, folder) for folder in folders),
    )


def _check_toml() -> None:
    """Check that a pyproject.toml in this folder does not configure us or Alembic."""
    try:
        with open("pyproject.toml", "rb") as file:
            text = file.read(_LARGEST)
    except FileNotFoundError:
        return
    if _TOOL.search(text):
        raise UnusualError


def _path(base: str, text: str) -> str:
    if not text.strip() or not _PLAIN.fullmatch(text):
        raise UnusualError
    return os.path.normpath(os.path.join(base, text.strip()))


def _answer(kind: str, place: QuickSettings) -> tuple[str | None, str]:
    """Return the state and the reason of a positive answer."""
    try:
        home = os.open(os.path.join(place.data_dir, ".fietsupdate"), _OPEN | os.O_DIRECTORY)
    except FileNotFoundError:
        if kind != "liveness":
            raise
        return None, "nothing runs"
    try:
        status = os.fstat(home)
        if status.st_uid not in {0, os.geteuid()} or status.st_mode & _OTHERS_WRITE:
            raise UnusualError
        working = _working(home)
        if working:
            if kind == "readiness":
                raise UnusualError
            return None if kind == "liveness" else "updating", working
        if kind == "liveness":
            return None, "nothing runs"
        _check_ready(home, place)
    finally:
        os.close(home)
    return "okay", "up to date"


# -- the running command


def _working(home: int) -> str:
    """Return a description of the running command; "" if none runs."""
    try:
        lock = os.open("lock", _OPEN, dir_fd=home)
    except FileNotFoundError:
        if locks.is_taken(home):
            raise UnusualError from None
        return ""
    try:
        if not (locks.is_taken(lock) or locks.is_taken(home)):
            return ""
        who = json.loads(_read(lock, _SMALL))
    finally:
        os.close(lock)
    run = SimpleNamespace(**json.loads(_content("run.json", home, _SMALL)))
    if (run.pid, run.host) != (who["pid"], who["host"]) or run.started < who["since"]:
        raise UnusualError
    silent = time.monotonic() - run.beat / 1000
    if not run.boot or run.boot != processes.boot_id() or silent > HUNG:
        raise UnusualError
    if not f"{run.update_id}{run.command}{run.unit}".isprintable():
        raise UnusualError
    run.percent = min(100 * run.done // run.total, 100) if run.total > 0 else None
    from fietsupdate.cli.render.working import line

    return line(SimpleNamespace(state=run, is_hung=False, silent=silent, process=""))  # type: ignore[arg-type]


# -- the applied updates


def _check_ready(home: int, place: QuickSettings) -> None:
    """Check that exactly the existing scripts are applied, that VERSION agrees, and that no transaction is open.

    A script that has not changed since it ran is recognised by its checksum in the ledger, and need not be parsed.
    """
    if _names(home, "txn") or _names(home, "restore"):
        raise UnusualError
    applied = _applied(_content("ledger.jsonl", home, _LARGEST))
    found: dict[str, tuple[str, ...]] = {}
    for folder in place.updates:
        for name in os.listdir(folder):
            if name.endswith(".py") and not name.startswith(("_", ".", "#")):
                update_id, previous = _script(os.path.join(folder, name), applied)
                if update_id in found:
                    raise UnusualError
                found[update_id] = previous
    before = {update_id for previous in found.values() for update_id in previous}
    if found.keys() != set(applied.values()) or not before <= found.keys():
        raise UnusualError
    if place.version_file:
        text = _content(os.path.join(place.data_dir, place.version_file), None, _SMALL)
        if set(text.decode().split()) != found.keys() - before:
            raise UnusualError


def _applied(ledger: bytes) -> dict[str, str]:
    """Return the ids of the applied updates in a ledger by the checksums of their scripts."""
    applied: dict[str, str] = {}
    stamped = ""
    if not ledger.endswith(b"\n"):
        raise UnusualError
    for number, line in enumerate(ledger.splitlines(), 1):
        entry = json.loads(line)
        update_id, checksum, direction = entry["update_id"], entry["checksum"], entry["direction"]
        if entry["seq"] != number or direction == "version":
            raise UnusualError
        if direction == "stamp" and entry["txn"] != stamped:
            applied.clear()
            stamped = entry["txn"]
        applied.pop(update_id, None)
        if direction in {"up", "stamp"} and update_id != "base":
            applied[update_id] = checksum
    ids = {checksum: update_id for update_id, checksum in applied.items()}
    if len(ids) != len(applied):
        raise UnusualError
    return ids


def _script(path: str, applied: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the id of a script that is applied and unchanged, and the ids before it."""
    import hashlib

    source = _content(path, None, _LARGEST).replace(b"\r\n", b"\n")
    update_id = applied[hashlib.sha256(source).hexdigest()]
    lists = _PREVIOUS.findall(source)
    if len(lists) != 1:
        raise UnusualError
    return update_id, tuple(found.decode() for found in _ID.findall(lists[0]))


def _names(home: int, folder: str) -> list[str]:
    try:
        descriptor = os.open(folder, _OPEN | os.O_DIRECTORY, dir_fd=home)
    except FileNotFoundError:
        return []
    try:
        return os.listdir(descriptor)
    finally:
        os.close(descriptor)


def _content(path: str, folder: int | None, limit: int) -> bytes:
    """Read a regular file of ours, or of the owner of its folder; see `posix.regular`."""
    descriptor = os.open(path, _OPEN, dir_fd=folder)
    try:
        return _read(descriptor, limit)
    finally:
        os.close(descriptor)


def _read(descriptor: int, limit: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
        raise UnusualError
    return os.read(descriptor, status.st_size)
