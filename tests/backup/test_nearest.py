"""Which backup brings two halves together that do not fit: lists in, one name out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fietsupdate.backup.manifest import Backup, Manifest, Reason, Scope, Stored
from fietsupdate.backup.policy import nearest
from fietsupdate.cli.render import restores
from fietsupdate.commands.restore import Candidate
from fietsupdate.model import Direction, Entry, fingerprint
from fietsupdate.planning.graph import build
from fietsupdate.planning.history import compare
from fietsupdate.views import DatabaseView, FilesView

LEDGER = tuple(
    Entry(
        seq=seq,
        txn=f"t{seq}",
        update_id=f"v{seq}",
        direction=Direction.UP,
        checksum="",
        finished_at="",
        duration_ms=0,
        app_version="",
        tool_version="",
        actor="",
    )
    for seq in range(1, 6)
)


def manifest(name: str, tip: int, created_at: str, **values: object) -> Manifest:
    given: dict[str, object] = {
        "name": name,
        "scope": Scope.FULL,
        "reason": Reason.MANUAL,
        "created_at": created_at,
        "instance_id": "ours",
        "tip_seq": tip,
        "tip_hash": fingerprint(LEDGER[:tip]),
        "current": (),
        "alembic": (),
        "app_version": "",
        "tool_version": "",
        "dialect": "sqlite",
        "data_dir": "/data",
        "dump": Stored("database.dump", 1, ""),
        **values,
    }
    return Manifest(**given)  # type: ignore[arg-type]


SHELF = (
    manifest("new", 0, "2026-01-01"),
    manifest("v2-old", 2, "2026-01-02"),
    manifest("v2", 2, "2026-01-03"),
    manifest("v4", 4, "2026-01-04"),
    manifest("dump-of-v3", 3, "2026-01-05", scope=Scope.DATABASE),
    manifest("others-v3", 3, "2026-01-06", instance_id="theirs"),
    manifest("another-v3", 3, "2026-01-07", tip_hash="0" * 64),
)


def views(files: int, database: int) -> tuple[FilesView, DatabaseView]:
    """Give halves whose ledgers end at these entries."""
    ours = FilesView(Path("/data"), True, None, None, LEDGER[:files], bool(files))
    theirs = DatabaseView(
        dialect="sqlite",
        url="",
        shown_url="",
        alembic_current=(),
        revisions={},
        alembic_heads=(),
        entries=LEDGER[:database],
        has_ledger=bool(database),
        instance_id="ours" if database else "",
    )
    return ours, theirs


@pytest.mark.parametrize(
    ("files", "database", "expected"),
    [
        (5, 2, "v2"),  # exactly where the older half is, and of two the newer
        (2, 5, "v2"),
        (1, 5, "v2"),  # the nearest
        (4, 5, "v4"),
        (5, 0, "v4"),  # one half is lost: nearest to what is left
        (0, 5, "v4"),
    ],
)
def test_the_nearest_backup_of_both_halves_is_named(files: int, database: int, expected: str) -> None:
    """Neither a dump alone, nor one of another instance, nor one of another history counts."""
    ours, theirs = views(files, database)
    found = nearest(SHELF, compare(ours, theirs, build([], [])), ours, theirs)
    assert found is not None
    assert found.name == expected


@pytest.mark.parametrize("shelf", [(), SHELF[4:]])
def test_where_none_fits_none_is_named(shelf: Sequence[Manifest]) -> None:
    ours, theirs = views(3, 5)
    assert nearest(shelf, compare(ours, theirs, build([], [])), ours, theirs) is None


def test_a_backup_from_before_the_first_update_is_shown_as_that():
    backup = Backup(Path("/backups/new"), manifest("new", 0, "2026-01-01"))
    assert restores.choice([backup]).endswith("base")
    assert "no update" in restores.question(Candidate(backup, "sqlite://", "sqlite", (Path("/data"),)))
