"""The facts that one inspection of an instance found: its database, its data directory, and unfinished work in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fietsupdate.model import Begun, Direction, Entry, Failure

MYSQL = frozenset({"mysql", "mariadb"})
"""SQLAlchemy's names of the dialect that MariaDB and MySQL share."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The database behind the connection that env.py configured."""

    url: str = field(repr=False)
    """A URL that opens the same database: env.py's, completed by the driver's other arguments and the server's own name
    of the database. With the password; never printed."""
    masked_url: str
    """The same with the password masked."""
    file: Path | None = None
    """For SQLite, the database file that is open, whatever the URL says."""
    identity: tuple[str, ...] = ()
    """Facts that distinguish this database from every other, its name (or file) first; empty if unknown."""
    search_path: tuple[str, ...] = ()
    """On PostgreSQL, the schemas in which names without a schema are looked up."""
    version_table: str = ""
    """Alembic's version table, from whose name that of the ledger's table is derived; "" if unknown."""
    schema: str = ""
    """The schema of the ledger, existing or to be created; "" where no schema needs to be named."""
    others: tuple[str, ...] = ()
    """Ledgers of other instances in the same database, by the names of their tables."""
    attached: tuple[str, ...] = ()
    """Further SQLite files that are open on the same connection."""

    @property
    def name(self) -> str:
        """The database's name as its server reports it; "" if unknown."""
        return self.identity[0] if self.identity else ""


NOWHERE = Whereabouts("", "")
"""The database is not known yet."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that holds the updater's lock."""

    pid: int
    host: str
    since: str
    command: str


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """The header of the open transaction in the data directory."""

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
    files_only: bool = False
    """Whether it changes files and no row: `update_id` is the command then, and the database knows nothing of it."""


@dataclass(frozen=True, slots=True)
class OpenRestore:
    """A restore that was interrupted."""

    backup: str
    """Name of the backup."""
    began_at: str
    database: str
    """The URL of the database, with the password masked."""
    is_half: bool = True
    """Whether it has changed live data and is incomplete, so that it can only be finished; otherwise it left files to
    delete."""
    damaged: str = ""
    """Why its journal cannot be read; "" when it can."""


@dataclass(frozen=True, slots=True)
class DatabaseView:
    """What one inspection of the database found. ``None`` and an empty value have different meanings."""

    dialect: str
    """SQLAlchemy's name: ``sqlite``, ``postgresql``, ``mysql``, ``mariadb``."""
    url: str = field(repr=False)
    """The URL that env.py opened, with the password. Never printed."""
    shown_url: str
    """The same with the password masked."""
    alembic_current: tuple[str, ...]
    """Heads in Alembic's version table, sorted."""
    revisions: Mapping[str, tuple[str, ...]]
    """Each known Alembic revision with its parents and dependencies; parents come before children."""
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
    """False for a SQLite file that does not exist; then nothing else was read."""
    tables: int = 0
    """Tables beside Alembic's version table and our own."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Branch labels of the revision tree, each with the revisions that carry it."""
    place: Whereabouts = NOWHERE
    """The database as its server identifies it."""


@dataclass(frozen=True, slots=True)
class Interruptions:
    """How often one update was interrupted since a run succeeded."""

    update_id: str
    times: int


@dataclass(frozen=True, slots=True)
class FilesView:
    """What one inspection of the data directory found."""

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
    """The interrupted restore, if there is one."""
    maintenance: Path | None = None
    """The maintenance file, if a run has created it and it still exists."""
    failure: Failure | None = None
    """The last run that failed, if none has succeeded since."""
    interruptions: Interruptions | None = None
    """How often an update was interrupted before, if no run has succeeded since."""
    warnings: tuple[str, ...] = ()
    """The warnings of a run that did not reach its end."""
    way_back: str = ""
    """Name of a backup to go back to; "" for none. It is from before the interrupted update, or from before the
    database went past a pending update; where the halves do not fit together, the backup that is nearest to the older
    half."""

    @property
    def is_half_restored(self) -> bool:
        """Whether a restore was interrupted after it had changed live data."""
        return self.restore is not None and self.restore.is_half
