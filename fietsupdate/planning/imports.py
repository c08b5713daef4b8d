"""The imports of an update script, read from its syntax tree: those that must work before the script can run."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fietsupdate.imports import Import

MOVED_BY = frozenset({"meta_path", "modules", "path", "path_hooks"})
"""Names in `sys` by which a script can change what is imported after it."""


def imports_of(tree: ast.Module) -> tuple[Import, ...]:
    """Return the imports at module level, in their order.

    Left out are those inside of ``try``, ``if`` and functions, which need not work, and those that come after a line
    that changes the import path: where they lead is known only once that line has run.
    """
    found: list[Import] = []
    for statement in tree.body:
        if _moves_path(statement):
            break
        found += _imports(statement)
    return tuple(found)


def _imports(statement: ast.stmt) -> Iterator[Import]:
    match statement:
        case ast.Import():
            for alias in statement.names:
                yield Import(statement.lineno, alias.name)
        case ast.ImportFrom():
            for alias in statement.names:
                name = "" if alias.name == "*" else alias.name
                yield Import(statement.lineno, statement.module or "", name, bool(statement.level))


def _moves_path(statement: ast.stmt) -> bool:
    match statement:
        case ast.ImportFrom(module="sys"):
            return any(alias.name in MOVED_BY for alias in statement.names)
        case ast.Import() | ast.ImportFrom() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return False
    return any(_is_path(node) for node in ast.walk(statement))


def _is_path(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="sys"), attr=attribute):
            return attribute in MOVED_BY
        case ast.Attribute(attr="addsitedir"):
            return True
    return False
