"""Read the metadata of one update script from its syntax tree; the script is never run.

Metadata are literals at module level. The text of the file counts, whatever the imports of the script do by now. A
value that would have to be computed, or that depends on a condition, is an error and never guessed.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fietsupdate.errors import ScriptError
from fietsupdate.model import RESERVED_IDS, Update
from fietsupdate.model.leaves import FORMS, Leave, leave
from fietsupdate.model.questions import NO_ASKS
from fietsupdate.planning import asking, references
from fietsupdate.planning.imports import imports_of

ID_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""The pattern of an update id; `RESERVED_IDS` are not allowed in addition."""

LONGEST_ID = 255
"""The most characters of an id that the ledger's column holds."""

METADATA = frozenset(
    {"update_id", "previous", "alembic_revision", "atomic", "baseline", "leaves", "questions", "references", "owned"}
)
NOT_IN_CLASSES = frozenset({"leaves", "references", "owned"})
"""Metadata that belong to the script, and would not be read in a class."""
CLASSES = frozenset({"Up", "Down"})

NOT_IN_REVISIONS = re.compile(r"[@+:\s-]")
"""Alembic allows none of these in a revision's id; they make relative or qualified targets."""

LEAVE_OUT = "A Python file that is no update script stays in the folder when its name starts with an underscore."
LITERALS = "Metadata is read without running the script: write the value itself, once, at the left margin."

LONGEST_QUOTE = 60
"""The most characters of a script's code that a message quotes."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A fault in a script, or in a folder of scripts, that makes it unusable."""

    path: Path
    line: int
    """The line of the fault; 0 for the file or folder as a whole."""
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}" if self.line else f"{self.path}: {self.what}"


