"""One undo record for thousands of files: what they have in common is written once, and the rest in columns.

A line of the journal holds a whole batch. Its files are grouped by the two folders between which they move, and each
group has a column for the old names, the new names, and what identifies the files. Writing such a line costs a tenth of
a record for each file, and undoing it opens each folder once.

Only changes that are one rename each are recorded in this way: a move, a removal (into the vault), a new file (out of
the drafts), and a replacement, for which a draft and the old file exchange their names. No file has a second name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from fietsupdate.filesystem.journal.record import Do, Record, check_below, check_own, joined
from fietsupdate.filesystem.layout import HOME
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.metadata import Seen
from fietsupdate.model.readback import parsed

START = b'{"do":"columns",'
"""The beginning of such a line in the journal."""
KINDS = frozenset({Do.MOVE, Do.REMOVE, Do.CREATE, Do.REPLACE})
"""The kinds of changes that can be written in columns."""
NO_NAMES = frozenset({"", ".", "..", HOME})
"""Names that no file of a script has."""
_NUMBERS = re.compile("([0-9a-f]{1,16}/)*[0-9a-f]{1,16}")

Looks = tuple[Sequence[int], Sequence[int], Sequence[int]]
"""The inodes, sizes and times of some files, each a column."""


@dataclass(frozen=True, slots=True)
class Group:
    """Changes of one kind between two folders, whose paths are relative to the root."""

    do: Do
    folder: str
    """MOVE, REMOVE: the folder of the files. CREATE, REPLACE: that of the drafts."""
    other: str
    """MOVE: the new folder. REMOVE: the vault. CREATE, REPLACE: the folder in which the drafts take their places."""
    names: Sequence[str]
    others: Sequence[str]
    """The names in the other folder, one for each of the names."""
    looks: Looks
    """The attributes of the files in the first folder before the change."""
    old: Looks | None = None
    """REPLACE: the attributes of the replaced files."""

    def __len__(self) -> int:
        return len(self.names)

    def record(self, number: int) -> Record:
        """Return one of the changes as a record of its own."""
        name, other = joined(self.folder, self.names[number]), joined(self.other, self.others[number])
        look = _look(self.looks, number)
        match self.do:
            case Do.MOVE:
                return Record(Do.MOVE, "", name, other, was=look)
            case Do.REMOVE:
                return Record(Do.REMOVE, "", name, vault=other, was=look)
            case Do.CREATE:
                return Record(Do.CREATE, "", other, draft=name, now=look)
        was = None if self.old is None else _look(self.old, number)
        return Record(Do.REPLACE, "", other, draft=name, vault=name, was=was, now=look)

    def values(self) -> list[Any]:
        """Return the group as JSON values."""
        return [self.do, self.folder, self.other, self.names, self.others, *self.looks, *(self.old or ())]

    @classmethod
    def of(cls, values: Any) -> Group:
        """Return a group from JSON values.

        Raises:
            ValueError: The values are no group.
        """
        do, folder, other, names, others, *columns = values
        group = cls(Do(do), folder, other, names, others, tuple(columns[:3]), tuple(columns[3:]) or None)
        texts, numbers = (names, others), columns
        if {*map(type, (*texts, *numbers))} != {list}:
            raise ValueError("it has something else than columns")
        if {type(folder), type(other), *map(type, chain(*texts))} - {str} or {*map(type, chain(*numbers))} - {int}:
            raise ValueError("a column holds something else than it should")
        if len(columns) != (6 if group.do is Do.REPLACE else 3) or group.do not in KINDS:
            raise ValueError("it has too few columns, or too many")
        if not names or {*map(len, (*texts, *numbers))} != {len(names)}:
            raise ValueError("its columns have different lengths")
        return group

    def check_paths(self, txn: str) -> None:
        """Check that all paths are where a transaction may have paths, as `Record.check_paths` does.

        Raises:
            ValueError: The message names a path that is not.
        """
        owns = {Do.MOVE: ("", ""), Do.REMOVE: ("", "vault")}.get(self.do, ("drafts", ""))
        for own, folder, names in zip(owns, (self.folder, self.other), (self.names, self.others), strict=True):
            text = "/".join(names)
            if own:
                check_own(f"{folder}/{names[0]}", f"{HOME}/txn/{txn}/{own}/")
                refused = _NUMBERS.fullmatch(text) is None
            else:
                if folder:
                    check_below(folder)
                refused = text.count("/") >= len(names) or "\0" in text or not NO_NAMES.isdisjoint(names)
            if refused:
                raise ValueError(f"it names something in {folder!r} where no update changes anything")


@dataclass(frozen=True, slots=True)
class Columns:
    """The changes of one batch. No name is in two of them."""

    root: str
    groups: tuple[Group, ...]

    is_alone = True
    """As in `Record.is_alone`: nothing else happens between the same two syncs, so their names need not be compared."""

    path = ""
    """The root: such a record has no path of its own."""

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def __iter__(self) -> Iterator[Record]:
        return (self._of_root(group.record(number)) for group in self.groups for number in range(len(group)))

    def first(self) -> list[Record]:
        """Return one record of each group, which stands for its folders."""
        return [self._of_root(group.record(0)) for group in self.groups]

    def record(self, group: Group, number: int) -> Record:
        """Return one of the changes as a record of its own."""
        return self._of_root(group.record(number))

    def _of_root(self, record: Record) -> Record:
        if self.root:
            object.__setattr__(record, "root", self.root)  # it is new: nothing else knows it yet
        return record

    def names(self) -> list[str]:
        """Return the names of the first files, so many that whole file systems are synced, and one of each folder."""
        few = [name for record in islice(self, durable.MANY) for name in record.names()]
        return [*few, *(name for record in self.first() for name in record.names())]

    def to_values(self) -> dict[str, Any]:
        """Return the record as JSON values; ``do`` comes first."""
        return {"do": "columns", "root": self.root, "groups": [group.values() for group in self.groups]}

    @classmethod
    def from_json(cls, line: bytes) -> Columns:
        """Return a record from its line.

        Raises:
            ValueError: The line is not such a record.
        """
        try:
            values = parsed(line.decode())
            root, groups = values["root"], values["groups"]
            if not isinstance(root, str) or not groups:
                raise ValueError("it has no root, or no groups")
            return cls(root, tuple(map(Group.of, groups)))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("not an undo record") from error

    def check_paths(self, txn: str) -> None:
        """Check that all paths are where a transaction may have paths; the record may be forged (invariant 12).

        Raises:
            ValueError: The message names a path that is not.
        """
        for group in self.groups:
            group.check_paths(txn)


def _look(looks: Looks, number: int) -> Seen:
    inodes, sizes, times = looks
    return Seen("file", sizes[number], times[number], inodes[number])
