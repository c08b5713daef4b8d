"""The two streams of a terminal program, safe to write to at any moment of an update.

An update goes on whatever happens to the reader of our output: a closed pipe makes a stream silent, and raises nothing.
Every text can be printed in every locale.

Names of files, manifests, ledger rows and messages of hooks come from other sources. All text is written here, so here
control characters are made visible, and passwords are masked.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping
from typing import TextIO

from fietsupdate.masks import masked_parts

WIDEST = 110
"""Lines longer than this are hard to read, however wide the terminal is."""


USUAL = 80
"""Columns of a terminal that does not report its width."""

_OBEYED = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""Characters that control terminals or reorder text: C0 without tab and line feed, DEL, C1, line separators, bidi
controls.

And halves of surrogate pairs, which stand for the bytes of a file name that are no UTF-8 (PEP 383).
"""


def printable(text: str) -> str:
    """Return the text with every control character written as Python escapes it."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return re.sub(_OBEYED, lambda found: found[0].encode("unicode_escape").decode(), text)


def on_one_line(text: str) -> str:
    """Return a printable text for one line: a line feed in it comes from a name, and would forge a second line."""
    return printable(text).replace("\n", "\\n")


class Output:
    """A text stream on a duplicate of a file descriptor.

    The engine points descriptor 1 at stderr while the application's code runs; the duplicate still leads to the real
    stdout.

    Args:
        descriptor: 1 or 2.
        environ: Contains ``NO_COLOR``, ``FORCE_COLOR`` and ``TERM``.
    """

    def __init__(self, descriptor: int, environ: Mapping[str, str] = os.environ) -> None:
        self.stream = _duplicate(descriptor)
        self.is_terminal = self.stream.isatty()
        self.colored = _is_colored(environ, is_terminal=self.is_terminal)
        self.moves = self.is_terminal and environ.get("TERM") != "dumb"
        """Whether a line that was written can be erased again."""
        self.failure: Exception | None = None
        """Why nothing is written any more."""

    @property
    def width(self) -> int:
        """Columns to fill: the terminal's, or `WIDEST` where there is none."""
        if not self.is_terminal:
            return WIDEST
        try:
            columns = os.get_terminal_size(self.stream.fileno()).columns
        except OSError:
            columns = 0
        return min(columns or USUAL, WIDEST)

    @property
    def draws(self) -> bool:
        """Return whether line-drawing characters can be written."""
        try:
            "●○│├─╯".encode(self.encoding)
        except (LookupError, UnicodeEncodeError):
            return False
        return True

    def line(self, text: str = "") -> None:
        """Write text and a line feed, without buffering."""
        self.write(f"{text}\n")

    def show(self, text: str) -> None:
        """Write text for people and a line feed, with colors where they are wanted."""
        if self.colored:
            self.draw(f"{painted(printable(masked_parts(text)))}\n")
        else:
            self.line(text)

    def write(self, text: str) -> None:
        """Write text without control characters and passwords, unbuffered.

        Nothing if the reader has closed the stream.
        """
        self.draw(printable(masked_parts(text)))

    def draw(self, text: str) -> None:
        """Write text unchanged, with the control sequences of our own moving line."""
        if self.failure is not None:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError) as error:
            self.failure = error
            self._lead_nowhere()

    @property
    def encoding(self) -> str:
        """The encoding of the terminal, from the locale."""
        return self.stream.encoding

    def close(self) -> None:
        """Close the duplicate."""
        with contextlib.suppress(OSError):
            self.stream.close()

    def _lead_nowhere(self) -> None:
        """Redirect the stream to /dev/null, so that flushing at exit does not fail."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, self.stream.fileno())
        except (OSError, ValueError):
            pass  # the stream is closed, so nothing is left to flush
        finally:
            os.close(nowhere)


def painted(text: str) -> str:
    """Return a safe text with its colors; their rules are imported only where a terminal is written to."""
    from fietsupdate.cli.render.paint import painted as with_colors

    return with_colors(text)


def _is_colored(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Return whether colors are wanted: NO_COLOR says no, FORCE_COLOR yes, else a terminal that is not dumb."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "0") not in {"", "0"}:
        return True
    return is_terminal and environ.get("TERM") != "dumb"


class Canvas:
    """An output as a file for rich, which draws with control sequences; texts for rich are made `printable` before."""

    def __init__(self, out: Output) -> None:
        self.write = out.draw
        self.isatty = lambda: out.is_terminal
        self.encoding = out.encoding

    def flush(self) -> None:
        """Do nothing, since each write is flushed."""


def _duplicate(descriptor: int) -> TextIO:
    original = sys.stdout if descriptor == 1 else sys.stderr
    encoding = getattr(original, "encoding", None) or "utf-8"
    try:
        copy = os.dup(descriptor)
    except OSError:  # closed by the parent process: all output is discarded
        copy = os.open(os.devnull, os.O_WRONLY)
    return os.fdopen(copy, "w", buffering=1, encoding=encoding, errors="backslashreplace")
