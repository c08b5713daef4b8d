"""What is wrong with update scripts themselves, in words; none of it keeps an instance from being looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fietsupdate.model import Problem, Update
from fietsupdate.planning.target import FORK_HINT, fork_message


def several_heads(forked: Mapping[str, Sequence[str]]) -> Problem:
    """Folders whose heads `update` cannot choose between; the administrator says which."""
    return Problem("several_heads", fork_message(forked), FORK_HINT, blocks=False)


def script_broken(broken: Sequence[Update]) -> Problem:
    """Scripts that are not Python any more; they matter only to who must run them."""
    return Problem(
        "script_broken",
        "\n".join(update.broken for update in broken),
        "Mend the script. Until then it is listed and planned around, but neither applied nor reverted.",
        blocks=False,
    )


def script_changed(changed: Sequence[Update]) -> Problem:
    """Scripts that ran differ from what they are now."""
    one = len(changed) == 1
    return Problem(
        "script_changed",
        f"Changed since {'it was' if one else 'they were'} applied: "
        f"{', '.join(str(update.path) for update in changed)}.",
        "What was done stays done. If the change matters, write a new update: `fietsupdate revision`.",
        blocks=False,
    )
