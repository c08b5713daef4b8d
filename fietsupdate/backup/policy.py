"""Which backups are kept. Only complete backups of this instance count, in the order in which they were made.

The backups of several attempts at one update count as one: the first is from before any attempt, the last has the
newest files; those between are deleted first. So failing updates displace neither that first one nor earlier backups.
The backup from before the last change of the application's version is kept in addition: older code can go back to it,
and daily backups must not displace it before a problem is noticed.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fietsupdate.backup.manifest import Backup, Manifest, Reason, Scope
from fietsupdate.model import Entry, Problem, fingerprint
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.history import Pairing, same, unknown_of
from fietsupdate.planning.problems import up_to
from fietsupdate.planning.version_hooks import is_older, recorded
from fietsupdate.views import MYSQL, DatabaseView, FilesView, Whereabouts


def excess(backups: Iterable[Backup], keep: int | None, instance_id: str) -> tuple[Backup, ...]:
    """Return the backups of both halves that need not be kept, oldest first.

    Args:
        backups: Complete backups, of any instance.
        keep: How many to keep, at least 1; ``None`` for all.
        instance_id: The instance; backups of other instances are never returned.
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
    """Return the backups before a change of version that belong neither to the first nor to the last attempt at it.

    Args:
        backups: Complete backups, of any instance.
        instance_id: The instance; backups of other instances are never returned.
    """
    attempts: dict[tuple[object, ...], list[Backup]] = {}
    for one in sorted(backups, key=lambda one: one.manifest.order):
        if one.manifest.is_pair and one.manifest.to_version and one.manifest.instance_id == instance_id:
            attempts.setdefault(_attempt(one), []).append(one)
    return tuple(one for group in attempts.values() for one in group[1:-1])


def orphaned(backups: Iterable[Backup], instance_id: str, open_or_kept: Collection[str]) -> tuple[Backup, ...]:
    """Return the dumps whose other half is deleted: the vault of the transaction before which they were made.

    Args:
        backups: Complete backups, of any instance.
        instance_id: The instance; backups of other instances are never returned.
        open_or_kept: The transactions that are open, or whose vault is kept.
    """
    return tuple(
        one
        for one in backups
        if one.manifest.scope is Scope.DATABASE
        and one.manifest.instance_id == instance_id
        and one.manifest.txn not in open_or_kept
    )


def useless(
    backups: Iterable[Backup], entries: Sequence[Entry], open_txn: str, kept: Collection[str]
) -> frozenset[str]:
    """Return the names of the dumps that cannot be restored any more, as far as the data directory alone can tell.

    A dump that is not known to be of this instance is never returned, nor a dump whose update may still be open in the
    database.

    Args:
        backups: Complete backups, of any instance.
        entries: The ledger in the data directory.
        open_txn: The open transaction; "" for none.
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


def backup_before(backups: Iterable[Backup], instance_id: str, txn: str, tip_hash: str) -> Backup | None:
    """Return the backup that leads back to before a transaction: its own dump, otherwise the newest of both halves.

    Args:
        backups: Complete backups, newest first.
        instance_id: The instance.
        txn: The transaction.
        tip_hash: `fietsupdate.model.fingerprint` of the ledger before it.
    """
    own = [one for one in backups if one.manifest.instance_id == instance_id]
    dumps = (one for one in own if one.manifest.scope is Scope.DATABASE and one.manifest.txn == txn)
    whole = (one for one in own if one.manifest.is_pair and one.manifest.tip_hash == tip_hash)
    return next(dumps, None) or next(whole, None)


def _attempt(backup: Backup) -> tuple[object, ...]:
    """Return a key that all backups before attempts at one update share; every other backup has its own."""
    manifest = backup.manifest
    if manifest.reason is Reason.UPDATE:
        return manifest.tip_seq, manifest.tip_hash
    return (backup.path,)


# -- Which backup leads back where, and what prevents restoring one: values in, answers out.


class Despite(enum.StrEnum):
    """The reasons against a restore that can be overruled."""

    INSTANCE = "instance"
    """The backup is of another instance."""
    VERSION = "version"
    """This code does not know the updates that the backup is at."""
    DAMAGE = "damage"
    """The backup has changed since it was made."""
    RUNNING = "running"
    """The application is running."""
    TENANTS = "tenants"
    """Other instances have their tables in the same database."""


@dataclass(frozen=True, slots=True)
class RestoreTarget:
    """The place where a backup is to be restored, as it was found."""

    graph: Graph
    database: DatabaseView
    files: FilesView
    is_bare: bool
    """Whether the data directory is empty, apart from our own folder."""
    extra_dirs: Collection[str]
    """Names of the configured further roots."""
    kept: Collection[str]
    """Transactions that are finished, and whose vault is kept."""
    distribution: str = ""
    """The application's distribution; "" where the configuration names none."""
    installed: str = ""
    """The installed version of the distribution."""


