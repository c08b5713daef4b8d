"""Rows and their files: what update scripts declare of them, and what an audit finds."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from fietsupdate.model import templates
from fietsupdate.model.patterns import compiled, divided
from fietsupdate.model.templates import Template


@dataclass(frozen=True, slots=True)
class ReferenceRule:
    """The rule by which the rows of a table name their files, as the metadata `references` of a script declares it."""

    table: str
    path: str
    """The template of the path; see `fietsupdate.model.templates`."""
    where: str = ""
    """SQL: the rows that name a file; "" for all."""
    root: str = ""
    """The name of a further root; "" is the data directory."""
    size: str = ""
    """The column that holds the size in bytes; "" for none."""
    sha256: str = ""
    """The column that holds the SHA-256, as hexadecimal digits or as bytes; "" for none."""
    optional: bool = False
    """Whether the file need not be there."""
    schema: str = ""

    @property
    def template(self) -> Template:
        """The template of the path, read."""
        return _template(self.path)

    @property
    def name(self) -> str:
        """The table with its schema, for people."""
        return f"{self.schema}.{self.table}" if self.schema else self.table

    def __str__(self) -> str:
        """Return it as people read it: ``tracks: media:tracks/{id}.gpx``."""
        return f"{self.name}: {self.root}{':' if self.root else ''}{self.path}"


@cache
def _template(text: str) -> Template:
    return templates.read(text)


@dataclass(frozen=True, slots=True)
class Declared:
    """What one update script declares of rows and files."""

    references: tuple[ReferenceRule, ...] | None = None
    """``None``: the script says nothing of them, so what an earlier one declares stays valid."""
    owned: tuple[str, ...] | None = None
    """The patterns of files that only rows may name; ``None`` as above."""
    has_hook: bool = False
    """Whether `Up` has a hook ``references(config)``."""
    line: int = 1
    """Where the script declares them."""

    @property
    def says_references(self) -> bool:
        """Whether the script declares references anew."""
        return self.has_hook or self.references is not None

    def __bool__(self) -> bool:
        """Return whether the script declares anything."""
        return self.says_references or self.owned is not None


NOTHING_DECLARED = Declared()


@dataclass(frozen=True, slots=True)
class Owned:
    """Files that only rows may name: one that no row names is a stray."""

    pattern: str
    root: str = ""

    def __str__(self) -> str:
        return f"{self.root}:{self.pattern}" if self.root else self.pattern

    def covers(self, root: str, path: str) -> bool:
        """Return whether a file is among them."""
        return root == self.root and compiled(self.pattern).fullmatch(path) is not None


def owned_in(patterns: tuple[str, ...], rules: tuple[ReferenceRule, ...]) -> tuple[Owned, ...]:
    """Give each pattern its root.

    One without a root's name means the roots of the references whose files lie in its folder, else those of the
    references that it lies in the folder of; without any, the data directory.
    """
    found: dict[Owned, None] = {}
    for text in patterns:
        root, pattern = divided(text)
        for name in [root] if root else _roots_of(pattern, rules):
            found[Owned(pattern, name)] = None
    return tuple(found)


def _roots_of(pattern: str, rules: tuple[ReferenceRule, ...]) -> list[str]:
    folder = pattern[: pattern.find("*") if "*" in pattern else len(pattern)].rpartition("/")[0]
    folder = f"{folder}/" if folder else ""
    below = [rule.root for rule in rules if folder and rule.template.folder.startswith(folder)]
    above = [rule for rule in rules if folder.startswith(rule.template.folder)]
    longest = max((len(rule.template.folder) for rule in above), default=0)
    around = [rule.root for rule in above if len(rule.template.folder) == longest]
    return list(dict.fromkeys(below or around or [""]))


@dataclass(frozen=True, slots=True)
class Reference:
    """One file that a row names; what the hook ``references(config)`` of an update script yields.

    Args:
        path: Relative to its root; bytes where it is not UTF-8.
        row: Names the row: its primary key, or a mapping of columns and values.
        size: The size in bytes that the row says; ``None`` where it says none.
        sha256: The digest that the row says, hexadecimal or bytes; ``None`` where it says none.
        root: The name of a further root; "" is the data directory.
        table: The table that the row is in, for messages.
        optional: Whether the file need not be there.
    """

    path: str | bytes | os.PathLike[str]
    row: object = None
    size: int | None = None
    sha256: str | bytes | None = None
    root: str = ""
    table: str = ""
    optional: bool = False


SHORT = 12
"""Digits of a digest that people are shown."""


class FindingKind(enum.StrEnum):
    """What is wrong with a file and its row."""

    MISSING = "missing"
    """A row names a file that is not there."""
    STRAY = "stray"
    """A file that is owned, and that no row names."""
    SIZE = "size"
    """A file is not as long as its row says."""
    DIGEST = "digest"
    """The content of a file is not what its row says."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in which rows and files do not match."""

    kind: FindingKind
    path: str
    """Relative to its root; bytes that are no UTF-8 stand as surrogates, as `os.fsdecode` makes them."""
    root: str = ""
    table: str = ""
    """"" for a stray."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """The row by its primary key; empty for a stray."""
    reason: str = ""
    """Why the file counts as missing, where it is not just absent."""
    size: int | None = None
    """The size that the row says."""
    sha256: str | None = None
    """The digest that the row says, where digests were looked at."""
    found: int | str | None = None
    """The size or digest that the file has."""
    places: tuple[str, ...] = ()
    """Where a missing file may be, as absolute paths."""
    fits: tuple[str, ...] = ()
    """The backups whose copy has the size, and the digest, that the row says."""

    @property
    def shown(self) -> str:
        """The path with the name of its root, on one line."""
        return (f"{self.root}:{self.path}" if self.root else self.path).replace("\n", "\\n")

    @property
    def shown_row(self) -> str:
        """The row by its key: ``tracks id=5``; "" for a stray."""
        known = (f"{name}={value}" for name, value in self.row.items() if value is not None)
        return " ".join([self.table, *known]).strip()

    def __str__(self) -> str:
        """Return it for people, without its kind: ``tracks/5.gpx (tracks id=5): 2 bytes, its row says 54``."""
        row = f" ({self.shown_row})" if self.shown_row else ""
        if self.kind is FindingKind.SIZE:
            return f"{self.shown}{row}: {self.found} bytes, its row says {self.size}"
        why = f": {self.reason}" if self.reason else ""
        if self.kind is FindingKind.DIGEST and self.found:
            why = f": SHA-256 {str(self.found)[:SHORT]}..., its row says {str(self.sha256)[:SHORT]}..."
        return f"{self.shown}{row}{why}"


@dataclass(frozen=True, slots=True)
class ReferenceCount:
    """What an audit counted of one declared reference."""

    table: str
    path: str
    """The template, or the hook."""
    root: str = ""
    rows: int = 0
    """Rows that name a file by it."""
    missing: int = 0
    size: int = 0
    digest: int = 0


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """What an audit counted."""

    counts: Mapping[FindingKind, int]
    references: tuple[ReferenceCount, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    """Owned files that were found, by root."""
    read: int = 0
    """Files whose content was read."""
    arrived: int = 0
    """Files without a row that came while the audit ran, and are not counted as strays."""
    current: tuple[str, ...] = ()
    """The current updates, whose declarations were valid."""
    notes: tuple[str, ...] = ()
    """What the reader should know: that an update is at work, that nothing is declared."""

    @property
    def total(self) -> int:
        """How many findings there are."""
        return sum(self.counts.values())

    @property
    def rows(self) -> int:
        """Rows that name a file."""
        return sum(one.rows for one in self.references)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What `Updater.audit` returns."""

    summary: AuditSummary
    findings: tuple[Finding, ...] = ()
    """In the order of their paths; empty where they were handed over one by one."""
