"""Remove what a `Down` leaves on purpose from the state of an instance, so that the rest can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fietsupdate.model.leaves import COLUMN, FILES, TABLE, Leave
from fietsupdate.testing.states import State

FILE, SCHEMA, ROWS = "file ", "schema: ", "rows of "
"""The prefixes of the keys of a state."""


@dataclass(frozen=True)
class Reverted:
    """An update that was applied and reverted: the states before it, after applying, and after reverting."""

    before: State
    applied: State
    now: State

    def without(self, leaves: Iterable[Leave]) -> tuple[State, State]:
        """Return the states after and before, each without what stays on purpose; what is gone did not stay."""
        now, before = dict(self.now), dict(self.before)
        for leave in leaves:
            if leave.kind == FILES:
                self._without_files(leave, now, before)
            elif holds(self.now, leave):
                for state in (now, before):
                    _without(state, leave)
        return now, before

    def not_left(self, leaves: Iterable[Leave]) -> list[str]:
        """Return the declared leaves that did not stay.

        A pattern for files counts if the update touched matching files.
        """
        return [f"  {leave}: {why}" for leave in leaves if (why := self._why_not_left(leave))]

    def _without_files(self, leave: Leave, now: dict[str, object], before: dict[str, object]) -> None:
        for key in [key for key in now if _covers(leave, key)]:
            path = key.removeprefix(FILE)
            above = (f"{FILE}{path[: end.start()]}" for end in re.finditer("/", path))
            for name in (key, *(folder for folder in above if folder not in self.before)):
                now.pop(name, None)
            before.pop(key, None)

    def _why_not_left(self, leave: Leave) -> str:
        if leave.kind == FILES:
            appeared, left = _changed(leave, self.before, self.applied), _changed(leave, self.before, self.now)
            return "Down takes them back." if appeared and not left else ""
        if not holds(self.applied, leave):
            return "it is not there after Up."
        if not holds(self.now, leave):
            return "Down takes it away."
        return "it was there before Up." if part(self.now, leave) == part(self.before, leave) else ""


def holds(state: State, leave: Leave) -> bool:
    """Return whether a state contains a table or column."""
    if leave.kind == TABLE:
        return f"{ROWS}{leave.table}" in state
    return any(key.startswith(_column(leave)) for key in state)


def part(state: State, leave: Leave) -> Mapping[str, object]:
    """Return what a state says about a table or column."""
    part_state = {key: value for key, value in state.items() if _is_about(key, leave)}
    rows = state.get(f"{ROWS}{leave.table}")
    if leave.kind == COLUMN and rows is not None:
        part_state["values"] = [[pair for pair in row if pair[0] == leave.column] for row in _rows(rows)]
    return part_state


def _without(state: dict[str, object], leave: Leave) -> None:
    for key in [key for key in state if _is_about(key, leave)]:
        del state[key]
    name = f"{ROWS}{leave.table}"
    if leave.kind == COLUMN and name in state:
        rows = (tuple(pair for pair in row if pair[0] != leave.column) for row in _rows(state[name]))
        state[name] = sorted(rows, key=repr)


def _rows(value: Any) -> Iterable[tuple[tuple[str, object], ...]]:
    """Return the rows of a table, each a tuple of column and value."""
    return value  # type: ignore[no-any-return]  # as `fietsupdate.testing.content.description` makes them


def _column(leave: Leave) -> str:
    return f"{SCHEMA}{leave.table}: column {leave.column} "


def _is_about(key: str, leave: Leave) -> bool:
    """Return whether a key belongs to a table or a column: its own line, or that of one of its keys and indexes."""
    about = f"{SCHEMA}{leave.table}: "
    if leave.kind == TABLE:
        return key.startswith(about) or key == f"{ROWS}{leave.table}"
    if not key.startswith(about):
        return False
    rest = key.removeprefix(about)
    if rest.startswith("column "):
        return rest.startswith(f"column {leave.column} ")
    return re.search(rf"(?<!\w){re.escape(leave.column)}(?!\w)", rest) is not None


def _covers(leave: Leave, key: str) -> bool:
    if not key.startswith(FILE):
        return False
    root, colon, path = key.removeprefix(FILE).partition(":")
    return leave.covers("", f"{root}{colon}{path}") or (bool(colon) and leave.covers(root, path))


def _changed(leave: Leave, before: State, state: State) -> bool:
    return any(_covers(leave, key) and value != before.get(key) for key, value in state.items())
