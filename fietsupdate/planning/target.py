"""Resolve the TARGET of a command to ids of updates, or raise an error that lists what could have been meant.

A target is never guessed: a prefix that fits two ids, a fork without a choice of head, and a step past the end are
refused, with everything that is needed to type the target right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from fietsupdate.errors import PlanError, TargetError
from fietsupdate.model import BASE
from fietsupdate.planning.graph import Graph, closest

RELATIVE = re.compile(r"([+-])(\d{1,9})")
MOST_CANDIDATES = 10


def resolve_up(graph: Graph, applied: frozenset[str], target: str | None) -> tuple[str, ...]:
    """Return the updates that `update TARGET` is to reach; each brings everything before it.

    Args:
        graph: All known updates.
        applied: The updates that are applied. Ids that are not in the graph do not matter.
        target: An id, a prefix of an id, ``+N``, ``head``, ``heads``, or None, which means ``head``; or one of these
            for a single package, ``PACKAGE:heads``.

    Returns:
        Ids in the order of the graph. Applied ones among them need no work and are no error.

    Raises:
        TargetError: No update fits the target, or several do, or there are fewer than N.
        PlanError: Without a target, or with ``head``: a folder has several heads.
    """
    if target in (None, "head"):
        return _each_head(graph, applied, graph.folders)
    folder, text = split(graph, target)
    if text == "head" and folder is not None:
        return _each_head(graph, applied, (folder,))
    if text == "heads":
        return graph.dag.heads() if folder is None else graph.heads_of(folder)
    if text == BASE:
        raise TargetError(f"{target!r} is behind every update.", hint=f"Type `fietsupdate downgrade {target}`.")
    sign, number = _relative(text)
    if sign == "-":
        raise TargetError(f"{target!r} goes backwards.", hint=f"Type `fietsupdate downgrade {target}` to go there.")
    if sign == "+":
        members = members_of(graph, folder)
        pending = [update_id for update_id in graph.dag.order if update_id in members and update_id not in applied]
        return tuple(pending[: _at_most(number, len(pending), target, "pending")])
    return (find(graph, target, applied),)


def resolve_down(
    graph: Graph, applied: frozenset[str], target: str, order: Sequence[str] | None = None
) -> frozenset[str]:
    """Return the updates that `downgrade TARGET` is to revert: those that depend on the target, and no others.

    Args:
        graph: All known updates.
        applied: The updates that are applied. Ids that are not in the graph do not matter.
        target: An id, a prefix of an id, ``-N``, or ``base``; or one of these for a single package, ``PACKAGE:base``.
        order: The applied updates in the order in which they were applied; the graph's order if omitted.

    Returns:
        The applied updates that come after the target, which itself stays; for ``-N`` the last N that were applied,
        and those that depend on them; for ``base`` all of them. ``-N`` and ``base`` of a package count its own updates.

    Raises:
        TargetError: No update fits the target, or several do, or there are fewer than N, or the target is not applied.
    """
    folder, text = split(graph, target)
    members = members_of(graph, folder) & applied
    known = [update_id for update_id in order or graph.dag.sort(applied) if update_id in members]
    if text == BASE:
        return graph.dag.descendants(known) & applied
    if text in ("head", "heads"):
        raise TargetError(f"{target!r} is where `update` goes.", hint="Type an id, `-1` or `base`.")
    sign, number = _relative(text)
    if sign == "+":
        raise TargetError(f"{target!r} goes forward.", hint=f"Type `fietsupdate update {target}` to go there.")
    if sign == "-":
        last = known[len(known) - _at_most(number, len(known), target, "applied") :]
        return graph.dag.descendants(last) & applied
    update_id = find(graph, target, applied)
    if update_id not in applied:
        raise TargetError(
            f"{update_id!r} is not applied, so there is no way back to it.",
            hint="`fietsupdate history` lists what is applied.",
        )
    return (graph.dag.descendants([update_id]) & applied) - {update_id}


def find(graph: Graph, text: str, applied: frozenset[str] = frozenset()) -> str:
    """Return the one update with this id, or the only one whose id starts with it. An exact id beats a prefix.

    Args:
        graph: All known updates.
        text: An id or a prefix; after ``PACKAGE:`` an id or prefix of this package.
        applied: The updates that are applied, for the message.

    Raises:
        TargetError: Several ids start with `text`, or none.
    """
    folder, text = split(graph, text)
    members = members_of(graph, folder)
    if text in members:
        return text
    candidates = [one for one in graph.dag.order if one in members and one.startswith(text)] if text else []
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise TargetError(
            f"{text!r} is the beginning of {len(candidates)} ids: {_listed(candidates)}.",
            hint="Type more of the id.",
            details={"candidates": candidates},
        )
    if not text:
        raise _nothing_named(folder)
    raise _unknown(graph, text, applied) if folder is None else _not_there(graph, text, folder)


def split(graph: Graph, target: str) -> tuple[str | None, str]:
    """Split ``PACKAGE:REST`` into the folder's name, as configured, and the rest; None where no package is named.

    A package is named by the folder's whole name, by the package of ``package:folder``, or by the last part of a path.

    Raises:
        TargetError: No folder fits the name, or several do.
    """
    name, colon, rest = target.rpartition(":")
    if not colon:
        return None, target
    if name in graph.folders:
        return name, rest
    fits = [folder for folder in graph.folders if name in (folder.partition(":")[0], PurePosixPath(folder).name)]
    if len(fits) == 1:
        return fits[0], rest
    known = ", ".join(graph.folders)
    if fits:
        raise TargetError(f"{name!r} could be {' or '.join(fits)}.", hint="Type the whole name.")
    raise TargetError(f"No package or folder of updates is called {name!r}.", hint=f"Configured: {known}")


def members_of(graph: Graph, folder: str | None) -> frozenset[str]:
    """Return the ids of one folder, or all ids if `folder` is None."""
    return frozenset(graph.updates) if folder is None else graph.of(folder)


def _nothing_named(folder: str | None) -> TargetError:
    what = "An empty id names no update." if folder is None else f"'{folder}:' names a package, but no update of it."
    return TargetError(what, hint="`fietsupdate graph` lists all updates.")


def _not_there(graph: Graph, text: str, folder: str) -> TargetError:
    if text in graph.updates:
        where = f"; {graph.updates[text].folder} has it."
    else:
        near = closest(text, graph.of(folder))
        where = f"; did you mean {near!r}?" if near else "."
    return TargetError(f"{folder} has no update {text!r}{where}", hint="`fietsupdate graph` lists all updates.")


def forks(graph: Graph, applied: frozenset[str], folders: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the folders with several heads that are not all applied, so that `update` cannot choose one."""
    goal = graph.dag.heads() if folders == graph.folders else graph.heads_of(folders[0])
    open_heads = frozenset(goal) - applied
    heads = {folder: graph.heads_of(folder) for folder in folders}
    return {folder: ids for folder, ids in heads.items() if len(ids) > 1 and open_heads.intersection(ids)}


