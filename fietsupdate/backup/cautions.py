"""Warn, when a backup is made, of obstacles to its restore, while the administrator can still remove them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fietsupdate.backup.manifest import Manifest
from fietsupdate.errors import DatabaseError
from fietsupdate.views import Whereabouts

if TYPE_CHECKING:
    from fietsupdate.database.dump.store import Store


def foretold(store: Store, place: Whereabouts, warn: Callable[[str], None]) -> tuple[str, ...]:
    """Warn of the obstacles to a restore by this user; return those that apply wherever the backup is restored."""
    tenants = [
        f"the ledger {one} of another instance is in the same database, and in the backup" for one in place.others
    ]
    attached = [f"the file {one}, attached to the database, is not in its dump" for one in place.attached]
    texts = said((*store.cautions(), *tenants, *attached), warn)
    for text, remedy in store.barriers():
        warn(f"As it is, this user could not restore it here. {text} {remedy}".rstrip())
    return texts


def said(cautions: tuple[str, ...], warn: Callable[[str], None]) -> tuple[str, ...]:
    """Report each caution as a sentence; return them."""
    for text in cautions:
        warn(f"{text[0].upper()}{text[1:]}.")
    return cautions


def refuse_another_ledger(store: Store, dump: Path, manifest: Manifest) -> None:
    """Compare the dump's ledger as a restore does: a dump that fails now could not be restored then.

    Raises:
        DatabaseError: The dump holds another ledger than env.py's connection, or none.
    """
    from fietsupdate.database.dump.copied_ledger import dumped, ledger_in

    ledger = ledger_in(store, manifest.version_table, manifest.schema)
    inside = dumped(store, dump, ledger) if ledger is not None else None
    if inside is not None and not inside.is_at(manifest.instance_id, manifest.tip_hash):
        raise DatabaseError(
            f"The dump of {store.masked_url} does not hold the ledger that env.py's connection shows: it could not be "
            "restored.",
            hint="See that the version table (version_table_schema in env.py) is in the database that env.py opens, "
            "and that no other program changes it.",
        )
