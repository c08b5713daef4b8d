"""A fence around the real instance: while it is up, this process changes no file in it.

A rehearsal runs the application's code beside the real data directory, and a stored path may lead there. Python's audit
hooks report a call before it is made (https://docs.python.org/3/library/audit_events.html), and the fence refuses calls
that would change something inside the fenced folders, symlinks followed. Changes without audit events (C libraries that
open files themselves, programs) pass it, as they pass the guard; a rehearsal has
`fietsupdate.filesystem.posix.namespaces` for these. A program is only prevented from working in a fenced folder.

Every refused path is remembered: code that ignores the error does not make a successful rehearsal.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

from fietsupdate.errors import FilesError
from fietsupdate.filesystem.guard.threads import CalledCode, Whose
from fietsupdate.filesystem.posix import descriptors
from fietsupdate.filesystem.posix.audit_events import PATHS, is_reading, names, paths_of
from fietsupdate.filesystem.run_file import is_own_thread

_NAMES = frozenset({"os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.mkdir", "os.symlink"})
"""Events that change a name itself, wherever a symlink of this name may lead."""

_TAKING = frozenset({"os.rename", "os.remove", "os.rmdir", "shutil.rmtree"})
"""Events that remove a name."""

_MOVING: Mapping[str, tuple[int | None, int | None]] = MappingProxyType(
    {"shutil.move": (None, None), "os.rename": (2, 3)}
)
"""Events of moves, with the positions in their arguments of the descriptors that the two paths are relative to."""

_FOLDERS: Mapping[str, int] = MappingProxyType({"subprocess.Popen": 2, "os.chdir": 0})
"""Events after which this process or a program works in a folder, with the position of its path in their arguments."""

_EVENTS = frozenset({"sqlite3.connect", *PATHS, *_FOLDERS, *_MOVING})

_UNANNOUNCED = ("mkfifo", "mknod")
"""Functions of `os` that create a file without an audit event."""

_fences: list[ReadOnly] = []
"""The fences that are up."""
_installed = False


class ReadOnly:
    """A fence: the fenced folders, and the paths that it has refused."""

    def __init__(
        self, folders: Collection[Path], gate: Path | None, files: Collection[Path], call: CalledCode | None = None
    ) -> None:
        self._folders = tuple(os.path.realpath(folder) for folder in folders)
        self._gate = os.path.realpath(gate) if gate else ""
        self._files = frozenset(os.path.realpath(file) for file in files)
        self._call = call
        self.refused: dict[str, None] = {}
        """Paths that code has tried to change."""

    @property
    def holds(self) -> bool:
        """Whether the fence applies to the current thread; other threads of the process may be exempt."""
        return self._call is None or self._call.whose() is not Whose.OTHERS

    def check(self, path: str, *, follow: bool, takes: bool = False) -> None:
        """Refuse to change a path.

        Args:
            path: The absolute path.
            follow: Whether the change affects the target of a symlink with this name.
            takes: Whether the name is removed, and with it all names below it.

        Raises:
            FilesError: The path lies inside the fence, or contains something fenced.
        """
        folder, name = os.path.split(path)
        own = os.path.join(os.path.realpath(folder), name)
        real = {own} | ({os.path.realpath(path)} if follow else set())
        above = takes and any(_is_below(one, own) for one in (*self._folders, *self._files))
        if above or any(self._is_inside(one) for one in real):
            self._refuse(path)

    def check_database(self, path: str) -> None:
        """Refuse to open a SQLite database."""
        if os.path.realpath(path) in self._files:
            self._refuse(path)

    def check_folder(self, path: str) -> None:
        """Refuse to work in a folder inside the fence, since names without a folder would be written there.

        Without a gate there is no copy to work in, and the program may only want to read.
        """
        if self._gate and self._is_inside(os.path.realpath(path)):
            self._refuse(path)

    def check_move(self, source: str, target: str) -> None:
        """Refuse to move files into the gate that are neither from there nor temporary.

        They would be deleted with the copy.
        """
        source = os.path.join(os.path.realpath(os.path.dirname(source)), os.path.basename(source))
        if not self._gate or not _is_below(os.path.realpath(target), self._gate):
            return
        if not any(_is_below(source, own) for own in (self._gate, os.path.realpath(tempfile.gettempdir()))):
            self._refuse(
                source,
                f"{source} is no part of the instance: a rehearsal would take it away.",
                "Name its folder in extra_dirs, so that it is cloned, or let the script copy it.",
            )

    def _is_inside(self, path: str) -> bool:
        if path in self._files:
            return True
        if self._gate and _is_below(path, self._gate):
            return False
        return any(_is_below(path, folder) for folder in self._folders)

    def _refuse(self, path: str, message: str = "", hint: str = "") -> None:
        self.refused[path] = None
        raise FilesError(
            message or f"{path} belongs to the real instance, which nothing may change now.",
            hint=hint or "Take paths from self.data_dir, self.files or config, never from elsewhere.",
            details={"path": path},
        )


@contextmanager
def read_only(
    folders: Collection[Path], *, gate: Path | None = None, databases: Collection[Path] = (), one_call: bool = False
) -> Iterator[ReadOnly]:
    """Prevent this process from changing anything in these folders.

    Args:
        folders: The folders that must not change.
        gate: A folder inside of them that may be changed; with a gate, programs may not work in the other folders.
        databases: SQLite files that may not even be opened.
        one_call: Whether to restrict only the code that is called inside of this context, with the threads that it
            starts. The other threads of the process, which existed before, are left alone.
    """
    _install()
    call = CalledCode() if one_call else None
    fence = ReadOnly(folders, gate, databases, call)
    _fences.append(fence)
    try:
        with call.running() if call else nullcontext(), _announced() if gate else nullcontext():
            yield fence
    finally:
        _fences.remove(fence)


@contextmanager
def _announced() -> Iterator[None]:
    """Check calls of functions that raise no audit event."""
    before = {name: getattr(os, name) for name in _UNANNOUNCED if hasattr(os, name)}
    for name, real in before.items():
        setattr(os, name, _looked_at(real))
    try:
        yield
    finally:
        for name, real in before.items():
            setattr(os, name, real)


def _looked_at(real: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(real)
    def call(path: Any, *arguments: Any, dir_fd: int | None = None, **named: Any) -> Any:
        for fence in [fence for fence in _fences if fence.holds]:
            for name in names(path, dir_fd):
                fence.check(name, follow=False)
        return real(path, *arguments, dir_fd=dir_fd, **named)

    return call


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _fences or event not in _EVENTS or is_reading(event, arguments) or is_own_thread():
        return
    for fence in [fence for fence in _fences if fence.holds]:
        _confront(fence, event, arguments)


def _confront(fence: ReadOnly, event: str, arguments: tuple[Any, ...]) -> None:
    """Check the call that an event announces."""
    if event == "sqlite3.connect":
        _check_database(fence, arguments[0])
    elif (place := _FOLDERS.get(event)) is not None:
        for name in [] if arguments[place] is None else names(arguments[place], None):
            fence.check_folder(name)
    elif event == "open":
        if not isinstance(arguments[0], int):
            for name in names(arguments[0], descriptors.opened_from(), descriptors.open_folders()):
                fence.check(name, follow=True)
    else:
        for path, folder in paths_of(event, arguments):
            for name in names(path, folder):
                fence.check(name, follow=event not in _NAMES, takes=event in _TAKING)
    if event in _MOVING:
        _check_move(fence, arguments, _MOVING[event])


def _check_database(fence: ReadOnly, name: Any) -> None:
    with suppress(TypeError):  # sqlite3 itself refuses an invalid name
        path = os.fsdecode(name)
        fence.check_database(unquote(urlsplit(path).path) if path.startswith("file:") else path)


def _check_move(fence: ReadOnly, arguments: tuple[Any, ...], places: tuple[int | None, int | None]) -> None:
    sources, targets = (
        names(arguments[number], None if place is None else arguments[place]) for number, place in enumerate(places)
    )
    for source in sources:
        for target in targets:
            fence.check_move(source, target)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _install() -> None:
    global _installed  # noqa: PLW0603  # an audit hook belongs to the process, and cannot be taken away
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
