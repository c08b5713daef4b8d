"""The house: who alone may do what, and how big anything may grow. Who may import whom stands in pyproject.toml.

Imports are read with ``ast``: those inside of functions and those for type checkers count like all others.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import fietsupdate

PACKAGE = Path(fietsupdate.__file__).parent
ROOT = PACKAGE.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

HEAVY = {"alembic", "jinja2", "pydantic", "rich", "sqlalchemy"}
"""What takes longer to import than all the rest of a start."""


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def imports(module: str, nodes: list[ast.AST]) -> Iterator[str]:
    """Give the full name of everything that is imported; ``from package import module`` names the module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            for alias in node.names:
                longer = f"{node.module}.{alias.name}"
                yield longer if longer in MODULES else str(node.module)


def everywhere(module: str) -> list[ast.AST]:
    return list(ast.walk(tree(module)))


def at_start(module: str) -> list[ast.AST]:
    """Give the statements that run when the module is imported."""
    return [node for statement in tree(module).body for node in _running(statement)]


def _running(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        node = ast.Module(body=node.orelse, type_ignores=[])
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _running(child)


def for_type_checkers(module: str) -> list[ast.AST]:
    """Give what stands under ``if TYPE_CHECKING:`` at the top of the module."""
    blocks = [
        node for node in tree(module).body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    return [node for block in blocks for statement in block.body for node in ast.walk(statement)]


def roots(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imports(module, everywhere(module))}


def named(pattern: str) -> list[str]:
    return [module for module in MODULES if re.fullmatch(rf"fietsupdate\.{pattern}", module)]


def test_imports_point_one_way():
    """The contracts stand in pyproject.toml; ``make lint`` tells what breaks one of them."""
    assert lint_imports(str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize(
    "module", [name for name in MODULES if not name.startswith(("fietsupdate.database", "fietsupdate.testing"))]
)
def test_only_the_database_room_runs_alembic_and_sqlalchemy(module):
    """`testing` may, as no production code imports it.

    The engine may name Alembic's step, and `script` what it hands on, to type checkers; they load nothing.
    """
    names = set(imports(module, everywhere(module)))
    names -= set(imports(module, for_type_checkers(module))) & {
        "alembic.runtime.migration",
        "sqlalchemy",
        "sqlalchemy.orm",
    }
    assert not {name.partition(".")[0] for name in names} & {"alembic", "sqlalchemy"}


@pytest.mark.parametrize("module", named(r"(filesystem|planning|cli).*"))
def test_files_plans_and_texts_know_no_database(module):
    assert not roots(module) & {"alembic", "sqlalchemy", "sqlite3"}


@pytest.mark.parametrize("module", named(r"planning.*"))
def test_planning_is_pure(module):
    """No clock, no chance, no processes, no network; and a script is never executed."""
    impure = {
        "datetime",
        "importlib",
        "random",
        "runpy",
        "secrets",
        "shutil",
        "socket",
        "subprocess",
        "tempfile",
        "time",
    }
    assert not roots(module) & (impure | HEAVY)
    called = {
        node.func.id for node in everywhere(module) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"exec", "eval", "compile", "__import__", "print", "input"}
    if module != "fietsupdate.planning.loader":
        assert "open" not in called
        assert "os" not in roots(module)


@pytest.mark.parametrize("module", named(r"planning.*"))
def test_planning_writes_nothing(module):
    attributes = {node.attr for node in everywhere(module) if isinstance(node, ast.Attribute)}
    assert not attributes & {"write_text", "write_bytes", "mkdir", "rmdir", "unlink", "rename", "touch", "O_WRONLY"}


@pytest.mark.parametrize("module", [name for name in MODULES if name != "fietsupdate.filesystem.posix.durable"])
def test_only_durable_makes_anything_durable(module):
    syncing = {"fsync", "fdatasync", "syncfs", "F_FULLFSYNC"}
    for node in everywhere(module):
        assert not (isinstance(node, ast.Attribute) and node.attr in syncing), f"{module}:{node.lineno}"
        assert ast.unparse(node) != "os.sync" if isinstance(node, ast.Attribute) else True
        assert not (isinstance(node, ast.alias) and node.name in syncing)


def test_the_start_of_a_command_imports_nothing_heavy():
    """Everything that ``fietsupdate.cli.main`` imports before a command is chosen, and what that imports in turn."""
    seen, waiting = set(), ["fietsupdate.cli.main"]
    while waiting:
        module = waiting.pop()
        for name in {module, *imports(module, at_start(module))} - seen:
            seen.add(name)
            if name in MODULES:
                waiting.append(name)
    assert {"fietsupdate.cli.main", "fietsupdate.cli.session", "typer"} <= seen
    assert not {name.partition(".")[0] for name in seen} & HEAVY


def test_what_alembic_loads_in_every_project_needs_alembic_only():
    """The plugin that hides our ledger is loaded by Alembic wherever fietsupdate is installed."""
    loaded = set(imports("fietsupdate.database.autogenerate", at_start("fietsupdate.database.autogenerate")))
    light = {"__future__", "collections", "logging", "types", "typing"}
    assert {name.partition(".")[0] for name in loaded} <= {"alembic", *light}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_longer_than_400_lines(module):
    assert len(MODULES[module].read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", MODULES)
def test_no_function_has_more_than_30_lines(module):
    """The signature is counted. The docstring is not: it is read before the function, and often instead of it."""
    for node in everywhere(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node):
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            assert lines <= 30, f"{module}.{node.name} has {lines} lines"


def test_a_class_name_means_one_thing():
    """Private classes are the business of their modules."""
    places: dict[str, list[str]] = {}
    for module in MODULES:
        for node in everywhere(module):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


@pytest.mark.parametrize("module", MODULES)
def test_no_class_has_more_than_20_public_methods(module):
    """Properties are counted; inherited methods are the business of the class that they come from."""
    for node in everywhere(module):
        if isinstance(node, ast.ClassDef):
            methods = {child.name for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)}
            public = sorted(name for name in methods if not name.startswith("_"))
            assert len(public) <= 20, f"{module}.{node.name}: {', '.join(public)}"


def undocumented(node: ast.AST, name: str) -> Iterator[str]:
    if not ast.get_docstring(node):
        yield name
    for child in getattr(node, "body", []):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            if isinstance(child, ast.ClassDef):
                yield from undocumented(child, f"{name}.{child.name}")
            elif not ast.get_docstring(child) and "overload" not in map(ast.unparse, child.decorator_list):
                yield f"{name}.{child.name}"


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_says_what_it_promises(module):
    assert list(undocumented(tree(module), module)) == []


QUOTED_COMMAND = re.compile(r"(?<!-c )'(?:fietsupdate|alembic) [^']*'")
PEOPLE = re.compile(r"\b(?:anybody|nobody|somebody|someone|strangers?|whoever)\b", re.IGNORECASE)
"""Words for people who do not exist: another process, another user, the administrator and a script have names."""
VAGUE = re.compile(r"(?:Give|Tell)s? ")
"""Verbs with which a description of a function does not begin: it returns, yields, sets or reports something."""


def docstrings(module: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module with their lines, including those of attributes."""
    for node in everywhere(module):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def comments(module: str) -> Iterator[tuple[int, str]]:
    """Yield the comments of a module with their lines."""
    with MODULES[module].open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


@pytest.mark.parametrize("module", MODULES)
def test_descriptions_name_no_people_where_there_are_none(module):
    texts = [*docstrings(module), *comments(module)]
    assert [(line, found[0]) for line, text in texts if (found := PEOPLE.search(text))] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_docstring_begins_with_give_or_tell(module):
    assert [(line, text.splitlines()[0]) for line, text in docstrings(module) if VAGUE.match(text)] == []


@pytest.mark.parametrize("module", MODULES)
def test_messages_quote_commands_in_backticks(module):
    """One style for all: what is typed stands in backticks, in messages as in the documentation."""
    messages = [
        node
        for node in everywhere(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and QUOTED_COMMAND.search(node.value)
    ]
    assert [(node.lineno, node.value) for node in messages] == []


def test_the_changelog_begins_with_this_version():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == fietsupdate.__version__
