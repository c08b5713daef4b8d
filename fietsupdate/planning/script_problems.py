"""The text of problems with update scripts themselves; none of these problems prevents `status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fietsupdate.model import Problem, Update
from fietsupdate.model.imports import FailingImport
from fietsupdate.planning.target import FORK_HINT, fork_message


def several_heads(forked: Mapping[str, Sequence[str]]) -> Problem:
    """Return the problem that `update` cannot choose between the heads of folders; the administrator must choose."""
    return Problem("several_heads", fork_message(forked), FORK_HINT, blocks=False)


def script_broken(broken: Sequence[Update]) -> Problem:
    """Return the problem that scripts are not valid Python any more; it blocks only plans that run these scripts."""
    return Problem(
        "script_broken",
        "\n".join(update.broken for update in broken),
        "Mend the script. Until then it is listed and planned around, but neither applied nor reverted.",
        blocks=False,
    )


def import_missing(failing: Sequence[FailingImport]) -> Problem:
    """Return the problem that imports of scripts are missing; scripts that miss the same import share a line."""
    scripts: dict[str, list[FailingImport]] = {}
    for one in failing:
        scripts.setdefault(one.missing, []).append(one)
    lines = [f"{_where(those)}: {missing}." for missing, those in scripts.items()]
    return Problem(
        "import_missing",
        "\n".join(lines),
        "Install what is missing, or mend the script. Until then one that is applied cannot be reverted, and one that "
        "waits cannot be applied; nothing else needs them.",
        blocks=False,
    )


def _where(those: Sequence[FailingImport]) -> str:
    first = f"{those[0].path}:{those[0].line}"
    if len(those) == 1:
        return first
    return f"{first}, and {len(those) - 1} more script{'s' if len(those) > 2 else ''}"  # noqa: PLR2004  # one more


def script_changed(changed: Sequence[Update]) -> Problem:
    """Return the problem that scripts have changed since they were applied."""
    one = len(changed) == 1
    return Problem(
        "script_changed",
        f"Changed since {'it was' if one else 'they were'} applied: "
        f"{', '.join(str(update.path) for update in changed)}.",
        "What was done stays done. If the change matters, write a new update: `fietsupdate revision`.",
        blocks=False,
    )
