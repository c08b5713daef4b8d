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
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import descriptors

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS: Mapping[str, tuple[tuple[int, int | None], ...]] = MappingProxyType(
    {
        "os.truncate": ((0, None),),
        "os.rename": ((0, 2), (1, 3)),
        "os.remove": ((0, 1),),
        "os.rmdir": ((0, 1),),
        "shutil.rmtree": ((0, 1),),
        "os.mkdir": ((0, 2),),
        "os.symlink": ((1, 2),),
        "os.link": ((0, 2), (1, 3)),  # through a second name of a real file the real file would change
        "os.chmod": ((0, 2),),
        "os.chown": ((0, 3),),
        "os.utime": ((0, 3),),
        "os.setxattr": ((0, None),),
        "os.removexattr": ((0, None),),
    }
)
"""Events, and in their arguments the places of a path and of the descriptor that it is relative to."""

_NAMES = frozenset({"os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "os.mkdir", "os.symlink"})
"""Events that change a name, wherever a symlink of this name may lead."""

_PROGRAMS: Mapping[str, tuple[int, int | None]] = MappingProxyType(
    {"subprocess.Popen": (1, 2), "os.system": (0, None), "os.posix_spawn": (1, None), "os.exec": (1, None)}
)
"""Events of programs that are started, and in their arguments the places of command line and working directory."""

_BETWEEN = re.compile(r"""[\s'"=:;,|&<>()`$]+""")
"""What may stand between the paths in a word of a command line: it may be a whole script."""

_fences: list[Fence] = []
"""Those that stand at the moment."""
_installed = False


class Fence:
    """What is fenced, and what was refused."""

    def __init__(self, folders: Collection[Path], gate: Path | None, files: Collection[Path]) -> None:
        self._folders = tuple(os.path.realpath(folder) for folder in folders)
        self._gate = os.path.realpath(gate) if gate else ""
        self._files = frozenset(os.path.realpath(file) for file in files)
        names = {os.fspath(one) for one in (*folders, *files)} | {*self._folders, *self._files}
        longest_first = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        self._mentions = re.compile(rf"(?<![\w.-])(?:{longest_first})(?![\w.-])")
        self.refused: dict[str, None] = {}
        """Paths that something has tried to change."""

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
def fenced(folders: Collection[Path], *, gate: Path | None = None, databases: Collection[Path] = ()) -> Iterator[Fence]:
    """Keep this process from changing anything in these folders.

    Args:
        folders: What is kept as it is.
        gate: A folder inside of them that may be changed all the same; programs that are told of the others are then
            refused as well.
        databases: SQLite files that may not even be opened.
    """
    _install()
    fence = Fence(folders, gate, databases)
    _fences.append(fence)
    try:
        yield fence
    finally:
        _fences.remove(fence)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _fences:
        return
    if event == "open":
        if (arguments[2] or 0) & _WRITING and not isinstance(arguments[0], int):
            _check(arguments[0], None, anywhere=True)
    elif event == "sqlite3.connect":
        with suppress(TypeError):  # a name that is none is for sqlite3 to refuse
            name = os.fsdecode(arguments[0]).removeprefix("file:").partition("?")[0]
            for fence in _fences:
                fence.check_database(name)
    elif (told := _PROGRAMS.get(event)) is not None:
        _check_program(_words(arguments[told[0]]), None if told[1] is None else arguments[told[1]])
    elif (places := _PATHS.get(event)) is not None:
        for path, folder in places:
            _check(arguments[path], None if folder is None else arguments[folder], follow=event not in _NAMES)


def _check_program(words: list[str], starts: Any) -> None:
    try:
        folder = os.getcwd()
    except OSError:
        folder = "/"  # it was removed: nothing is relative to it any more
    for fence in _fences:
        if starts is not None:
            fence.check_program([os.fsdecode(starts)], folder)
        fence.check_program(words, os.path.join(folder, os.fsdecode(starts or "")))


def _words(argument: Any) -> list[str]:
    """Give the words of a command line; the first of several is the program itself, which is only read."""
    if isinstance(argument, str | bytes | os.PathLike):
        return [os.fsdecode(argument)]
    return [os.fsdecode(word) for word in list(argument or ())[1:]]


def _check(path: Any, folder: Any, *, follow: bool = True, anywhere: bool = False) -> None:
    """Check every path that the arguments of a call may mean."""
    for name in _names(path, folder, anywhere=anywhere):
        for fence in _fences:
            fence.check(name, follow=follow)


def _names(path: Any, folder: Any, *, anywhere: bool) -> list[str]:
    if isinstance(path, int):
        name = descriptors.path_of(path)
        return [name] if name else []
    text = os.fsdecode(path)
    if os.path.isabs(text):
        return [text]
    if isinstance(folder, int) and folder >= 0:
        base = descriptors.path_of(folder)
        return [f"{base}/{text}"] if base else []
    bases = [os.getcwd(), *(descriptors.open_folders() if anywhere else ())]  # ``open`` omits dir_fd
    return [f"{base}/{text}" for base in dict.fromkeys(bases)]


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _install() -> None:
    global _installed  # noqa: PLW0603  # an audit hook belongs to the process, and cannot be taken away
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
