"""Judge an instance by its files alone: the data directory and the update scripts, without the database.

The result is ``okay`` only if `fietsupdate.planning.diagnosis` has the same result for a database that fits the files.
"""

from __future__ import annotations

from fietsupdate.model import UpdateState
from fietsupdate.planning.graph import Graph
from fietsupdate.planning.history import current_of, unknown_of
from fietsupdate.planning.position import locate
from fietsupdate.planning.version_hooks import is_older, recorded
from fietsupdate.views import FilesView


def judge(graph: Graph, files: FilesView, *, installed: str = "") -> tuple[UpdateState, str]:
    """Return the state of an instance, and why it is not ``okay``.

    Args:
        graph: All updates.
        files: What was found in the data directory.
        installed: The installed version of the application; "" where the configuration names no distribution.
    """
    if files.holder is not None:
        return UpdateState.UPDATING, "another process is at work"
    if files.is_half_restored:
        return UpdateState.INTERRUPTED, "a restore was interrupted"
    if files.transaction or files.unreadable_header:
        return UpdateState.INTERRUPTED, "an update was interrupted"
    if files.damaged:
        return UpdateState.UNKNOWN, files.damaged
    if not files.exists:
        return UpdateState.UNKNOWN, f"the data directory {files.data_dir} does not exist"
    return _position(graph, files, installed)


def _position(graph: Graph, files: FilesView, installed: str) -> tuple[UpdateState, str]:
    """Compare the applied updates with the scripts, and with the VERSION file."""
    applied = locate(graph, None, files).applied
    if unknown := unknown_of(applied, graph):
        return UpdateState.TOO_NEW, f"there is no script of {', '.join(unknown)}"
    current = current_of(applied, graph)
    if files.version is not None and set(files.version) != set(current):
        return UpdateState.DRIFTED, f"VERSION and the ledger disagree: it should say {', '.join(current) or 'nothing'}"
    if any(previous not in applied for one in applied for previous in graph.updates[one].previous):
        return UpdateState.DRIFTED, "an update is applied without the update before it"
    if pending := [update.update_id for update in graph.ordered if update.update_id not in applied]:
        return UpdateState.OUTDATED, _waiting(pending)
    return _version(files, installed)


def _version(files: FilesView, installed: str) -> tuple[UpdateState, str]:
    """Compare the installed version with the recorded one. The hooks are unknown, as their modules are not loaded."""
    seen = recorded(files.entries)
    if not installed or not seen.version:
        return UpdateState.OKAY, ""
    if seen.newest and is_older(installed, seen.newest):
        return UpdateState.TOO_NEW, f"version {seen.newest} has changed the data, and {installed} is installed"
    if installed != seen.version or seen.taken_back_from:
        return UpdateState.OUTDATED, f"the data belongs to version {seen.version}, and {installed} is installed"
    return UpdateState.OKAY, ""


def _waiting(pending: list[str]) -> str:
    what = "update waits" if len(pending) == 1 else "updates wait"
    return f"{len(pending)} {what}: {', '.join(pending[:3])}{', ...' if len(pending) > 3 else ''}"  # noqa: PLR2004
