"""The frozen values that all rooms share.

No value reads a clock, a disk or a database: each holds facts that were found, or work that is to be done. The names
are those of the documentation's glossary.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fietsupdate.model import questions
from fietsupdate.model.imports import FailingImport, Import
from fietsupdate.model.leaves import Leave
from fietsupdate.model.packages import PackageStatus
from fietsupdate.model.policy import Policy as Policy  # the rooms take every value from here
from fietsupdate.model.questions import NO_ASKS, Answer, Answers, Asks, Question
from fietsupdate.model.readback import built, parsed
from fietsupdate.model.references import NOTHING_DECLARED, Declared
from fietsupdate.model.run_state import RunView

BASE = "base"
"""The state before any update. As ``update_id`` of a stamp entry, it means that no update is applied."""

RESERVED_IDS = frozenset({"head", "heads", BASE})
"""Words that targets use, and that therefore cannot name an update."""


VERSION_MARK = "=="
"""Separates distribution and version in the id of the entry that ends a change of version."""


class Direction(enum.StrEnum):
    """The kind of a transaction on an instance."""

    UP = "up"
    DOWN = "down"
    STAMP = "stamp"
    VERSION = "version"
    """A version hook, ``module:function``; or the end of a change of version, ``distribution==version``."""


class Phase(enum.StrEnum):
    """The parts of one update, in the order in which they run, in either direction."""

    PRE = "pre"
    ALEMBIC = "alembic"
    POST = "post"


class UpdateState(enum.StrEnum):
    """The state of an instance in one word; ``fietsupdate check`` exits with the code that belongs to it."""

    OKAY = "okay"
    """The instance is at every head."""
    OUTDATED = "outdated"
    """Updates are pending."""
    TOO_NEW = "too_new"
    """The instance is at updates that this code does not know."""
    UNKNOWN = "unknown"
    """The position of the instance cannot be determined."""
    DRIFTED = "drifted"
    """The two halves, or the ledger and the schema, do not fit together."""
    INTERRUPTED = "interrupted"
    """A transaction was begun and neither finished nor undone."""
    UPDATING = "updating"
    """Another process holds the lock and is at work."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of update scripts."""

    name: str
    """As the configuration names it; ``package:folder`` for a folder that lies in a package."""
    path: Path


@dataclass(frozen=True, slots=True)
class Update:
    """The content of one update script; read with ``ast``, never by running the script."""

    update_id: str
    previous: tuple[str, ...]
    alembic_revisions: tuple[str, ...]
    """Full Alembic revision ids; empty when the update has no schema requirement."""
    folder: str
    """The folder of the script as the configuration names it; its updates form one graph."""
    path: Path
    checksum: str
    """SHA-256 of the script's bytes with LF at the end of each line, hexadecimal."""
    atomic: bool = False
    baseline: bool = False
    has_down: bool = True
    summary: str = ""
    """First line of the script's docstring."""
    is_empty: bool = False
    """Whether the hooks of `Up` do nothing, so that only Alembic brings an instance to this update."""
    broken: str = ""
    """Why the script is not Python, with file and line; "" for a sound script. The metadata are known in either case.
    """
    imports: tuple[Import, ...] = ()
    """The modules that the script must import before it can run."""
    leaves: tuple[Leave, ...] = ()
    """The objects that `Down` leaves on purpose."""
    declares: Declared = NOTHING_DECLARED
    """The references and owned files that are valid from this update on."""
    checksum_crlf: str = ""
    """The same with CRLF: the checksum in ledgers that were written before line ends were normalised."""
    id_line: int = 1
    previous_line: int = 1
    revision_line: int = 1
    up_asks: Asks = NO_ASKS
    """The questions that `Up` asks."""
    down_asks: Asks = NO_ASKS
    """The questions that `Down` asks."""
    may_ask_more: bool = False
    """Whether code outside of these two classes may ask questions, which become known only at run time."""

    @property
    def may_ask(self) -> bool:
        """Whether the script may ask any question."""
        return self.may_ask_more or any(asks.questions or asks.unread for asks in (self.up_asks, self.down_asks))

    def is_script_of(self, checksum: str) -> bool:
        """Return whether an earlier checksum is that of this script, apart from line ends."""
        return checksum in {self.checksum, self.checksum_crlf}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger. Both halves of an instance hold the same entries."""

    seq: int
    """1 for the first entry, then counting up."""
    txn: str
    """UUID of the transaction. Stamp entries written together share it."""
    update_id: str
    direction: Direction
    checksum: str
    finished_at: str
    """UTC, ISO 8601 with milliseconds and ``Z``."""
    duration_ms: int
    app_version: str
    tool_version: str
    actor: str
    answers: Answers = ()
    """The answers to the script's questions; entries of earlier versions have none."""

    def to_json(self) -> str:
        """Return the canonical text by which the two ledgers are compared: one line, keys sorted."""
        return json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def document(self) -> dict[str, Any]:
        """Return the fields for JSON.

        Without `answers` where there are none, since earlier versions wrote no such field.
        """
        values = asdict(self)
        del values["answers"]
        return {**values, "answers": dict(self.answers)} if self.answers else values

    @classmethod
    def from_json(cls, text: str) -> Entry:
        """Read the canonical text back.

        Raises:
            ValueError: The text is not an entry.
        """
        try:
            values = parsed(text)
            answers = questions.from_values(values.get("answers", {}))
            return built(cls, {**values, "direction": Direction(values["direction"]), "answers": answers})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a ledger entry: {text!r}") from error