def fork_message(forked: Mapping[str, Sequence[str]]) -> str:
    """Return the message that names the heads of each forked folder."""
    return "\n".join(f"The folder {name!r} has {len(ids)} heads: {_listed(ids)}." for name, ids in forked.items())


FORK_HINT = (
    "Type `fietsupdate update heads` to apply them all, or `fietsupdate update ID` with one of them. "
    "Developers join them by a new update: `fietsupdate revision --merge`."
)


def _each_head(graph: Graph, applied: frozenset[str], folders: Sequence[str]) -> tuple[str, ...]:
    if forked := forks(graph, applied, folders):
        raise PlanError(
            fork_message(forked),
            hint=FORK_HINT,
            details={"heads": {folder: list(ids) for folder, ids in forked.items()}},
        )
    return graph.dag.heads() if folders == graph.folders else graph.heads_of(folders[0])


def _relative(target: str) -> tuple[str, int]:
    match = RELATIVE.fullmatch(target)
    return (match[1], int(match[2])) if match else ("", 0)


def _at_most(number: int, there: int, target: str, what: str) -> int:
    if not number:
        raise TargetError(f"{target!r} does not go anywhere.", hint="Count from 1.")
    if number > there:
        updates = "1 update is" if there == 1 else f"{there or 'no'} updates are"
        raise TargetError(
            f"{target!r} goes too far: {updates} {what}.", hint="`fietsupdate status` says what is applied and pending."
        )
    return number


def _unknown(graph: Graph, text: str, applied: frozenset[str]) -> TargetError:
    if text in applied:
        return TargetError(
            f"{text!r} is applied, but no update script with this id is known.",
            hint="Install the version of the application that brings the script.",
        )
    near = closest(text, graph.updates)
    return TargetError(
        f"There is no update {text!r}{f'; did you mean {near!r}?' if near else '.'}",
        hint="`fietsupdate graph` lists all updates.",
    )


def _listed(ids: Sequence[str]) -> str:
    listed = ", ".join(map(repr, ids[:MOST_CANDIDATES]))
    return f"{listed} and {len(ids) - MOST_CANDIDATES} more" if len(ids) > MOST_CANDIDATES else listed