class FaultsError(ScriptError):
    """All faults that were found, one a line."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(
            "\n".join(map(str, faults)),
            hint="\n".join(dict.fromkeys(fault.hint for fault in faults if fault.hint)),
            details={
                "faults": [{"path": str(fault.path), "line": fault.line, "message": fault.what} for fault in faults]
            },
        )
        self.faults = tuple(faults)


def read_script(source: bytes, path: Path, folder: str) -> Update:
    """Read the update that a script describes.

    Args:
        source: The script as it lies on disk.
        path: The path of the script; for messages, and for running it later.
        folder: The name of its folder.

    Raises:
        FaultsError: The script is not Python, lacks something, or holds a value that is not allowed there.
    """
    names = _names(source, path)
    update = Update(
        update_id=_update_id(names),
        previous=_previous(names),
        alembic_revisions=_revisions(names),
        folder=folder,
        path=path,
        checksum=_checksum(source, b"\n"),
        checksum_crlf=_checksum(source, b"\r\n"),
        atomic=_switch(names, "atomic"),
        baseline=_switch(names, "baseline"),
        has_down=bool(names.classes.get("Down")),
        is_empty=names.up_is_empty,
        imports=names.imports,
        leaves=_leaves(names),
        summary=names.summary,
        id_line=names.line("update_id"),
        previous_line=names.line("previous"),
        revision_line=names.line("alembic_revision"),
    )
    asks = asking.read(names.tree, source, names.values.get("questions"), names.line("questions"))
    declares, faults = references.read(names.tree, source, names.values, names.line)
    for line, what, hint in (*((line, what, "") for line, what in asks.faults), *faults):
        names.fault_at(line, what, hint)
    names.raise_faults()
    up, down = (asks.asks.get(part, NO_ASKS) for part in (asking.UP, asking.DOWN))
    return replace(update, up_asks=up, down_asks=down, may_ask_more=asks.may_ask_more, declares=declares)


def _checksum(source: bytes, newline: bytes) -> str:
    """Return the SHA-256 of a script with these line ends.

    Line ends changed by git or an editor do not change a script.
    """
    return hashlib.sha256(source.replace(b"\r\n", b"\n").replace(b"\n", newline)).hexdigest()


def _names(source: bytes, path: Path) -> _Names:
    if b"\0" in source:  # Python names no line for it, and in 3.11.0 raises no SyntaxError either
        raise _unreadable(path, source.partition(b"\0")[0].count(b"\n") + 1, "it contains a NUL byte")
    try:
        return _Names(ast.parse(source), path)
    except SyntaxError as error:
        # Python reports line 0 when the declared encoding is wrong.
        raise _unreadable(path, error.lineno or 1, error.msg) from None
    except UnicodeDecodeError as error:
        # Python fails on such bytes while it words a syntax error, and then reports no line.
        before = source.decode(error.encoding, "replace").partition("\N{REPLACEMENT CHARACTER}")[0]
        raise _unreadable(path, before.count("\n") + 1, f"it is not {error.encoding}: {error.reason}") from None
    except (RecursionError, MemoryError):
        raise _unreadable(path, 1, "an expression is nested too deeply") from None


class NotPythonError(FaultsError):
    """A script is not Python. The one fault names the line; nothing else is known."""


def _unreadable(path: Path, line: int, why: str) -> NotPythonError:
    return NotPythonError([Fault(path, line, f"cannot be read as Python: {why}.")])


class _Names:
    """The names that a script binds at module level, as far as they matter here, and the faults of the script."""

    def __init__(self, tree: ast.Module, path: Path) -> None:
        self.path, self.tree = path, tree
        self.values: dict[str, object] = {}
        """Each metadatum that is written as a literal."""
        self.classes: dict[str, bool] = {}
        """`Up` and `Down`, as far as the script binds them; false when it binds them to None."""
        self.summary = _summary(tree)
        self.imports = imports_of(tree)
        self.up_is_empty = False
        """Whether `Up` is a plain class whose methods do nothing."""
        self._faults: list[Fault] = []
        self._lines: dict[str, int] = {}
        for statement in tree.body:
            self._look_at(statement)
        if not self._lines.keys() & {"update_id", "Up"}:
            missing = Fault(path, 1, "is no update script: it has neither `update_id` nor a class `Up`.", LEAVE_OUT)
            raise FaultsError([*self._faults, missing])
        if "Up" not in self._lines:
            self.fault("Up", "has no class `Up`.", LEAVE_OUT)
        elif not self.classes["Up"]:
            self.fault("Up", "`Up` must be a class.")

    def line(self, name: str) -> int:
        """Return the line that binds a name, or 1."""
        return self._lines.get(name, 1)

    def fault(self, name: str, what: str, hint: str = "") -> None:
        """Record a fault in the value of a name."""
        self.fault_at(self.line(name), what, hint)

    def fault_at(self, line: int, what: str, hint: str = "") -> None:
        """Record a fault in a line."""
        self._faults.append(Fault(self.path, line, what, hint))

    def raise_faults(self) -> None:
        """Raise FaultsError if faults were recorded."""
        if self._faults:
            raise FaultsError(sorted(self._faults))

    def bound(self, name: str) -> bool:
        """Return whether the script binds a name, correctly or not."""
        return name in self._lines

    def _look_at(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.ClassDef) and statement.name in CLASSES:
            self._class(statement.name, statement.lineno)
            self._refuse_metadata_in(statement)
            self.up_is_empty |= statement.name == "Up" and _does_nothing(statement)
        elif isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets):
            for target in statement.targets:
                self._assignment(target, statement.value)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            if statement.value:  # without a value it binds nothing
                self._assignment(statement.target, statement.value)
        else:
            for name, line in _bound_in(statement):
                self._other(name, line)

    def _class(self, name: str, line: int) -> None:
        if name in self._lines:
            first = self._lines[name]
            self._faults.append(Fault(self.path, line, f"binds `{name}` again; it is bound in line {first} already."))
        self._lines.setdefault(name, line)
        self.classes[name] = True

    def _refuse_metadata_in(self, node: ast.ClassDef) -> None:
        """Record a fault for metadata inside a class, where they would not be read."""
        assigned = (statement for statement in node.body if isinstance(statement, ast.Assign | ast.AnnAssign))
        for name, line in (bound for statement in assigned for bound in _bound_in(statement)):
            if name in NOT_IN_CLASSES:
                what = f"`{name}` stands in the class {node.name}; it belongs to the script."
                self._faults.append(Fault(self.path, line, what, LITERALS))

    def _assignment(self, target: ast.expr, value: ast.expr) -> None:
        name = target.id if isinstance(target, ast.Name) else ""
        if name in CLASSES:
            self._lines.setdefault(name, target.lineno)
            self.classes[name] = not isinstance(value, ast.Constant)
        elif name in METADATA:
            self._metadatum(name, value, target.lineno)

    def _metadatum(self, name: str, value: ast.expr, line: int) -> None:
        if name in self._lines:
            what = f"`{name}` is assigned again; it has a value in line {self._lines[name]} already."
            self._faults.append(Fault(self.path, line, what, LITERALS))
            return
        self._lines[name] = line
        try:
            self.values[name] = _literal(value)
        except asking.ComputedError as error:
            what = f"`{name}` is computed (`{error}`); only literals can be read."
            self._faults.append(Fault(self.path, line, what, LITERALS))

    def _other(self, name: str, line: int) -> None:
        """Record that an import, a block or an unpacking binds a name."""
        if name in CLASSES:
            self._lines.setdefault(name, line)
            self.classes[name] = True
        elif name in METADATA:
            self._lines.setdefault(name, line)
            what = f"`{name}` is not assigned by a plain `{name} = ...` at module level."
            self._faults.append(Fault(self.path, line, what, LITERALS))


def _does_nothing(node: ast.ClassDef) -> bool:
    """Return whether a class of hooks inherits from our base class only and all its own methods do nothing."""
    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    if node.decorator_list or node.keywords or not bases <= {"UpdateScript", "object"}:
        return False
    return all(_says_nothing(one) or _is_empty_method(one) for one in node.body)


def _is_empty_method(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.FunctionDef) or statement.decorator_list:
        return False
    return all(map(_says_nothing, statement.body))


def _says_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
    return False


def _summary(tree: ast.Module) -> str:
    match tree.body:
        case [ast.Expr(value=ast.Constant(value=str(text))), *_]:
            return text.strip().partition("\n")[0].rstrip()
    return ""


def _bound_in(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each name that running a module-level statement may bind or delete, with its line."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0], node.lineno
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, node.lineno
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id, node.lineno
    elif not isinstance(node, ast.Lambda | ast.Constant):  # a lambda has a scope of its own
        for child in ast.iter_child_nodes(node):
            yield from _bound_in(child)


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(element) for element in node.elts]
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {str(_literal(key)): _literal(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    raise asking.ComputedError(_shortened(ast.unparse(node)))


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_QUOTE else f"{line[:LONGEST_QUOTE]}..."


def _update_id(names: _Names) -> str:
    if not names.bound("update_id"):
        names.fault("update_id", "has no `update_id`.", LEAVE_OUT)
    text = names.values.get("update_id", "")
    if not isinstance(text, str):
        names.fault("update_id", f"update_id must be a string, not {text!r}.")
        return ""
    if "update_id" in names.values and not ID_PATTERN.fullmatch(text):
        hint = "An update_id consists of letters, digits, `_`, `.` and `-`, and starts with none of the last two."
        names.fault("update_id", f"update_id {text!r} is not allowed.", hint)
    elif len(text) > LONGEST_ID:
        what = f"update_id has {len(text)} characters; the ledger holds {LONGEST_ID}."
        names.fault("update_id", what, "Choose a shorter one.")
    elif text in RESERVED_IDS:
        names.fault("update_id", f"update_id {text!r} is a word with a meaning of its own.", "Choose another.")
    return text


def _previous(names: _Names) -> tuple[str, ...]:
    value = names.values.get("previous", [])
    if isinstance(value, str):
        names.fault("previous", f"previous must be a list; it is {value!r}.", f"Write `previous = [{value!r}]`.")
        return ()
    if (ids := _texts(value)) is None:
        hint = "Write `previous = []` where nothing comes before."
        names.fault("previous", f"previous must be a list of update ids, not {value!r}.", hint)
        return ()
    return ids


def _revisions(names: _Names) -> tuple[str, ...]:
    if not names.bound("alembic_revision"):
        hint = "Write `alembic_revision = None` where the update needs no particular schema."
        names.fault("alembic_revision", "has no `alembic_revision`.", hint)
    value = names.values.get("alembic_revision")
    if value is None:
        return ()
    revisions = _texts([value] if isinstance(value, str) else value)
    if revisions is None:
        what = f"alembic_revision must be a revision id, a list of them or None, not {value!r}."
        names.fault("alembic_revision", what, "`alembic history` lists the ids of the revisions.")
        return ()
    for revision in revisions:
        if NOT_IN_REVISIONS.search(revision) or revision in RESERVED_IDS:
            what = f"alembic_revision {revision!r} is not the id of a revision."
            names.fault("alembic_revision", what, "Write the full id, as the revision's own file gives it.")
    return revisions


def _texts(value: object) -> tuple[str, ...] | None:
    """Return the strings of a list, each once, or None unless the value is a list of non-blank strings."""
    if not isinstance(value, list):
        return None
    texts = [text for text in value if isinstance(text, str) and text.strip()]
    return tuple(dict.fromkeys(texts)) if len(texts) == len(value) else None


def _leaves(names: _Names) -> tuple[Leave, ...]:
    value = names.values.get("leaves", [])
    if isinstance(value, str):
        names.fault("leaves", f"leaves must be a list; it is {value!r}.", f"Write `leaves = [{value!r}]`.")
        return ()
    if (texts := _texts(value)) is None:
        names.fault("leaves", f"leaves must be a list of what Down leaves, not {value!r}.", FORMS)
        return ()
    if texts and not names.classes.get("Down"):
        names.fault("leaves", "leaves says what Down leaves, and there is no class Down.")
    leaves = []
    for text in texts:
        try:
            leaves.append(leave(text))
        except ValueError as error:
            names.fault("leaves", f"leaves: {text!r} cannot be read: {error}.", FORMS)
    return tuple(leaves)


def _switch(names: _Names, name: str) -> bool:
    value = names.values.get(name, False)
    if not isinstance(value, bool):
        names.fault(name, f"{name} must be True or False, not {value!r}.")
        return False
    return value
