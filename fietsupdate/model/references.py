"""Rows and their files: the declarations of update scripts, and the findings of an audit."""

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
    """An SQL condition for the rows that name a file; "" for all."""
    root: str = ""
    """The name of a further root; "" is the data directory."""
    size: str = ""
    """The column with the size in bytes; "" for none."""
    sha256: str = ""
    """The column with the SHA-256, as hexadecimal digits or as bytes; "" for none."""
    optional: bool = False
    """Whether the file may be missing."""
    schema: str = ""

    @property
    def template(self) -> Template:
        """The parsed template of the path."""
        return _template(self.path)

    @property
    def name(self) -> str:
        """The table with its schema, for messages."""
        return f"{self.schema}.{self.table}" if self.schema else self.table

    def __str__(self) -> str:
        """Return the reference in the form of messages: ``tracks: media:tracks/{id}.gpx``."""
        return f"{self.name}: {self.root}{':' if self.root else ''}{self.path}"


@cache
def _template(text: str) -> Template:
    return templates.read(text)


@dataclass(frozen=True, slots=True)
class Declared:
    """The declarations of one update script about rows and files."""

    references: tuple[ReferenceRule, ...] | None = None
    """The references; ``None`` if the script does not declare any, so that earlier declarations stay valid."""
    owned: tuple[str, ...] | None = None
    """The patterns of files that only rows may name; ``None`` as above."""
    has_hook: bool = False
    """Whether `Up` has a hook ``references(config)``."""
    line: int = 1
    """The line of the declaration in the script."""

    @property
    def says_references(self) -> bool:
        """Whether the script declares new references."""
        return self.has_hook or self.references is not None

    def __bool__(self) -> bool:
        """Return whether the script declares anything."""
        return self.says_references or self.owned is not None


NOTHING_DECLARED = Declared()


@dataclass(frozen=True, slots=True)
class Owned:
    """Files that only rows may name: a file that no row names is a stray."""

    pattern: str
    root: str = ""

    def __str__(self) -> str:
        return f"{self.root}:{self.pattern}" if self.root else self.pattern

    def covers(self, root: str, path: str) -> bool:
        """Return whether a file is among them."""
        return root == self.root and compiled(self.pattern).fullmatch(path) is not None


def owned_in(patterns: tuple[str, ...], rules: tuple[ReferenceRule, ...]) -> tuple[Owned, ...]:
    """Return the patterns, each with its root.

    A pattern without a root's name applies to the roots of the references whose files are in its folder, or else to
    those of the references in whose folder it is; if there are none, to the data directory.
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
    """One file that a row names; the hook ``references(config)`` of an update script yields these.

    Args:
        path: Relative to its root; bytes if it is not UTF-8.
        row: The primary key of the row, or a mapping of columns and values.
        size: The size in bytes according to the row; ``None`` if it has none.
        sha256: The digest according to the row, hexadecimal or bytes; ``None`` if it has none.
        root: The name of a further root; "" is the data directory.
        table: The table of the row, for messages.
        optional: Whether the file may be missing.
    """

    path: str | bytes | os.PathLike[str]
    row: object = None
    size: int | None = None
    sha256: str | bytes | None = None
    root: str = ""
    table: str = ""
    optional: bool = False


SHORT = 12
"""The digits of a digest that are shown."""


class FindingKind(enum.StrEnum):
    """The kinds of differences between a file and its row."""

    MISSING = "missing"
    """A row names a file that does not exist."""
    STRAY = "stray"
    """No row names an owned file."""
    SIZE = "size"
    """The size of a file differs from its row."""
    DIGEST = "digest"
    """The content of a file differs from its row."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between rows and files."""

    kind: FindingKind
    path: str
    """The path relative to its root; bytes that are not UTF-8 are surrogates, as in `os.fsdecode`."""
    root: str = ""
    table: str = ""
    """"" for a stray."""
    row: Mapping[str, Any] = field(default_factory=dict)
    """The row by its primary key; empty for a stray."""
    reason: str = ""
    """Why the file counts as missing, if it is not simply absent."""
    size: int | None = None
    """The size according to the row."""
    sha256: str | None = None
    """The digest according to the row, if digests were compared."""
    found: int | str | None = None
    """The size or digest of the file."""
    places: tuple[str, ...] = ()
    """The possible places of a missing file, as absolute paths."""
    fits: tuple[str, ...] = ()
    """The backups whose copy has the size and the digest in the row."""

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
        """Return the finding as text, without its kind: ``tracks/5.gpx (tracks id=5): 2 bytes, its row says 54``."""
        row = f" ({self.shown_row})" if self.shown_row else ""
        if self.kind is FindingKind.SIZE:
            return f"{self.shown}{row}: {self.found} bytes, its row says {self.size}"
        why = f": {self.reason}" if self.reason else ""
        if self.kind is FindingKind.DIGEST and self.found:
            why = f": SHA-256 {str(self.found)[:SHORT]}..., its row says {str(self.sha256)[:SHORT]}..."
        return f"{self.shown}{row}{why}"


@dataclass(frozen=True, slots=True)
class ReferenceCount:
    """The counts of an audit for one reference."""

    table: str
    path: str
    """The template, or the hook."""
    root: str = ""
    rows: int = 0
    """The rows that name a file."""
    missing: int = 0
    size: int = 0
    digest: int = 0


@dataclass(frozen=True, slots=True)
class AuditSummary:
    """The counts of an audit."""

    counts: Mapping[FindingKind, int]
    references: tuple[ReferenceCount, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    """The number of owned files by root."""
    read: int = 0
    """The number of files whose content was read."""
    arrived: int = 0
    """The number of files without a row that appeared while the audit ran, and do not count as strays."""
    current: tuple[str, ...] = ()
    """The current updates, whose declarations were valid."""
    notes: tuple[str, ...] = ()
    """Notes for the reader: that an update is at work, or that nothing is declared."""

    @property
    def total(self) -> int:
        """The number of findings."""
        return sum(self.counts.values())

    @property
    def rows(self) -> int:
        """The number of rows that name a file."""
        return sum(one.rows for one in self.references)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The result of `Updater.audit`."""

    summary: AuditSummary
    findings: tuple[Finding, ...] = ()
    """The findings in the order of their paths; empty if they were passed on one by one."""
