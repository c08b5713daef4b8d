"""Steps in words and numbers: updates, version hooks, and the entry that ends a change of version."""

from __future__ import annotations

from collections.abc import Sequence

from fietsupdate.cli.render.layout import count
from fietsupdate.model import VERSION_MARK, Direction, Plan, Status, Step

RUN = {
    Direction.UP: "apply",
    Direction.DOWN: "revert",
    Direction.STAMP: "record",
    Direction.VERSION: "run",
}


def is_hook(update_id: str) -> bool:
    """Return whether an id is that of a version hook, ``module:function``; no id of an update has a colon."""
    return ":" in update_id


def is_mark(update_id: str) -> bool:
    """Return whether an id ends a change of version, ``distribution==version``."""
    return VERSION_MARK in update_id


def verb(step: Step) -> str:
    """Return what a step does to its update: a verb."""
    return "record" if step.only_records else RUN[step.direction]


def beginning(direction: str, update_id: str) -> str:
    """Return what begins: "Applying"."""
    if direction == Direction.VERSION:
        return "Recording" if is_mark(update_id) else "Running version hook"
    return "Reverting" if direction == Direction.DOWN else "Applying"


def numbers(ids: Sequence[str]) -> tuple[int, int]:
    """Return the numbers of updates and of version hooks."""
    hooks = sum(is_hook(update_id) for update_id in ids)
    return len(ids) - hooks - sum(is_mark(update_id) for update_id in ids), hooks


def future(what: Plan) -> str:
    """Return how much will be done: "2 updates will be applied, and 1 version hook will run"."""
    updates, hooks = numbers([step.update.update_id for step in what.steps])
    done = "reverted" if what.direction is Direction.DOWN else "applied"
    parts = [f"{count(updates, 'update')} will be {done}"] if updates else []
    parts += [f"{count(hooks, 'version hook')} will run"] if hooks else []
    return ", and ".join(parts) or "The version will be recorded"


def past(ids: Sequence[str], direction: Direction) -> str:
    """Return how much was done: "2 updates applied, 1 version hook run"; "" for nothing but records."""
    updates, hooks = numbers(ids)
    done = "reverted" if direction is Direction.DOWN else "applied"
    parts = [f"{count(updates, 'update')} {done}"] if updates else []
    parts += [f"{count(hooks, 'version hook')} run"] if hooks else []
    return ", ".join(parts)


def amount(ids: Sequence[str]) -> str:
    """Return the numbers in words: "2 updates and 1 version hook"."""
    updates, hooks = numbers(ids)
    parts = [count(updates, "update")] if updates or not ids else []
    parts += [count(hooks, "version hook")] if hooks else []
    return " and ".join(parts) or "the record of the version"


def waiting(answer: Status, heads: str) -> str:
    """Return how much is pending: "2 updates waiting, up to v2"."""
    parts = [f"{count(len(answer.pending), 'update')} waiting, up to {heads}"] if answer.pending else []
    if answer.hooks:
        parts.append(f"{count(len(answer.hooks), 'version hook')} waiting, for {_installed(answer)}")
    return "; ".join(parts) or f"waiting, up to {heads}"


def version(answer: Status) -> str:
    """Return which version of the application is installed, and which one the data belongs to."""
    if not answer.distribution or answer.app_version == answer.data_version:
        return _installed(answer) if answer.distribution else ""
    if not answer.data_version:
        return f"{_installed(answer)}; none is recorded yet"
    return f"{_installed(answer)} is installed; the data belongs to {answer.data_version}"


def _installed(answer: Status) -> str:
    return f"{answer.distribution} {answer.app_version}"
