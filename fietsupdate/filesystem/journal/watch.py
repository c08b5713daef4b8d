"""What the verbs and the guard tell each other, while the script's own code runs inside of a verb."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class GuardChannel:
    """What the verbs tell the guard. This class does nothing: it stands for the guard where there is none."""

    def tell(self, kind: str, text: str) -> None:
        """Report something that is not undone, once for each kind."""

    def workers(self) -> AbstractContextManager[None]:
        """Take child processes that start and end meanwhile for our own, which change only drafts."""
        return nullcontext()


class Staging:
    """A folder of drafts that the script's own code may write to, though it lies in our folder."""

    def __init__(self) -> None:
        self._folder = ""

    @contextmanager
    def opened(self, folder: str) -> Iterator[None]:
        """Let the script's code write into a folder, an absolute path."""
        before, self._folder = self._folder, f"{folder}/"
        try:
            yield
        finally:
            self._folder = before

    def holds(self, path: str) -> bool:
        """Return whether a path lies in that folder."""
        return bool(self._folder) and path.startswith(self._folder)