def obstacles(
    manifest: Manifest, ledger: Sequence[Entry], target: RestoreTarget
) -> Iterator[tuple[Despite | None, Problem]]:
    """Yield the problems that prevent restoring a backup, each with the reason that overrules it.

    Args:
        manifest: The manifest of the backup.
        ledger: The ledger in the backup.
        target: Where it would be restored.
    """
    if _family(manifest.dialect) != _family(target.database.dialect):
        yield None, _other_dialect(manifest, target)
    if missing := sorted(set(manifest.extra_dirs) - set(target.extra_dirs)):
        yield None, _missing_root(manifest, missing[0])
    if not is_same_instance(manifest, ledger, target):
        yield Despite.INSTANCE, _other_instance(manifest, target)
    yield from _in_the_database(manifest, target.database.place)
    if (problem := too_new(manifest, ledger, target)) is not None:
        yield Despite.VERSION, problem
    if manifest.scope is Scope.DATABASE and not has_vault(manifest, target.database, target.files, target.kept):
        yield None, _without_vault(manifest)


def too_new(manifest: Manifest, ledger: Sequence[Entry], target: RestoreTarget) -> Problem | None:
    """Return why the installed code does not fit a backup; None where it does."""
    if target.distribution and is_older(target.installed, newest_version(manifest, ledger)):
        return _newer_version(manifest, newest_version(manifest, ledger), target)
    if unknown := unknown_of(manifest.current, target.graph):
        return _too_new(manifest, "updates", unknown, target.graph.dag.heads())
    if strange := _strange(manifest, target.database):
        return _too_new(manifest, "Alembic revisions", strange, target.database.alembic_heads)
    return None


def newest_version(manifest: Manifest, ledger: Sequence[Entry]) -> str:
    """Return the newest version of the application that has changed the data in a backup; "" if unknown."""
    return recorded(ledger).newest or manifest.app_version


def _in_the_database(manifest: Manifest, place: Whereabouts) -> Iterator[tuple[Despite | None, Problem]]:
    """Yield the problems inside of the database that would be replaced."""
    if manifest.schema and place.search_path and manifest.schema not in place.search_path:
        yield None, _other_schema(manifest, place)
    if place.others:
        yield Despite.TENANTS, _tenants(manifest, place)


def is_same_instance(manifest: Manifest, ledger: Sequence[Entry], target: RestoreTarget) -> bool:
    """Return whether a backup is of the existing instance, or there is no instance yet.

    An instance has an id from its first update on. Before that, and where one half is new, the ledger in the data
    directory decides, or finally the path of the data directory.
    """
    database, files = target.database, target.files
    if files.entries and ledger and not same(files.entries[0], ledger[0]):
        return False
    if manifest.instance_id and database.instance_id:
        return manifest.instance_id == database.instance_id
    if files.entries and ledger:
        return True
    is_empty = not database.has_ledger and not database.tables and not database.alembic_current
    if is_empty and target.is_bare:
        return True
    return manifest.data_dir == str(files.data_dir)


def has_vault(manifest: Manifest, database: DatabaseView, files: FilesView, kept: Collection[str]) -> bool:
    """Return whether the other half of a dump exists: its transaction, open or kept, with nothing after it."""
    if files.transaction is not None or files.unreadable_header:
        return files.transaction is not None and files.transaction.txn == manifest.txn
    if manifest.txn in kept:
        return bool(files.entries) and files.entries[-1].txn == manifest.txn
    # It was begun in the database, and interrupted before it reached the files.
    begun = database.begun is not None and database.begun.txn == manifest.txn
    return begun and fingerprint(files.entries) == manifest.tip_hash


def restorable(
    backups: Iterable[Backup], database: DatabaseView, files: FilesView, kept: Collection[str]
) -> list[Backup]:
    """Return the backups, in their order, of which both halves exist."""
    return [one for one in backups if one.manifest.is_pair or has_vault(one.manifest, database, files, kept)]


