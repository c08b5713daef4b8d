"""The commands that the messages of the package propose, read from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import fietsupdate

PACKAGE = Path(fietsupdate.__file__).parent
QUOTED = re.compile(r"[`']((?:fietsupdate|alembic) [^`']+)[`']")
WHOLE = re.compile(r"(?:fietsupdate|alembic) (?!runs on)\S.*")
SKIPPED = frozenset({"testing", "testing/models.py", "pytest_plugin.py"})
"""Modules whose messages are for developers in their test runs, where no instance is at stake."""


def proposals() -> set[str]:
    """Return every proposal as ``module: command``; what is filled in at run time is ``{}``."""
    found: set[str] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        module = str(path.relative_to(PACKAGE))
        if not any(module.startswith(name) for name in SKIPPED):
            found.update(f"{module}: {command}" for command in commands_in(path.read_text(encoding="utf-8")))
    return found


def commands_in(source: str) -> Iterator[str]:
    """Yield the commands that the strings of a module quote, docstrings left out."""
    for text in _strings(ast.parse(source)):
        yield from [text] if WHOLE.fullmatch(text) else QUOTED.findall(text)


def _strings(tree: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue  # a docstring
        if isinstance(child, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in child.values)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        else:
            yield from _strings(child)
