"""Plan the way from the state of an instance to a target: a `Plan`, complete before anything starts.

Whether the instance may be changed at all is decided by `fietsupdate.planning.diagnosis`. This module refuses only
because no plan leads to the target.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fietsupdate.errors import UNCHANGED, PlanError
from fietsupdate.model import Begun, Direction, Entry, Phase, Plan, Step, Update
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.history import closed, current_of, unknown_of
from fietsupdate.planning.position import Position, locate
from fietsupdate.planning.references import refuse_contradiction
from fietsupdate.planning.revisions import RevisionTree
from fietsupdate.planning.target import forks, resolve_down, resolve_up
from fietsupdate.views import DatabaseView, FilesView

if TYPE_CHECKING:
    from fietsupdate.planning.version_hooks import Versions

BY_HAND = "or `fietsupdate recover --accept` when you have finished it by hand"
"""The alternative to resuming: an update that is committed in part can be finished only by itself or by hand."""


def plan_up(
    graph: Graph,
    database: DatabaseView,
    files: FilesView,
    target: str | None = None,
    *,
    versions: Versions | None = None,
) -> Plan:
    """Plan an update; an interrupted update comes first, and its finished phases are not run again.

    Args:
        graph: All updates.
        database: What was found in the database.
        files: What was found in the data directory.
        target: Id, prefix, ``+N``, ``head``, ``heads``; ``None`` for everything.
        versions: The application's version; its hooks run once no update is pending any more.

    Raises:
        TargetError: The target names no update, or several.
        PlanError: Another direction was interrupted, or an Alembic revision does not exist.
    """
    place = locate(graph, database, files)
    applied = place.applied | (closed(place.adoption.update_ids, graph) if place.adoption else frozenset())
    first = _resumed_hook(versions, database)
    broken_off = () if first else _resumed(graph, database.begun, Direction.UP)
    begun = frozenset(update.update_id for update in broken_off)
    wanted = resolve_up(graph, applied | begun, target)
    pending = graph.dag.ancestors(wanted) - applied - begun
    updates = [*broken_off, *(graph.updates[update_id] for update_id in graph.dag.sort(pending))]
    _refuse_broken(updates)
    tree = RevisionTree.of(database, graph)
    tree.demand(updates)
    steps = (*first, *_steps_up(graph, updates, tree, database, place))
    result = applied | begun | pending
    refuse_contradiction(graph, place.applied, result)
    if graph.updates.keys() <= result:
        besides = {step.update.update_id for step in first}
        steps += _version_steps(versions, database, besides, changes=bool(updates or place.adoption))
    now, then = _current(graph, place), current_of(result, graph)
    return Plan(Direction.UP, wanted, steps, now, then, place.adoption, _tip(database))


def plan_down(
    graph: Graph, database: DatabaseView, files: FilesView, target: str, *, below_baseline: bool = False
) -> Plan:
    """Plan a downgrade: exactly what depends on the target is reverted, newest first.

    Args:
        graph: All updates.
        database: What was found in the database.
        files: What was found in the data directory.
        target: Id, prefix, ``-N``, ``base``.
        below_baseline: Whether a baseline may be reverted, and with it everything from before the first update.

    Raises:
        TargetError: The target names no update, or several.
        PlanError: An update cannot be reverted, or Alembic cannot go back under an update that stays applied.
    """
    place = locate(graph, database, files)
    _refuse_unseen_past(graph, place)
    broken_off = _resumed(graph, database.begun, Direction.DOWN)
    begun = frozenset(update.update_id for update in broken_off)
    order = [update.update_id for update in _as_applied(graph, place.applied, database.entries)]
    reverted = resolve_down(graph, place.applied, target, order) | begun
    updates = [*broken_off, *(graph.updates[update_id] for update_id in reversed(graph.dag.sort(reverted - begun)))]
    _refuse_broken(updates)
    _refuse_missing_down(updates)
    tree = RevisionTree.of(database, graph)
    history = _as_applied(graph, place.applied | begun, database.entries)
    tree.demand(history)
    _refuse_held_revisions(tree, history, reverted)
    kept = [update for update in history if update.update_id not in reverted]
    result = current_of(place.applied - reverted, graph)
    refuse_contradiction(graph, place.applied, place.applied - reverted)
    steps = tuple(_steps_down(updates, kept, tree, database))
    if not below_baseline:
        _refuse_below_baseline([step for step in steps if step.update.update_id not in begun])
    return Plan(Direction.DOWN, result, steps, _current(graph, place), result, place.adoption, _tip(database))


def _steps_up(
    graph: Graph, updates: Sequence[Update], tree: RevisionTree, database: DatabaseView, place: Position
) -> Iterable[Step]:
    have = set(tree.closed(database.alembic_current))
    have.update(place.adoption.revisions if place.adoption else ())
    needed = set(tree.needed_by(graph.updates[one] for one in place.applied & graph.updates.keys()))
    for update in updates:
        new = tree.lacking(update.alembic_revisions, have)
        present = tree.lacking(update.alembic_revisions, needed) - new
        have |= new
        needed |= new | present
        yield replace(_step(update, Direction.UP, tree.sort(new), database), present=tree.sort(present))


def _steps_down(
    updates: Sequence[Update], kept: Sequence[Update], tree: RevisionTree, database: DatabaseView
) -> Iterable[Step]:
    """Yield the steps down.

    Each takes back the revisions that only its update needs, and all in the database above them.
    """
    needed = set(tree.needed_by(kept))
    own: dict[str, frozenset[str]] = {}
    for update in reversed(updates):
        own[update.update_id] = tree.lacking(update.alembic_revisions, needed)
        needed |= own[update.update_id]
    have = set(tree.closed(database.alembic_current))
    for update in updates:
        old = tree.above(own[update.update_id], have)
        have -= old
        yield _step(update, Direction.DOWN, tree.sort(old)[::-1], database)


def _step(update: Update, direction: Direction, revisions: tuple[str, ...], database: DatabaseView) -> Step:
    begun = database.begun
    finished = begun.finished if begun and begun.update_id == update.update_id else ()
    if Phase.ALEMBIC in finished:
        revisions = ()
    return Step(update, direction, revisions, _why_not_atomic(update, database), finished)


def _why_not_atomic(update: Update, database: DatabaseView) -> str:
    if not update.atomic:
        return f"{update.path.name} does not say `atomic = True`"
    return database.not_transactional


def _current(graph: Graph, place: Position) -> tuple[str, ...]:
    return current_of(place.applied, graph)


def _tip(database: DatabaseView) -> int:
    return database.entries[-1].seq if database.entries else 0


def _resumed_hook(versions: Versions | None, database: DatabaseView) -> tuple[Step, ...]:
    if versions is None:
        return ()
    from fietsupdate.planning.version_hooks import resumed  # not where no version is followed: start-up waits for it

    return resumed(versions, database.begun, database)


def _version_steps(
    versions: Versions | None, database: DatabaseView, besides: Collection[str], *, changes: bool
) -> tuple[Step, ...]:
    if versions is None:
        return ()
    from fietsupdate.planning.version_hooks import version_steps

    return version_steps(versions, database, besides=besides, changes=changes)


def _resumed(graph: Graph, begun: Begun | None, direction: Direction) -> tuple[Update, ...]:
    """Return the interrupted update, which must be finished first, or an empty tuple."""
    if begun is None:
        return ()
    if begun.direction is Direction.VERSION:
        raise _hook_first(begun, direction)
    if begun.update_id not in graph.updates:
        raise PlanError(
            f"Update {begun.update_id} was interrupted, and its script is not here.",
            stands=UNCHANGED,
            hint="Install the version of the application that has this update, and type the command again.",
        )
    if begun.direction is not direction:
        raise _wrong_way(graph.updates[begun.update_id], begun)
    return (graph.updates[begun.update_id],)


def _hook_first(begun: Begun, direction: Direction) -> PlanError:
    if direction is Direction.UP:
        return PlanError(
            f"The version hook {begun.update_id} was interrupted, and is not here.",
            stands=UNCHANGED,
            hint="Install the version of the application that has it, see that version_hooks names its module or "
            "plugin, and type the command again.",
        )
    return PlanError(
        f"The version hook {begun.update_id} was interrupted; that must be finished before anything is reverted.",
        stands=UNCHANGED,
        hint="Type `fietsupdate update` to go on with it; then downgrade.",
    )


def _wrong_way(update: Update, begun: Begun) -> PlanError:
    if begun.direction is Direction.UP:
        return PlanError(
            f"Update {update.update_id} was interrupted on its way up; "
            "that must be finished before anything is reverted.",
            stands=UNCHANGED,
            hint=f"Type `fietsupdate update` to go on with it, {BY_HAND}; then downgrade.",
        )
    return PlanError(
        f"Update {update.update_id} was interrupted while it was being reverted; "
        "that must be finished before anything is updated.",
        stands=UNCHANGED,
        hint=f"Type `{_resume_down(update)}` to go on with it, {BY_HAND}; then update.",
    )


def resume_command(graph: Graph, update_id: str, update: Update | None, direction: Direction) -> str:
    """Return the command that resumes an interrupted update.

    Args:
        graph: All updates.
        update_id: The id of the interrupted update.
        update: Its script; ``None`` where the script is not installed.
        direction: Whether the update was being applied or reverted.
    """
    if direction is Direction.DOWN:
        return _resume_down(update) if update else "fietsupdate downgrade TARGET"
    if direction is Direction.UP and forks(graph, frozenset(), graph.folders):
        return f"fietsupdate update {update_id}"  # without a target, `update` could not choose a head
    return "fietsupdate update"


def _resume_down(update: Update) -> str:
    return f"fietsupdate downgrade {update.previous[0] if update.previous else 'base'}"


def _refuse_unseen_past(graph: Graph, place: Position) -> None:
    if ghosts := unknown_of(place.applied, graph):
        raise PlanError(
            f"Applied, but without a script here: {', '.join(ghosts)}. "
            "What depends on what cannot be told, so nothing can be reverted.",
            stands=UNCHANGED,
            hint="Downgrade with the version of the application that has these updates, before installing the older.",
        )
    if place.adoption and place.adoption.revisions:
        raise PlanError(
            f"The instance has no ledger yet and is not quite at its baseline {', '.join(place.adoption.update_ids)}.",
            stands=UNCHANGED,
            hint="Type `fietsupdate update` first.",
        )


def _refuse_below_baseline(steps: Iterable[Step]) -> None:
    """Refuse to let Alembic drop what the application had before its first update; no update script created that."""
    for step in steps:
        if step.update.baseline and step.revisions:
            name = step.update.update_id
            raise PlanError(
                f"{name} is the baseline: reverting it takes back Alembic revision {', '.join(step.revisions)}, and "
                "drops what the database held before there were update scripts.",
                stands=UNCHANGED,
                hint=f"Type `fietsupdate downgrade {name}` to go down to the baseline. To drop all that as well, add "
                "--below-baseline: it names what is dropped, and makes a backup of both halves first.",
                details={"baseline": name, "revisions": list(step.revisions)},
            )


def _refuse_broken(updates: Sequence[Update]) -> None:
    if broken := [update for update in updates if update.broken]:
        raise PlanError(
            "\n".join(update.broken for update in broken),
            stands=UNCHANGED,
            hint="Mend the script, then type the command again; a target before it can be reached now.",
        )


def _refuse_missing_down(updates: Sequence[Update]) -> None:
    lacking = [update for update in updates if not update.has_down]
    if lacking:
        raise PlanError(
            "\n".join(
                f"Update {update.update_id} cannot be reverted: {update.path} has no class Down." for update in lacking
            ),
            stands=UNCHANGED,
            hint="Restore a backup of both halves from before, if there is one: `fietsupdate backup list`.",
        )


def _refuse_held_revisions(tree: RevisionTree, history: Sequence[Update], reverted: Collection[str]) -> None:
    """Refuse to run Down hooks on a schema that cannot go back because an update that stays applied needs it.

    A revision belongs to the first update of the history that needed it: it ran with this update, and must be taken
    back with it. A revision that was there before an update ran may stay.
    """
    needed = tree.needed_by(update for update in history if update.update_id not in reverted)
    have: set[str] = set()
    for update in history:
        brought = tree.lacking(update.alembic_revisions, have)
        have |= brought
        held = brought & needed
        if held and update.update_id in reverted:
            staying = (one for one in history if one.update_id not in reverted and held & tree.needed_by([one]))
            raise _held(update, next(staying), tree.sort(held))


def _as_applied(graph: Graph, applied: Collection[str], entries: Sequence[Entry]) -> list[Update]:
    """Return applied updates in the order in which they were applied; stamped updates come in the graph's order."""
    seq = {entry.update_id: entry.seq for entry in entries if entry.direction is Direction.UP}
    ids = sorted(graph.dag.sort(applied), key=lambda update_id: seq.get(update_id, 0))
    return [graph.updates[update_id] for update_id in ids]


def _held(update: Update, other: Update, held: tuple[str, ...]) -> PlanError:
    word = "revision" if len(held) == 1 else "revisions"
    return PlanError(
        f"Update {update.update_id} cannot be reverted alone: Alembic cannot take back {word} {', '.join(held)}, "
        f"which update {other.update_id} needs, and that stays applied.",
        stands=UNCHANGED,
        hint=f"Revert {other.update_id} as well: name a target before both, or `base`.",
    )