def nearest(backups: Iterable[Manifest], pairing: Pairing, files: FilesView, database: DatabaseView) -> Manifest | None:
    """Return the newest backup of both halves among those nearest to the position of the older half, or None.

    Args:
        backups: The manifests of the backups.
        pairing: How the two halves fit together.
        files: What was found in the data directory.
        database: What was found in the database.
    """
    longer = max(files.entries, database.entries, key=len)
    hashes = {entry.seq: fingerprint((entry,)) for entry in longer}
    older = len(longer) - pairing.behind if files.entries and database.entries else len(longer)
    fits = [
        one
        for one in backups
        if one.is_pair
        and one.instance_id in {"", database.instance_id or one.instance_id}
        and (one.tip_seq == 0 or hashes.get(one.tip_seq) == one.tip_hash)
    ]
    newest_first = sorted(fits, key=lambda one: one.order, reverse=True)
    return min(newest_first, key=lambda one: abs(one.tip_seq - older), default=None)


def _strange(manifest: Manifest, database: DatabaseView) -> list[str]:
    """Return the revisions that the tree does not have; an empty list where the database was not read."""
    return [one for one in manifest.alembic if database.revisions and one not in database.revisions]


def _family(dialect: str) -> str:
    return "mysql" if dialect in MYSQL else dialect


def _other_dialect(manifest: Manifest, target: RestoreTarget) -> Problem:
    return Problem(
        "other_dialect",
        f"The backup {manifest.name} is of a {manifest.dialect} database, and {target.database.shown_url} is not one.",
        "Correct the URL of the database, or restore another backup.",
    )


def _missing_root(manifest: Manifest, name: str) -> Problem:
    return Problem(
        "root_missing",
        f"The backup {manifest.name} holds the further root {name!r}, which is not configured.",
        f"Add it to extra_dirs: extra_dirs = {name}=/the/folder",
    )


def _other_instance(manifest: Manifest, target: RestoreTarget) -> Problem:
    is_there = f"{target.database.shown_url} and {target.files.data_dir} belong to"
    other = f"the instance {target.database.instance_id}" if target.database.instance_id else "another one"
    whose = f"the instance {manifest.instance_id}" if manifest.instance_id else f"the one in {manifest.data_dir}"
    return Problem(
        "other_instance",
        f"The backup {manifest.name} is of another instance, {whose}; {is_there} {other}.",
        "Check the URL of the database, and data_dir. To replace what is there all the same, add --despite instance.",
    )


def _other_schema(manifest: Manifest, place: Whereabouts) -> Problem:
    return Problem(
        "other_schema",
        f"The tables of the backup {manifest.name} are in the schema {manifest.schema!r}; here env.py looks for them "
        f"in {', '.join(map(repr, place.search_path))}, and would find none.",
        "Name that schema: in env.py (version_table_schema), in the URL, or by ALTER ROLE ... SET search_path.",
    )


def _tenants(manifest: Manifest, place: Whereabouts) -> Problem:
    return Problem(
        "other_tenants",
        f"The database {place.masked_url} holds other instances, too: {', '.join(place.others)} are their ledgers. All "
        f"of the database would go back to {manifest.name}, and their files would not.",
        "To take them back as well, stop them all, and add --despite tenants. To take one schema back alone, see "
        "'Several instances in one database' in the documentation.",
    )


def _too_new(manifest: Manifest, what: str, unknown: Sequence[str], known: Sequence[str]) -> Problem:
    return Problem(
        "too_new",
        f"The backup {manifest.name} is at {what} that this code does not know: {', '.join(unknown)}; "
        f"it knows {up_to(what, known)}.",
        "Install the version of the application that has them, and restore then. To restore first and install "
        "afterwards, add --despite version.",
    )


def _newer_version(manifest: Manifest, version: str, target: RestoreTarget) -> Problem:
    name = target.distribution
    return Problem(
        "too_new",
        f"The backup {manifest.name} holds data that {name} {version} has changed; {name} {target.installed} is "
        "installed, which is older.",
        f"Install {name} {version} or a newer version, and restore then. To restore first and install afterwards, add "
        "--despite version.",
    )


def fitting_hint(problem: Problem, fitting: str, target: RestoreTarget) -> Problem:
    """Return the problem of a backup that is too new, with the backup to use instead in its hint."""
    say = (
        f"Go back to {fitting}, the newest one that {target.distribution} {target.installed} fits: "
        f"`fietsupdate restore {fitting}`."
        if fitting
        else f"There is none that {target.distribution} {target.installed} fits."
    )
    return replace(problem, hint=f"{say} {problem.hint}")


def _without_vault(manifest: Manifest) -> Problem:
    return Problem(
        "vault_gone",
        f"The backup {manifest.name} holds the database only. Its other half was the vault of one update, which is "
        "no longer open, or no longer the last one.",
        "Restore a backup of both halves: `fietsupdate backup list` shows them.",
    )
