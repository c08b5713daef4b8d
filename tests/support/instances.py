"""Instances in memory: updates, ledgers and views of both halves, in a short notation."""

from __future__ import annotations

from pathlib import Path

from fietsupdate.model import Direction, Entry, Update
from fietsupdate.planning.graph import Graph, build
from fietsupdate.views import DatabaseView, FilesView

DATA = Path("/srv/data")
LINE = {"r1": (), "r2": ("r1",), "r3": ("r2",), "r4": ("r3",)}
"""r1 - r2 - r3 - r4"""


def update(update_id, *previous, at=(), **options):
    """Return an update in the folder `app` that needs the Alembic revisions `at`, spaces between them."""
    revisions = tuple(at.split()) if isinstance(at, str) else at
    values = {"folder": "app", "path": Path(f"/app/updates/upd_{update_id}.py"), "atomic": True}
    return Update(update_id, previous, revisions, **{**values, "checksum": f"sum-{update_id}", **options})


def graph_of(*updates: Update) -> Graph:
    """Build the graph; folders count in the order in which they turn up."""
    return build(updates, tuple(dict.fromkeys(one.folder for one in updates)))


def ledger(text: str) -> tuple[Entry, ...]:
    """Write a ledger: ``a b`` are applied, ``-b`` is reverted, ``=a+b`` is one stamp of both."""
    entries: list[Entry] = []
    for number, word in enumerate(text.split(), 1):
        direction = {"-": Direction.DOWN, "=": Direction.STAMP}.get(word[0], Direction.UP)
        for update_id in word.lstrip("-=").split("+"):
            entries.append(entry(len(entries) + 1, update_id, direction, txn=f"txn-{number}"))
    return tuple(entries)


def entry(seq, update_id, direction=Direction.UP, *, txn="", actor="root"):
    """Return one entry; its time counts with `seq`."""
    when = f"2026-03-0{seq}T12:00:00.000Z"
    return Entry(seq, txn or f"txn-{seq}", update_id, direction, f"sum-{update_id}", when, 5, "1.0", "0.1", actor)


def database(history: str = "", *, at: str = "", tree=None, **options) -> DatabaseView:
    """Return a view of a database with this ledger, at these Alembic revisions."""
    tree = LINE if tree is None else tree
    heads = set(tree) - {parent for parents in tree.values() for parent in parents}
    values = {
        "dialect": "sqlite",
        "url": "sqlite:////srv/app.db",
        "shown_url": "sqlite:////srv/app.db",
        "alembic_current": tuple(sorted(at.split())),
        "revisions": tree,
        "alembic_heads": tuple(sorted(heads)),
        "entries": ledger(history),
        "has_ledger": bool(history),
        "instance_id": "instance-1",
        "file": Path("/srv/app.db"),
    }
    return DatabaseView(**{**values, **options})


def files(history: str = "", *, version: str | None = None, **options) -> FilesView:
    """Return a view of a data directory with this ledger, and these ids in VERSION."""
    values = {
        "data_dir": DATA,
        "exists": True,
        "version": None if version is None else tuple(version.split()),
        "version_path": DATA / "VERSION",
        "entries": ledger(history),
        "has_ledger": bool(history),
    }
    return FilesView(**{**values, **options})
