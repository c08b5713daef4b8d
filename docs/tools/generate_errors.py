"""Make docs/reference/errors.md, the codes of all errors, from their classes.

`generate_reference.py` writes it.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import fietsupdate
from fietsupdate.errors import FietsupdateError

PAGE = Path(__file__).parents[1] / "reference" / "errors.md"

HEAD = """\
<!-- Written by docs/tools/generate_reference.py from the classes; change their docstrings, and run that again. -->
# Error codes

Every error has a code, by which programs tell errors apart: the text may change from release to release, the code does
not. With `--json` a command that fails prints one document, or one as the last line of its stream:

```json
{"error": {"code": "ownership", "message": "...", "stands": "...", "hint": "..."}}
```

`message` says what happened, `stands` what both halves are at now, `hint` what to type next. From Python each is a
`fietsupdate.FietsupdateError` with these four attributes; see [](python-api.md).
"""

TAIL = """\
A refusal has the code of the [problem](states-and-exit-codes.md#problems) behind it in place of `refused`, `too_new`
for example. `require_current` and `ensure_current` raise a `NotCurrentError`, whose code is the
[state](states-and-exit-codes.md) of the instance; `check` exits by that state.
"""

OWN = {
    "backup_damaged": "A backup has changed since it was made.",
    "foreign_folder": "`.fietsupdate` is not a folder, belongs to another user, or can be written by others.",
    "unexpected": "An exception that no code foresaw; `details` has its type. It is a bug in fietsupdate, or in what "
    "the message names.",
}
"""Codes that are set on one error, and have no class of their own."""
ELSEWHERE = {"error", "refused"}
"""The base's code, which no error has in the end, and the one that stands for those of the problems."""


def page() -> str:
    """Return the whole page."""
    table = ["| code | exit code | means |", "|---|---|---|"]
    table += [f"| `{code}` | {exit_code} | {meaning} |" for code, exit_code, meaning in sorted(rows())]
    return "\n".join([HEAD, *table, "", TAIL])


def rows() -> Iterator[tuple[str, int, str]]:
    """Yield code, exit code and meaning of every error; subclasses that change neither are their base's."""
    for found in classes():
        base = found.__mro__[1]
        if found.code not in ELSEWHERE and (found.code, found.exit_code) != (
            getattr(base, "code", ""),
            getattr(base, "exit_code", 0),
        ):
            yield found.code, found.exit_code, sentence(found)
    yield from ((code, FietsupdateError.exit_code, meaning) for code, meaning in OWN.items())


def classes() -> list[type[FietsupdateError]]:
    """Return the base of all errors and every class below it, whichever module defines it."""
    for module in pkgutil.walk_packages(fietsupdate.__path__, "fietsupdate."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: list[type[FietsupdateError]] = [FietsupdateError]
    for error in found:
        found += [below for below in error.__subclasses__() if below.__module__.startswith("fietsupdate.")]
    return found


def sentence(error: type[FietsupdateError]) -> str:
    """Return the first paragraph of its docstring."""
    return " ".join((error.__doc__ or "").partition("\n\n")[0].split()).replace("|", "\\|")
