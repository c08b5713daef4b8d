"""The checks of the ready-made tests of the pytest plugin. Each raises an `AssertionError` that says what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fietsupdate.engine import hooks
from fietsupdate.errors import FietsupdateError
from fietsupdate.model import BASE, Direction, Update, UpdateState
from fietsupdate.planning.graph import Graph
from fietsupdate.testing import released
from fietsupdate.testing.content import Node
from fietsupdate.testing.instance import TemporaryInstance
from fietsupdate.testing.leaves import Reverted
from fietsupdate.testing.models import unmatched
from fietsupdate.testing.states import differences, listed

RECORD = "pytest --fietsupdate-release"


def one_head(graph: Graph) -> None:
    """Check that each folder has one head: `update` without a target refuses two."""
    lines = []
    for folder in graph.folders:
        heads = graph.heads_of(folder)
        if len(heads) > 1:
            paths = ", ".join(f"{update_id} ({graph.updates[update_id].path.name})" for update_id in heads)
            lines.append(f"{folder} has {len(heads)} heads: {paths}.")
    if lines:
        raise AssertionError("\n".join([*lines, "Join them by a new update: `fietsupdate revision --merge`"]))


def scripts_load(instance: TemporaryInstance) -> None:
    """Check that every script can be imported, that its classes can be instantiated, and that they have their hooks."""
    graph = instance.graph()
    if faults := instance.run(lambda: load_errors(graph)):
        raise AssertionError("\n".join(faults))


def load_errors(graph: Graph) -> list[str]:
    """Import every script, and return what is wrong with it; the application must be importable."""
    return [error for update in graph.ordered for error in _errors(update)]


def _errors(update: Update) -> Iterator[str]:
    for direction in (Direction.UP, Direction.DOWN) if update.has_down else (Direction.UP,):
        try:
            hooks.inspect(update, direction)
        except FietsupdateError as error:
            yield f"{error.message} {error.hint}".strip()
            return


def update_to_head(instance: TemporaryInstance) -> None:
    """Take an empty instance to every head, and check that nothing is left to do and no problem is reported."""
    instance.update_through(*instance.graph().dag.heads())
    status = instance.status()
    if status.state is not UpdateState.OKAY or status.problems:
        lines = [f"{problem.message} {problem.hint}" for problem in status.problems]
        raise AssertionError("\n".join([f"After the last update the instance is {status.state}.", *lines]))


def up_down_up(instance: TemporaryInstance, update: Update) -> None:
    """Apply an update, revert it, and apply it again; the instance must be right before the update.

    Reverted, both halves must be as before: paths, contents and modes; schema and rows. What the script declares to
    stay after Down is not compared, and must stay. Applied again, the paths and the schema must be the same as the
    first time. Then the data for this update is put in.
    """
    start = _seen(instance)
    instance.update(update.update_id)
    applied = _seen(instance)
    instance.downgrade("-1")
    reverted = Reverted(start, applied, _seen(instance))
    if lines := differences(*reverted.without(update.leaves)):
        raise AssertionError(
            f"Down of {update.update_id} does not take back what Up does. Against before the update:\n{listed(lines)}\n"
            f"Mend Down in {update.path}, or downgrade() in its Alembic revision. What stays on purpose, `leaves` says."
        )
    if lines := reverted.not_left(update.leaves):
        raise AssertionError(
            f"Down of {update.update_id} does not leave what the script says it leaves:\n{listed(lines)}\n"
            f"Correct `leaves` in {update.path}."
        )
    instance.update(update.update_id)
    again = _seen(instance)
    steady = {key for key in applied if not key.startswith("schema")}
    if lines := differences(again, applied, steady):
        raise AssertionError(
            f"Applied, reverted and applied again, {update.update_id} leads somewhere else than the first time:\n"
            f"{listed(lines)}"
        )
    instance.put_in(update.update_id)


def rows_and_files_match(instance: TemporaryInstance) -> str:
    """Apply all updates one by one, put the data in, and compare rows with files; give why nothing was, or "".

    Raises:
        AssertionError: names the rows and files that do not match.
    """
    graph = instance.graph()
    if not any(update.declares for update in graph.updates.values()):
        return "no update declares `references` or `owned`"
    instance.put_in(BASE)
    for update in graph.ordered:
        instance.update(update.update_id)
        _compared(instance, f"After {update.update_id}")
        instance.put_in(update.update_id)
        _compared(instance, f"With the data that belongs to {update.update_id}")
    return ""


def _compared(instance: TemporaryInstance, when: str) -> None:
    found = instance.run(lambda: instance.updater.audit(content=True)).findings
    if found:
        raise AssertionError(f"{when} rows and files do not match:\n{listed([f'{one.kind} {one}' for one in found])}")


def _seen(instance: TemporaryInstance) -> Mapping[str, object]:
    content = instance.dump()
    return {
        **{f"file {path}": _lasting(node) for path, node in instance.tree().items()},
        **{f"schema: {line}": True for line in content["schema"]},
        **{f"rows of {table}": rows for table, rows in content["rows"].items()},
    }


def _lasting(node: Node) -> tuple[object, ...]:
    """Return the properties of a file that Down must restore; its time, owner and attributes are not among them."""
    return node.kind, node.mode, node.sha256, node.target


def released_unchanged(graph: Graph) -> str:
    """Check that no released script has changed; return why that cannot be checked, or "".

    Raises:
        AssertionError: The message names the changed scripts.
    """
    faults = released.faults(graph)
    if faults is None:
        return f"no script is recorded as released; after a release: {RECORD}"
    if faults:
        raise AssertionError(
            "\n".join(faults) + "\nPut it back as it was, and write a new update for what is new. If the change can "
            f"make no difference (a comment), record it: {RECORD}"
        )
    return ""


def models_match(instance: TemporaryInstance) -> None:
    """Check that ``alembic check`` finds no differences after the last update."""
    instance.update_through(*instance.graph().dag.heads())
    if text := instance.run(lambda: unmatched(instance.config)):
        raise AssertionError(text)
