"""Read the imports of an update script from its syntax tree: those that must work before the script can run."""

from __future__ import annotations

import ast

from fietsupdate.model.imports import Import

MOVED_BY = frozenset({"meta_path", "modules", "path", "path_hooks"})
"""Names in `sys` by which a script can change what is imported after it."""


def imports_of(tree: ast.Module) -> tuple[Import, ...]:
    """Return the imports at module level, in their order.

    Left out are imports inside of ``try``, ``if`` and functions, which need not work, and imports after a line that
    changes the import path: what they load is known only once that line has run.
    """
    imports: list[Import] = []
    # thousands of scripts are read, so the most frequent kinds of statements are tested first
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            if statement.module == "sys" and not MOVED_BY.isdisjoint(alias.name for alias in statement.names):
                break
            imports += [
                Import(
                    statement.lineno,
                    statement.module or "",
                    "" if alias.name == "*" else alias.name,
                    bool(statement.level),
                )
                for alias in statement.names
            ]
        elif isinstance(statement, ast.Import):
            imports += [Import(statement.lineno, alias.name) for alias in statement.names]
        elif (
            not isinstance(statement, _HARMLESS)
            and not _is_plain(statement)
            and any(map(_is_path, ast.walk(statement)))
        ):
            break
    return tuple(imports)


_HARMLESS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
"""Statements that, in update scripts, run nothing that could change the import path."""
_VALUES = (ast.Constant, ast.List)


def _is_plain(statement: ast.stmt) -> bool:
    """Return whether a statement is a docstring, or assigns a plain value to a name.

    Such a statement changes no path.
    """
    if isinstance(statement, ast.Assign):
        return isinstance(statement.value, _VALUES) and isinstance(statement.targets[0], ast.Name)
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_path(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="sys"), attr=attribute):
            return attribute in MOVED_BY
        case ast.Attribute(attr="addsitedir"):
            return True
    return False
