"""Files that are being written: each is put in its place as a whole when it is closed, or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import TracebackType


class Draft(io.FileIO):
    """A new file under a temporary name. Closing it puts it in its place, unless it was given up.

    Args:
        descriptor: The new file, open to read and write.
        path: The draft's own path.
        finish: Called with the open draft before it is closed.
    """

    def __init__(self, descriptor: int, path: str, finish: Callable[[Draft], None]) -> None:
        super().__init__(descriptor, "r+b")
        self.path = path
        self._finish: Callable[[Draft], None] | None = finish

    def give_up(self) -> None:
        """Keep the existing file; the draft will only be closed."""
        self._finish = None

    def close(self) -> None:
        """Put the draft in its place, and close it."""
        finish, self._finish = self._finish, None
        try:
            if finish is not None and not self.closed:
                finish(self)
        finally:
            super().close()


class _WholeOrNothing(io.IOBase):
    """A writer over a draft. An exception in its ``with`` block, or while it is flushed, gives the draft up."""

    _draft: Draft

    def close(self) -> None:
        """Flush the buffer, and put the draft in its place."""
        try:
            if not self.closed:
                self.flush()
        except BaseException:
            self._draft.give_up()
            raise
        finally:
            super().close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._draft.give_up()
        super().__exit__(kind, error, trace)


class BinaryDraft(_WholeOrNothing, io.BufferedWriter):
    """A draft for bytes."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft)
        self._draft = draft


class TextDraft(_WholeOrNothing, io.TextIOWrapper):
    """A draft for text."""

    def __init__(self, draft: Draft, encoding: str) -> None:
        super().__init__(BinaryDraft(draft), encoding=encoding, newline="")
        self._draft = draft