def fingerprint(entries: tuple[Entry, ...]) -> str:
    """Return the SHA-256 over the canonical text of the last entry, or "" for an empty ledger."""
    return hashlib.sha256(entries[-1].to_json().encode()).hexdigest() if entries else ""


@dataclass(frozen=True, slots=True)
class Begun:
    """The ledger row of a transaction that was committed in part and not finished."""

    seq: int
    txn: str
    update_id: str
    direction: Direction
    checksum: str
    finished: tuple[Phase, ...]
    """Phases that are complete and will not run again."""
    started_at: str
    actor: str
    failure: str = ""
    """The failure, if the process was still able to record it."""
    running: str = ""
    """The phase whose hook committed something before it ended; the hook's file changes are not undone."""
    answers: Answers = ()
    """The answers to the script's questions when the update began."""


@dataclass(frozen=True, slots=True)
class Step:
    """One update, applied or reverted."""

    update: Update
    direction: Direction
    revisions: tuple[str, ...]
    """Alembic revisions that will run, in this order; empty when there are none to run."""
    not_atomic: str = ""
    """Why files and database cannot commit together in this step; "" when they can."""
    finished: tuple[Phase, ...] = ()
    """Phases that an interrupted run has already finished."""
    present: tuple[str, ...] = ()
    """Alembic revisions of the update that the database has already, although no earlier update needs them."""
    answers: tuple[Answer, ...] = ()
    """The answers to the script's questions."""

    @property
    def asks(self) -> Asks:
        """The questions of the script in this direction."""
        return {Direction.UP: self.update.up_asks, Direction.DOWN: self.update.down_asks}.get(self.direction, NO_ASKS)

    @property
    def open_questions(self) -> tuple[Question, ...]:
        """The questions that have no answer yet."""
        answered = {answer.name for answer in self.answers}
        return tuple(question for question in self.asks.questions if question.name not in answered)

    @property
    def leaves(self) -> tuple[Leave, ...]:
        """The objects that stay on purpose when the update is reverted."""
        return self.update.leaves if self.direction is Direction.DOWN else ()

    @property
    def only_records(self) -> bool:
        """Whether no code runs: the step only records the end of a change of the application's version."""
        return self.direction is Direction.VERSION and VERSION_MARK in self.update.update_id


