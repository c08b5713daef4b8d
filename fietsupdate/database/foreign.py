"""Seeing that a hook with a database connection of its own commits."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator

from sqlalchemy import Connection, Engine, event


@contextlib.contextmanager
def commits_elsewhere(note: Callable[[], None]) -> Iterator[None]:
    """Call `note` before any SQLAlchemy connection commits for the first time (protocol, 5).

    Raw driver connections and engines in AUTOCOMMIT mode escape this; that is why undoing such a hook never deletes.
    Afterwards garbage is collected: a hook that never closes its connection would block the next schema change.
    """
    noted = False

    def on_commit(_connection: Connection) -> None:
        nonlocal noted
        if not noted:
            note()
            noted = True

    event.listen(Engine, "commit", on_commit)
    try:
        yield
    finally:
        event.remove(Engine, "commit", on_commit)
        gc.collect()
