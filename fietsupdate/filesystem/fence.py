"""A fence around the real instance: while it stands, this process changes no file in it.

A rehearsal runs strangers' code beside the real data directory; a path that was written down somewhere may lead there.
Python's audit hooks tell of a call before it is made (https://docs.python.org/3/library/audit_events.html), and the
fence refuses those that would change something inside the fenced folders, symlinks followed. What does not tell Python
(C libraries that open files themselves, programs that find the folders alone) passes it, as it passes the guard. Of a
program its arguments are looked at: what in them is a path into the fence, also a relative one, from where it starts.

What was refused is remembered: code that swallows the error does not make a rehearsal that was right.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import descriptors
from fietsupdate.filesystem.calls import PATHS, is_reading, names, paths_of
from fietsupdate.filesystem.threads import Call, Whose

_NAMES = frozenset({"os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.mkdir", "os.symlink"})
"""Events that change a name, wherever a symlink of this name may lead."""

_PROGRAMS: Mapping[str, tuple[int, int | None]] = MappingProxyType(
    {"subprocess.Popen": (1, 2), "os.system": (0, None), "os.posix_spawn": (1, None), "os.exec": (1, None)}
)
"""Events of programs that are started, and in their arguments the places of command line and working directory."""

_EVENTS = frozenset({"sqlite3.connect", *PATHS, *_PROGRAMS})

_BETWEEN = re.compile(r"""[\s'"=:;,|&<>()`$]+""")
"""What may stand between the paths in a word of a command line: it may be a whole script."""

_fences: list[Fence] = []
"""Those that stand at the moment."""
_installed = False


class Fence:
    """What is fenced, and what was refused."""

    def __init__(
        self, folders: Collection[Path], gate: Path | None, files: Collection[Path], call: Call | None = None
    ) -> None:
        self._folders = tuple(os.path.realpath(folder) for folder in folders)
        self._gate = os.path.realpath(gate) if gate else ""
        self._files = frozenset(os.path.realpath(file) for file in files)
        self._call = call
        shown = {os.fspath(one) for one in (*folders, *files)} | {*self._folders, *self._files}
        longest_first = "|".join(re.escape(name) for name in sorted(shown, key=len, reverse=True))
        self._mentions = re.compile(rf"(?<![\w.-])(?:{longest_first})(?![\w.-])")
        self.refused: dict[str, None] = {}
        """Paths that something has tried to change."""

    @property
    def holds(self) -> bool:
        """Whether it holds the current thread, and this is not one which goes on with other work."""
        return self._call is None or self._call.whose() is not Whose.OTHERS

    def check(self, path: str, *, follow: bool) -> None:
        """Refuse to change a path.

        Args:
            path: The absolute path.
            follow: Whether the change reaches what a symlink of this name leads to.

        Raises:
            FilesError: it lies inside the fence.
        """
        folder, name = os.path.split(path)
        real = {os.path.join(os.path.realpath(folder), name)} | ({os.path.realpath(path)} if follow else set())
        if any(self._is_inside(one) for one in real):
            self._refuse(path)

    def check_database(self, path: str) -> None:
        """Refuse to open a SQLite database."""
        if os.path.realpath(path) in self._files:
            self._refuse(path)

    def check_program(self, words: Iterable[str], folder: str) -> None:
        """Refuse to start a program that is told of a path inside the fence: nobody knows what it does there.

        Where there is no gate, nobody has a copy to lead it to, and it may only want to read.

        Args:
            words: What it is told.
            folder: Where it starts; relative paths lead from there.
        """
        for word in words if self._gate else ():
            if found := self._mentions.search(word.replace(self._gate, "")):
                self._refuse(found[0])
            for piece in filter(None, _BETWEEN.split(word)):
                if "\0" not in piece and self._leads_inside(piece, folder):
                    self._refuse(piece)

    def _leads_inside(self, piece: str, folder: str) -> bool:
        """Tell whether a piece of a word is a path that is there, or could be made, and is inside."""
        path = os.path.join(folder, piece)
        could_be = "/" in piece and os.path.isdir(os.path.dirname(path))
        return (os.path.lexists(path) or could_be) and self._is_inside(os.path.realpath(path))

    def _is_inside(self, path: str) -> bool:
        if path in self._files:
            return True
        if self._gate and _is_below(path, self._gate):
            return False
        return any(_is_below(path, folder) for folder in self._folders)

    def _refuse(self, path: str) -> None:
        self.refused[path] = None
        raise FilesError(
            f"{path} belongs to the real instance, which nothing may change now.",
            hint="Take paths from self.data_dir, self.files or config, never from elsewhere.",
            details={"path": path},
        )


@contextmanager
def fenced(
    folders: Collection[Path], *, gate: Path | None = None, databases: Collection[Path] = (), one_call: bool = False
) -> Iterator[Fence]:
    """Keep this process from changing anything in these folders.

    Args:
        folders: What is kept as it is.
        gate: A folder inside of them that may be changed all the same; programs that are told of the others are then
            refused as well.
        databases: SQLite files that may not even be opened.
        one_call: Keep only what is called inside of this context from it, with the threads that it starts. The other
            threads of the process, which were there before, are left alone.
    """
    _install()
    call = Call() if one_call else None
    fence = Fence(folders, gate, databases, call)
    _fences.append(fence)
    try:
        with call.running() if call else nullcontext():
            yield fence
    finally:
        _fences.remove(fence)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _fences or event not in _EVENTS or is_reading(event, arguments):
        return
    for fence in [fence for fence in _fences if fence.holds]:
        _confront(fence, event, arguments)


def _confront(fence: Fence, event: str, arguments: tuple[Any, ...]) -> None:
    """Check what a call is about to do."""
    if event == "sqlite3.connect":
        with suppress(TypeError):  # a name that is none is for sqlite3 to refuse
            fence.check_database(os.fsdecode(arguments[0]).removeprefix("file:").partition("?")[0])
    elif (told := _PROGRAMS.get(event)) is not None:
        _check_program(fence, _words(arguments[told[0]]), None if told[1] is None else arguments[told[1]])
    elif event == "open":
        if not isinstance(arguments[0], int):
            for name in names(arguments[0], None, descriptors.open_folders()):
                fence.check(name, follow=True)
    else:
        for path, folder in paths_of(event, arguments):
            for name in names(path, folder):
                fence.check(name, follow=event not in _NAMES)


def _check_program(fence: Fence, words: list[str], starts: Any) -> None:
    try:
        folder = os.getcwd()
    except OSError:
        folder = "/"  # it was removed: nothing is relative to it any more
    if starts is not None:
        fence.check_program([os.fsdecode(starts)], folder)
    fence.check_program(words, os.path.join(folder, os.fsdecode(starts or "")))


def _words(argument: Any) -> list[str]:
    """Give the words of a command line; the first of several is the program itself, which is only read."""
    if isinstance(argument, str | bytes | os.PathLike):
        return [os.fsdecode(argument)]
    return [os.fsdecode(word) for word in list(argument or ())[1:]]


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _install() -> None:
    global _installed  # noqa: PLW0603  # an audit hook belongs to the process, and cannot be taken away
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
