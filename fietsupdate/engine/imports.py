"""Check the imports of update scripts without importing anything: neither a script nor its imports run.

A module is searched for by Python's own finders; a name in a module that is not loaded, in its source. Only an import
that was searched for and not found is reported. Names that only running the code could provide (a module-level
``__getattr__``, a compiled module, a package that changes its own path) count as found.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, NamespaceLoader, SourceFileLoader
from types import ModuleType

from fietsupdate.model import Update
from fietsupdate.model.imports import FailingImport, Import
from fietsupdate.planning.loader import unwarned

_UNPREDICTABLE = re.compile(
    r"__path__|__getattr__|__dict__|\b(?:modules|meta_path|globals|locals|vars|exec|eval|setattr)\b|\bimport\s*\*"
)
"""Patterns in a module's source that may define names and modules dynamically."""


class _MissingError(Exception):
    """A module or name is missing; the text says which."""


class _UnknownError(Exception):
    """Only running the code could tell."""


def failing_imports(updates: Iterable[Update], applied: Iterable[str]) -> tuple[FailingImport, ...]:
    """Return the first import of each script that cannot be found, in the order of the updates.

    Args:
        updates: The scripts.
        applied: Ids of the updates that are applied.
    """
    resolver, done = _Resolver(), frozenset(applied)
    return tuple(
        FailingImport(update.update_id, update.path, one.line, missing, update.update_id in done)
        for update in updates
        for one, missing in _first(update.imports, resolver)
    )


def _first(imports: Iterable[Import], resolver: _Resolver) -> Iterator[tuple[Import, str]]:
    for one in imports:
        if missing := resolver.missing(one):
            yield one, missing
            return


class _Resolver:
    """Resolves imports, each once: thousands of scripts import the same few modules."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str, bool], str] = {}
        self._found: dict[str, ModuleType | ModuleSpec] = {}

    def missing(self, one: Import) -> str:
        """Return which module or name of an import is missing, in words; "" if none is, or if that is unknown."""
        key = (one.module, one.name, one.is_relative)
        if key not in self._answers:
            self._answers[key] = self._missing(one)
        return self._answers[key]

    def _missing(self, one: Import) -> str:
        if one.is_relative:
            return "a relative import leads nowhere: a script belongs to no package"
        try:
            module = self._module(one.module)
            if one.name and not one.name.startswith("__"):  # `__file__`, `__doc__`: Python binds them
                self._name(module, one.module, one.name)
        except _MissingError as error:
            return str(error)
        except _UnknownError:
            return ""
        return ""

    def _module(self, name: str) -> ModuleType | ModuleSpec:
        if name not in self._found:
            self._found[name] = self._searched(name)
        return self._found[name]

    def _searched(self, name: str) -> ModuleType | ModuleSpec:
        if name in sys.modules:
            loaded = sys.modules[name]
            if type(loaded) is not ModuleType:
                raise _UnknownError
            return loaded
        parent = name.rpartition(".")[0]
        if not parent:
            spec = _spec(name, None)
        elif (path := self._path(parent)) is None:
            raise _MissingError(f"there is no module {name}: {parent} is no package")
        else:
            spec = _spec(name, path)
        if spec is None:
            raise _MissingError(f"there is no module {name}")
        return spec

    def _path(self, package: str) -> list[str] | None:
        """Return where the modules of a package are; ``None`` if the module is no package."""
        module = self._module(package)
        if isinstance(module, ModuleType):
            path = vars(module).get("__path__")
        else:
            path = module.submodule_search_locations
            _predictable(module)
        return None if path is None else _listed(path)

    def _name(self, module: ModuleType | ModuleSpec, module_name: str, name: str) -> None:
        if isinstance(module, ModuleType):
            names = vars(module)
            if name in names:
                return
            if "__getattr__" in names:
                raise _UnknownError
            path, where = names.get("__path__"), module_name
        else:
            path, where = module.submodule_search_locations, module.origin or module_name
        if path is not None and _spec(f"{module_name}.{name}", _listed(path)) is not None:
            return
        if isinstance(module, ModuleSpec) and name in _names(_predictable(module), where):
            return
        raise _MissingError(f"{where} has no {name}")


def _spec(name: str, path: list[str] | None) -> ModuleSpec | None:
    """Ask Python's finders for a module, as an import would, without importing its parents."""
    for finder in sys.meta_path:
        if not hasattr(finder, "find_spec"):
            continue
        try:
            spec = finder.find_spec(name, path, None)
        except (Exception, SystemExit) as error:  # an application's own finder, or a namespace that is not loaded
            raise _UnknownError from error
        if spec is not None:
            return spec
    return None


def _listed(path: Iterable[str]) -> list[str]:
    try:
        return list(path)
    except Exception as error:  # a namespace package looks up its parent, which is not loaded
        raise _UnknownError from error


def _predictable(spec: ModuleSpec) -> str:
    """Return the source of a module that defines no names dynamically."""
    if spec.loader is None or isinstance(spec.loader, NamespaceLoader):
        return ""
    if not isinstance(spec.loader, SourceFileLoader) or spec.origin is None:
        raise _UnknownError
    try:
        source = importlib.util.decode_source(spec.loader.get_data(spec.origin))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise _UnknownError from error
    if _UNPREDICTABLE.search(source):
        raise _UnknownError
    return source


def _names(source: str, where: str) -> frozenset[str]:
    """Return every name that a module binds anywhere, since a name that a function binds may become the module's."""
    try:
        with unwarned():
            tree = ast.parse(source)
    except SyntaxError as error:
        raise _MissingError(f"{where}:{error.lineno or 1} is not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _UnknownError from error
    return frozenset(name for node in ast.walk(tree) for name in _bound(node))


def _bound(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.ExceptHandler(name=str(name)):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.alias(name=name, asname=other):
            yield other or name.partition(".")[0]
        case ast.Global(names=names):
            yield from names
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            yield name