@dataclass(frozen=True, slots=True)
class Adoption:
    """How an instance without a ledger gets its first entries, before any step."""

    update_ids: tuple[str, ...]
    """The updates that are stamped."""
    revisions: tuple[str, ...] = ()
    """Alembic revisions that run first (baseline)."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All work that will be done, complete before it starts. ``--dry-run`` prints the object that runs."""

    direction: Direction
    target: tuple[str, ...]
    steps: tuple[Step, ...]
    current: tuple[str, ...]
    """The current updates before."""
    result: tuple[str, ...]
    """The current updates after."""
    adoption: Adoption | None = None
    tip_seq: int = 0
    """The ledger's last ``seq`` when the plan was made; it is compared again under the lock."""
    backup: str = ""
    """The backup that is made first: ``full``, ``database`` (before each step that is not atomic), ``declined``, or "".
    """
    backup_dir: str = ""
    """The folder of that backup; "" where none is made."""
    tables: tuple[str, ...] = ()
    """The database's tables, where a baseline is reverted: Alembic drops those that the baseline's revisions created.
    """

    @property
    def is_below_baseline(self) -> bool:
        """Whether a baseline is reverted, and with it everything from before the first update."""
        down = [step for step in self.steps if step.direction is Direction.DOWN]
        return any(step.update.baseline and step.revisions for step in down)

    def __bool__(self) -> bool:
        """Return whether the plan has any work to do."""
        return bool(self.steps or self.adoption)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and the command or change that mends it."""

    code: str
    message: str
    hint: str = ""
    blocks: bool = True
    """Whether ``update`` and ``downgrade`` refuse to run while the problem exists."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The last run that failed; remembered until a run succeeds."""

    time: str
    """UTC, ISO 8601 with milliseconds and ``Z``."""
    update_id: str
    """The update that failed; "" where none had begun."""
    direction: str
    phase: str
    """The phase in which it failed; "" where none had begun."""
    error: str
    """The message of the error."""


@dataclass(frozen=True, slots=True)
class Status:
    """The result of ``fietsupdate status``."""

    state: UpdateState
    current: tuple[str, ...]
    heads: tuple[str, ...]
    pending: tuple[Update, ...]
    """In the order in which they will run."""
    unknown: tuple[str, ...]
    """Updates that are applied according to the ledger, but have no known script."""
    problems: tuple[Problem, ...]
    alembic_current: tuple[str, ...] = ()
    alembic_heads: tuple[str, ...] = ()
    data_dir: Path | None = None
    database: str = ""
    """The database's URL with the password masked."""
    applied: tuple[str, ...] = ()
    """Every applied update, oldest first."""
    not_transactional: str = ""
    """Why no update can be atomic on this database; "" where updates can be."""
    distribution: str = ""
    """The application's distribution; "" where the configuration names none."""
    app_version: str = ""
    """The installed version of the distribution."""
    data_version: str = ""
    """The version that the data belongs to: all its version hooks have run. "" where no version was ever recorded."""
    hooks: tuple[Update, ...] = ()
    """The version hooks that wait, in the order in which they will run, after the updates."""
    packages: tuple[PackageStatus, ...] = ()
    """The updates of each folder of scripts."""
    last_failure: Failure | None = None
    """The last run that failed, if none has succeeded since."""
    failing_imports: tuple[FailingImport, ...] = ()
    """The imports of scripts that fail, if the caller asked for them."""
    run: RunView | None = None
    """The run that another process is at, as far as it tells."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened while a plan ran. Only `fietsupdate.cli.render` turns events into text.

    ``event`` is one of: ``plan``, ``waiting``, ``recovered``, ``adopted``, ``update_begun``, ``phase_begun``,
    ``revision``, ``tell``, ``progress``, ``phase_finished``, ``update_finished``, ``update_undone``, ``warning``,
    ``answered``, ``backup_begun``, ``backup_part``, ``backup_finished``, ``restore_begun``, ``restore_part``,
    ``backups_pruned``, ``cloning``, ``finished``.
    """

    event: str
    time: str
    """UTC, ISO 8601 with milliseconds and ``Z``."""
    txn: str = ""
    update_id: str = ""
    direction: str = ""
    phase: str = ""
    text: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Event by event: ``revision`` {revision}; ``progress`` {done, total}, of bytes also {unit, rate, left};
    ``waiting`` {pid, host, since}; ``update_finished`` {duration_ms}; ``plan`` {steps, adoption};
    ``adopted`` {update_ids, revisions}; ``answered`` {name, value, source}; ``finished`` {current, done, warnings,
    answers}."""


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run."""

    plan: Plan
    done: tuple[str, ...]
    """Ids of the updates that were applied or reverted, in order."""
    current: tuple[str, ...]
    duration_ms: int = 0
    warnings: tuple[str, ...] = ()
    """The warnings of hooks and checks, each text once. Warnings of an earlier run that this run resumed come first."""
    answers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The answers to the scripts' questions, by update and name."""
