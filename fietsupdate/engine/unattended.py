"""Standard input of hooks in an unattended run: empty, so that reading it ends at once.

``input()`` in an old script would wait for ever in a service, and at a terminal after ``--yes``, when the administrator
has left. An attempt to read is reported and gets no input. So is opening the terminal itself, as getpass does.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

TERMINAL = "/dev/tty"

_READING: list[Callable[[], None]] = []
"""Called when the terminal is opened; empty while that is allowed."""
_installed = False


class Empty(io.TextIOBase):
    """A standard input that is at its end.

    Args:
        told: Called at the first attempt to read.
    """

    encoding = "utf-8"
    errors = "strict"

    def __init__(self, on_read: Callable[[], None]) -> None:
        self._told: Callable[[], None] | None = on_read

    def tell_once(self) -> None:
        """Report that something wants to read, the first time."""
        on_read, self._told = self._told, None
        if on_read is not None:
            on_read()

    def readable(self) -> bool:
        """Return True: the file can be read, and is empty."""
        return True

    def isatty(self) -> bool:
        """Return False: it is no terminal."""
        return False

    def fileno(self) -> int:
        """Return the descriptor of standard input, which is empty as well."""
        return 0

    def read(self, _size: int | None = -1, /) -> str:
        """Return the empty string."""
        self.tell_once()
        return ""

    def readline(self, _size: int = -1, /) -> str:  # type: ignore[override]  # as TextIOBase documents it
        """Return the empty string."""
        self.tell_once()
        return ""

    @property
    def buffer(self) -> io.BytesIO:
        """The bytes of the file: none."""
        self.tell_once()
        return io.BytesIO()


@contextmanager
def no_input(on_read: Callable[[], None]) -> Iterator[None]:
    """Prevent code that runs inside from waiting for input.

    Args:
        on_read: Called when something tries to read.
    """
    empty = Empty(on_read)
    before = sys.stdin
    _watch_terminal()
    with ExitStack() as stack:
        stack.enter_context(_descriptor_empty())
        _READING.append(empty.tell_once)
        stack.callback(_READING.remove, empty.tell_once)
        sys.stdin = empty  # enough of a file for its readers
        stack.callback(setattr, sys, "stdin", before)
        yield


@contextmanager
def _descriptor_empty() -> Iterator[None]:
    """Point descriptor 0 at /dev/null: for child processes, and for code that bypasses `sys.stdin`."""
    try:
        saved = os.dup(0)
    except OSError:  # descriptor 0 is closed, so it cannot be read
        yield
        return
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        yield
    finally:
        with suppress(OSError):
            os.dup2(saved, 0)
        os.close(saved)


def _watch_terminal() -> None:
    global _installed  # noqa: PLW0603  # an audit hook stays for the life of the process
    if not _installed:
        _installed = True
        sys.addaudithook(_refuse_terminal)


def _refuse_terminal(event: str, arguments: tuple[object, ...]) -> None:
    if _READING and event == "open" and arguments[0] in {TERMINAL, TERMINAL.encode()}:
        _READING[-1]()
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), TERMINAL)
