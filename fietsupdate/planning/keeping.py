"""Which backups stay. Counted are complete ones of this instance, in the order in which they were made.

What many attempts at one update have left counts as one: the first of them is from before anything was tried, the
last has the newest files; those between go first. So failing updates push out neither that first one nor what was
there before them. The copy from before the last change of the application's version stays beside those: it is what
older code can go back to, and daily backups must not push it out before somebody has noticed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from fietsupdate.copies import Backup, Reason, Scope
from fietsupdate.model import Entry, fingerprint


def surplus(backups: Iterable[Backup], keep: int | None, instance_id: str) -> tuple[Backup, ...]:
    """Give the backups of both halves that need not be kept, oldest first.

    Args:
        backups: Complete ones, of whatever instance.
        keep: How many to keep, at least 1; ``None`` for all.
        instance_id: The instance; those of others are never given.
    """
    if keep is None:
        return ()
    own = sorted(
        (one for one in backups if one.manifest.is_pair and one.manifest.instance_id == instance_id),
        key=lambda one: one.manifest.order,
    )
    attempts: dict[tuple[object, ...], list[Backup]] = {}
    for one in own:
        attempts.setdefault(_attempt(one), []).append(one)
    groups = sorted(attempts.values(), key=lambda group: group[-1].manifest.order)
    changes = [group for group in groups if group[-1].manifest.to_version]
    groups = [*changes[-1:], *groups[-max(keep, 1) :]]
    kept = {one.path for group in groups for one in (group[0], group[-1])}
    return tuple(one for one in own if one.path not in kept)


def between(backups: Iterable[Backup], instance_id: str) -> tuple[Backup, ...]:
    """Return the copies before a change of version that are neither of the first nor of the last attempt at it.

    Args:
        backups: Complete ones, of whatever instance.
        instance_id: The instance; those of others are never given.
    """
    attempts: dict[tuple[object, ...], list[Backup]] = {}
    for one in sorted(backups, key=lambda one: one.manifest.order):
        if one.manifest.is_pair and one.manifest.to_version and one.manifest.instance_id == instance_id:
            attempts.setdefault(_attempt(one), []).append(one)
    return tuple(one for group in attempts.values() for one in group[1:-1])


def outlived(backups: Iterable[Backup], instance_id: str, living: Collection[str]) -> tuple[Backup, ...]:
    """Give the dumps whose other half is gone: the vault of the transaction that they were made before.

    Args:
        backups: Complete ones, of whatever instance.
        instance_id: The instance; those of others are never given.
        living: The transactions that are open, or whose vault is kept.
    """
    return tuple(
        one
        for one in backups
        if one.manifest.scope is Scope.DATABASE
        and one.manifest.instance_id == instance_id
        and one.manifest.txn not in living
    )


def spent(backups: Iterable[Backup], entries: Sequence[Entry], open_txn: str, kept: Collection[str]) -> frozenset[str]:
    """Name the dumps that lead nowhere any more, as far as the data directory alone can tell.

    One that is not known to be of this instance is never named, nor one whose update the database may still hold open.

    Args:
        backups: Complete ones, of whatever instance.
        entries: The ledger in the data directory.
        open_txn: The transaction that lies open; "" for none.
        kept: The transactions that are finished, and whose vault is kept.
    """
    ends = {entry.seq: fingerprint((entry,)) for entry in entries}
    recorded = {entry.txn for entry in entries}
    dumps = (one.manifest for one in backups if one.manifest.scope is Scope.DATABASE)
    return frozenset(
        one.name
        for one in dumps
        if (one.txn in recorded or (one.tip_seq < len(entries) and ends.get(one.tip_seq) == one.tip_hash))
        and one.txn != open_txn
        and not (one.txn in kept and entries[-1].txn == one.txn)
    )


def way_back(backups: Iterable[Backup], instance_id: str, txn: str, tip_hash: str) -> Backup | None:
    """Give the backup that leads back to before a transaction: its own dump, else the newest of both halves.

    Args:
        backups: Complete ones, newest first.
        instance_id: The instance.
        txn: The transaction.
        tip_hash: `fietsupdate.model.fingerprint` of the ledger before it.
    """
    own = [one for one in backups if one.manifest.instance_id == instance_id]
    dumps = (one for one in own if one.manifest.scope is Scope.DATABASE and one.manifest.txn == txn)
    whole = (one for one in own if one.manifest.is_pair and one.manifest.tip_hash == tip_hash)
    return next(dumps, None) or next(whole, None)


def _attempt(backup: Backup) -> tuple[object, ...]:
    """Give what all backups made before attempts at one update have in common; every other one stands alone."""
    manifest = backup.manifest
    if manifest.reason is Reason.UPDATE:
        return manifest.tip_seq, manifest.tip_hash
    return (backup.path,)
