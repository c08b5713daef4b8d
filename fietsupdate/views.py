"""What one look at an instance found: its database, its data directory, and what lies open there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fietsupdate.model import Begun, Direction, Entry, Failure


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What was found out on the connection that env.py configured."""

    url: str = field(repr=False)
    """The URL that leads there: env.py's, with what the driver was given beside it and the server's own name of the
    database. Password and all; never printed."""
    shown: str
    """The same with the password masked."""
    file: Path | None = None
    """The database file, for SQLite: the one that is open, wherever the URL points."""
    identity: tuple[str, ...] = ()
    """What tells this database from every other, its name (or file) first; empty where nobody could tell."""
    search_path: tuple[str, ...] = ()
    """On PostgreSQL, the schemas in which names without one are looked up."""
    version_table: str = ""
    """Alembic's version table, whose name the ledger's table shares; "" where nobody could tell."""
    schema: str = ""
    """The schema that the ledger is in, or would be made in; "" where none needs to be named."""
    others: tuple[str, ...] = ()
    """Ledgers of other instances in the same database, by the names of their tables."""
    attached: tuple[str, ...] = ()
    """Further SQLite files that are open on the same connection."""

    @property
    def name(self) -> str:
        """The database's name as its server says it; "" where nobody could tell."""
        return self.identity[0] if self.identity else ""


NOWHERE = Whereabouts("", "")
"""Nobody has asked."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds the updater's lock."""

    pid: int
    host: str
    since: str
    command: str


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """The header of the transaction that lies open in the data directory."""

    txn: str
    instance_id: str
    tip_seq: int
    """Sequence number of the ledger's last entry before this transaction; 0 for none."""
    tip_hash: str
    """`fingerprint` of the ledger before this transaction."""
    update_id: str
    direction: Direction
    atomic: bool
    own_connections: bool = False
    """Whether the hooks commit on connections of their own (``atomic = False`` in the script)."""


@dataclass(frozen=True, slots=True)
class OpenRestore:
    """A restore that was cut off."""

    backup: str
    """Name of the backup."""
    began_at: str
    database: str
    """The URL of the database, with the password masked."""
    is_half: bool = True
    """Whether it has touched something live and is not complete, so that it only goes forward; else it left rubbish."""
    damaged: str = ""
    """Why its journal cannot be read; "" when it can."""


@dataclass(frozen=True, slots=True)
class DatabaseView:
    """What one look at the database found. ``None`` and empty are different answers."""

    dialect: str
    """SQLAlchemy's name: ``sqlite``, ``postgresql``, ``mysql``, ``mariadb``."""
    url: str = field(repr=False)
    """The URL that env.py opened, password and all. Never printed."""
    shown_url: str
    """The same with the password masked."""
    alembic_current: tuple[str, ...]
    """Heads in Alembic's version table, sorted."""
    revisions: Mapping[str, tuple[str, ...]]
    """Each known Alembic revision, its parents and dependencies; parents come before children."""
    alembic_heads: tuple[str, ...]
    """Heads of the revision tree, sorted."""
    entries: tuple[Entry, ...]
    """The finished entries of the ledger, by ``seq``."""
    has_ledger: bool
    """Whether the ledger table exists."""
    instance_id: str = ""
    begun: Begun | None = None
    not_transactional: str = ""
    """Why schema and rows cannot change in one transaction here; "" when they can."""
    file: Path | None = None
    """The database file, for SQLite."""
    exists: bool = True
    """False for a SQLite file that is not there; nothing else was looked at then."""
    tables: int = 0
    """Tables beside Alembic's version table and our own."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Branch labels of the revision tree, each with the revisions that carry it."""
    place: Whereabouts = NOWHERE
    """Which database it is, as its server said."""


@dataclass(frozen=True, slots=True)
class FilesView:
    """What one look at the data directory found."""

    data_dir: Path
    exists: bool
    version: tuple[str, ...] | None
    """Ids in the VERSION file; ``None`` when there is no such file, or none is configured."""
    version_path: Path | None
    entries: tuple[Entry, ...]
    has_ledger: bool
    """Whether ledger.jsonl exists."""
    transaction: OpenTransaction | None = None
    holder: LockHolder | None = None
    """The process that holds the lock at this moment."""
    damaged: str = ""
    """Why ledger.jsonl cannot be read; "" when it can."""
    unreadable_header: str = ""
    """Name of an open transaction whose header is missing or damaged; "" for none."""
    restore: OpenRestore | None = None
    """The restore that was cut off, if one was."""
    maintenance: Path | None = None
    """The maintenance file that a run has put up, and that still stands."""
    failure: Failure | None = None
    """The last run that failed, if none has succeeded since."""
    warnings: tuple[str, ...] = ()
    """What a run has warned of that did not come to its end."""
    way_back: str = ""
    """Name of the backup that leads back to before the update that was interrupted, or to before the database went past
    a pending update; where the halves do not fit together, of the one that is nearest to the older; "" for none."""

    @property
    def is_half_restored(self) -> bool:
        """Whether a restore was cut off when it had touched something live."""
        return self.restore is not None and self.restore.is_half
